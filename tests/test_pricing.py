import datetime as dt
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra_router.catalog import Catalog
from orchestra_router.config import load
from orchestra_router.deployments import Deployment, Model, Offer, Price, Provider
from orchestra_router.pricing import DEFAULT_SEARCH_USD, Cost, Pricing
from orchestra_router.types import Usage

CATALOG: Catalog = load({"ORCHESTRA_HOME": "/nowhere"}).catalog
DEPLOYMENTS = [deployment for name in CATALOG.providers for deployment in CATALOG.deployments_at(name)]
PRICING = Pricing(unpriced_usd_per_mtok=Decimal(50), checked=CATALOG.checked)
MILLION = 1_000_000
USD = 1_000_000_000


def at(text: str) -> int:
    return round(dt.datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


NOON = at("2026-11-23T12:00")
PEAK = at("2026-11-24T02:00")


def here(model: str, provider: str) -> Deployment:
    return CATALOG.deployment(model, provider)


def elsewhere(name: str = "example", *prices: Price, offer: str = "large-2", own_prices: bool = False) -> Deployment:
    """A deployment at a provider that genai-prices does not list."""
    return Deployment(
        Provider(name=name, base_url="https://llm.example.com/v1"),
        Model(name="example"),
        Offer(id=offer, prices=prices, own_prices=own_prices),
    )


def by_table(deployment: Deployment) -> Deployment:
    """The same deployment, priced by its own rows alone."""
    offer = deployment.offer.model_copy(update={"own_prices": True})
    return Deployment(deployment.provider, deployment.model, offer)


# --- checked examples ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "provider", "usage", "at_ms", "nusd"),
    [
        (
            *("gpt-6.1-sol", "openai"),
            *(Usage(input_fresh=100, cache_read=800, cache_write=100, output=100), NOON, 1_530_000),
        ),
        ("gpt-6.1-sol", "openai", Usage(input_fresh=300_000), NOON, 1_200_000_000),
        ("gpt-6.1-sol", "openai", Usage(input_fresh=272_000), NOON, 544_000_000),
        ("gemini-4-argon", "gemini", Usage(input_fresh=MILLION), NOON, 2 * USD),
        ("gemini-4-argon", "gemini", Usage(input_fresh=MILLION), at("2026-12-05T12:00"), 4 * USD),
        ("gemini-3.8-flash", "gemini", Usage(output=MILLION), at("2026-12-31T23:59"), 3_750_000_000),
        ("gemini-3.8-flash", "gemini", Usage(output=MILLION), at("2027-01-01T00:00"), 7_500_000_000),
        ("deepseek-flash", "deepseek", Usage(input_fresh=MILLION), PEAK, 300_000_000),
        ("deepseek-flash", "deepseek", Usage(input_fresh=MILLION), NOON, 150_000_000),
        ("claude-haiku-5-5", "anthropic", Usage(input_fresh=100_000), NOON, 10_000_000),
        ("claude-haiku-5-5", "anthropic", Usage(input_fresh=100_001), NOON, 50_000_500),
        ("grok-4.7", "xai", Usage(input_fresh=200_000, reasoning=MILLION), NOON, 12_800_000_000),
        ("claude-sonnet-5-5", "anthropic", Usage(cache_write_1h=MILLION, searches=1000), NOON, 14 * USD),
    ],
)
def test_published_examples_cost_what_the_vendor_says(
    model: str, provider: str, usage: Usage, at_ms: int, nusd: int
) -> None:
    assert PRICING.cost(here(model, provider), usage, at_ms=at_ms) == Cost(nusd, "genai-prices")


# --- which source wins ---------------------------------------------------------------------------------------

THOUSAND = Usage(input_fresh=1000)
CHEAP = Price(input=Decimal(7), output=Decimal(7))


def test_what_the_provider_reports_comes_before_every_list() -> None:
    cost = PRICING.cost(here("gpt-6-luna", "openrouter"), THOUSAND, at_ms=NOON, reported_nusd=123)

    assert cost == Cost(123, "provider")


@pytest.mark.parametrize("provider", ["openrouter", "perplexity", "xai"])
def test_those_that_report_what_they_charge_are_believed(provider: str) -> None:
    cost = PRICING.cost(CATALOG.deployments_at(provider)[0], THOUSAND, at_ms=NOON, reported_nusd=123)

    assert cost == Cost(123, "provider")


@pytest.mark.parametrize("reported_nusd", [-5, 0, 5, 5 * USD])
def test_a_report_where_nobody_reports_what_they_charge_is_not_believed(reported_nusd: int) -> None:
    cost = PRICING.cost(here("gpt-6-luna", "openai"), THOUSAND, at_ms=NOON, reported_nusd=reported_nusd)

    assert cost == Cost(100_000, "genai-prices")


@pytest.mark.parametrize("reported_nusd", [-5, 0])
def test_a_model_with_a_price_is_not_free_because_its_provider_reports_nothing(reported_nusd: int) -> None:
    cost = PRICING.cost(here("gpt-6-luna", "openrouter"), THOUSAND, at_ms=NOON, reported_nusd=reported_nusd)

    assert cost.nusd == 100_000


def test_a_model_without_a_price_is_free_where_its_provider_says_so() -> None:
    nameless = here("someone/new:free", "openrouter")

    assert PRICING.cost(nameless, THOUSAND, at_ms=NOON, reported_nusd=0) == Cost(0, "provider")
    assert PRICING.cost(nameless, THOUSAND, at_ms=NOON).source == "unpriced"


def test_the_users_own_prices_come_before_genai_prices_and_the_catalogs_after() -> None:
    listed = here("gpt-6-luna", "openai")
    offer = Offer(id="gpt-6-luna", prices=(CHEAP,))

    built_in = Deployment(listed.provider, listed.model, offer)

    assert PRICING.cost(built_in, THOUSAND, at_ms=NOON) == Cost(100_000, "genai-prices")
    assert PRICING.cost(by_table(built_in), THOUSAND, at_ms=NOON) == Cost(7_000_000, "table")


def test_a_model_too_new_for_genai_prices_is_priced_by_the_catalog() -> None:
    cost = PRICING.cost(here("gpt-6.2-sol", "openai"), Usage(input_fresh=1000, output=10), at_ms=NOON)

    assert cost == Cost(2_100_000, "table")


def test_a_local_server_is_free_unless_its_user_says_otherwise() -> None:
    free = CATALOG.deployment("gpt-oss-120b-local", "ollama")
    electricity = Deployment(free.provider, free.model, Offer(id="x", prices=(CHEAP,)))

    assert PRICING.cost(free, THOUSAND, at_ms=NOON) == Cost(0, "free")
    assert PRICING.worst_case_nusd(free, input_tokens=9, output_tokens=9, searches=1, at_ms=NOON) == 0
    assert PRICING.cost(electricity, THOUSAND, at_ms=NOON) == Cost(7_000_000, "table")


def test_an_unknown_price_is_never_zero() -> None:
    unknown = elsewhere()

    cost = PRICING.cost(unknown, Usage(input_fresh=1000, output=1000, searches=2), at_ms=NOON)

    assert (cost.nusd, cost.source) == (100_000_000 + 70_000_000, "unpriced")
    assert "50 USD per million tokens" in cost.note
    assert not PRICING.is_priced(unknown)
    assert PRICING.worst_case_nusd(unknown, input_tokens=1000, output_tokens=1000, at_ms=NOON) == 100_000_000


@pytest.mark.parametrize("name", ["my-openai-proxy", "anthropic-eu", "not-openrouter"])
def test_a_provider_is_not_priced_by_one_whose_name_is_inside_its_own(name: str) -> None:
    assert not PRICING.is_priced(elsewhere(name, offer="gpt-6-luna"))
    assert not PRICING.is_priced(elsewhere(name, offer="claude-haiku-5-5"))


def test_a_fee_for_searches_is_added_where_genai_prices_has_none_and_the_note_says_so() -> None:
    usage = Usage(input_fresh=1000, searches=1000)

    cost = PRICING.cost(here("glm-5.3-flash", "perplexity"), usage, at_ms=NOON)

    assert (cost.nusd, cost.source) == (2_500_150_000, "genai-prices")
    assert "no search fee here; the catalog's of 2.5" in cost.note


def test_a_fee_that_nobody_knows_is_taken_to_be_the_dearest_one() -> None:
    unlisted = Deployment(CATALOG.providers["openrouter"], Model(name="x"), Offer(id="moonshotai/kimi-k3"))

    cost = PRICING.cost(unlisted, Usage(searches=1000), at_ms=NOON)

    assert cost.nusd == DEFAULT_SEARCH_USD * USD
    assert "an assumed fee" in cost.note


# --- arithmetic ----------------------------------------------------------------------------------------------


def test_the_sum_is_rounded_once_half_up() -> None:
    rate = Price(input=Decimal("0.0002"), output=Decimal("0.0003"))

    costs = [
        PRICING.cost(elsewhere("example", rate), Usage(input_fresh=fresh, output=out), at_ms=NOON).nusd
        for fresh, out in [(1, 1), (2, 0), (1, 0), (5, 5), (0, 0)]
    ]

    assert costs == [1, 0, 0, 3, 0]


def test_a_price_row_holds_from_its_day_on_in_utc() -> None:
    rows = (
        Price(input=Decimal(9), output=Decimal(9), since=dt.date(2026, 12, 1)),
        Price(input=Decimal(1), output=Decimal(1), since=dt.date(2026, 6, 1)),
    )
    deployment = elsewhere("example", *rows)

    costs = [
        PRICING.cost(deployment, Usage(output=MILLION), at_ms=at(day)).nusd // USD
        for day in ("2026-01-01T00:00", "2026-06-01T00:00", "2026-11-30T23:59", "2026-12-01T00:00")
    ]

    assert costs == [1, 1, 1, 9]


def test_cached_tokens_without_a_rate_of_their_own_cost_what_fresh_ones_do() -> None:
    deployment = elsewhere("example", Price(input=Decimal(2), output=Decimal(4), cache_write=Decimal(3)))

    usage = Usage(input_fresh=1, cache_read=10, cache_write=100, cache_write_1h=1000)

    assert PRICING.cost(deployment, usage, at_ms=NOON).nusd == (2 + 20 + 300 + 3000) * 1000


def test_a_prompt_pays_the_long_rates_from_the_first_token_above_the_limit() -> None:
    sol = by_table(here("gpt-6.1-sol", "openai"))

    costs = [PRICING.cost(sol, Usage(input_fresh=n, output=1000), at_ms=NOON).nusd for n in (272_000, 272_001)]

    assert costs == [554_000_000, 1_103_004_000]


# --- the catalog against genai-prices ------------------------------------------------------------------------

BUCKETS = {
    "fresh": Usage(input_fresh=1000),
    "read": Usage(cache_read=1000),
    "output": Usage(output=1000),
    "reasoning": Usage(reasoning=1000),
    "long": Usage(input_fresh=900_000, output=100),
    "write": Usage(cache_write=1000),
    "write_1h": Usage(cache_write_1h=1000),
    "search": Usage(searches=1000),
}
ASSUMED = {"write", "write_1h", "search"}
"""Where genai-prices knows no rate, or (cache writes of Gemini at OpenRouter) one that is too small to be true."""


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment.key)
def test_the_catalog_agrees_with_genai_prices_and_never_undercuts_it(deployment: Deployment) -> None:
    for at_ms in (NOON, PEAK, at("2026-12-15T08:00")):
        for name, usage in BUCKETS.items():
            listed = PRICING.cost(deployment, usage, at_ms=at_ms)
            table = PRICING.cost(by_table(deployment), usage, at_ms=at_ms)

            assert table.nusd >= listed.nusd, (name, at_ms)
            half_price_hour = deployment.provider.name == "deepseek" and at_ms == NOON
            # OpenRouter's list does not say yet that Google's prices rise.
            foretold = deployment.key == "openrouter/google/gemini-4-argon" and at_ms > PEAK
            if name not in ASSUMED and not half_price_hour and not foretold:
                assert table.nusd == listed.nusd, (name, at_ms)


# --- properties ----------------------------------------------------------------------------------------------

counts = st.integers(0, 600_000)
usages = st.builds(
    Usage,
    input_fresh=counts,
    cache_read=counts,
    cache_write=counts,
    cache_write_1h=counts,
    output=counts,
    reasoning=counts,
    searches=st.integers(0, 20),
)
moments = st.integers(at("2026-11-20T00:00"), at("2027-01-10T00:00"))
UNLISTED = [
    Deployment(CATALOG.providers[provider], Model(name=offer), Offer(id=offer))
    for provider, offer in [
        ("openai", "gpt-4o-mini"),
        ("anthropic", "claude-sonnet-4-5"),
        ("deepseek", "deepseek-flash"),
    ]
]
anywhere = st.sampled_from(
    [*DEPLOYMENTS, *(by_table(deployment) for deployment in DEPLOYMENTS), *UNLISTED, elsewhere()]
)


@settings(deadline=None)
@given(deployment=anywhere, usage=usages, at_ms=moments, later_ms=st.integers(0, 23 * 3_600_000))
def test_a_call_never_costs_more_than_the_worst_case_within_its_bounds(
    deployment: Deployment, usage: Usage, at_ms: int, later_ms: int
) -> None:
    worst = PRICING.worst_case_nusd(
        deployment,
        input_tokens=usage.input_total,
        output_tokens=usage.output_total,
        searches=usage.searches,
        at_ms=at_ms,
    )

    assert PRICING.cost(deployment, usage, at_ms=at_ms + later_ms).nusd <= worst


@settings(deadline=None)
@given(deployment=st.sampled_from(DEPLOYMENTS), usage=usages, at_ms=moments)
def test_the_catalog_alone_bounds_what_genai_prices_will_charge(
    deployment: Deployment, usage: Usage, at_ms: int
) -> None:
    worst = PRICING.worst_case_nusd(
        by_table(deployment),
        input_tokens=usage.input_total,
        output_tokens=usage.output_total,
        searches=usage.searches,
        at_ms=at_ms,
    )

    assert PRICING.cost(deployment, usage, at_ms=at_ms).nusd <= worst


@settings(deadline=None)
@given(deployment=anywhere, usage=usages, more=usages, at_ms=moments)
def test_using_more_of_anything_never_costs_less(deployment: Deployment, usage: Usage, more: Usage, at_ms: int) -> None:
    both = Usage(
        input_fresh=usage.input_fresh + more.input_fresh,
        cache_read=usage.cache_read + more.cache_read,
        cache_write=usage.cache_write + more.cache_write,
        cache_write_1h=usage.cache_write_1h + more.cache_write_1h,
        output=usage.output + more.output,
        reasoning=usage.reasoning + more.reasoning,
        searches=usage.searches + more.searches,
    )

    assert PRICING.cost(deployment, both, at_ms=at_ms).nusd >= PRICING.cost(deployment, usage, at_ms=at_ms).nusd


def test_a_price_that_rises_tonight_is_in_the_worst_case_now() -> None:
    argon = by_table(here("gemini-4-argon", "gemini"))

    worst = [
        PRICING.worst_case_nusd(argon, input_tokens=0, output_tokens=MILLION, at_ms=at(moment))
        for moment in ("2026-11-29T20:00", "2026-11-30T20:00")
    ]

    assert worst == [10 * USD, 20 * USD]


def test_the_dearest_hour_of_the_coming_day_is_in_the_worst_case_of_a_model_without_a_row() -> None:
    flash = UNLISTED[2]

    worst = PRICING.worst_case_nusd(flash, input_tokens=MILLION, output_tokens=0, at_ms=NOON)

    assert PRICING.cost(flash, Usage(input_fresh=MILLION), at_ms=NOON).nusd == 150_000_000
    assert worst == 300_000_000


def test_the_expected_cost_counts_what_a_prompt_cache_saves() -> None:
    sonnet = here("claude-sonnet-5-5", "anthropic")

    plain = PRICING.expected_nusd(sonnet, input_tokens=10_000, output_tokens=100, at_ms=NOON)
    cached = PRICING.expected_nusd(sonnet, input_tokens=10_000, output_tokens=100, cached_tokens=10_000, at_ms=NOON)

    assert (plain, cached) == (21_000_000, 2_000_000)
    assert PRICING.expected_nusd(UNLISTED[0], input_tokens=MILLION, output_tokens=0, at_ms=NOON) == 150_000_000


# --- age and start-up ----------------------------------------------------------------------------------------


def test_prices_older_than_six_weeks_are_warned_of() -> None:
    fresh, stale = (PRICING.age(now_ms=at(day)) for day in ("2026-11-23T00:00", "2027-02-01T00:00"))

    assert (fresh.genai_prices_version, fresh.genai_prices_date) == ("0.2.3", dt.date(2026, 11, 10))
    assert (fresh.catalog_checked, fresh.warning) == (dt.date(2026, 11, 23), "")
    assert "genai-prices is 83 days old and the catalog is 70 days old" in stale.warning
    assert PRICING.notes(now_ms=NOON) == ()
    assert PRICING.notes(now_ms=at("2027-02-01T00:00")) == (stale.warning,)


def run_alone(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


ALONE = """
import sys
from decimal import Decimal
from orchestra_router.config import load
from orchestra_router.pricing import Pricing
catalog = load({"ORCHESTRA_HOME": "/nowhere"}).catalog
pricing = Pricing(unpriced_usd_per_mtok=Decimal(1))
for name in catalog.providers:
    for place in catalog.deployments_at(name):
        pricing.is_priced(place)
        pricing.worst_case_nusd(place, input_tokens=1, output_tokens=1, at_ms=0)
        pricing.expected_nusd(place, input_tokens=1, output_tokens=1, at_ms=0)
"""


def test_planning_over_the_whole_catalog_does_not_import_the_price_list() -> None:
    assert run_alone(f"{ALONE}print('genai_prices' in sys.modules)") == "False"


def test_warming_up_imports_the_price_list_in_the_background() -> None:
    script = """
import threading
pricing.warm_up()
(thread,) = [thread for thread in threading.enumerate() if thread.name == "orchestra-prices"]
thread.join()
print("genai_prices.data" in sys.modules)
"""

    assert run_alone(f"{ALONE}{script}") == "True"
