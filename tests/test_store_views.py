"""What the dashboard is told agrees with the rows, whatever happened to those and whatever is picked."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import Step, play, steps
from ledgers import TODAY, a_database, a_hold, a_record, ended, old_hold, old_record
from orchestra_router.store import ledger, migrations, requests, retention, views
from orchestra_router.store.migrations import MIGRATIONS, migrate
from orchestra_router.store.view_records import Cut, Dimension, Figures
from orchestra_router.store.view_schema import STEPS_MS
from orchestra_router.types import Scope

MONTH = {"first_day": "2026-11-01", "last_day": "2026-11-30"}
DIMENSIONS: tuple[Dimension, ...] = ("", "provider", "model", "task", "user", "access_key")
cuts = st.builds(
    Cut,
    first_day=st.sampled_from(["2026-11-01", TODAY.day]),
    last_day=st.just("2026-11-30"),
    access_key=st.sampled_from([None, "local"]),
    user=st.sampled_from([None, "", "ada"]),
    task=st.sampled_from([None, "", "coding"]),
)


def is_in(row: sqlite3.Row, cut: Cut) -> bool:
    picked = {"access_key": cut.access_key, "user": cut.user, "task": cut.task}
    return cut.first_day <= row["day"] <= cut.last_day and all(
        value is None or row[name] == value for name, value in picked.items()
    )


def from_the_rows(db: sqlite3.Connection, cut: Cut, by: Dimension) -> dict[tuple[str, str], Counter[str]]:
    """What the figures should be, added up in Python from attempts and requests."""
    found: dict[tuple[str, str], Counter[str]] = {}
    attempts = db.execute(
        "SELECT *, (SELECT coalesce(sum(delta_nusd), 0) FROM adjustments WHERE attempt_id = attempts.attempt_id) AS delta"
        " FROM attempts WHERE state <> 'held'"
    )
    for row in attempts:
        if is_in(row, cut):
            written = (row["cache_write"] or 0) + (row["cache_write_1h"] or 0)
            found.setdefault((row["day"], row[by] if by else ""), Counter()).update(
                attempts=1,
                failed=row["outcome"] != "ok",
                spent_nusd=row["cost_nusd"] + row["delta"],
                input_tokens=(row["input_fresh"] or 0) + (row["cache_read"] or 0) + written,
                output_tokens=(row["output"] or 0) + (row["reasoning"] or 0),
            )
    for row in db.execute("SELECT * FROM requests"):
        if is_in(row, cut):
            found.setdefault((row["day"], row[by] if by else ""), Counter()).update(
                calls=1,
                hits=row["cache"] == "HIT",
                misses=row["cache"] == "MISS",
                saved_nusd=row["saved_nusd"],
            )
    return found


def told(rows: Iterable[Figures]) -> dict[tuple[str, str], dict[str, int]]:
    names = [name for name in Figures.__slots__ if name not in {"at", "value"}]
    told = {(row.at, row.value): {name: getattr(row, name) for name in names if getattr(row, name)} for row in rows}
    return {key: row for key, row in told.items() if row}


@settings(max_examples=25, deadline=None)
@given(history=steps, cut=cuts, by=st.sampled_from(DIMENSIONS))
def test_figures_agree_with_the_rows_whatever_is_picked(history: list[Step], cut: Cut, by: Dimension) -> None:
    db = a_database()
    play(db, history)

    found = told(views.figures(db, cut, by=by))

    expected = from_the_rows(db, cut, by)
    assert found == {key: {name: count for name, count in row.items() if count} for key, row in expected.items()}


@settings(max_examples=25, deadline=None)
@given(history=steps, cut=cuts, by=st.sampled_from(DIMENSIONS))
def test_quarters_of_an_hour_add_up_to_the_days(history: list[Step], cut: Cut, by: Dimension) -> None:
    db = a_database()
    play(db, history)

    def summed(rows: Iterable[Figures]) -> Counter[tuple[str, str]]:
        sums: Counter[tuple[str, str]] = Counter()
        for (_, value), row in told(rows).items():
            sums.update({(value, name): count for name, count in row.items()})
        return sums

    assert summed(views.quarters(db, cut, by=by)) == summed(views.figures(db, cut, by=by))


@settings(max_examples=25, deadline=None)
@given(history=steps, cut=cuts)
def test_latencies_and_failures_agree_with_the_rows(history: list[Step], cut: Cut) -> None:
    db = a_database()
    play(db, history)

    by_day = {(row.at, row.from_ms): row.answered for row in views.latencies(db, cut)}
    by_deployment = {(row.provider, row.from_ms): row.answered for row in views.latencies_by_deployment(db, cut)}
    failures = {(row.provider, row.outcome): row.attempts for row in views.failures(db, cut) if row.attempts}

    rows = [row for row in db.execute("SELECT * FROM attempts WHERE state <> 'held'") if is_in(row, cut)]
    answered = [row for row in rows if row["outcome"] == "ok"]
    step = [max(begin for begin in STEPS_MS if begin <= row["latency_ms"]) for row in answered]
    days = zip((row["day"] for row in answered), step, strict=True)
    assert {key: count for key, count in by_day.items() if count} == Counter(days)
    providers = zip((row["provider"] for row in answered), step, strict=True)
    assert {key: count for key, count in by_deployment.items() if count} == Counter(providers)
    assert failures == Counter((row["provider"], row["outcome"]) for row in rows if row["outcome"] != "ok")


@settings(max_examples=15, deadline=None)
@given(history=steps, cut=cuts, by=st.sampled_from(DIMENSIONS))
def test_no_view_changes_when_old_records_are_deleted(history: list[Step], cut: Cut, by: Dimension) -> None:
    db = a_database()
    play(db, history)
    before = (views.figures(db, cut, by=by), views.latencies(db, cut), views.failures(db, cut))

    while retention.forget(db, attempts_before="2027-01-01", requests_before="2027-01-01", most=100):
        pass

    assert (views.figures(db, cut, by=by), views.latencies(db, cut), views.failures(db, cut)) == before


def test_what_was_there_before_the_sums_were_is_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [step.name for step in MIGRATIONS]
    with closing(sqlite3.connect(tmp_path / "orchestra.db", isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        monkeypatch.setattr(migrations, "MIGRATIONS", MIGRATIONS[: names.index("views")])
        migrate(db)
        for number in (1, 2, 3):
            old_hold(db, f"a{number}")
        ledger.settle(db, ended("a1", 60, latency_ms=300))
        ledger.settle(db, ended("a2", 0, state="released", outcome="timeout"))
        db.execute(
            "INSERT INTO adjustments (attempt_id, day, delta_nusd, cost_nusd, cost_source, reason, at_ms)"
            " VALUES ('a1', '2026-11-23', -20, 40, 'table', 'a test', 1)"
        )
        old_record(db, "r1", escalated=None)
        monkeypatch.undo()

        migrate(db)

        for cut in (Cut(**MONTH), Cut(**MONTH, task="coding")):
            rows = views.figures(db, cut)
            assert [(row.attempts, row.failed, row.spent_nusd, row.calls, row.misses) for row in rows] == [
                (2, 1, 40, 1, 1)
            ]
            assert [(row.from_ms, row.answered) for row in views.latencies(db, cut)] == [(280, 1)]
            assert [(row.outcome, row.attempts) for row in views.failures(db, cut)] == [("timeout", 1)]


# --- the last requests -------------------------------------------------------------------------------------------

ALL_TIME = {"since_ms": 0, "until_ms": 10**15}


def test_pages_of_requests_hold_each_once_though_several_came_in_the_same_millisecond() -> None:
    db = a_database()
    for number in range(9):
        requests.record(db, [a_record(f"r{number}", created_ms=1_000 + number // 3)])

    seen: list[object] = []
    before = ""
    while page := views.recent(db, Cut(**MONTH), **ALL_TIME, before=before, only_failed=False, most=2):
        seen += [row.columns["request_id"] for row in page]
        before = page[-1].place

    assert seen == [f"r{number}" for number in (8, 7, 6, 5, 4, 3, 2, 1, 0)]


def test_a_request_comes_with_its_attempts_and_why_it_went_there() -> None:
    db = a_database()
    ledger.hold(db, a_hold("a1", provider="xai"), [], owner="")
    ledger.settle(db, ended("a1", 0, state="released", outcome="timeout"))
    ledger.hold(db, a_hold("a2", number=2), [], owner="")
    ledger.settle(db, ended("a2", 60))
    requests.record(db, [a_record("r1", reason="cheapest for coding")])

    (row,) = views.recent(db, Cut(**MONTH), **ALL_TIME, before="", only_failed=False, most=5)

    assert row.columns["reason"] == "cheapest for coding"
    assert [(one["provider"], one["outcome"]) for one in row.attempts] == [("xai", "timeout"), ("openrouter", "ok")]


def test_requests_are_picked_by_user_and_outcome() -> None:
    db = a_database()
    requests.record(db, [a_record("r1", scope=Scope(user="ada"))])
    requests.record(db, [a_record("r2", scope=Scope(user="ada"), outcome="budget_exceeded")])
    requests.record(db, [a_record("r3")])

    def ids(cut: Cut, *, only_failed: bool) -> list[object]:
        rows = views.recent(db, cut, **ALL_TIME, before="", only_failed=only_failed, most=5)
        return [row.columns["request_id"] for row in rows]

    assert ids(Cut(**MONTH, user="ada"), only_failed=False) == ["r2", "r1"]
    assert ids(Cut(**MONTH), only_failed=True) == ["r2"]
