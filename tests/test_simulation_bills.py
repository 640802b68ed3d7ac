"""What the simulated providers charge, held against genai-prices and against what their answers say."""

import datetime as dt
from collections.abc import AsyncGenerator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from loopback import (
    ANTHROPIC,
    DEEPSEEK,
    DIALECTS,
    GEMINI,
    OLLAMA,
    OPENAI,
    OPENAI_RESPONSES,
    OPENROUTER,
    PERPLEXITY,
    TOGETHER,
    XAI,
    XAI_RESPONSES,
    Dialect,
    Loopback,
    events,
    open_loopback,
)
from orchestra_router.simulation.models import ANTHROPIC as CLAUDES
from orchestra_router.simulation.models import DEEPSEEK as DEEPSEEKS
from orchestra_router.simulation.models import GEMINI as GEMINIS
from orchestra_router.simulation.models import OPENAI as GPTS
from orchestra_router.simulation.models import PERPLEXITY as SONARS
from orchestra_router.simulation.models import TOGETHER as OPEN_MODELS
from orchestra_router.simulation.models import XAI as GROKS
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.prices import Tokens, charge

TOO_NEW = {"gpt-6.2-sol", "gpt-6.2-astra"}
"""Not in genai-prices 0.2.3."""
PRICED = [
    (provider, model)
    for provider, rows in (
        ("openai", GPTS),
        ("anthropic", CLAUDES),
        ("deepseek", DEEPSEEKS),
        ("google", GEMINIS),
        ("perplexity", SONARS),
        ("together", OPEN_MODELS),
        ("x-ai", GROKS),
    )
    for model in rows
    if model.id not in TOO_NEW
]
LONG_PROMPT = "Is this read again? " * 300
"""1,500 tokens: more than any provider's smallest cacheable prompt."""

tokens = st.builds(
    Tokens,
    fresh=st.integers(0, 400_000),
    cached=st.integers(0, 400_000),
    visible=st.integers(0, 100_000),
    reasoning=st.integers(0, 100_000),
)
moments = st.datetimes(dt.datetime(2026, 11, 10), dt.datetime(2027, 3, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis adds the zone


@pytest.fixture
async def loopback() -> AsyncGenerator[Loopback]:
    async with open_loopback() as opened:
        yield opened


@given(priced=st.sampled_from(PRICED), used=tokens, written=st.integers(0, 50_000), when=moments)
def test_every_bill_agrees_with_genai_prices_to_the_nano_dollar(
    priced: tuple[str, Model], used: Tokens, written: int, when: dt.datetime
) -> None:
    provider, model = priced
    if model.prices[-1].written:
        used = Tokens(used.fresh, used.cached, written, 0, used.visible, used.reasoning)

    nusd = charge(model.prices, used, at_ms=int(when.timestamp() * 1000)).nusd

    usage = Usage(
        input_tokens=used.input,
        cache_read_tokens=used.cached,
        cache_write_tokens=used.written,
        output_tokens=used.output,
    )
    price = calc_price(usage, model.id, provider_id=provider, genai_request_timestamp=when)
    assert nusd == int((price.total_price * 10**9).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def test_hour_long_cache_writes_and_searches_are_charged_apart() -> None:
    sonnet = next(model for model in CLAUDES if model.id == "claude-sonnet-5-5")

    amount = charge(sonnet.prices, Tokens(written=1_000, written_1h=1_000, searches=2), at_ms=0)

    assert amount.written == 2_500_000 + 4_000_000
    assert amount.searches == 20_000_000


def test_half_a_nano_dollar_is_rounded_up_once() -> None:
    glm = next(model for model in SONARS if model.id == "perplexity/sonar")

    nusd = charge(glm.prices, Tokens(cached=1), at_ms=0).nusd  # 62.5 nano-dollars

    assert nusd == 63


@pytest.mark.parametrize(("hour", "share"), [(0, 1), (1, 2), (4, 1), (6, 2), (9, 2), (10, 1), (16, 1)])
async def test_deepseek_is_twice_as_dear_in_its_peak_hours_on_sundays_too(hour: int, share: int) -> None:
    sunday = dt.datetime(2026, 11, 22, hour, tzinfo=dt.UTC)
    async with open_loopback(int(sunday.timestamp() * 1000)) as loopback:
        await loopback.ask(DEEPSEEK)

        bill = loopback.world["deepseek"].bills[-1]

    assert bill.nusd == share * (bill.tokens.input * 150 + bill.tokens.output * 600)


# --- what the answers say of it -----------------------------------------------------------------------------


def usage_of(dialect: Dialect, document: dict[str, Any]) -> dict[str, Any]:
    return document["usageMetadata"] if dialect is GEMINI else document["usage"]


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_usage_counts_the_tokens_that_are_billed(loopback: Loopback, dialect: Dialect) -> None:
    answer = await loopback.ask(dialect)

    used = loopback.world[dialect.provider].bills[-1].tokens
    usage = usage_of(dialect, answer.json())
    if dialect is GEMINI:
        assert usage["candidatesTokenCount"] + usage["thoughtsTokenCount"] == used.output
        assert (usage["promptTokenCount"], usage["totalTokenCount"]) == (used.input, used.total)
    elif dialect is ANTHROPIC:
        assert (usage["input_tokens"], usage["output_tokens"]) == (used.input, used.output)
        assert usage["output_tokens_details"]["thinking_tokens"] == used.reasoning > 0
    elif dialect is XAI:
        assert usage["completion_tokens"] == used.visible
        assert usage["completion_tokens_details"]["reasoning_tokens"] == used.reasoning > 0
        assert usage["total_tokens"] == used.total
    elif dialect.name.endswith("responses"):
        assert (usage["input_tokens"], usage["output_tokens"]) == (used.input, used.output)
    else:
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (used.input, used.output)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
async def test_a_stream_reports_the_same_usage_and_is_billed_the_same(loopback: Loopback, dialect: Dialect) -> None:
    asked: dict[str, Any] = {"stream_options": {"include_usage": True}} if dialect in {OPENAI, OLLAMA} else {}

    plain = await loopback.ask(dialect)
    streamed = await loopback.ask(dialect, stream=True, **asked)

    first, second = loopback.world[dialect.provider].bills
    chunks = events(streamed.text)
    if dialect is ANTHROPIC:
        usage = chunks[-2]["usage"]
        assert usage == {name: usage_of(dialect, plain.json())[name] for name in usage}
        assert chunks[0]["message"]["usage"]["input_tokens"] == first.tokens.input
    elif dialect.name.endswith("responses"):
        assert chunks[-1]["response"]["usage"] == usage_of(dialect, plain.json())
    else:
        assert usage_of(dialect, chunks[-1]) == usage_of(dialect, plain.json())
    assert first.nusd == second.nusd


async def test_openai_sends_usage_in_a_stream_only_when_asked(loopback: Loopback) -> None:
    asked = await loopback.ask(OPENAI, stream=True, stream_options={"include_usage": True})
    unasked = await loopback.ask(OPENAI, stream=True)

    assert events(asked.text)[-1]["choices"] == []
    assert [chunk["usage"] for chunk in events(asked.text)[:-1]] == [None] * (len(events(asked.text)) - 1)
    assert not any("usage" in chunk for chunk in events(unasked.text))
    assert "obfuscation" in unasked.text


@pytest.mark.parametrize("dialect", [OPENROUTER, PERPLEXITY, XAI, XAI_RESPONSES], ids=str)
async def test_a_cost_that_a_provider_reports_is_its_bill(loopback: Loopback, dialect: Dialect) -> None:
    searching: dict[str, Any] = {"tools": [{"type": "web_search"}]} if dialect in {PERPLEXITY, XAI_RESPONSES} else {}

    answer = await loopback.ask(dialect, LONG_PROMPT + "Once more, with 3 odd tokens", **searching)

    usage = answer.json()["usage"]
    if dialect.provider == "xai":
        reported = Decimal(usage["cost_in_usd_ticks"]) / 10
    else:
        cost = usage["cost"] if dialect is OPENROUTER else usage["cost"]["total_cost"]
        reported = Decimal(str(cost)) * 10**9
    assert reported == loopback.world[dialect.provider].billed_nusd > 0


async def test_a_quicker_search_is_cheaper_at_perplexity(loopback: Loopback) -> None:
    fast = await loopback.ask(PERPLEXITY, tools=[{"type": "web_search", "search_type": "fast"}])
    usual = await loopback.ask(PERPLEXITY, tools=[{"type": "web_search"}])

    assert fast.json()["usage"]["cost"]["tool_calls_cost"] == 0.001
    assert usual.json()["usage"]["cost"]["tool_calls_cost"] == 0.0025
    assert [item["type"] for item in usual.json()["output"]] == ["search_results", "message"]


@pytest.mark.parametrize(
    ("dialect", "tool"),
    [
        (OPENAI_RESPONSES, {"type": "web_search"}),
        (ANTHROPIC, {"type": "web_search_20260318", "name": "web_search", "max_uses": 1}),
        (GEMINI, {"googleSearch": {}}),
        (XAI_RESPONSES, {"type": "web_search"}),
        (OPENROUTER, {"type": "openrouter:web_search"}),
    ],
    ids=str,
)
async def test_a_web_search_shows_its_sources_and_is_billed(
    loopback: Loopback, dialect: Dialect, tool: dict[str, Any]
) -> None:
    answer = await loopback.ask(dialect, tools=[tool])
    streamed = await loopback.ask(dialect, tools=[tool], stream=True)

    assert "https://example.com/release" in answer.text
    assert "https://example.com/release" in streamed.text
    assert loopback.world[dialect.provider].bills[-1].tokens.searches == 1


# --- prompts read before ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [OPENROUTER, OPENAI, OPENAI_RESPONSES, DEEPSEEK, GEMINI, XAI], ids=str)
async def test_a_prompt_that_was_read_before_is_cheaper_and_says_so(loopback: Loopback, dialect: Dialect) -> None:
    await loopback.ask(dialect, LONG_PROMPT)
    answer = await loopback.ask(dialect, LONG_PROMPT)

    first, second = loopback.world[dialect.provider].bills
    assert (first.tokens.cached, first.tokens.input) == (0, second.tokens.input)
    assert second.tokens.cached >= 1_408
    assert second.nusd < first.nusd
    assert f":{second.tokens.cached}" in answer.text


async def test_together_tells_of_no_cache_and_so_charges_for_none(loopback: Loopback) -> None:
    for _ in range(2):
        await loopback.ask(TOGETHER, LONG_PROMPT)

    first, second = loopback.world["together"].bills
    assert first.nusd == second.nusd


async def test_anthropic_writes_and_reads_what_is_marked_and_nothing_else(loopback: Loopback) -> None:
    marked = {"type": "text", "text": LONG_PROMPT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    unmarked = await loopback.ask(ANTHROPIC, LONG_PROMPT)
    first = await loopback.ask(ANTHROPIC, "12345678", system=[marked])
    second = await loopback.ask(ANTHROPIC, "12345678", system=[marked])

    counts = [
        (usage["input_tokens"], usage["cache_creation"]["ephemeral_1h_input_tokens"], usage["cache_read_input_tokens"])
        for usage in (answer.json()["usage"] for answer in (unmarked, first, second))
    ]
    assert counts == [(1500, 0, 0), (2, 1500, 0), (2, 0, 1500)]
    assert loopback.world["anthropic"].bills[1].tokens.written_1h == 1500


async def test_the_meter_is_the_sum_of_all_bills(loopback: Loopback) -> None:
    for dialect in DIALECTS:
        await loopback.ask(dialect)
        await loopback.ask(dialect, stream=True)

    bills = [bill.nusd for provider in loopback.world.providers.values() for bill in provider.bills]

    assert len(bills) == 2 * len(DIALECTS)
    assert loopback.world.billed_nusd == sum(bills) > 0
    assert loopback.world["ollama"].billed_nusd == 0
