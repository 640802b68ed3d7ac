"""Where the money went: every total is the sum of attempts."""

import sqlite3
import threading
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_hold, a_record, an_alert, ended, old_hold, old_record, raise_alert
from orchestra_router.errors import StoreError
from orchestra_router.store import migrations, opening, reports
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import Period, Spent
from orchestra_router.store.migrations import MIGRATIONS, migrate
from orchestra_router.store.opening import connect_to_read
from orchestra_router.store.report_records import CacheReport, GroupBy, ReportRow
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
    await raise_alert(store, an_alert(period="2026-11-23", threshold_nusd=100, at_ms=NOW_MS))
    await raise_alert(store, an_alert(period="2026-11", threshold_nusd=2_000, at_ms=NOW_MS + 1))
    await raise_alert(store, an_alert(period="2026-11-20", threshold_nusd=100, at_ms=NOW_MS - 1))
    await raise_alert(store, an_alert(period="2026-10", threshold_nusd=2_000, at_ms=NOW_MS - 2))

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
        old_record(db, "r1", escalated=0, saved_nusd=7)
        old_record(db, "r2", escalated=1, wasted_nusd=3)
        old_record(db, "r3", escalated=None)
    monkeypatch.undo()

    store = await SqliteStore.open(path, clock=FakeClock())
    (before,) = await store.report(first_day=TODAY.day, last_day=TODAY.day)
    await store.record(a_record("r2", escalated=False, escalation_saved_nusd=-2))
    (after,) = await store.report(first_day=TODAY.day, last_day=TODAY.day, group_by="task")
    await store.close()

    assert before == ReportRow(calls=3, misses=3, cheap_steps=2, escalated=1, escalation_saved_nusd=7, wasted_nusd=3)
    assert after == ReportRow(group="coding", calls=3, misses=3, cheap_steps=2, escalation_saved_nusd=5)


# --- reports beside calls ----------------------------------------------------------------------------------------


def delete(db: sqlite3.Connection, **_days: str) -> None:
    db.execute("DELETE FROM attempts")


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


class Pause:
    """Stops the thread of a report where it begins a statement that holds `text`, until `go_on` is set."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.opened = 0
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def connect(self, path: Path, file: tuple[int, int] | None, *, busy_timeout_s: float) -> sqlite3.Connection:
        db = connect_to_read(path, file, busy_timeout_s=busy_timeout_s)
        db.set_trace_callback(self._traced)
        self.opened += 1
        return db

    def _traced(self, statement: str) -> None:
        if self._text in statement:
            self.reached.set()
            self.go_on.wait(10)

    async def wait(self) -> None:
        assert await anyio.to_thread.run_sync(self.reached.wait, 10)


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Pause:
    """At the second statement of a report by day."""
    pause = Pause("INDEXED BY attempts_held")
    monkeypatch.setattr(opening, "connect_to_read", pause.connect)
    return pause


async def test_calls_are_held_and_settled_while_a_report_runs_and_it_is_of_one_moment(
    store: SqliteStore, pause: Pause
) -> None:
    await store.hold(a_hold("a1", 100), [])
    found: list[ReportRow] = []

    async def report() -> None:
        found.extend(await store.report(first_day=TODAY.day, last_day=TODAY.day))

    async with anyio.create_task_group() as group:
        group.start_soon(report)
        await pause.wait()
        with anyio.fail_after(5):
            await store.settle(ended("a1", 60))
            await store.hold(a_hold("a2", 70), [])
            assert await store.spent("global", TODAY.day) == Spent(60, 70)
        assert found == []
        pause.go_on.set()
    (later,) = await store.report(first_day=TODAY.day, last_day=TODAY.day)

    assert [(row.attempts, row.spent_nusd, row.held_nusd) for row in found] == [(1, 0, 100)]
    assert (later.attempts, later.spent_nusd, later.held_nusd) == (2, 60, 70)


async def test_reports_share_a_connection_that_is_opened_for_the_first_and_cannot_write(
    store: SqliteStore, tmp_path: Path, pause: Pause, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause.go_on.set()
    await store.hold(a_hold("a1", 100), [])
    assert pause.opened == 0

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(partial(store.report, first_day=TODAY.day, last_day=TODAY.day))
    monkeypatch.setattr(reports, "alerts", delete)
    with pytest.raises(StoreError, match="cannot be written"):
        await store.alerts(first_day=TODAY.day, last_day=TODAY.day)
    await store.close()

    assert pause.opened == 1
    assert files(tmp_path) == ["orchestra.db"]
    with pytest.raises(StoreError, match="has been closed"):
        await store.report(first_day=TODAY.day, last_day=TODAY.day)


async def test_a_report_never_begins_another_database_where_the_file_was_removed(
    store: SqliteStore, tmp_path: Path
) -> None:
    (tmp_path / "orchestra.db").unlink()

    with pytest.raises(StoreError, match="was removed or replaced"):
        await store.report(first_day=TODAY.day, last_day=TODAY.day)

    assert "orchestra.db" not in files(tmp_path)


async def test_a_report_that_still_waits_for_what_is_written_when_the_store_closes_is_told_so(
    tmp_path: Path, pause: Pause
) -> None:
    store = await SqliteStore.open(tmp_path / "another.db", clock=FakeClock())
    store.settle(ended("a1", 60))

    async def report() -> None:
        with pytest.raises(StoreError, match="has been closed"):
            await store.report(first_day=TODAY.day, last_day=TODAY.day)

    async with anyio.create_task_group() as group:
        group.start_soon(report)
        group.start_soon(store.close)

    assert pause.opened == 0
