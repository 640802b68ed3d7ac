"""Calendar budgets, and the words of a refusal."""

import datetime as dt
import itertools
import zoneinfo
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledgers import NOW_MS, TODAY
from orchestra_router.allowances import Budgets
from orchestra_router.errors import ConfigError
from orchestra_router.policy import budget
from orchestra_router.store.ledger_records import Denied, Limit, Period
from orchestra_router.types import Scope

HOUR_MS = 3_600_000
CENT = 10_000_000


@dataclass(frozen=True)
class Settings:
    timezone: str = "UTC"
    budget_day_usd: Decimal | None = Decimal(150)
    budget_month_usd: Decimal | None = Decimal(3000)
    budgets: Budgets = field(default_factory=Budgets)


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


ZONES = sorted(zoneinfo.available_timezones())
YEAR_2024_MS, YEAR_2040_MS = 1_704_067_200_000, 2_208_988_800_000


@given(now_ms=st.integers(YEAR_2024_MS, YEAR_2040_MS), timezone=st.sampled_from(ZONES))
def test_a_period_holds_until_its_reset_and_not_a_millisecond_longer(now_ms: int, timezone: str) -> None:
    period = budget.period_at(now_ms, timezone)

    reset_ms = round(budget.resets_at(period.day, timezone).timestamp() * 1000)

    assert now_ms < reset_ms
    assert budget.period_at(reset_ms - 1, timezone).day == period.day
    assert budget.period_at(reset_ms, timezone).day != period.day


@given(
    timezone=st.sampled_from(ZONES), first=st.dates(dt.date(2024, 1, 1), dt.date(2037, 1, 1)), days=st.integers(1, 200)
)
def test_days_follow_one_another_without_a_gap_whatever_the_clocks_do(timezone: str, first: dt.date, days: int) -> None:
    """Days of 23 and 25 hours, and zones whose clocks change at midnight, are among them."""
    resets = [
        budget.resets_at((first + dt.timedelta(days=number)).isoformat(), timezone).timestamp()
        for number in range(days)
    ]

    hours = {(later - earlier) / 3600 for earlier, later in itertools.pairwise(resets)}
    assert hours <= {23.0, 23.5, 24.0, 24.5, 25.0, 22.0, 26.0}
    for reset in resets:
        assert budget.period_at(round(reset * 1000), timezone) != budget.period_at(round(reset * 1000) - 1, timezone)


@pytest.mark.parametrize(
    ("timezone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/Santiago", "2026-09-06", 23),  # the clocks go forward at midnight: the day begins at one
        ("America/Santiago", "2026-04-04", 25),  # and back at midnight: this day's last hour comes twice
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
    ],
)
def test_a_day_is_as_long_as_its_clocks_say(timezone: str, day: str, hours: float) -> None:
    before = (dt.date.fromisoformat(day) - dt.timedelta(days=1)).isoformat()

    length = budget.resets_at(day, timezone).timestamp() - budget.resets_at(before, timezone).timestamp()

    assert length == hours * 3600


def limits_of(scope: Scope, task: str = "", settings: Settings | None = None) -> dict[tuple[str, str], int]:
    limits = budget.limits(scope, task, TODAY, settings or Settings())
    return {(limit.holder, limit.period): limit.limit_nusd // CENT for limit in limits}


def test_every_budget_of_the_scope_applies() -> None:
    budgets = Budgets.model_validate(
        {
            "key": {"team": {"day_usd": 7, "month_usd": 60}},
            "user": {"ada": {"day_usd": 5}, "bob": {"day_usd": 1}},
            "task": {"coding": {"month_usd": 9}},
        }
    )

    limits = limits_of(Scope(access_key="team", user="ada"), "coding", Settings(budgets=budgets))

    assert limits == {
        ("global", "2026-11-23"): 15_000,
        ("global", "2026-11"): 300_000,
        ("key:team", "2026-11-23"): 700,
        ("key:team", "2026-11"): 6_000,
        ("user:ada", "2026-11-23"): 500,
        ("task:coding", "2026-11"): 900,
    }


def test_the_row_of_each_holds_where_a_row_of_its_own_says_nothing() -> None:
    budgets = Budgets.model_validate(
        {"user": {"*": {"day_usd": 2, "month_usd": 20}, "ada": {"day_usd": 5, "at": {100: "refuse"}}}}
    )
    settings = Settings(budget_day_usd=None, budget_month_usd=None, budgets=budgets)

    ada, bob = (limits_of(Scope(user=user), settings=settings) for user in ("ada", "bob"))

    assert ada == {("user:ada", "2026-11-23"): 500, ("user:ada", "2026-11"): 2_000}
    assert bob == {("user:bob", "2026-11-23"): 200, ("user:bob", "2026-11"): 2_000}


def test_a_caller_without_a_user_has_no_user_limit() -> None:
    budgets = Budgets.model_validate({"user": {"*": {"day_usd": 2}}})

    limits = limits_of(Scope(), settings=Settings(budget_month_usd=None, budgets=budgets))

    assert list(limits) == [("global", "2026-11-23")]


@pytest.mark.parametrize(
    ("at", "limits"),
    [
        ({100: "refuse"}, [500]),
        ({80: "warn", 90: "refuse"}, [450]),
        ({50: "refuse", 90: "refuse"}, [250]),
        ({80: "warn", 90: "downgrade"}, []),
        ({}, []),
    ],
)
def test_a_budget_refuses_at_the_percentage_that_was_chosen_or_not_at_all(
    at: dict[int, str], limits: list[int]
) -> None:
    budgets = Budgets.model_validate({"user": {"ada": {"day_usd": 5, "at": at}}})
    settings = Settings(budget_day_usd=None, budget_month_usd=None, budgets=budgets)

    assert list(limits_of(Scope(user="ada"), settings=settings).values()) == limits


def test_a_budget_of_nothing_is_a_limit_and_not_the_absence_of_one() -> None:
    settings = Settings(budget_day_usd=Decimal(0), budget_month_usd=None)

    assert budget.limits(Scope(), "", TODAY, settings) == (Limit("global", "2026-11-23", 0),)


@pytest.mark.parametrize(("period", "option"), [(TODAY.day, "--daily"), (TODAY.month, "--monthly")])
def test_a_refusal_says_where_the_budget_of_an_access_key_is_raised(period: str, option: str) -> None:
    denied = Denied(Limit("key:0123456789ab", period, CENT), spent_nusd=0, held_nusd=0, left_nusd=CENT)

    error = budget.exceeded(denied, needed_nusd=2 * CENT, now_ms=NOW_MS, timezone="UTC")

    assert f"`orchestra keys edit 0123456789ab {option} USD`" in str(error)


def test_a_refusal_says_which_budget_how_full_and_when_it_resets() -> None:
    denied = Denied(Limit("global", TODAY.day, 500 * CENT), spent_nusd=490 * CENT, held_nusd=5 * CENT, left_nusd=0)

    error = budget.exceeded(denied, needed_nusd=12_000_000 * 10, now_ms=NOW_MS, timezone="Europe/Berlin")

    assert str(error) == (
        "The daily budget (2026-11-23) cannot pay for this call, which may cost up to $0.12: $4.90 of $5.00 is spent"
        " and $0.05 is held for calls in flight. It resets at 2026-11-24 00:00 Europe/Berlin. Until then, choose a"
        " cheaper model or a smaller max_tokens, or raise the budget in orchestra.toml."
    )
    assert error.code == "budget_exceeded"
    assert error.retry_after_s == 7 * 3600  # 16:00 UTC is 17:00 there


def test_where_only_calls_in_flight_are_in_the_way_the_caller_is_to_ask_again_soon() -> None:
    denied = Denied(Limit("global", TODAY.day, 5 * CENT), spent_nusd=0, held_nusd=4 * CENT, left_nusd=0, in_flight=True)

    error = budget.exceeded(denied, needed_nusd=2 * CENT, now_ms=NOW_MS, timezone="UTC")

    assert str(error) == (
        "The daily budget (2026-11-23) cannot pay for this call, which may cost up to $0.02: $0.00 of $0.05 is spent and"
        " $0.04 is held for calls in flight. What they do not need is free again when they are done. Try again then, or"
        " choose a cheaper model or a smaller max_tokens."
    )
    assert error.retry_after_s == budget.IN_FLIGHT_S


def test_the_time_to_a_reset_is_in_whole_seconds() -> None:
    denied = Denied(Limit("global", TODAY.day, CENT), spent_nusd=CENT, held_nusd=0, left_nusd=0)

    error = budget.exceeded(denied, needed_nusd=CENT, now_ms=NOW_MS + 501, timezone="UTC")

    assert error.retry_after_s == 8 * 3600


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        ("key:team", "The monthly budget of access key team (2026-11)"),
        ("user:a:b", "monthly budget of user a:b (2026-11)"),
        ("task:coding", "monthly budget of the task coding"),
    ],
)
def test_a_refusal_says_whose_budget_it_was(holder: str, words: str) -> None:
    denied = Denied(Limit(holder, TODAY.month, CENT), spent_nusd=CENT, held_nusd=0, left_nusd=0)

    error = budget.exceeded(denied, needed_nusd=CENT, now_ms=NOW_MS, timezone="UTC")

    assert words in str(error)
    assert "in flight" not in str(error)
    assert error.retry_after_s is not None  # an empty budget could pay for it, to the last cent


def test_nobody_is_told_to_wait_for_a_budget_that_can_never_pay() -> None:
    denied = Denied(Limit("global", TODAY.day, CENT), spent_nusd=0, held_nusd=0, left_nusd=0)

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
