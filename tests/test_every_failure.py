"""The failure contract as it is lived: every provider, every way it says no, plain and inside a stream."""

from pathlib import Path

import pytest

from orchestra_router.errors import RouterError
from orchestra_router.simulation import StreamError
from orchestra_router.simulation.failures import Kind
from worlds import ask, open_world

PROVIDERS = ("openrouter", "openai", "anthropic", "deepseek", "gemini", "perplexity", "together", "xai", "ollama")

# What a kind of failure may be seen as. More than one where a vendor sends no code for it and the status is shared.
SEEN_AS: dict[Kind, set[str]] = {
    "auth": {"auth_failed"},
    "permission": {"permission_refused"},
    "out_of_money": {"out_of_money", "permission_refused"},  # xAI: a bare 403
    "rate_limited": {"rate_limited"},
    "overloaded": {"server_failed"},
    "server": {"server_failed"},
    "timeout": {"server_failed"},
    "context": {"context_too_long", "bad_request", "permission_refused"},  # Together: 403
    "content": {"content_refused", "bad_request", "permission_refused"},  # xAI: 403
    "gone": {"model_gone", "permission_refused", "bad_request"},  # the list still has it, so it is about the request
    "bad_request": {"bad_request"},
}
ASKED_AGAIN = {"rate_limited", "server_failed"}
ENDS_IT = {"bad_request", "content_refused"}
"""No other provider is asked."""


async def outcomes(home: Path, provider: str, *steps: object, stream: bool) -> tuple[list[tuple[str, str]], int, int]:
    """Who was asked with what outcome, what the ledger counts, and what was billed."""

    async def nobody(_: str) -> None:
        """Listens, so that the answer is streamed."""

    async with open_world(home) as world:
        world.providers[provider].script(*steps)  # pyright: ignore[reportArgumentType]  # any step
        request = ask("Is it worth it?", provider=provider, fallback_providers=(other(provider),), max_retries=1)
        try:
            attempts = (await world.router.complete(request, on_progress=nobody if stream else None)).attempts
        except RouterError as error:
            attempts = error.attempts
        total = (await world.router.cost_report()).total
        assert total.held_nusd == 0
        return [(a.provider, a.outcome) for a in attempts], total.spent_nusd, world.providers.billed_nusd


def other(provider: str) -> str:
    return "together" if provider != "together" else "openai"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("kind", SEEN_AS)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_refusal_is_followed_by_what_the_contract_says(
    tmp_path: Path, provider: str, kind: Kind, stream: bool
) -> None:
    async with open_world(tmp_path) as probe:
        failure = probe.providers[provider].failure(kind)

    trail, spent, billed = await outcomes(tmp_path, provider, failure, failure, stream=stream)

    first = trail[0][1]
    assert first in SEEN_AS[kind]
    asked = [name for name, _ in trail]
    assert asked.count(provider) == (2 if first in ASKED_AGAIN and asked[:2] == [provider, provider] else 1)
    if first != "context_too_long":  # then it depends on who reads more
        assert (other(provider) in asked) == (first not in ENDS_IT)
    assert spent >= billed


@pytest.mark.parametrize("kind", ["server", "rate_limited", "overloaded", "auth", "gone", "bad_request"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_an_error_inside_an_answer_is_never_counted_below_what_was_billed(
    tmp_path: Path, provider: str, kind: Kind, stream: bool
) -> None:
    step = StreamError(0, kind)

    trail, spent, billed = await outcomes(tmp_path, provider, step, step, stream=stream)

    assert trail[0][1] != "ok"
    assert spent >= billed
