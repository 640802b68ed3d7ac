"""Calendar budgets, and the words of a refusal."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import NOW_MS, TODAY
from orchestra_router.errors import ConfigError
from orchestra_router.policy import budget
from orchestra_router.store.base import Denied, Limit, Period
from orchestra_router.types import Scope

HOUR_MS = 3_600_000
CENT = 10_000_000


@dataclass(frozen=True)
class Settings:
    timezone: str = "UTC"
    budget_day_usd: Decimal | None = Decimal(150)
    budget_month_usd: Decimal | None = Decimal(3000)
    alert_day_usd: Decimal | None = Decimal(100)


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("timezone", "period"),
    [
        ("UTC", Period("2026-11-30", "2026-11")),
        ("Pacific/Auckland", Period("2026-12-01", "2026-12")),
        ("America/Los_Angeles", Period("2026-11-30", "2026-11")),
    ],
)
def test_a_moment_belongs_to_the_day_the_local_clocks_show(timezone: str, period: Period) -> None:
    assert budget.period_at(ms("2026-11-30T20:00:00Z"), timezone) == period


def test_an_unknown_time_zone_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"`timezone` names no time zone .*tzdata"):
        budget.period_at(NOW_MS, "Mars/Olympus_Mons")


@pytest.mark.parametrize(
    ("period", "timezone", "reset"),
    [
        ("2026-11-23", "UTC", "2026-11-24T00:00:00Z"),
        ("2026-12", "UTC", "2027-01-01T00:00:00Z"),
        ("2028-02", "UTC", "2028-03-01T00:00:00Z"),
        ("2026-11-23", "America/New_York", "2026-11-24T05:00:00Z"),
        ("2026-10-25", "Europe/Berlin", "2026-10-25T23:00:00Z"),  # a day of 25 hours
        ("2026-03", "Europe/Berlin", "2026-03-31T22:00:00Z"),  # summer time came in between
    ],
)
def test_a_budget_resets_at_the_next_local_midnight(period: str, timezone: str, reset: str) -> None:
    assert round(budget.resets_at(period, timezone).timestamp() * 1000) == ms(reset)


@given(
    now_ms=st.integers(0, 4_000_000_000_000),
    timezone=st.sampled_from(["UTC", "Asia/Kolkata", "America/Sao_Paulo", "Europe/Berlin", "Pacific/Apia"]),
)
def test_a_period_holds_until_its_reset_and_not_a_millisecond_longer(now_ms: int, timezone: str) -> None:
    period = budget.period_at(now_ms, timezone)

    reset_ms = round(budget.resets_at(period.day, timezone).timestamp() * 1000)

    assert now_ms < reset_ms
    assert budget.period_at(reset_ms - 1, timezone).day == period.day
    assert budget.period_at(reset_ms, timezone).day != period.day


def test_every_budget_of_the_scope_applies() -> None:
    scope = Scope(access_key="team", user="ada")

    limits = budget.limits(scope, TODAY, Settings(), key_day_nusd=7, key_month_nusd=6, user_day_nusd=5)

    assert limits == (
        Limit("global", "2026-11-23", 150_000_000_000),
        Limit("global", "2026-11", 3_000_000_000_000),
        Limit("key:team", "2026-11-23", 7),
        Limit("key:team", "2026-11", 6),
        Limit("user:ada", "2026-11-23", 5),
    )


def test_a_caller_without_a_user_has_no_user_limit() -> None:
    limits = budget.limits(Scope(), TODAY, Settings(budget_month_usd=None), user_day_nusd=5)

    assert [limit.holder for limit in limits] == ["global"]


def test_a_budget_of_nothing_is_a_limit_and_not_the_absence_of_one() -> None:
    settings = Settings(budget_day_usd=Decimal(0), budget_month_usd=None, alert_day_usd=None)

    assert budget.limits(Scope(), TODAY, settings) == (Limit("global", "2026-11-23", 0),)
    assert budget.alert_nusd(settings) is None


def test_a_refusal_says_which_budget_how_full_and_when_it_resets() -> None:
    denied = Denied(Limit("global", TODAY.day, 500 * CENT), spent_nusd=490 * CENT, held_nusd=5 * CENT)

    error = budget.exceeded(denied, needed_nusd=12_000_000 * 10, now_ms=NOW_MS, timezone="Europe/Berlin")

    assert str(error) == (
        "The daily budget (2026-11-23) cannot pay for this call, which may cost up to $0.12: $4.90 of $5.00 is spent"
        " and $0.05 is held for calls in flight. It resets at 2026-11-24 00:00 Europe/Berlin. Until then, choose a"
        " cheaper model or a smaller max_tokens, or raise the budget in orchestra.toml."
    )
    assert error.code == "budget_exceeded"
    assert error.retry_after_s == 7 * 3600  # 16:00 UTC is 17:00 there


def test_where_only_calls_in_flight_are_in_the_way_the_caller_is_to_ask_again_soon() -> None:
    denied = Denied(Limit("global", TODAY.day, 5 * CENT), spent_nusd=0, held_nusd=4 * CENT)

    error = budget.exceeded(denied, needed_nusd=2 * CENT, now_ms=NOW_MS, timezone="UTC")

    assert str(error) == (
        "The daily budget (2026-11-23) cannot pay for this call, which may cost up to $0.02: $0.00 of $0.05 is spent and"
        " $0.04 is held for calls in flight. What they do not need is free again when they are done. Try again then, or"
        " choose a cheaper model or a smaller max_tokens."
    )
    assert error.retry_after_s == budget.IN_FLIGHT_S


def test_the_time_to_a_reset_is_in_whole_seconds() -> None:
    denied = Denied(Limit("global", TODAY.day, CENT), spent_nusd=CENT, held_nusd=0)

    error = budget.exceeded(denied, needed_nusd=CENT, now_ms=NOW_MS + 501, timezone="UTC")

    assert error.retry_after_s == 8 * 3600


@pytest.mark.parametrize(
    ("holder", "words"),
    [("key:team", "The monthly budget of access key team (2026-11)"), ("user:a:b", "monthly budget of user a:b")],
)
def test_a_refusal_says_whose_budget_it_was(holder: str, words: str) -> None:
    denied = Denied(Limit(holder, TODAY.month, CENT), spent_nusd=CENT, held_nusd=0)

    error = budget.exceeded(denied, needed_nusd=CENT, now_ms=NOW_MS, timezone="UTC")

    assert words in str(error)
    assert "in flight" not in str(error)
    assert error.retry_after_s is not None  # an empty budget could pay for it, to the last cent


def test_nobody_is_told_to_wait_for_a_budget_that_can_never_pay() -> None:
    denied = Denied(Limit("global", TODAY.day, CENT), spent_nusd=0, held_nusd=0)

    error = budget.exceeded(denied, needed_nusd=2 * CENT, now_ms=NOW_MS, timezone="UTC")

    assert error.retry_after_s is None
    assert "Waiting does not help" in str(error)


@pytest.mark.parametrize(
    ("amount_nusd", "words"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (12_000_000, "$0.012"),
        (150_000_000_000, "$150.00"),
        (3_000_500_000_000, "$3,000.50"),
        (-CENT, "-$0.01"),
    ],
)
def test_money_is_written_exactly(amount_nusd: int, words: str) -> None:
    assert budget.dollars(amount_nusd) == words
