"""Through the real Portkey gateway to aimock: two programs of other people, and neither knows the other or us."""

from typing import Any

import pytest
from asking import BOTH, WEATHER, ask_of
from servers import AIMOCK_KEY

from formats import ask, deployment
from orchestra_router import errors
from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import ProviderError
from orchestra_router.providers.portkey import through
from orchestra_router.transport import Transport

ROWS: dict[str, dict[str, Any]] = {
    "openai": {"portkey": "openai", "portkey_host": "/v1", "stream_usage": True},
    "responses": {"portkey": "openai", "portkey_host": "/v1", "format": "responses"},
    "anthropic": {"portkey": "anthropic", "portkey_host": "/v1", "format": "messages"},
    "openrouter": {"portkey": "openrouter", "portkey_host": "/api", "effort_style": "reasoning"},
    # Not Gemini: the gateway says its key in the query, where aimock does not look.
}
ALL = pytest.mark.parametrize("name", ROWS)


def by_gateway(gateway: str, aimock: str, name: str, **headers: str) -> Deployment:
    row = ROWS[name]
    here = {"name": name, "base_url": "https://unused.test", "portkey_host": aimock + row["portkey_host"]}
    return deployment(through(Provider.model_validate(row | here | {"headers": headers}), base_url=gateway))


@ALL
@BOTH
async def test_a_text_arrives(gateway: str, aimock: str, transport: Transport, name: str, stream: bool) -> None:
    target = by_gateway(gateway, aimock, name)

    answer = await ask_of(transport, target, ask("Say hello"), key=AIMOCK_KEY, stream=stream)

    assert (answer.text, answer.finish) == ("Grüezi from the other side, whoever you are.", "stop")
    assert answer.usage is not None
    assert (answer.usage.input_total, answer.usage.output_total) == (21, 9)


@ALL
@BOTH
async def test_tool_calls_arrive(gateway: str, aimock: str, transport: Transport, name: str, stream: bool) -> None:
    request = ask("Tell me the weather", tools=(WEATHER,))

    answer = await ask_of(transport, by_gateway(gateway, aimock, name), request, key=AIMOCK_KEY, stream=stream)

    assert [(call.id, call.arguments) for call in answer.tool_calls] == [
        ("call_1", '{"city":"Zürich","days":2}'),
        ("call_2", '{"city":"Bern","days":1}'),
    ]
    assert answer.finish == "tool_calls"


@ALL
@BOTH
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Name a retired model", errors.ModelGone),
        ("Ask too often", errors.RateLimited),
        ("Be overloaded", errors.ServerFailed),
    ],
)
async def test_an_error_keeps_its_class(
    gateway: str,
    aimock: str,
    transport: Transport,
    name: str,
    stream: bool,
    prompt: str,
    expected: type[ProviderError],
) -> None:
    with pytest.raises(expected) as caught:
        await ask_of(transport, by_gateway(gateway, aimock, name), ask(prompt), key=AIMOCK_KEY, stream=stream)

    assert caught.value.retry_after_s == (7 if expected is errors.RateLimited else None)


@ALL
@BOTH
async def test_a_wrong_key_is_refused(gateway: str, aimock: str, transport: Transport, name: str, stream: bool) -> None:
    with pytest.raises(errors.AuthFailed):
        await ask_of(transport, by_gateway(gateway, aimock, name), ask("Say hello"), key="wrong", stream=stream)


@ALL
@pytest.mark.parametrize("fault", ["drop", "malformed", "disconnect"])
async def test_chaos_behind_the_gateway_is_never_an_answer(
    gateway: str, aimock: str, transport: Transport, name: str, fault: str
) -> None:
    target = by_gateway(gateway, aimock, name, **{f"x-aimock-chaos-{fault}": "1"})

    with pytest.raises((errors.ServerFailed, errors.InvalidAnswer)) as caught:
        await ask_of(transport, target, ask("Say hello"), key=AIMOCK_KEY)

    assert caught.value.falls_back == "next"


@ALL
async def test_a_stream_that_breaks_off_behind_the_gateway_is_broken(
    gateway: str, aimock: str, transport: Transport, name: str
) -> None:
    target = by_gateway(gateway, aimock, name)

    with pytest.raises(errors.StreamBroken) as caught:
        await ask_of(transport, target, ask("Stop halfway"), key=AIMOCK_KEY, stream=True)

    assert caught.value.partial_text
