"""The simulated providers' free calls: lists of models, probes of keys and balances, a token counter."""

from collections.abc import AsyncGenerator

import pytest

from loopback import (
    ANTHROPIC,
    DEEPSEEK,
    GEMINI,
    OLLAMA,
    OPENAI,
    OPENROUTER,
    PERPLEXITY,
    TOGETHER,
    XAI,
    Dialect,
    Loopback,
    open_loopback,
)
from orchestra_router.simulation import Reply


@pytest.fixture
async def loopback() -> AsyncGenerator[Loopback]:
    async with open_loopback() as opened:
        yield opened


@pytest.mark.parametrize(
    ("dialect", "path", "said"),
    [
        (OPENAI, "/models", '"shutdown_date": "2026-12-11"'),
        (ANTHROPIC, "/v1/models", '"lifecycle": "retired"'),
        (ANTHROPIC, "/v1/models?limit=1", '"has_more": true'),
        (OPENROUTER, "/models", '"prompt": "0.0000001"'),
        (OPENROUTER, "/key", "limit_remaining"),
        (OPENROUTER, "/credits", "total_credits"),
        (DEEPSEEK, "/models", "deepseek-v4-pro"),
        (DEEPSEEK, "/user/balance", '"is_available": true'),
        (GEMINI, "/v1/models?pageSize=1", "nextPageToken"),
        (PERPLEXITY, "/models", "perplexity/sonar"),
        (TOGETHER, "/models", "context_length"),
        (XAI, "/language-models", '"prompt_text_token_price": 20000'),
        (XAI, "/api-key", "api_key_blocked"),
        (OLLAMA, "/models", "llama3.2:3b"),
    ],
    ids=str,
)
async def test_free_calls_tell_of_models_keys_and_balances(
    loopback: Loopback, dialect: Dialect, path: str, said: str
) -> None:
    answer = await loopback.get(dialect, path)

    assert answer.status_code == 200
    assert said in answer.text


async def test_a_retired_model_leaves_the_list(loopback: Loopback) -> None:
    loopback.world["xai"].retire("grok-4.3")

    answer = await loopback.get(XAI, "/models")

    assert [row["id"] for row in answer.json()["data"]] == ["grok-build-0.1", "grok-4.7"]


async def test_a_list_needs_the_key_where_the_vendors_does(loopback: Loopback) -> None:
    urls = loopback.world.base_urls

    openai = await loopback.http.get(urls["openai"] + "/models")
    openrouter = await loopback.http.get(urls["openrouter"] + "/models")

    assert (openai.status_code, openrouter.status_code) == (401, 200)


async def test_a_probe_can_be_made_to_fail_without_touching_the_answers(loopback: Loopback) -> None:
    loopback.world["openai"].script_probes(Reply(503))

    probe = await loopback.get(OPENAI, "/models")
    answer = await loopback.ask(OPENAI)

    assert (probe.status_code, answer.status_code) == (503, 200)


async def test_anthropic_counts_tokens_for_free(loopback: Loopback) -> None:
    url = loopback.world.base_urls["anthropic"] + "/v1/messages/count_tokens"
    body = ANTHROPIC.body(ANTHROPIC.model, "12345")

    answer = await loopback.http.post(url, headers=ANTHROPIC.auth(loopback.world), json=body)

    assert answer.json() == {"input_tokens": 2}
    assert loopback.world.billed_nusd == 0
