"""Old records are deleted once a day by one process; what they added up to stays."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import a_hold, a_record, ended
from orchestra_router.allowances import Budgets
from orchestra_router.policy.costs import NOT_KNOWN, cost_report
from orchestra_router.policy.retention import LEASE_MS, forget_if_due
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import Period
from orchestra_router.types import Scope
from worlds import ask, open_world

OLD = Period("2025-10-19", "2025-10")
"""400 days before the last day that the tests know."""
KEPT = Period("2025-10-20", "2025-10")
DAY_S = 86_400


@dataclass(frozen=True)
class Settings:
    timezone: str = "UTC"
    keep_attempts_days: int = 399
    keep_requests_days: int = 399
    keep_audit_days: int = 399
    keep_log_days: int = 399
    budget_day_usd: None = None
    budget_month_usd: None = None
    budgets: Budgets = field(default_factory=Budgets)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=clock)
    yield store
    await store.close()


async def fill(store: SqliteStore, period: Period, count: int = 1) -> None:
    for number in range(count):
        name = f"{period.day} {number}"
        scope = Scope(session="s")
        record = a_record(name, scope=scope, escalated=number > 0, escalation_saved_nusd=7, wasted_nusd=2)
        await store.record(replace(record, period=period))
        await store.hold(a_hold(name, request_id=name, period=period, scope=scope), [])
        await store.settle(ended(name, 60))


async def forget(store: SqliteStore, clock: FakeClock) -> int:
    return await forget_if_due(store, Settings(), clock, batch=2, pause_s=0)


async def test_what_is_too_old_goes_and_the_totals_stay(store: SqliteStore, clock: FakeClock) -> None:
    await fill(store, OLD, 3)
    await fill(store, KEPT, 2)
    now_ms = clock.now_ms()
    before = await cost_report(store, Settings(), group_by="provider", period="all", now_ms=now_ms)

    forgotten = await forget(store, clock)

    assert forgotten == 6
    assert (before.total.cheap_steps, before.total.escalated) == (5, 3)
    assert (before.total.escalation_saved_nusd, before.total.wasted_nusd) == (35, 10)
    assert await store.attempts_of(f"{OLD.day} 0") == ()
    assert len(await store.attempts_of(f"{KEPT.day} 0")) == 1
    assert await cost_report(store, Settings(), group_by="provider", period="all", now_ms=now_ms) == before


@pytest.mark.parametrize(("group_by", "group"), [("session", "s"), ("metadata:app", "demo")])
async def test_groups_that_need_the_records_say_what_they_no_longer_know(
    store: SqliteStore, clock: FakeClock, group_by: str, group: str
) -> None:
    await fill(store, OLD, 3)
    await fill(store, KEPT, 2)
    await forget(store, clock)

    report = await cost_report(store, Settings(), group_by=group_by, period="all", now_ms=clock.now_ms())

    assert [(row.group, row.spent_nusd, row.calls) for row in report.rows] == [(group, 120, 2), (NOT_KNOWN, 180, 3)]
    assert "older than their records are kept" in report.notes[0]


async def test_it_happens_once_a_day(store: SqliteStore, clock: FakeClock) -> None:
    await forget(store, clock)
    await fill(store, OLD)

    same_day = await forget(store, clock)
    clock.advance(DAY_S)
    next_day = await forget(store, clock)

    assert (same_day, next_day) == (0, 2)


async def test_a_process_that_dies_at_it_is_followed_by_another(store: SqliteStore, clock: FakeClock) -> None:
    await fill(store, OLD)
    now_ms = clock.now_ms()
    assert await store.claim_chore("retention", now_ms=now_ms, until_ms=now_ms + LEASE_MS, latest_ms=now_ms + LEASE_MS)

    at_once = await forget(store, clock)
    clock.advance(LEASE_MS / 1000)

    assert (at_once, await forget(store, clock)) == (0, 2)


async def test_a_clock_that_was_moved_back_does_not_put_it_off_for_ever(store: SqliteStore, clock: FakeClock) -> None:
    await forget(store, clock)
    await fill(store, OLD)

    clock.set_wall_back(30 * DAY_S)
    await fill(store, Period("2025-09-01", "2025-09"))

    assert await forget(store, clock) > 0


async def test_of_several_processes_one_does_it(tmp_path: Path, clock: FakeClock) -> None:
    async with AsyncExitStack() as stack:
        stores = [await SqliteStore.open(tmp_path / "orchestra.db", clock=clock) for _ in range(3)]
        for store in stores:
            stack.push_async_callback(store.close)
        now_ms = clock.now_ms()
        claims = [
            await store.claim_chore("retention", now_ms=now_ms, until_ms=now_ms + 1, latest_ms=now_ms + DAY_S * 1000)
            for store in stores
        ]

    assert claims == [True, False, False]


async def test_it_happens_by_itself_while_requests_are_answered(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    await fill(store, Period("2024-01-01", "2024-01"))
    await store.close()

    async with open_world(tmp_path) as world:
        for number in range(20):
            await world.router.complete(ask(f"Question {number}?"))
            if not await world.router.store.attempts_of("2024-01-01 0"):
                break

        assert await world.router.store.attempts_of("2024-01-01 0") == ()
        (total,) = await world.router.store.report(first_day="2024-01-01", last_day="2024-01-01")
        assert (total.spent_nusd, total.calls) == (60, 1)


async def test_the_callers_labels_are_nowhere_once_their_time_is_over_and_the_trail_is_still_whole(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        settings, store, clock = world.router.config.settings, world.router.store, world.clock
        await world.router.complete(ask("One?", metadata={"app": "label-of-mine"}))
        clock.advance(395 * DAY_S)
        await world.router.complete(ask("Two?", metadata={"app": "another-label"}))
        noted = (await store.audit_rows())[-1]
        clock.advance(10 * DAY_S)

        await forget_if_due(store, settings, clock, batch=1, pause_s=0)

        whole = await store.verify_audit(known=(noted.number, noted.hash))
        gone = await store.verify_audit(known=(1, "0" * 64))
        with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db:
            everything = "\n".join(db.iterdump())
    assert "label-of-mine" not in everything
    assert "another-label" in everything
    assert whole.problems == ()
    assert gone.problems == ("row 1 was dropped, for its time was over: note a newer one",)


async def test_the_audit_trail_is_kept_for_ever_if_that_is_wanted(store: SqliteStore, clock: FakeClock) -> None:
    await fill(store, KEPT)
    clock.advance(5_000 * DAY_S)

    await forget_if_due(store, Settings(keep_audit_days=0), clock, pause_s=0)

    assert len(await store.audit_rows()) == 1
