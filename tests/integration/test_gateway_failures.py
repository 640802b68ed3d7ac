"""Through the real Portkey gateway (open source, 1.15.2) to every provider: what goes wrong there, and in the gateway itself."""

import json
from dataclasses import replace
from typing import Any

import pytest
from asking import BOTH, WEATHER
from routes import ALL, WAYS, Routed, Way

from formats import ask
from orchestra_router import errors
from orchestra_router.errors import ProviderError
from orchestra_router.simulation import Cut, Drop, Hang, Reply, Says, StreamError
from orchestra_router.simulation.failures import KINDS, Kind
from orchestra_router.types import Usage

ELSEWHERE: dict[tuple[str, Kind], type[ProviderError]] = {
    # The gateway keeps the broad type of Anthropic's errors and drops `details`, which name the cause.
    ("anthropic", "out_of_money"): errors.RateLimited,
    # Of Gemini's it drops `details` too, and a bad key is a 400 there; "type" and status do not tell.
    ("gemini", "auth"): errors.BadRequest,
    # It drops the codes of Ollama's.
    ("ollama", "context"): errors.BadRequest,
    ("ollama", "content"): errors.BadRequest,
}
"""Where an error means less after the gateway than before it. Neither is ever an answer."""


@ALL
@BOTH
@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_has_the_class_that_it_has_without_the_gateway(
    routed: Routed, name: str, stream: bool, kind: Kind
) -> None:
    routed[name].script(routed[name].failure(kind), routed[name].failure(kind))

    with pytest.raises(ProviderError) as direct:
        await routed.ask(routed.directly(name), ask("Say hello"), stream=stream)
    with pytest.raises(ProviderError) as behind:
        await routed.ask(name, ask("Say hello"), stream=stream)

    expected = ELSEWHERE.get((name, kind), type(direct.value))
    assert type(behind.value) is expected
    if expected is type(direct.value) and name != "gemini":  # which names the delay in the body
        assert behind.value.retry_after_s == direct.value.retry_after_s


@pytest.mark.parametrize("name", [name for name in WAYS if name != "ollama"])  # which has no key
async def test_a_wrong_key_of_the_provider_is_never_retried(routed: Routed, name: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await routed.ask(name, ask("Say hello"), key="wrong-key-canary")

    # xAI and Gemini answer a bad key with 400.
    assert isinstance(caught.value, errors.BadRequest if name in {"gemini", "xai"} else errors.AuthFailed)
    assert not caught.value.retryable
    assert "canary" not in str(caught.value)


@ALL
@pytest.mark.parametrize("cleanly", [False, True])
async def test_a_stream_that_ends_too_early_is_never_an_answer(routed: Routed, name: str, cleanly: bool) -> None:
    routed[name].script(Cut(after_events=2, cleanly=cleanly))

    with pytest.raises((errors.StreamBroken, errors.ServerFailed, errors.InvalidAnswer)):
        await routed.ask(name, ask("Say hello"), stream=True)


@ALL
@BOTH
async def test_an_error_inside_a_200_is_never_an_answer(routed: Routed, name: str, stream: bool) -> None:
    routed[name].script(StreamError(after_events=1, kind="overloaded"))

    with pytest.raises((errors.StreamBroken, errors.ServerFailed, errors.InvalidAnswer)):
        await routed.ask(name, ask("Say hello"), stream=stream)


@ALL
async def test_a_dropped_connection_upstream_is_a_server_error(routed: Routed, name: str) -> None:
    routed[name].script(Drop())

    with pytest.raises(errors.ServerFailed):
        await routed.ask(name, ask("Say hello"))


async def test_an_upstream_that_does_not_answer_is_given_up_and_left(routed: Routed) -> None:
    hang = Hang()
    routed["openai"].script(hang)

    with pytest.raises(errors.ReadTimeout):
        await routed.ask("openai", ask("Say hello"), timeout_s=1.0)

    assert hang.reached.is_set()
    assert len(routed["openai"].received) == 1


async def test_the_gateways_own_timeout_is_a_server_error(routed: Routed) -> None:
    routed["openai"].script(Hang())
    target = routed.deployment("openai", row={"headers": {"x-portkey-request-timeout": "100"}})

    with pytest.raises(errors.ServerFailed) as caught:
        await routed.ask(target, ask("Say hello"))

    assert caught.value.status == 408


async def test_an_upstream_that_cannot_be_reached_is_a_server_error(routed: Routed) -> None:
    target = routed.deployment("openai", row={"portkey_host": "http://127.0.0.1:1/v1"})

    with pytest.raises(errors.ServerFailed):
        await routed.ask(target, ask("Say hello"))


@pytest.mark.parametrize(
    "row",
    [{"portkey": "together-ai", "portkey_host": "http://10.0.0.1/v1"}, {"portkey": "@team"}, {"portkey": "vk-1"}],
    ids=["a private address", "a slug", "a virtual key"],
)
async def test_a_route_that_this_gateway_does_not_know_leads_elsewhere(routed: Routed, row: dict[str, str]) -> None:
    target = routed.deployment("openai", row=row)

    with pytest.raises(errors.PermissionRefused) as caught:
        await routed.ask(target, ask("Say hello"))

    assert caught.value.falls_back == "next"


# --- Known faults of the gateway, and how they end -----------------------------------------------------------


@pytest.mark.parametrize("name", ["deepseek", "together", "ollama"])
async def test_a_stream_that_the_gateway_would_spoil_is_asked_for_in_one_piece(routed: Routed, name: str) -> None:
    answer = await routed.ask(name, ask("Say hello"), stream=True)

    assert answer.text
    assert "stream" not in routed[name].received[-1].json


async def test_a_stream_that_the_gateway_empties_is_an_error(routed: Routed) -> None:
    target = routed.deployment("deepseek")
    careless = replace(target, provider=target.provider.model_copy(update={"streams": True}))

    with pytest.raises(errors.InvalidAnswer) as caught:
        await routed.ask(careless, ask("Say hello"), stream=True)

    assert caught.value.falls_back == "next"


@BOTH
async def test_a_provider_that_speaks_openais_format_loses_least_as_openai(routed: Routed, stream: bool) -> None:
    target = routed.deployment("deepseek", way=Way("openai", "/v1"))
    routed["deepseek"].script(Says(text="", calls=(("get_weather", {"city": "Bern"}),)))
    request = ask("Tell me the weather", tools=(WEATHER,))

    answer = await routed.ask(target, request, stream=stream)

    assert [json.loads(call.arguments) for call in answer.tool_calls] == [{"city": "Bern"}]
    assert answer.usage is not None
    assert answer.usage.reasoning == routed["deepseek"].bills[-1].tokens.reasoning > 0


CLAUDE_AS_CHAT: dict[str, object] = {"format": "chat", "search_style": "none"}


@BOTH
async def test_cached_tokens_of_a_translated_claude_are_counted_once(routed: Routed, stream: bool) -> None:
    """Its `prompt_tokens` come without the cached ones, and its total with them."""
    usage = {"input_tokens": 30, "cache_read_input_tokens": 800, "cache_creation_input_tokens": 200, "output_tokens": 5}
    routed["anthropic"].script(_claude_says("Yes.", usage, stream=stream))

    answer = await routed.ask(routed.deployment("anthropic", row=CLAUDE_AS_CHAT), ask("Say yes"), stream=stream)

    assert answer.text == "Yes."
    # 1035 = 30 + 800 + 200 + 5: nothing is counted twice, and nothing is missing.
    assert answer.usage == Usage(input_fresh=30, cache_read=800, cache_write=200, output=5, reported_total=1035)


def _claude_says(text: str, usage: dict[str, int], *, stream: bool) -> Reply:
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-5-5"}
    if not stream:
        whole = {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
        return Reply(body=message | whole)
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"content": [], "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return Reply(headers={"content-type": "text/event-stream"}, body=body)


@BOTH
async def test_an_error_that_ends_a_translated_claude_is_not_taken_for_its_end(routed: Routed, stream: bool) -> None:
    routed["anthropic"].script(StreamError(after_events=3, kind="overloaded"))
    target = routed.deployment("anthropic", row=CLAUDE_AS_CHAT)

    with pytest.raises((errors.StreamBroken, errors.ServerFailed, errors.InvalidAnswer)):
        await routed.ask(target, ask("Say hello"), stream=stream)
