"""The cost report: what was spent in a period, by whom or on what, and what the budgets still allow."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import cast, get_args

from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.budget import (
    Budget,
    BudgetSettings,
    applying,
    configured,
    dollars,
    period_at,
    resets_at,
    zone,
)
from orchestra_router.policy.periods import ONE_DAY, calendar, given
from orchestra_router.store.base import Store
from orchestra_router.store.ledger_records import Limit, Period
from orchestra_router.store.report_records import CacheReport, GroupBy, ReportRow
from orchestra_router.types import Scope

USUAL_DAYS = 28
"""Whole days that a projection is made from: four of each weekday."""
DAY_MS = 86_400_000
QUARTER_MS = 900_000
METADATA = "metadata:"
NOT_KNOWN = "(not known)"
"""The group of what no record names the group of."""


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
class Projection:
    """What the current month will have cost at its end, if the days left are like the last whole ones."""

    month: str
    spent_nusd: int
    projected_nusd: int
    mean_day_nusd: int
    days: int
    """Whole days the mean is made from: the last `USUAL_DAYS`, or as many as there are records for."""

    @property
    def method(self) -> str:
        return (
            f"spent so far, and {dollars(self.mean_day_nusd)} a day (the mean of the last {self.days} whole"
            f" day{'s' if self.days > 1 else ''}) for the rest of the month"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    period: str
    """One of `periods.Period`, or "days" for a range the caller gave."""
    first_day: str
    last_day: str
    """Included, as is `first_day`: calendar days in `timezone`."""
    timezone: str
    group_by: str | None
    total: ReportRow
    rows: tuple[ReportRow, ...]
    """Dearest first; days and hours in their order. Empty without `group_by`."""
    budgets: tuple[BudgetState, ...]
    cache: CacheReport
    """`requests` are those that looked in the cache."""
    projection: Projection | None
    """None before the first whole day."""
    alerts: tuple[Mapping[str, object], ...]
    notes: tuple[str, ...]
    """What the figures alone do not say."""


async def cost_report(
    store: Store,
    settings: BudgetSettings,
    *,
    now_ms: int,
    period: str | None = None,
    first_day: str | None = None,
    last_day: str | None = None,
    group_by: str | None = None,
    scope: Scope | None = None,
    only: str | None = None,
) -> CostReport:
    """Spend of the calendar `period` that `now_ms` lies in, today if left out; or from `first_day` to `last_day`.

    `group_by` is a `GroupBy`, with the field's name after "metadata:". `scope` is whose budgets are shown beside
    everyone's. With `only`, all of it is of what was asked with that access key, and no other's budgets are shown.

    Raises:
        InvalidRequest: there is no such period or group, or a day is not written as 2026-11-23, or they are reversed,
            or a period and days are both given.
        StoreError: the database cannot be read.
    """
    now = period_at(now_ms, settings.timezone)
    if first_day is not None or last_day is not None:
        if period is not None:
            raise InvalidRequest("Give a period of the calendar, or the first and the last day, not both.")
        period = "days"
        first, last = given(first_day, last_day, today=now.day)
    else:
        period = period or "today"
        first, last = calendar(period, dt.date.fromisoformat(now.day))
    grouping, field = _grouping(group_by)
    (total,) = await store.report(first_day=first, last_day=last, access_key=only)
    rows = (
        await store.report(first_day=first, last_day=last, group_by=grouping, field=field, access_key=only)
        if grouping
        else ()
    )
    if grouping == "hour":
        rows = _by_hour(rows, settings.timezone)
    if grouping in ("hour", "session", "metadata"):
        rows = (*rows, *_not_known(total, rows))
    notes = _notes(total)
    rows, left_out = _worth_showing(rows)
    notes += left_out
    if rows and rows[-1].group == NOT_KNOWN:
        notes.append(
            f"{dollars(rows[-1].spent_nusd)} has no {group_by} here, for there is no record of its calls: they still run,"
            " are older than their records are kept, or their record could not be written."
        )
    return CostReport(
        period=period,
        first_day=first,
        last_day=last,
        timezone=settings.timezone,
        group_by=group_by,
        total=total,
        rows=tuple(sorted(rows, key=lambda row: row.group)) if grouping == "day" else rows,
        budgets=tuple([await _state(store, budget) for budget in _shown(scope, now, settings, only)]),
        cache=_looked_up(await store.cache_report(first_day=first, last_day=last, access_key=only)),
        projection=await _projection(store, settings.timezone, only, now_ms=now_ms),
        alerts=await store.alerts(first_day=first, last_day=last, access_key=only),
        notes=tuple(notes),
    )


# --- groups --------------------------------------------------------------------------------------------------


def _grouping(group_by: str | None) -> tuple[GroupBy | None, str]:
    if group_by is None:
        return None, ""
    if group_by.startswith(METADATA) and (field := group_by.removeprefix(METADATA)):
        return "metadata", field
    if group_by in get_args(GroupBy) and group_by != "metadata":
        return cast("GroupBy", group_by), ""
    known = ", ".join(name for name in get_args(GroupBy) if name != "metadata")
    raise InvalidRequest(f"`group_by` is one of {known}, or metadata: and the name of a field, as metadata:app.")


def _by_hour(rows: Iterable[ReportRow], timezone: str) -> tuple[ReportRow, ...]:
    """The quarters of an hour that the store knows as hours of the clock in `timezone`, in their order."""
    hours: dict[str, ReportRow] = {}
    for row in sorted(rows, key=lambda row: int(row.group)):
        at = dt.datetime.fromtimestamp(int(row.group) * QUARTER_MS / 1000, zone(timezone))
        hour = f"{at:%Y-%m-%d %H:00}"
        hours[hour] = _sum(hours.get(hour, ReportRow()), row, group=hour)
    return tuple(hours.values())


def _worth_showing(rows: Sequence[ReportRow]) -> tuple[tuple[ReportRow, ...], list[str]]:
    """`rows` without those of nothing but calls that nobody answered; and a note of how many calls those are."""
    shown = tuple(row for row in rows if not _is_empty(row))
    calls = sum(row.calls for row in rows if _is_empty(row))
    said = "1 call without an answer is" if calls == 1 else f"{calls:,} calls without an answer are"
    return shown, [f"{said} in no row here."] if calls else []


def _is_empty(row: ReportRow) -> bool:
    return row == ReportRow(group=row.group, calls=row.calls, misses=row.misses)


def _not_known(total: ReportRow, rows: Sequence[ReportRow]) -> tuple[ReportRow, ...]:
    """What is missing from `rows`, so that they add up to the total: one row, or none."""
    rest = replace(total, group=NOT_KNOWN)
    for row in rows:
        rest = _sum(rest, row, group=NOT_KNOWN, sign=-1)
    # A request may have had attempts in several hours; that is no row of its own.
    return (rest,) if any((rest.attempts, rest.calls, rest.spent_nusd, rest.saved_nusd)) else ()


def _sum(one: ReportRow, other: ReportRow, *, group: str, sign: int = 1) -> ReportRow:
    names = [field.name for field in fields(ReportRow) if field.name != "group"]
    return ReportRow(group=group, **{name: getattr(one, name) + sign * getattr(other, name) for name in names})


# --- what will come ------------------------------------------------------------------------------------------


async def _projection(store: Store, timezone: str, only: str | None, *, now_ms: int) -> Projection | None:
    """From whole days only, so that the first days of a month are judged by the end of the one before."""
    now = period_at(now_ms, timezone)
    today = dt.date.fromisoformat(now.day)
    first = today - USUAL_DAYS * ONE_DAY
    spent = {
        row.group: row.spent_nusd
        for row in await store.report(
            first_day=min(first, today.replace(day=1)).isoformat(),
            last_day=now.day,
            group_by="day",
            access_key=only,
        )
    }
    days = (today - max(first, dt.date.fromisoformat(min(spent, default=now.day)))).days
    if days == 0:
        return None
    recent = sum(amount for day, amount in spent.items() if first.isoformat() <= day < now.day)
    so_far = sum(amount for day, amount in spent.items() if day.startswith(now.month))
    left_ms = round(resets_at(now.month, timezone).timestamp() * 1000) - now_ms
    return Projection(
        month=now.month,
        spent_nusd=so_far,
        projected_nusd=so_far + recent * left_ms // (days * DAY_MS),
        mean_day_nusd=recent // days,
        days=days,
    )


# --- the rest ------------------------------------------------------------------------------------------------


def _looked_up(cache: CacheReport) -> CacheReport:
    """A request that was refused, or told to leave the cache alone, says nothing about it."""
    return replace(cache, requests=cache.hits + cache.misses)


def _shown(scope: Scope | None, now: Period, settings: BudgetSettings, only: str | None) -> Iterable[Budget]:
    mine = applying(scope or Scope(), "", now, settings)
    if only is not None:
        return _tightest(budget for budget in mine if budget.holder == f"key:{only}")
    return _tightest((*configured(now, settings), *mine))


def _tightest(budgets: Iterable[Budget]) -> Iterable[Budget]:
    """Of each holder and period the smallest: a key may have one in the settings and one of its own."""
    found: dict[tuple[str, str], Budget] = {}
    for each in budgets:
        known = found.setdefault((each.holder, each.period), each)
        if each.amount_nusd < known.amount_nusd:
            found[each.holder, each.period] = each
    return found.values()


async def _state(store: Store, budget: Budget) -> BudgetState:
    limit = budget.limit or Limit(budget.holder, budget.period, budget.amount_nusd)
    spent = await store.spent(limit.holder, limit.period)
    return BudgetState(
        holder=limit.holder,
        period=limit.period,
        limit_nusd=limit.limit_nusd,
        spent_nusd=spent.spent_nusd,
        held_nusd=spent.held_nusd,
        left_nusd=max(0, limit.limit_nusd - spent.spent_nusd - spent.held_nusd),
    )


def _notes(total: ReportRow) -> list[str]:
    notes: list[str] = []
    if total.uncertain:
        attempts, case = ("1 attempt", "its") if total.uncertain == 1 else (f"{total.uncertain} attempts", "their")
        notes.append(
            f"{attempts} ended without a known outcome; counted at {case} worst case, {dollars(total.uncertain_nusd)}."
        )
    if total.held_nusd:
        notes.append(f"Calls in flight hold {dollars(total.held_nusd)}, which is not in the spend yet.")
    if total.adjusted_nusd:
        notes.append(f"Later price fixes changed the spend by {dollars(total.adjusted_nusd)}, which is included.")
    return notes
