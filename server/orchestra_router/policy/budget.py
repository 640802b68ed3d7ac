"""Budgets: what may be spent in a calendar day or month, and what to say when it is not enough.

The store holds money against the limits made here (`Store.hold`); nothing here counts.
"""

import datetime as dt
import math
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestra_router.errors import BudgetExceeded, ConfigError
from orchestra_router.store.base import Denied, Limit, Period
from orchestra_router.types import NUSD_PER_USD, Scope, nusd

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
    def alert_day_usd(self) -> Dollars: ...


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
    day = dt.datetime.fromtimestamp(now_ms / 1000, zone(timezone)).date().isoformat()
    return Period(day=day, month=day[:7])


def resets_at(period: str, timezone: str) -> dt.datetime:
    """The first moment after `period`, a day ("2026-11-23") or a month ("2026-11")."""
    if _is_month(period):
        first = dt.date.fromisoformat(f"{period}-01")
        after = (first + dt.timedelta(days=31)).replace(day=1)
    else:
        after = dt.date.fromisoformat(period) + dt.timedelta(days=1)
    return dt.datetime.combine(after, dt.time(), tzinfo=zone(timezone))


def limits(
    scope: Scope,
    period: Period,
    settings: BudgetSettings,
    *,
    key_day_nusd: int | None = None,
    key_month_nusd: int | None = None,
    user_day_nusd: int | None = None,
    user_month_nusd: int | None = None,
) -> tuple[Limit, ...]:
    """Every budget that has to pay for what `scope` asks in `period`: everyone's, its access key's, its user's."""
    found = [
        ("global", period.day, _nusd(settings.budget_day_usd)),
        ("global", period.month, _nusd(settings.budget_month_usd)),
        (f"key:{scope.access_key}", period.day, key_day_nusd),
        (f"key:{scope.access_key}", period.month, key_month_nusd),
    ]
    if scope.user:
        found += [
            (f"user:{scope.user}", period.day, user_day_nusd),
            (f"user:{scope.user}", period.month, user_month_nusd),
        ]
    return tuple(Limit(holder, when, limit) for holder, when, limit in found if limit is not None)


def alert_nusd(settings: BudgetSettings) -> int | None:
    """The spend of a day that is worth telling somebody about."""
    return _nusd(settings.alert_day_usd)


def exceeded(denied: Denied, *, needed_nusd: int, now_ms: int, timezone: str) -> BudgetExceeded:
    """The error for a hold of `needed_nusd` that `denied` could not pay: which budget, how full, until when.

    `retry_after_s` is the time to its reset, in whole seconds, or a few where only calls in flight are in the way; None
    when even the whole budget could not pay.
    """
    limit = denied.limit
    kind = "monthly" if _is_month(limit.period) else "daily"
    reset = resets_at(limit.period, timezone)
    facts = [
        f"The {kind} budget{_whose(limit.holder)} ({limit.period}) cannot pay for this call, which may cost up to"
        f" {dollars(needed_nusd)}: {dollars(denied.spent_nusd)} of {dollars(limit.limit_nusd)} is spent"
        + (f" and {dollars(denied.held_nusd)} is held for calls in flight." if denied.held_nusd else ".")
    ]
    if needed_nusd > limit.limit_nusd:
        retry_after_s = None
        facts.append("Waiting does not help, for the call may cost more than the whole budget.")
        ways = "Choose a cheaper model or a smaller max_tokens, or raise the budget in orchestra.toml."
    elif denied.spent_nusd + needed_nusd <= limit.limit_nusd:
        retry_after_s = IN_FLIGHT_S
        facts.append("What they do not need is free again when they are done.")
        ways = "Try again then, or choose a cheaper model or a smaller max_tokens."
    else:
        retry_after_s = float(max(0, math.ceil(reset.timestamp() - now_ms / 1000)))
        facts.append(f"It resets at {reset:%Y-%m-%d %H:%M} {timezone}.")
        ways = "Until then, choose a cheaper model or a smaller max_tokens, or raise the budget in orchestra.toml."
    return BudgetExceeded(" ".join([*facts, ways]), retry_after_s=retry_after_s)


def dollars(amount_nusd: int) -> str:
    """An exact amount as people write it: "$0.012", "$150.00"."""
    whole, fraction = divmod(abs(amount_nusd), NUSD_PER_USD)
    cents = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount_nusd < 0 else ''}${whole:,}.{cents}"


def _nusd(amount: Dollars) -> int | None:
    return None if amount is None else nusd(amount)


def _is_month(period: str) -> bool:
    return len(period) == len("2026-11")


def _whose(holder: str) -> str:
    kind, _, name = holder.partition(":")
    return {"key": f" of access key {name}", "user": f" of user {name}"}.get(kind, "")
