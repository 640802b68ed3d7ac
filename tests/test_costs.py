"""The cost report over a real store."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_hold, a_record, an_alert, ended, raise_alert
from orchestra_router.allowances import Allowance, Budgets
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.costs import BudgetState, cost_report
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import Period
from orchestra_router.types import Scope

MILLI = 1_000_000
"""A thousandth of a dollar."""


@dataclass(frozen=True)
class Settings:
    timezone: str = "UTC"
    budget_day_usd: Decimal | None = Decimal("0.05")
    budget_month_usd: Decimal | None = Decimal(1)
    budgets: Budgets = field(default_factory=Budgets)


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
        ("today", "2026-11-23", "2026-11-23", 16),  # a Monday
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
    [("fortnight", None, None), (None, "23.11.2026", None), (None, "2026-11-23", "2026-11-22")],
)
async def test_a_period_that_makes_no_sense_is_refused_with_what_would(
    store: SqliteStore, period: str | None, first_day: str | None, last_day: str | None
) -> None:
    with pytest.raises(InvalidRequest, match=r"one of today, yesterday|such as 2026-11-23|Exchange them"):
        await cost_report(store, Settings(), period=period, first_day=first_day, last_day=last_day, now_ms=NOW_MS)


async def test_a_period_and_days_are_refused_together(store: SqliteStore) -> None:
    with pytest.raises(InvalidRequest, match="not both"):
        await cost_report(store, Settings(), period="today", last_day="2026-11-20", now_ms=NOW_MS)


async def test_a_scope_sees_the_budgets_that_each_key_has(store: SqliteStore) -> None:
    settings = Settings(budgets=Budgets(key={"*": Allowance(day_usd=Decimal("0.02"))}))

    mine = await cost_report(store, settings, scope=Scope(access_key="local"), now_ms=NOW_MS)

    assert ("key:local", "2026-11-23") in [(budget.holder, budget.period) for budget in mine.budgets]


async def test_calls_that_nobody_answered_are_no_row_of_zeros(store: SqliteStore) -> None:
    await spend(store, TODAY.day, 5)
    for number in range(2):
        await store.record(replace(a_record(f"r{number}"), outcome="budget_exceeded", provider="", model=""))

    by_provider = await cost_report(store, Settings(), group_by="provider", now_ms=NOW_MS)
    by_task = await cost_report(store, Settings(), group_by="task", now_ms=NOW_MS)

    assert [row.group for row in by_provider.rows] == ["openrouter"]
    assert by_provider.notes == ("2 calls without an answer are in no row here.",)
    assert ([row.group for row in by_task.rows], by_task.notes) == (["coding"], ())


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
        await store.record(replace(a_record(f"r{number}"), cache=cache))

    report = await cost_report(store, Settings(), now_ms=NOW_MS)

    assert (report.cache.requests, report.cache.hits, report.cache.misses) == (2, 1, 1)


async def test_a_report_of_nothing_is_a_report(store: SqliteStore) -> None:
    report = await cost_report(store, Settings(), now_ms=NOW_MS)

    assert (report.total.requests, report.total.spent_nusd, report.cache.hits) == (0, 0, 0)
    assert (report.alerts, report.notes) == ((), ())


async def test_alerts_of_the_period_are_in_the_report(store: SqliteStore) -> None:
    await raise_alert(store, an_alert())

    report = await cost_report(store, Settings(), now_ms=NOW_MS)

    assert [alert["threshold_nusd"] for alert in report.alerts] == [100]


# --- periods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "days"),
    [
        ("yesterday", ("2026-11-22", "2026-11-22")),
        ("7_days", ("2026-11-17", "2026-11-23")),
        ("last_month", ("2026-10-01", "2026-10-31")),
    ],
)
async def test_a_period_may_lie_before_today(store: SqliteStore, period: str, days: tuple[str, str]) -> None:
    report = await cost_report(store, Settings(), period=period, now_ms=NOW_MS)

    assert (report.first_day, report.last_day) == days


# --- groups that are read from the records -------------------------------------------------------------------------


async def at(store: SqliteStore, attempt_id: str, hours: float, *, session: str = "", app: str = "") -> None:
    """An attempt of 10 nano-dollars, `hours` after the time of the tests, with its request's record."""
    created_ms = NOW_MS + round(hours * 3_600_000)
    scope = Scope(session=session)
    hold = a_hold(attempt_id, request_id=attempt_id, scope=scope)
    await store.hold(replace(hold, created_ms=created_ms), [])
    await store.settle(ended(attempt_id, 10))
    if app:
        await store.record(a_record(attempt_id, scope=scope, created_ms=created_ms, metadata={"app": app}))


async def test_hours_are_those_of_the_clock_on_the_wall(store: SqliteStore) -> None:
    for attempt_id, hours in (("a1", 0), ("a2", 0.4), ("a3", 0.6)):
        await at(store, attempt_id, hours)

    utc = await cost_report(store, Settings(), group_by="hour", period="all", now_ms=NOW_MS)
    india = await cost_report(store, Settings("Asia/Kolkata"), group_by="hour", period="all", now_ms=NOW_MS)

    assert [(row.group, row.spent_nusd) for row in utc.rows] == [("2026-11-23 16:00", 30)]
    assert [(row.group, row.spent_nusd) for row in india.rows] == [("2026-11-23 21:00", 20), ("2026-11-23 22:00", 10)]


async def test_sessions_are_told_apart(store: SqliteStore) -> None:
    await at(store, "a1", 0, session="s1")
    await at(store, "a2", 0, session="s2")
    await at(store, "a3", 0, session="s1")

    report = await cost_report(store, Settings(), group_by="session", now_ms=NOW_MS)

    assert [(row.group, row.spent_nusd, row.requests) for row in report.rows] == [("s1", 20, 2), ("s2", 10, 1)]


async def test_a_field_of_the_metadata_makes_groups_that_add_up_to_the_total(store: SqliteStore) -> None:
    await at(store, "a1", 0, app="docs")
    await at(store, "a2", 0, app="$.app'; DROP TABLE requests")
    await at(store, "not recorded yet", 0)

    report = await cost_report(store, Settings(), group_by="metadata:app", now_ms=NOW_MS)
    other = await cost_report(store, Settings(), group_by='metadata:"] no such', now_ms=NOW_MS)

    assert {row.group: row.spent_nusd for row in report.rows} == {
        "docs": 10,
        "$.app'; DROP TABLE requests": 10,
        "(not known)": 10,
    }
    assert "$0.00000001 has no metadata:app here" in report.notes[0]
    assert [(row.group, row.spent_nusd) for row in other.rows] == [("", 20), ("(not known)", 10)]
    assert sum(row.spent_nusd for row in report.rows) == report.total.spent_nusd == 30


@pytest.mark.parametrize("group_by", ["colour", "metadata", "metadata:", ""])
async def test_an_unknown_group_is_refused_with_those_there_are(store: SqliteStore, group_by: str) -> None:
    with pytest.raises(InvalidRequest, match=r"one of provider, model, .*, session, or metadata: and the name of"):
        await cost_report(store, Settings(), group_by=group_by, now_ms=NOW_MS)


async def test_what_the_cache_saved_is_in_the_row_of_whoever_wrote_the_answer(store: SqliteStore) -> None:
    await store.record(replace(a_record("r1"), cache="HIT", saved_nusd=70, provider="xai"))
    await spend(store, TODAY.day, 5, provider="openrouter")

    report = await cost_report(store, Settings(), group_by="provider", now_ms=NOW_MS)

    assert [(row.group, row.spent_nusd, row.hits, row.saved_nusd) for row in report.rows] == [
        ("openrouter", 5, 0, 0),
        ("xai", 0, 1, 70),
    ]


# --- what will come ------------------------------------------------------------------------------------------------


async def test_the_month_is_projected_from_whole_days(store: SqliteStore) -> None:
    for day in range(13, 23):  # ten whole days
        await spend(store, f"2026-11-{day}", 240 * MILLI)
    await spend(store, TODAY.day, 1 * MILLI)

    projection = (await cost_report(store, Settings(), now_ms=NOW_MS)).projection

    assert projection is not None
    # Eight hours of the 23rd and seven days are left, at 0.24 dollars a day.
    assert projection.projected_nusd == (2_401 + 80 + 7 * 240) * MILLI
    assert projection.method == (
        "spent so far, and $0.24 a day (the mean of the last 10 whole days) for the rest of the month"
    )


async def test_the_first_of_a_month_is_projected_from_the_month_before(store: SqliteStore) -> None:
    for day in range(1, 31):
        await spend(store, f"2026-11-{day:02}", 100 * MILLI)
    midnight = NOW_MS + (7 * 24 + 8) * 3_600_000

    projection = (await cost_report(store, Settings(), now_ms=midnight)).projection

    assert projection is not None
    assert (projection.month, projection.days) == ("2026-12", 28)
    assert projection.projected_nusd == 31 * 100 * MILLI


async def test_the_first_day_of_all_has_no_projection(store: SqliteStore) -> None:
    await spend(store, TODAY.day, 100 * MILLI)

    assert (await cost_report(store, Settings(), now_ms=NOW_MS)).projection is None
