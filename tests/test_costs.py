"""The cost report over a real store."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_hold, ended
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.costs import BudgetState, cost_report
from orchestra_router.store.base import Period, RequestRecord
from orchestra_router.store.db import SqliteStore
from orchestra_router.types import Scope

MILLI = 1_000_000
"""A thousandth of a dollar."""


@dataclass(frozen=True)
class Settings:
    timezone: str = "UTC"
    budget_day_usd: Decimal | None = Decimal("0.05")
    budget_month_usd: Decimal | None = Decimal(1)
    alert_day_usd: Decimal | None = None


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


async def spend(store: SqliteStore, day: str, cost_nusd: int, *, provider: str = "openrouter") -> None:
    attempt_id = f"{day} {provider} {cost_nusd}"
    await store.hold(a_hold(attempt_id, cost_nusd, provider=provider, period=Period(day, day[:7])), [])
    await store.settle(ended(attempt_id, cost_nusd))


@pytest.mark.parametrize(
    ("period", "first_day", "last_day", "spent"),
    [
        ("day", "2026-11-23", "2026-11-23", 16),  # a Monday
        ("week", "2026-11-23", "2026-11-29", 16),
        ("month", "2026-11-01", "2026-11-30", 28),
        ("all", "0001-01-01", "9999-12-31", 31),
    ],
)
async def test_a_report_is_about_the_calendar_period_of_now(
    store: SqliteStore, period: str, first_day: str, last_day: str, spent: int
) -> None:
    for day, cost in (("2026-10-31", 1), ("2026-10-01", 2), ("2026-11-01", 4), ("2026-11-22", 8), ("2026-11-23", 16)):
        await spend(store, day, cost)

    report = await cost_report(store, Settings(), period=period, now_ms=NOW_MS)

    assert (report.period, report.first_day, report.last_day) == (period, first_day, last_day)
    assert report.total.spent_nusd == spent


async def test_a_week_ends_on_sunday(store: SqliteStore) -> None:
    sunday_ms = NOW_MS - 24 * 3_600_000

    report = await cost_report(store, Settings(), period="week", now_ms=sunday_ms)

    assert (report.first_day, report.last_day) == ("2026-11-16", "2026-11-22")


async def test_today_is_the_day_of_the_configured_zone(store: SqliteStore) -> None:
    await spend(store, "2026-11-24", 5)

    report = await cost_report(store, Settings(timezone="Pacific/Auckland"), now_ms=NOW_MS)

    assert (report.first_day, report.timezone, report.total.spent_nusd) == ("2026-11-24", "Pacific/Auckland", 5)


async def test_a_caller_may_name_the_days(store: SqliteStore) -> None:
    for day in ("2026-11-19", "2026-11-20", "2026-11-21", "2026-11-23"):
        await spend(store, day, 1)

    closed = await cost_report(store, Settings(), first_day="2026-11-20", last_day="2026-11-21", now_ms=NOW_MS)
    open_end = await cost_report(store, Settings(), first_day="2026-11-20", now_ms=NOW_MS)
    open_start = await cost_report(store, Settings(), last_day="2026-11-20", now_ms=NOW_MS)

    assert (closed.period, closed.total.spent_nusd) == ("days", 2)
    assert (open_end.last_day, open_end.total.spent_nusd) == ("2026-11-23", 3)
    assert open_start.total.spent_nusd == 2


@pytest.mark.parametrize(
    ("period", "first_day", "last_day"),
    [("fortnight", None, None), ("day", "23.11.2026", None), ("day", "2026-11-23", "2026-11-22")],
)
async def test_a_period_that_makes_no_sense_is_refused_with_what_would(
    store: SqliteStore, period: str, first_day: str | None, last_day: str | None
) -> None:
    with pytest.raises(InvalidRequest, match=r"one of day, week|such as 2026-11-23|Exchange them"):
        await cost_report(store, Settings(), period=period, first_day=first_day, last_day=last_day, now_ms=NOW_MS)


async def test_groups_come_dearest_first_and_days_in_their_order(store: SqliteStore) -> None:
    await spend(store, "2026-11-22", 5, provider="xai")
    await spend(store, "2026-11-23", 90, provider="openrouter")

    by_provider = await cost_report(store, Settings(), period="month", group_by="provider", now_ms=NOW_MS)
    by_day = await cost_report(store, Settings(), period="month", group_by="day", now_ms=NOW_MS)
    ungrouped = await cost_report(store, Settings(), period="month", now_ms=NOW_MS)

    assert [row.group for row in by_provider.rows] == ["openrouter", "xai"]
    assert [row.group for row in by_day.rows] == ["2026-11-22", "2026-11-23"]
    assert ungrouped.rows == ()


async def test_budgets_show_what_a_new_call_may_still_cost(store: SqliteStore) -> None:
    await spend(store, TODAY.day, 40 * MILLI)
    await store.hold(a_hold("in flight", 15 * MILLI), [])

    report = await cost_report(store, Settings(), period="all", now_ms=NOW_MS)

    assert report.budgets == (
        BudgetState(
            holder="global",
            period="2026-11-23",
            limit_nusd=50 * MILLI,
            spent_nusd=40 * MILLI,
            held_nusd=15 * MILLI,
            left_nusd=0,
        ),
        BudgetState(
            holder="global",
            period="2026-11",
            limit_nusd=1_000 * MILLI,
            spent_nusd=40 * MILLI,
            held_nusd=15 * MILLI,
            left_nusd=945 * MILLI,
        ),
    )


async def test_uncertain_money_and_money_in_flight_are_explained(store: SqliteStore) -> None:
    for attempt_id in ("a1", "a2"):
        await store.hold(a_hold(attempt_id, 6 * MILLI), [])
        await store.settle(ended(attempt_id, 6 * MILLI, state="uncertain", outcome="timeout"))
    await store.hold(a_hold("in flight", 5 * MILLI), [])

    report = await cost_report(store, Settings(), now_ms=NOW_MS)

    assert report.notes == (
        "2 attempts ended without a known outcome; counted at their worst case, $0.012.",
        "Calls in flight hold $0.005, which is not in the spend yet.",
    )


async def test_only_requests_that_looked_in_the_cache_count_as_look_ups(store: SqliteStore) -> None:
    for number, cache in enumerate(("HIT", "MISS", "DISABLED", "REFRESH")):
        await store.record(
            RequestRecord(
                request_id=f"r{number}",
                trace_id="t",
                scope=Scope(),
                period=TODAY,
                task="coding",
                outcome="ok",
                cache=cache,
                provider="openrouter",
                model="gpt-6-luna",
                cost_nusd=0,
                saved_nusd=0,
                attempts=0,
                created_ms=NOW_MS,
                latency_ms=1,
                redactions={},
                metadata={},
            )
        )

    report = await cost_report(store, Settings(), now_ms=NOW_MS)

    assert (report.cache.requests, report.cache.hits, report.cache.misses) == (2, 1, 1)


async def test_a_report_of_nothing_is_a_report(store: SqliteStore) -> None:
    report = await cost_report(store, Settings(), now_ms=NOW_MS)

    assert (report.total.requests, report.total.spent_nusd, report.cache.hits) == (0, 0, 0)
    assert (report.alerts, report.notes) == ((), ())


async def test_alerts_of_the_period_are_in_the_report(store: SqliteStore) -> None:
    await store.alert_once("global", TODAY.day, 100, now_ms=NOW_MS)

    report = await cost_report(store, Settings(), now_ms=NOW_MS)

    assert [alert["threshold_nusd"] for alert in report.alerts] == [100]
