"""What real usage bodies cost, to the nano-dollar: the provider's own figure where it gives one, else its price page.

Each figure was worked out by hand from the counts in the body and the rates in the comment beside it, dollars per million
tokens as read on 2026-11-23, in the order fresh / cache read / cache write / output.
"""

from pathlib import Path

import pytest

from formats import NOW_MS, body
from orchestra_router.config import load
from orchestra_router.pricing import Pricing
from orchestra_router.providers import chat, gemini, messages, responses
from orchestra_router.providers.base import Adapter

PEAK_MS = NOW_MS - 14 * 3_600_000
"""02:00 UTC on a Monday."""

CASES = [
    # developers.openai.com, gpt-6-luna: 240 x 0.10, 1,024 x 0.01, 256 x 0.125, 212 x 0.50
    ("chat/openai_text.json", chat, "openai", "gpt-6-luna", NOW_MS, None, 172_240),
    # developers.openai.com, gpt-6.2-sol: 240 x 2, 1,024 x 0.10, 256 x 2.50, 212 x 10
    ("responses/openai_text.json", responses, "openai", "gpt-6.2-sol", NOW_MS, None, 3_342_400),
    # usage.cost; by the list 64 x 2, 512 x 0.10, 64 x 2.50, 48 x 10
    ("chat/openrouter_text.json", chat, "openrouter", "claude-sonnet-5-5", NOW_MS, 930_000, 819_200),
    # usage.cost is OpenRouter's fee, and cost_details what the own key pays; by the list 1,000 x 0.10, 100 x 0.50
    ("chat/openrouter_byok.json", chat, "openrouter", "gpt-6-luna", NOW_MS, 157_500, 150_000),
    # api-docs.deepseek.com, off-peak: 128 x 0.15, 192 x 0.003, 3 x 0.60
    ("chat/deepseek_cache_fields.json", chat, "deepseek", "deepseek-flash", NOW_MS, None, 21_576),
    # the same at its peak, twice that
    ("chat/deepseek_cache_fields.json", chat, "deepseek", "deepseek-flash", PEAK_MS, None, 43_152),
    # 8,675,005 ticks of 1e-10 dollars; by the list 50 x 1.25, 150 x 0.20, (10 + 300) x 2.50
    ("chat/xai_text.json", chat, "xai", "grok-4.3", NOW_MS, 867_501, 867_500),
    # 87,300,000 ticks; by the list 1,600 x 1.25, 2,400 x 0.20, 500 x 2.50 and a search of 5 per 1,000
    ("responses/xai_search.json", responses, "xai", "grok-4.3", NOW_MS, 8_730_000, 8_730_000),
    # together.ai/pricing, gpt-oss-120b: 70 x 0.15, 30 x 0.60
    ("chat/together_text.json", chat, "together", "gpt-oss-120b", NOW_MS, None, 28_500),
    # platform.claude.com: 21 x 2, 18,000 x 0.10, 300 x 2.50 for 5 minutes and 2,000 x 4 for an hour, 64 x 10
    ("messages/text.json", messages, "anthropic", "claude-sonnet-5-5", NOW_MS, None, 11_232_000),
    # platform.claude.com: 6,039 x 2, 211 x 10, one search of 10 per 1,000
    ("messages/web_search.json", messages, "anthropic", "claude-sonnet-5-5", NOW_MS, None, 24_188_000),
    # ai.google.dev, gemini-3.8-flash until the end of 2026: 186 x 0.75, 1,024 x 0.075, (6 + 145) x 3.75
    ("gemini/text.json", gemini, "gemini", "gemini-3.8-flash", NOW_MS, None, 782_550),
    # usage.cost.total_cost; by the list 2,000 x 0.25, 1,000 x 0.0625, 200 x 0.25, 150 x 2.50, two searches of 2.50 per 1,000
    ("responses/perplexity_search.json", responses, "perplexity", "sonar", NOW_MS, 5_987_500, 5_987_500),
]


@pytest.mark.parametrize(
    ("name", "adapter", "provider", "model", "at_ms", "reported", "listed"),
    CASES,
    ids=[f"{case[0]} at {case[4]}" for case in CASES],
)
def test_the_cost_of_a_body_is_the_providers_own_figure_and_the_price_pages(
    tmp_path: Path,
    name: str,
    adapter: Adapter,
    provider: str,
    model: str,
    at_ms: int,
    reported: int | None,
    listed: int,
) -> None:
    config = load({"ORCHESTRA_HOME": str(tmp_path)})
    pricing = Pricing.of(config.settings)
    deployment = config.catalog.deployment(model, provider)

    answer = adapter.parse_response(body(name))

    assert answer.usage is not None
    computed = pricing.cost(deployment, answer.usage, at_ms=at_ms)
    counted = pricing.cost(deployment, answer.usage, at_ms=at_ms, reported_nusd=answer.cost_nusd)
    assert computed.nusd == listed
    assert answer.cost_nusd == reported
    assert (counted.nusd, counted.source) == ((listed, computed.source) if reported is None else (reported, "provider"))
