"""Prices that are kept ready cost what the lists themselves say, whatever is asked in between."""

import datetime as dt
import random
import threading
from collections.abc import Iterable
from decimal import Decimal

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data import providers
from genai_prices.types import TimeOfDateConstraint
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra_router import price_lists, tariffs
from orchestra_router.config import load
from orchestra_router.deployments import Deployment, Price
from orchestra_router.price_lists import HALF_HOUR_MS
from orchestra_router.pricing import Pricing
from orchestra_router.tariffs import Tariff
from orchestra_router.types import Usage, nusd

CATALOG = load({"ORCHESTRA_HOME": "/nowhere"}).catalog
DEPLOYMENTS = [deployment for name in CATALOG.providers for deployment in CATALOG.deployments_at(name)]
NOON_MS = 1_795_435_200_000
"""2026-11-23, 12:00 UTC."""


def drawn(numbers: random.Random) -> Usage:
    def count() -> int:
        return numbers.choice([0, 1, numbers.randrange(1_000), numbers.randrange(600_000)])

    return Usage(
        input_fresh=count(),
        cache_read=count(),
        cache_write=count(),
        cache_write_1h=count(),
        output=count(),
        reasoning=count(),
        searches=numbers.randrange(4),
    )


def asked(usage: Usage, model: str, provider: str, at_ms: int) -> Decimal:
    """What the list itself says."""
    counts = ListUsage(
        input_tokens=usage.input_total,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_5m_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_tokens=usage.output_total,
        output_reasoning_tokens=usage.reasoning,
        web_searches=usage.searches,
    )
    when = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
    return calc_price(counts, model, provider_id=provider, genai_request_timestamp=when).total_price


def test_every_model_of_the_list_costs_what_the_list_itself_says() -> None:
    numbers = random.Random(1)  # noqa: S311 - the same usage in every run
    wrong: list[str] = []
    known = 0
    for provider in providers:
        for model in provider.models:
            usage, at_ms = drawn(numbers), NOON_MS + numbers.randrange(100 * 48) * HALF_HOUR_MS
            listed = price_lists.listed(model.id, provider.id, at_ms // HALF_HOUR_MS, Decimal(0))
            if listed is not None:
                known += 1
                if listed.tariff.cost_nusd(usage) != nusd(asked(usage, model.id, provider.id, at_ms)):
                    wrong.append(f"{provider.id}/{model.id}: {usage}")

    assert wrong == []
    assert known > 2_000


def test_no_price_of_the_list_begins_or_ends_within_a_half_hour() -> None:
    constraints = [
        price.constraint
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
        for price in model.prices
    ]
    times = {
        time
        for each in constraints
        if isinstance(each, TimeOfDateConstraint)
        for time in (each.start_time, each.end_time)
    }

    assert len(times) > 2
    assert {(time.minute % 30, time.second, time.microsecond, time.utcoffset()) for time in times} == {
        (0, 0, 0, dt.timedelta())
    }


moments = st.integers(NOON_MS - 7 * 48 * HALF_HOUR_MS, NOON_MS + 60 * 48 * HALF_HOUR_MS)
KEPT = Pricing(unpriced_usd_per_mtok=Decimal(50))


@settings(deadline=None)
@given(deployment=st.sampled_from(DEPLOYMENTS), at_ms=moments, seed=st.integers(0, 1_000))
def test_prices_that_are_kept_are_those_of_the_moment(deployment: Deployment, at_ms: int, seed: int) -> None:
    usage = drawn(random.Random(seed))  # noqa: S311 - chosen by hypothesis
    fresh = Pricing(unpriced_usd_per_mtok=Decimal(50))

    def figures(pricing: Pricing) -> tuple[object, ...]:
        size = {"input_tokens": usage.input_total, "output_tokens": usage.output_total, "searches": usage.searches}
        return (
            pricing.cost(deployment, usage, at_ms=at_ms),
            pricing.worst_case_nusd(deployment, **size, at_ms=at_ms),
            pricing.expected_nusd(deployment, **size, cached_tokens=usage.cache_read, at_ms=at_ms),
        )

    assert figures(KEPT) == figures(fresh)


def test_a_row_of_the_same_name_has_prices_of_its_own() -> None:
    built_in = CATALOG.deployment("gpt-6.2-sol", "openai")
    row = Price(input=Decimal(7), output=Decimal(7))
    edited = Deployment(
        built_in.provider,
        built_in.model,
        built_in.offer.model_copy(update={"prices": (row,), "own_prices": True}),
    )
    thousand = Usage(input_fresh=1_000)

    costs = [KEPT.cost(each, thousand, at_ms=NOON_MS).nusd for each in (built_in, edited, built_in)]

    assert costs == [2_000_000, 7_000_000, 2_000_000]


def test_a_bound_from_before_the_list_was_read_takes_it_into_account_after(monkeypatch: pytest.MonkeyPatch) -> None:
    read = threading.Event()
    monkeypatch.setattr("orchestra_router.price_lists._imported", read)
    luna = CATALOG.deployment("gpt-6-luna", "openai")
    edited = Deployment(luna.provider, luna.model, luna.offer.model_copy(update={"id": "gpt-5-pro"}))
    pricing = Pricing(unpriced_usd_per_mtok=Decimal(50))

    def worst_nusd() -> int:
        return pricing.worst_case_nusd(edited, input_tokens=0, output_tokens=1_000, at_ms=NOON_MS)

    before = [worst_nusd(), worst_nusd()]
    read.set()

    assert before == [500_000, 500_000]
    assert worst_nusd() >= 100_000_000


# --- the sums -------------------------------------------------------------------------------------------------

rates = st.decimals(0, 100, places=4)
rows = st.builds(
    Price,
    input=rates,
    output=rates,
    cache_read=st.none() | rates,
    cache_write=st.none() | rates,
    cache_write_1h=st.none() | rates,
    above_tokens=st.none() | st.integers(0, 1_000),
    above_input_factor=rates,
    above_output_factor=rates,
    search=rates,
)
counts = st.integers(0, 2_000)
usages = st.builds(Usage, input_fresh=counts, cache_read=counts, cache_write=counts, output=counts, searches=counts)


@given(row=rows, usage=usages)
def test_a_row_is_summed_as_by_hand(row: Price, usage: Usage) -> None:
    is_long = row.above_tokens is not None and usage.input_total > row.above_tokens
    read = row.input if row.cache_read is None else row.cache_read
    write = row.input if row.cache_write is None else row.cache_write
    tokens_in = row.input * usage.input_fresh + read * usage.cache_read + write * usage.cache_write
    tokens_out = row.output * usage.output
    by_hand = (
        (tokens_in * row.above_input_factor + tokens_out * row.above_output_factor)
        if is_long
        else (tokens_in + tokens_out)
    )

    assert tariffs.of_row(row).cost_nusd(usage) == nusd(by_hand / 1_000_000 + row.search * usage.searches / 1_000)


@given(rows=st.lists(rows, min_size=1, max_size=4), usage=usages)
def test_what_another_tariff_covers_is_never_the_dearest(rows: list[Price], usage: Usage) -> None:
    all_ = [tariffs.dearest_of_row(row) for row in rows]

    def dearest(some: Iterable[Tariff]) -> int:
        return max(each.cost_nusd(usage) for each in some)

    assert dearest(tariffs.without_covered(all_)) == dearest(all_)
