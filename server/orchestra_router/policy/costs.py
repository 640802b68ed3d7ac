"""The cost report: what was spent in a period, by whom or on what, and what the budgets still allow."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.budget import BudgetSettings, dollars, limits, period_at
from orchestra_router.store.base import CacheReport, GroupBy, Limit, ReportRow, Store
from orchestra_router.types import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget now, whatever period the report is about."""

    holder: str
    period: str
    limit_nusd: int
    spent_nusd: int
    held_nusd: int
    """Set aside for calls in flight."""
    left_nusd: int
    """What a new call may still cost; never below 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    period: str
    """Either "day", "week", "month", "all", or "days" for a range the caller gave."""
    first_day: str
    last_day: str
    """Included, as is `first_day`: calendar days in `timezone`."""
    timezone: str
    group_by: GroupBy | None
    total: ReportRow
    rows: tuple[ReportRow, ...]
    """Dearest first; days in their order. Empty without `group_by`."""
    budgets: tuple[BudgetState, ...]
    cache: CacheReport
    """`requests` are those that looked in the cache."""
    alerts: tuple[Mapping[str, object], ...]
    notes: tuple[str, ...]
    """What the figures alone do not say."""


async def cost_report(
    store: Store,
    settings: BudgetSettings,
    *,
    now_ms: int,
    period: str = "day",
    first_day: str | None = None,
    last_day: str | None = None,
    group_by: GroupBy | None = None,
    scope: Scope | None = None,
) -> CostReport:
    """Spend of the calendar `period` that `now_ms` lies in, or from `first_day` to `last_day` where given.

    `scope` is whose budgets are shown beside everyone's. Weeks begin on Monday (ISO 8601).

    Raises:
        InvalidRequest: there is no such period, or a day is not written as 2026-11-23, or the days are reversed.
        StoreError: the database cannot be read.
    """
    now = period_at(now_ms, settings.timezone)
    if first_day is not None or last_day is not None:
        period = "days"
        first, last = _given(first_day, last_day, today=now.day)
    else:
        first, last = _calendar(period, dt.date.fromisoformat(now.day))
    (total,) = await store.report(first_day=first, last_day=last)
    rows = await store.report(first_day=first, last_day=last, group_by=group_by) if group_by else ()
    return CostReport(
        period=period,
        first_day=first,
        last_day=last,
        timezone=settings.timezone,
        group_by=group_by,
        total=total,
        rows=tuple(sorted(rows, key=lambda row: row.group)) if group_by == "day" else rows,
        budgets=tuple([await _state(store, limit) for limit in limits(scope or Scope(), now, settings)]),
        cache=_looked_up(await store.cache_report(first_day=first, last_day=last)),
        alerts=await store.alerts(first_day=first, last_day=last),
        notes=_notes(total),
    )


def _looked_up(cache: CacheReport) -> CacheReport:
    """A request that was refused, or told to leave the cache alone, says nothing about it."""
    return replace(cache, requests=cache.hits + cache.misses)


async def _state(store: Store, limit: Limit) -> BudgetState:
    spent = await store.spent(limit.holder, limit.period)
    return BudgetState(
        holder=limit.holder,
        period=limit.period,
        limit_nusd=limit.limit_nusd,
        spent_nusd=spent.spent_nusd,
        held_nusd=spent.held_nusd,
        left_nusd=max(0, limit.limit_nusd - spent.spent_nusd - spent.held_nusd),
    )


def _calendar(period: str, today: dt.date) -> tuple[str, str]:
    match period:
        case "day":
            first = last = today
        case "week":
            first = today - dt.timedelta(days=today.weekday())
            last = first + dt.timedelta(days=6)
        case "month":
            first = today.replace(day=1)
            last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
        case "all":
            first, last = dt.date.min, dt.date.max
        case _:
            raise InvalidRequest("`period` is one of day, week, month and all.")
    return first.isoformat(), last.isoformat()


def _given(first_day: str | None, last_day: str | None, *, today: str) -> tuple[str, str]:
    """The range a caller named; one that names no beginning begins with the records, one without an end ends today."""
    try:
        first = dt.date.fromisoformat(first_day) if first_day is not None else dt.date.min
        last = dt.date.fromisoformat(last_day if last_day is not None else today)
    except ValueError:
        raise InvalidRequest("`first_day` and `last_day` are dates such as 2026-11-23.") from None
    if first > last:
        raise InvalidRequest("`first_day` is after `last_day`. Exchange them.")
    return first.isoformat(), last.isoformat()


def _notes(total: ReportRow) -> tuple[str, ...]:
    notes: list[str] = []
    if total.uncertain:
        attempts, case = ("1 attempt", "its") if total.uncertain == 1 else (f"{total.uncertain} attempts", "their")
        notes.append(
            f"{attempts} ended without a known outcome; counted at {case} worst case, {dollars(total.uncertain_nusd)}."
        )
    if total.held_nusd:
        notes.append(f"Calls in flight hold {dollars(total.held_nusd)}, which is not in the spend yet.")
    return tuple(notes)
