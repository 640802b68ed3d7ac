"""The sums that reports read agree with the rows they are made of, whatever happened to those and in which order."""

import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histories import Step, adjust, play, steps
from ledgers import TODAY, a_database, a_hold, ended, kept_sums
from orchestra_router.store import ledger, reports, retention
from orchestra_router.store.report_records import GroupBy, ReportRow

GROUPS: tuple[GroupBy, ...] = ("provider", "model", "task", "day", "user", "access_key")
MONTH = {"first_day": "2026-11-01", "last_day": "2026-11-30"}


def added_up(db: sqlite3.Connection, group_by: GroupBy) -> dict[str, tuple[int, ...]]:
    """What a report should say of attempts, added up in Python from the rows themselves."""
    sums: dict[str, list[int]] = {}
    requests: dict[str, set[str]] = {}
    for row in db.execute(
        "SELECT *, (SELECT coalesce(sum(delta_nusd), 0) FROM adjustments"
        " WHERE adjustments.attempt_id = attempts.attempt_id) AS delta FROM attempts"
    ):
        group = str(row[group_by])
        requests.setdefault(group, set()).add(row["request_id"])
        has_ended = row["state"] != "held"
        figures = (
            1,
            int(has_ended and row["outcome"] != "ok"),
            row["cost_nusd"] + row["delta"],
            row["cost_nusd"] if row["state"] == "uncertain" else 0,
            0 if has_ended else row["amount_nusd"],
            row["input_fresh"] or 0,
            (row["cache_write"] or 0) + (row["cache_write_1h"] or 0),
        )
        sums[group] = [one + other for one, other in zip(sums.get(group, [0] * 7), figures, strict=True)]
    return {group: (*figures, len(requests[group])) for group, figures in sums.items()}


def reported(rows: Sequence[ReportRow]) -> dict[str, tuple[int, ...]]:
    return {
        row.group: (
            row.attempts,
            row.failed,
            row.spent_nusd,
            row.uncertain_nusd,
            row.held_nusd,
            row.input_fresh,
            row.cache_write,
            row.requests,
        )
        for row in rows
        if row.attempts
    }


@settings(max_examples=40)
@given(history=steps)
def test_every_report_agrees_with_the_rows(history: list[Step]) -> None:
    db = a_database()
    play(db, history)

    for group_by in GROUPS:
        rows = reports.report(db, **MONTH, group_by=group_by)
        found = reported(rows)
        expected = added_up(db, group_by)
        # A request may be on several days, or of several keys: it counts where its first attempt is.
        exact = group_by in ("provider", "model")
        assert {group: row if exact else row[:-1] for group, row in found.items()} == {
            group: row if exact else row[:-1] for group, row in expected.items()
        }


@settings(max_examples=40)
@given(history=steps)
def test_every_report_says_what_escalation_saved_and_wasted(history: list[Step]) -> None:
    db = a_database()
    play(db, history)

    for group_by in (*GROUPS, "session"):
        expected: dict[str, tuple[int, ...]] = {}
        for row in db.execute("SELECT * FROM requests WHERE escalated IS NOT NULL OR wasted_nusd > 0"):
            figures = (row["escalated"] is not None, row["escalated"] or 0, row["escalation_saved_nusd"])
            so_far = expected.get(row[group_by], (0, 0, 0, 0))
            together = zip(so_far, (*figures, row["wasted_nusd"]), strict=True)
            expected[row[group_by]] = tuple(one + other for one, other in together)
        found = {
            row.group: (row.cheap_steps, row.escalated, row.escalation_saved_nusd, row.wasted_nusd)
            for row in reports.report(db, **MONTH, group_by=group_by)
        }
        assert {group: figures for group, figures in found.items() if any(figures)} == expected


@settings(max_examples=40)
@given(history=steps)
def test_all_groupings_add_up_to_the_total_and_the_total_to_the_budget(history: list[Step]) -> None:
    db = a_database()
    play(db, history)

    (total,) = reports.report(db, **MONTH, group_by=None)

    for group_by in (*GROUPS, "session"):
        rows = reports.report(db, **MONTH, group_by=group_by)
        assert sum(row.spent_nusd for row in rows) == total.spent_nusd
        assert sum(row.attempts for row in rows) == total.attempts
        assert (sum(row.hits for row in rows), sum(row.saved_nusd for row in rows)) == (total.hits, total.saved_nusd)
    assert kept_sums(db).get(("global", TODAY.month), (0, 0)) == (total.spent_nusd, total.held_nusd)


def test_an_adjustment_starts_from_what_counts_now() -> None:
    db = a_database()
    ledger.hold(db, a_hold(), [], owner="")
    ledger.settle(db, ended("a1", 60))

    adjust(db, "a1", TODAY.day, delta=-20, cost=40)

    with pytest.raises(sqlite3.IntegrityError, match="starts from what a settled attempt counts at now"):
        adjust(db, "a1", TODAY.day, delta=-20, cost=40)
    with pytest.raises(sqlite3.IntegrityError, match="never changed"):
        db.execute("UPDATE adjustments SET delta_nusd = 5")
    assert db.execute("SELECT cost_nusd FROM attempts").fetchone()[0] == 60
    assert kept_sums(db)["global", TODAY.day] == (40, 0)


# --- retention ---------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(history=steps, batch=st.integers(1, 5))
def test_no_report_changes_when_old_records_are_deleted(history: list[Step], batch: int) -> None:
    db = a_database()
    play(db, history)
    budgets = kept_sums(db)
    before = {group: reports.report(db, **MONTH, group_by=group) for group in (None, *GROUPS)}

    while retention.forget(db, attempts_before=TODAY.day, requests_before=TODAY.day, most=batch):
        pass

    assert {group: reports.report(db, **MONTH, group_by=group) for group in (None, *GROUPS)} == before
    assert kept_sums(db) == budgets
    left = "SELECT count(*) FROM attempts WHERE day < ? AND request_id NOT IN (SELECT request_id FROM attempts WHERE state = 'held')"
    assert db.execute(left, (TODAY.day,)).fetchone()[0] == 0
    orphans = "SELECT count(*) FROM adjustments WHERE attempt_id NOT IN (SELECT attempt_id FROM attempts)"
    assert db.execute(orphans).fetchone()[0] == 0
