"""Where the money went: every total is the sum of attempts."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_hold, a_record, an_alert, ended, old_hold
from orchestra_router.store import migrations, reports
from orchestra_router.store.base import CacheReport, GroupBy, Period, ReportRow
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.migrations import MIGRATIONS, migrate
from orchestra_router.types import CacheStatus, Scope, Usage

YESTERDAY = Period("2026-11-22", "2026-11")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


async def fill(store: SqliteStore) -> None:
    """Yesterday one call; today one that fell back from xai to deepseek, one of unknown outcome, one in flight."""
    ada = Scope(user="ada")
    await store.hold(a_hold("y1", request_id="r0", period=YESTERDAY), [])
    await store.settle(ended("y1", 500))
    await store.hold(a_hold("a1", request_id="r1", provider="xai", scope=ada), [])
    await store.settle(ended("a1", 0, state="released", outcome="model_gone"))
    await store.hold(a_hold("a2", request_id="r1", number=2, provider="deepseek", scope=ada), [])
    usage = Usage(input_fresh=10, cache_read=5, cache_write=2, output=20, reasoning=30)
    await store.settle(ended("a2", 70, usage=usage, latency_ms=300))
    await store.hold(a_hold("a3", 100, request_id="r2", provider="xai", task="chat"), [])
    await store.settle(ended("a3", 100, state="uncertain", outcome="timeout", latency_ms=60_000))
    await store.hold(a_hold("a4", 40, request_id="r3", provider="deepseek"), [])


async def test_the_total_of_a_day_counts_attempts_requests_money_and_tokens(store: SqliteStore) -> None:
    await fill(store)

    total = await store.report(first_day=TODAY.day, last_day=TODAY.day)

    assert total == (
        ReportRow(
            group="",
            requests=3,
            attempts=4,
            failed=2,
            spent_nusd=170,
            uncertain_nusd=100,
            uncertain=1,
            held_nusd=40,
            answered=1,
            latency_ms=300,
            input_fresh=10,
            cache_read=5,
            cache_write=2,
            output=20,
            reasoning=30,
        ),
    )


@pytest.mark.parametrize(
    ("group_by", "spent"),
    [
        ("provider", [("openrouter", 500), ("xai", 100), ("deepseek", 70)]),
        ("task", [("coding", 570), ("chat", 100)]),
        ("day", [("2026-11-22", 500), ("2026-11-23", 170)]),
        ("user", [("", 600), ("ada", 70)]),
        ("access_key", [("local", 670)]),
        ("model", [("gpt-6-luna", 670)]),
    ],
)
async def test_a_report_is_grouped_dearest_first(
    store: SqliteStore, group_by: GroupBy, spent: list[tuple[str, int]]
) -> None:
    await fill(store)

    rows = await store.report(first_day=YESTERDAY.day, last_day=TODAY.day, group_by=group_by)

    assert [(row.group, row.spent_nusd) for row in rows] == spent


async def test_a_day_without_attempts_has_a_total_of_nothing_and_no_groups(store: SqliteStore) -> None:
    (total,) = await store.report(first_day="2026-01-01", last_day="2026-01-01")
    groups = await store.report(first_day="2026-01-01", last_day="2026-01-01", group_by="provider")

    assert (total.attempts, total.spent_nusd) == (0, 0)
    assert groups == ()


async def test_days_outside_the_report_do_not_count(store: SqliteStore) -> None:
    await fill(store)

    (yesterday,) = await store.report(first_day="2026-11-01", last_day="2026-11-22")

    assert yesterday.spent_nusd == 500


async def test_the_cache_report_says_what_the_cache_did_and_saved(store: SqliteStore) -> None:
    statuses: tuple[CacheStatus, ...] = ("HIT", "SEMANTIC HIT", "MISS", "SEMANTIC MISS", "REFRESH", "DISABLED")
    for number, status in enumerate(statuses):
        await store.record(a_record(f"r{number}", status, saved_nusd=10 if "HIT" in status else 0))

    report = await store.cache_report(first_day=TODAY.day, last_day=TODAY.day)

    assert report == CacheReport(requests=6, hits=2, misses=2, saved_nusd=20)


async def test_a_request_recorded_twice_counts_once_as_it_ended(store: SqliteStore) -> None:
    await store.record(replace(a_record("r1"), outcome="running"))
    await store.record(a_record("r1", "HIT", saved_nusd=10))

    report = await store.cache_report(first_day=TODAY.day, last_day=TODAY.day)

    assert report == CacheReport(requests=1, hits=1, misses=0, saved_nusd=10)


async def test_alerts_of_a_day_include_those_of_its_month(store: SqliteStore) -> None:
    await store.alert_once(an_alert(period="2026-11-23", threshold_nusd=100, at_ms=NOW_MS))
    await store.alert_once(an_alert(period="2026-11", threshold_nusd=2_000, at_ms=NOW_MS + 1))
    await store.alert_once(an_alert(period="2026-11-20", threshold_nusd=100, at_ms=NOW_MS - 1))
    await store.alert_once(an_alert(period="2026-10", threshold_nusd=2_000, at_ms=NOW_MS - 2))

    alerts = await store.alerts(first_day="2026-11-22", last_day="2026-11-23")

    assert [(alert["period"], alert["threshold_nusd"]) for alert in alerts] == [("2026-11-23", 100), ("2026-11", 2_000)]


async def test_what_was_there_before_the_sums_were_is_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [step.name for step in MIGRATIONS]
    path = tmp_path / "orchestra.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        monkeypatch.setattr(migrations, "MIGRATIONS", MIGRATIONS[: names.index("day sums")])
        migrate(db)
        db.execute(
            "INSERT INTO requests VALUES ('a1', 't', 'local', '', '', '2026-11-23', '2026-11', 'coding', 'ok', 'HIT',"
            " 'xai', 'm', 0, 7, 0, 0, 0, '{}', '{}')"
        )
        for attempt_id in ("a1", "a2"):
            old_hold(db, attempt_id, request_id=attempt_id)
        db.execute("UPDATE attempts SET state = 'settled', cost_nusd = 60, outcome = 'ok' WHERE attempt_id = 'a1'")
    monkeypatch.undo()

    store = await SqliteStore.open(path, clock=FakeClock())
    (total,) = await store.report(first_day=TODAY.day, last_day=TODAY.day)
    await store.close()

    assert (total.requests, total.attempts, total.spent_nusd, total.held_nusd) == (2, 2, 60, 100)
    assert (total.calls, total.hits, total.saved_nusd) == (1, 1, 7)


async def test_what_escalation_saved_and_wasted_before_its_sums_were_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [step.name for step in MIGRATIONS]
    path = tmp_path / "orchestra.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        monkeypatch.setattr(migrations, "MIGRATIONS", MIGRATIONS[: names.index("sums of escalations")])
        migrate(db)
        reports.record(db, a_record("r1", escalated=False, escalation_saved_nusd=7))
        reports.record(db, a_record("r2", escalated=True, wasted_nusd=3))
        reports.record(db, a_record("r3"))
    monkeypatch.undo()

    store = await SqliteStore.open(path, clock=FakeClock())
    (before,) = await store.report(first_day=TODAY.day, last_day=TODAY.day)
    await store.record(a_record("r2", escalated=False, escalation_saved_nusd=-2))
    (after,) = await store.report(first_day=TODAY.day, last_day=TODAY.day, group_by="task")
    await store.close()

    assert before == ReportRow(calls=3, misses=3, cheap_steps=2, escalated=1, escalation_saved_nusd=7, wasted_nusd=3)
    assert after == ReportRow(group="coding", calls=3, misses=3, cheap_steps=2, escalation_saved_nusd=5)
