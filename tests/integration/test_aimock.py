"""Our formats and transport against aimock, which other people wrote from the vendors' documentation."""

from typing import Any

import pytest
from asking import BOTH, WEATHER, ask_of
from servers import AIMOCK_KEY

from formats import ask, deployment, said
from orchestra_router import errors
from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import ProviderError
from orchestra_router.providers import registry
from orchestra_router.transport import Transport
from orchestra_router.types import ToolCall, ToolResult

ROWS: dict[str, dict[str, Any]] = {
    "openai": {"base_url": "/v1", "max_tokens_field": "max_completion_tokens", "stream_usage": True},
    "responses": {"base_url": "/v1", "format": "responses"},
    "anthropic": {"base_url": "", "format": "messages"},
    "gemini": {"base_url": "", "format": "gemini"},
    "openrouter": {"base_url": "/api/v1", "effort_style": "reasoning", "search_style": "openrouter"},
}
STOPPED = "This answer never reaches its end, because the line breaks long before it, somewhere in the middle of a word or two."
ALL = pytest.mark.parametrize("name", ROWS)


def at(aimock: str, name: str, **headers: str) -> Deployment:
    row = ROWS[name]
    here = {"name": name, "base_url": aimock + row["base_url"], "headers": headers}
    return deployment(Provider.model_validate(row | here))


@ALL
@BOTH
async def test_a_text_arrives_whole_with_its_usage(aimock: str, transport: Transport, name: str, stream: bool) -> None:
    answer = await ask_of(transport, at(aimock, name), ask("Say hello"), key=AIMOCK_KEY, stream=stream)

    assert answer.text == "Grüezi from the other side, whoever you are."
    assert answer.finish == "stop"
    assert answer.usage is not None
    assert (answer.usage.input_total, answer.usage.output_total, answer.usage.mismatch) == (21, 9, 0)


@ALL
@BOTH
async def test_parallel_tool_calls_arrive_in_order(aimock: str, transport: Transport, name: str, stream: bool) -> None:
    request = ask("Tell me the weather", tools=(WEATHER,))

    answer = await ask_of(transport, at(aimock, name), request, key=AIMOCK_KEY, stream=stream)

    assert [(call.id, call.name) for call in answer.tool_calls] == [
        ("call_1", "get_weather"),
        ("call_2", "get_weather"),
    ]
    assert [call.arguments for call in answer.tool_calls] == [
        '{"city":"Zürich","days":2}',
        '{"city":"Bern","days":1}',
    ]
    assert answer.usage is not None
    assert (answer.usage.input_total, answer.usage.output_total) == (40, 12)
    # Gemini itself says STOP here. aimock invents FUNCTION_CALL, and a reason that nobody documents is "other".
    assert answer.finish == ("other" if name == "gemini" else "tool_calls")


@ALL
@BOTH
async def test_tool_results_are_understood(aimock: str, transport: Transport, name: str, stream: bool) -> None:
    calls = [ToolCall(f"call_{n}", "get_weather", f'{{"city":"{city}"}}') for n, city in ((1, "Zürich"), (2, "Bern"))]
    results = [ToolResult("call_1", "get_weather", "rain"), ToolResult("call_2", "get_weather", "sun")]
    request = ask("Tell me the weather", said("assistant", *calls), said("tool", *results), tools=(WEATHER,))

    answer = await ask_of(transport, at(aimock, name), request, key=AIMOCK_KEY, stream=stream)

    assert answer.text == "Rain in Zürich, sun in Bern."
    assert not answer.tool_calls


@ALL
@BOTH
async def test_thoughts_are_not_part_of_the_text(aimock: str, transport: Transport, name: str, stream: bool) -> None:
    answer = await ask_of(transport, at(aimock, name), ask("Think first"), key=AIMOCK_KEY, stream=stream)

    assert answer.text == "42"


@ALL
@BOTH
async def test_an_answer_that_was_cut_is_not_whole(aimock: str, transport: Transport, name: str, stream: bool) -> None:
    answer = await ask_of(transport, at(aimock, name), ask("Be cut off"), key=AIMOCK_KEY, stream=stream)

    assert answer.text == "As far as it"
    # OpenAI's Responses give the reason for `incomplete`; aimock leaves it out.
    assert answer.finish == ("other" if name == "responses" else "length")


@BOTH
async def test_openrouters_own_cost_counts(aimock: str, transport: Transport, stream: bool) -> None:
    answer = await ask_of(transport, at(aimock, "openrouter"), ask("Cost something"), key=AIMOCK_KEY, stream=stream)

    assert answer.cost_nusd == 1_250_000
    assert answer.usage is not None
    assert (answer.usage.input_fresh, answer.usage.cache_read) == (6, 4)
    assert (answer.usage.output, answer.usage.reasoning) == (3, 2)


@ALL
@BOTH
async def test_a_rate_limit_names_its_end(aimock: str, transport: Transport, name: str, stream: bool) -> None:
    with pytest.raises(errors.RateLimited) as caught:
        await ask_of(transport, at(aimock, name), ask("Ask too often"), key=AIMOCK_KEY, stream=stream)

    assert caught.value.retry_after_s == 7


@ALL
@BOTH
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Name a retired model", errors.ModelGone),
        ("Be overloaded", errors.ServerFailed),
        # Strict aimock refuses what it has no fixture for with 503 and `invalid_request_error`: the status decides.
        ("Say what nobody has written down", errors.ServerFailed),
    ],
)
async def test_an_error_has_its_class(
    aimock: str, transport: Transport, name: str, stream: bool, prompt: str, expected: type[ProviderError]
) -> None:
    with pytest.raises(expected) as caught:
        await ask_of(transport, at(aimock, name), ask(prompt), key=AIMOCK_KEY, stream=stream)

    assert type(caught.value) is expected
    assert not any(prose in str(caught.value) for prose in ("It is gone", "Too busy", "no fixture"))


@ALL
@BOTH
async def test_a_wrong_key_is_refused(aimock: str, transport: Transport, name: str, stream: bool) -> None:
    with pytest.raises(errors.AuthFailed) as caught:
        await ask_of(transport, at(aimock, name), ask("Say hello"), key="wrong-key", stream=stream)

    assert "wrong-key" not in str(caught.value)


@ALL
@BOTH
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("drop", errors.ServerFailed),
        ("malformed", errors.InvalidAnswer),
        ("disconnect", errors.ServerFailed),
        ("ratelimit", errors.RateLimited),
    ],
)
async def test_chaos_ends_in_a_class(
    aimock: str, transport: Transport, name: str, stream: bool, fault: str, expected: type[ProviderError]
) -> None:
    target = at(aimock, name, **{f"x-aimock-chaos-{fault}": "1"})

    with pytest.raises(expected) as caught:
        await ask_of(transport, target, ask("Say hello"), key=AIMOCK_KEY, stream=stream)

    assert type(caught.value) is expected
    assert caught.value.falls_back == "next"


@ALL
@BOTH
async def test_an_answer_that_takes_too_long_is_given_up(
    aimock: str, transport: Transport, name: str, stream: bool
) -> None:
    target = at(aimock, name, **{"x-aimock-chaos-latency": "5000"})

    with pytest.raises(errors.ReadTimeout):
        await ask_of(transport, target, ask("Say hello"), key=AIMOCK_KEY, stream=stream, timeout_s=0.1)


@ALL
async def test_a_stream_that_breaks_off_leaves_what_had_come(aimock: str, transport: Transport, name: str) -> None:
    with pytest.raises(errors.StreamBroken) as caught:
        await ask_of(transport, at(aimock, name), ask("Stop halfway"), key=AIMOCK_KEY, stream=True)

    assert caught.value.partial_text
    assert STOPPED.startswith(caught.value.partial_text)
    assert caught.value.partial_text != STOPPED
    assert caught.value.falls_back == "no"


@pytest.mark.parametrize("name", ["openai", "openrouter"])
async def test_the_list_of_models_is_read(aimock: str, transport: Transport, name: str) -> None:
    provider = at(aimock, name).provider
    adapter = registry.adapter_for(provider, "chat")

    response = await transport.send(adapter.build_list_request(provider, api_key=AIMOCK_KEY), timeout_s=10)

    assert response.status == 200
    assert all(model.id for model in adapter.parse_list(response.body))
