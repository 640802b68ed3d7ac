"""Budgets: what may be spent in a calendar day or month, by whom, and what to say when it is not enough.

The store holds money against the limits made here (`Store.hold`); nothing here counts.
"""

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestra_router.allowances import EACH, WHOLE, Action, Allowance, Budgets, Payer
from orchestra_router.errors import BudgetExceeded, ConfigError
from orchestra_router.store.ledger_records import Denied, Limit, Period
from orchestra_router.types import NUSD_PER_USD, Refusal, Scope, nusd

QUARTER_MS = 900_000
IN_FLIGHT_S = 5.0
"""When to ask again where only calls in flight are in the way: most are answered by then."""

Dollars = Decimal | float | None


class BudgetSettings(Protocol):
    """What the settings say about budgets, in US dollars. None: no such budget, no such alert."""

    @property
    def timezone(self) -> str:
        """The IANA name of the zone whose midnights end a day."""
        ...

    @property
    def budget_day_usd(self) -> Dollars: ...

    @property
    def budget_month_usd(self) -> Dollars: ...

    @property
    def budgets(self) -> Budgets: ...


@dataclass(frozen=True, slots=True, eq=False)
class Budget:
    """What `holder` has for `period`, and what happens at which percentage of it."""

    holder: str
    period: str
    amount_nusd: int
    at: Mapping[int, Action]

    def part(self, percent: int) -> int:
        return self.amount_nusd * percent // WHOLE

    @property
    def limit(self) -> Limit | None:
        """Where it refuses; None for a budget that only warns or downgrades."""
        refusing = [percent for percent, action in self.at.items() if action == "refuse"]
        return Limit(self.holder, self.period, self.part(min(refusing))) if refusing else None

    @property
    def name(self) -> str:
        return name(self.holder, self.period)


def zone(name: str) -> dt.tzinfo:
    """The time zone of an IANA name ("Europe/Berlin").

    Raises:
        ConfigError: there is none, or this machine has no list of zones (Windows: the `tzdata` package is one).
    """
    if name == "UTC":
        return dt.UTC  # needs no list
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            "`timezone` names no time zone that this machine knows. Use an IANA name such as"
            ' "Europe/Berlin", or "UTC". On Windows the names come with the package `tzdata`.'
        ) from None


def period_at(now_ms: int, timezone: str) -> Period:
    """The calendar day and month of a moment, as the clocks in `timezone` show them."""
    return _period(now_ms // QUARTER_MS, timezone)


@lru_cache(maxsize=1_000)
def _period(quarter: int, timezone: str) -> Period:
    """That of a quarter of an hour since 1970: no zone's day begins within one."""
    day = dt.datetime.fromtimestamp(quarter * QUARTER_MS / 1000, zone(timezone)).date().isoformat()
    return Period(day=day, month=day[:7])


def resets_at(period: str, timezone: str) -> dt.datetime:
    """The first moment after `period`, a day ("2026-11-23") or a month ("2026-11")."""
    if _is_month(period):
        first = dt.date.fromisoformat(f"{period}-01")
        after = (first + dt.timedelta(days=31)).replace(day=1)
    else:
        after = dt.date.fromisoformat(period) + dt.timedelta(days=1)
    return dt.datetime.combine(after, dt.time(), tzinfo=zone(timezone))


def applying(scope: Scope, task: str, period: Period, settings: BudgetSettings) -> tuple[Budget, ...]:
    """Every budget that has to pay for what `scope` asks about `task` in `period`."""
    payers: list[tuple[Payer, str]] = [("key", scope.access_key), ("user", scope.user), ("task", task)]
    named = _of((payer for payer in payers if payer[1]), period, settings)
    return (*_everyones(period, settings), *named, *_keys_own(scope, period, settings))


def configured(period: Period, settings: BudgetSettings) -> tuple[Budget, ...]:
    """Every budget that is named in the configuration; what each user has who is not named there is not in it."""
    rows = settings.budgets
    payers: list[tuple[Payer, str]] = [
        *[("key", key) for key in rows.key if key != EACH],
        *[("user", user) for user in rows.user if user != EACH],
        *[("task", task) for task in rows.task if task != EACH],
    ]
    return (*_everyones(period, settings), *_of(iter(payers), period, settings))


def limits(scope: Scope, task: str, period: Period, settings: BudgetSettings) -> tuple[Limit, ...]:
    """Where the budgets that apply refuse."""
    found = [budget.limit for budget in applying(scope, task, period, settings)]
    return tuple(limit for limit in found if limit is not None)


def _keys_own(scope: Scope, period: Period, settings: BudgetSettings) -> Iterator[Budget]:
    """What its access key was given when it was made."""
    limits = scope.limits
    for when, amount_nusd in ((period.day, limits.day_nusd), (period.month, limits.month_nusd)):
        if amount_nusd is not None:
            yield Budget(f"key:{scope.access_key}", when, amount_nusd, settings.budgets.at)


def _everyones(period: Period, settings: BudgetSettings) -> Iterator[Budget]:
    everyone = Allowance.model_construct(day_usd=settings.budget_day_usd, month_usd=settings.budget_month_usd)
    yield from _periods("global", everyone, period, settings)


def _of(payers: Iterator[tuple[Payer, str]], period: Period, settings: BudgetSettings) -> Iterator[Budget]:
    for kind, payer in payers:
        yield from _periods(f"{kind}:{payer}", settings.budgets.of(kind, payer), period, settings)


def _periods(holder: str, allowance: Allowance, period: Period, settings: BudgetSettings) -> Iterator[Budget]:
    at = settings.budgets.at if allowance.at is None else allowance.at
    for when, amount in ((period.day, allowance.day_usd), (period.month, allowance.month_usd)):
        if amount is not None:
            yield Budget(holder, when, nusd(amount), at)


def exceeded(denied: Denied, *, needed_nusd: int, now_ms: int, timezone: str) -> BudgetExceeded:
    """The error for a hold of `needed_nusd` that `denied` could not pay: which budget, how full, until when.

    `retry_after_s` is the time to its reset, in whole seconds, or a few where only calls in flight are in the way; None
    when even the whole budget could not pay.
    """
    limit = denied.limit
    reset = resets_at(limit.period, timezone)
    facts = [
        f"The {name(limit.holder, limit.period)} cannot pay for this call, which may cost up to"
        f" {dollars(needed_nusd)}: {dollars(denied.spent_nusd)} of {dollars(limit.limit_nusd)} is spent"
        + (f" and {dollars(denied.held_nusd)} is held for calls in flight." if denied.held_nusd else ".")
    ]
    if needed_nusd > limit.limit_nusd:
        retry_after_s = None
        facts.append("Waiting does not help, for the call may cost more than the whole budget.")
        ways = f"Choose a cheaper model or a smaller max_tokens, or {_raise(limit)}."
    elif denied.in_flight:
        retry_after_s = IN_FLIGHT_S
        facts.append("What they do not need is free again when they are done.")
        ways = "Try again then, or choose a cheaper model or a smaller max_tokens."
    else:
        retry_after_s = float(max(0, math.ceil(reset.timestamp() - now_ms / 1000)))
        facts.append(f"It resets at {reset:%Y-%m-%d %H:%M} {timezone}.")
        ways = f"Until then, choose a cheaper model or a smaller max_tokens, or {_raise(limit)}."
    error = BudgetExceeded(" ".join([*facts, ways]), retry_after_s=retry_after_s)
    error.in_flight = denied.in_flight
    error.refusal = Refusal(
        holder=limit.holder,
        period=limit.period,
        limit_nusd=limit.limit_nusd,
        spent_nusd=denied.spent_nusd,
        held_nusd=denied.held_nusd,
        wanted_nusd=needed_nusd,
    )
    error.left_nusd, error.over_nusd = denied.left_nusd, needed_nusd - denied.left_nusd
    return error


def dollars(amount_nusd: int) -> str:
    """An exact amount as people write it: "$0.012", "$150.00"."""
    whole, fraction = divmod(abs(amount_nusd), NUSD_PER_USD)
    cents = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount_nusd < 0 else ''}${whole:,}.{cents}"


def name(holder: str, period: str) -> str:
    """A budget, as a sentence goes on after "the": "daily budget of user ada (2026-11-23)"."""
    kind, _, payer = holder.partition(":")
    whose = {"key": f" of access key {payer}", "user": f" of user {payer}", "task": f" of the task {payer}"}
    return f"{'monthly' if _is_month(period) else 'daily'} budget{whose.get(kind, '')} ({period})"


def _raise(limit: Limit) -> str:
    """How a budget is raised, as a sentence goes on: an access key has one of its own, and may have one in the file."""
    kind, _, payer = limit.holder.partition(":")
    if kind != "key":
        return "raise the budget in orchestra.toml"
    option = "--monthly" if _is_month(limit.period) else "--daily"
    return f"have it raised: `orchestra keys edit {payer} {option} USD`, or the budget of the key in orchestra.toml"


def _is_month(period: str) -> bool:
    return len(period) == len("2026-11")
