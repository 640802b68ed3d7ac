"""Portkey as its documentation describes it, above all what the open-source gateway does not have: slugs, virtual keys,
and the hosted gateway's own statuses. What the open-source one does, tests/integration asks the real one.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clocks import FakeClock
from formats import ask, deployment, sent
from orchestra_router import errors
from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import InvalidRequest, ProviderError
from orchestra_router.providers import registry
from orchestra_router.providers.portkey import GUARDRAIL_NOTE, KEY_ENV, holds_key, through, wrap
from orchestra_router.simulation.http import Exchange, HttpRequest, HttpServer
from orchestra_router.transport import StreamTimeouts, Transport
from orchestra_router.types import Answer, CompletionRequest, Scope, Tool, WireRequest

PORTKEY_KEY = "pk-canary-portkey"
PROVIDER_KEY = "sk-canary-provider"
BASE_URL = "https://portkey.test/v1"
ANSWER: dict[str, Any] = {
    "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"hel"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
FAILED_CHECKS: dict[str, Any] = {"hook_results": {"before_request_hooks": [{"verdict": True}, {"verdict": False}]}}
PATIENT = StreamTimeouts(first_s=10, idle_s=10, total_s=10)

OPENAI = Provider(name="openai", base_url="https://openai.test/v1", key_env=("OPENAI_API_KEY",))
ANTHROPIC = Provider(name="anthropic", format="messages", base_url="https://anthropic.test", key_env=("A",))
GEMINI = Provider(name="gemini", format="gemini", base_url="https://gemini.test", key_env=("G",))


def routed(provider: Provider, portkey: str, *, base_url: str = BASE_URL, **row: Any) -> Deployment:
    return deployment(through(provider.model_copy(update={"portkey": portkey, **row}), base_url=base_url))


def request_to(
    target: Deployment, request: CompletionRequest | None = None, *, key: str = PORTKEY_KEY, **more: Any
) -> WireRequest:
    return registry.build_request(target, request or ask(), api_key=key, **more)[1]


# --- The hosted gateway ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Hosted:
    """Checks a request as portkey.ai/docs/api-reference/inference-api/headers says, then answers as told."""

    status: int = 200
    body: Mapping[str, Any] | bytes = field(default_factory=lambda: ANSWER)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    received: list[HttpRequest] = field(default_factory=list[HttpRequest])

    async def handle(self, request: HttpRequest, exchange: Exchange) -> None:
        self.received.append(request)
        status, body = self._refusal(request) or (self.status, self.body)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        media_type = "text/event-stream" if isinstance(body, bytes) else "application/json"
        await exchange.respond(status, {"content-type": media_type, **self.headers}, data)

    def _refusal(self, request: HttpRequest) -> tuple[int, Mapping[str, Any]] | None:
        headers = request.headers
        if headers.get("x-portkey-api-key") != PORTKEY_KEY:
            return 401, {"status": "failure", "message": "Unauthorised Request"}
        metadata = json.loads(headers.get("x-portkey-metadata", "{}"))
        if not all(isinstance(value, str) and len(value) <= 128 for value in metadata.values()):
            return 400, {"status": "failure", "message": "Invalid metadata"}
        by_model = request.method == "POST" and json.loads(request.body)["model"].startswith("@team/")
        by_slug = headers.get("x-portkey-provider") == "@team"
        by_virtual_key = headers.get("x-portkey-virtual-key") == "openai-vk-1"
        by_name = headers.get("x-portkey-provider") == "openai" and headers.get("authorization")
        if not (by_model or by_slug or by_virtual_key or by_name):
            return 400, {"status": "failure", "message": "Either x-portkey-config or x-portkey-provider is required"}
        return None


@asynccontextmanager
async def hosted(**says: Any) -> AsyncGenerator[tuple[Hosted, str, Transport]]:
    portkey = Hosted(**says)
    server = await HttpServer.start(portkey.handle)
    transport = Transport(FakeClock())
    try:
        yield portkey, f"http://127.0.0.1:{server.port}/v1", transport
    finally:
        await transport.aclose()
        await server.stop()


async def answer_of(
    portkey: str,
    *,
    key: str = PORTKEY_KEY,
    portkey_key: str = "",
    request: CompletionRequest | None = None,
    stream: bool = False,
    **says: Any,
) -> tuple[Answer, HttpRequest]:
    """What comes of asking the hosted gateway, and the request as it arrived there."""

    async def ignore(_: str) -> None: ...

    async with hosted(**says) as (gateway, base_url, transport):
        target = routed(OPENAI, portkey, base_url=base_url)
        adapter, wire = registry.build_request(
            target, request or ask(), api_key=key, portkey_key=portkey_key, stream=stream
        )
        if stream:
            answer = await transport.ask_streaming(adapter, wire, timeouts=PATIENT, on_text=ignore)
        else:
            answer = await transport.ask(adapter, wire, timeout_s=10)
    return answer, gateway.received[0]


async def test_a_slug_goes_before_the_model_and_needs_no_key_but_portkeys() -> None:
    answer, arrived = await answer_of("@team")

    assert answer.text == "hello"
    assert json.loads(arrived.body)["model"] == "@team/some-model"
    assert "x-portkey-provider" not in arrived.headers
    assert "authorization" not in arrived.headers


async def test_a_virtual_key_goes_in_its_header_and_needs_no_key_but_portkeys() -> None:
    answer, arrived = await answer_of("openai-vk-1")

    assert answer.text == "hello"
    assert json.loads(arrived.body)["model"] == "some-model"
    assert arrived.headers["x-portkey-virtual-key"] == "openai-vk-1"
    assert "authorization" not in arrived.headers


async def test_a_name_of_portkeys_goes_with_the_providers_own_key() -> None:
    answer, arrived = await answer_of("openai", key=PROVIDER_KEY, portkey_key=PORTKEY_KEY)

    assert answer.text == "hello"
    assert arrived.headers["x-portkey-provider"] == "openai"
    assert arrived.headers["authorization"] == f"Bearer {PROVIDER_KEY}"


@pytest.mark.parametrize("stream", [False, True])
async def test_without_portkeys_key_nothing_is_answered(stream: bool) -> None:
    with pytest.raises(errors.AuthFailed):
        await answer_of("openai", key=PROVIDER_KEY, stream=stream)


async def test_a_route_that_portkey_does_not_know_leads_to_the_next_deployment() -> None:
    with pytest.raises(errors.PermissionRefused) as caught:
        await answer_of("groq", key=PROVIDER_KEY, portkey_key=PORTKEY_KEY)

    assert caught.value.falls_back == "next"


async def test_nothing_happens_twice_behind_our_own_cache_and_retries() -> None:
    _, arrived = await answer_of("@team")

    assert arrived.headers["x-portkey-cache-force-refresh"] == "true"
    assert arrived.headers["x-portkey-retry-count"] == "0"


async def test_trace_and_metadata_arrive_within_portkeys_limits() -> None:
    request = ask(trace_id="trace 42/ü", metadata={"app": "docs", "long": "x" * 300}, scope=Scope(user="ada"))

    _, arrived = await answer_of("@team", request=request)

    assert arrived.headers["x-portkey-trace-id"] == "trace%2042/%C3%BC"
    assert json.loads(arrived.headers["x-portkey-metadata"]) == {"app": "docs", "long": "x" * 128, "_user": "ada"}


@given(trace_id=st.text(), key=st.text(), value=st.text(), user=st.text())
def test_any_trace_and_metadata_fit_into_headers(trace_id: str, key: str, value: str, user: str) -> None:
    request = ask(trace_id=trace_id.encode(errors="replace").decode(), metadata={key: value}, scope=Scope(user=user))

    wire = request_to(routed(OPENAI, "@team"), request)

    assert all(header.isascii() and header.isprintable() for header in wire.headers.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (408, "", errors.ServerFailed),
        (412, "", errors.OutOfMoney),
        (412, "rate_limit_exceeded", errors.OutOfMoney),
        (412, "invalid_request_error", errors.OutOfMoney),
        (429, "", errors.RateLimited),
        (446, "", errors.ContentRefused),
        (446, "permission_denied", errors.ContentRefused),
        (446, "insufficient_quota", errors.ContentRefused),
        # Everything else is the provider's, and its codes count.
        (429, "insufficient_quota", errors.OutOfMoney),
        (400, "context_length_exceeded", errors.ContextTooLong),
    ],
)
async def test_a_status_of_portkeys_own_decides_whatever_code_is_beside_it(
    stream: bool, status: int, code: str, expected: type[ProviderError]
) -> None:
    body = {"error": {"message": "Some sentence of theirs", "type": "hooks_failed", "code": code or None}}

    with pytest.raises(expected) as caught:
        await answer_of("@team", status=status, body=body, stream=stream)

    assert type(caught.value) is expected
    assert "sentence" not in str(caught.value)


async def test_portkeys_rate_limit_names_its_end() -> None:
    with pytest.raises(errors.RateLimited) as caught:
        await answer_of("@team", status=429, body={"status": "failure"}, headers={"retry-after": "4"})

    assert caught.value.retry_after_s == 4


async def test_an_answer_despite_a_failed_guardrail_carries_a_note() -> None:
    answer, _ = await answer_of("@team", status=246, body=ANSWER | FAILED_CHECKS)

    assert answer.text == "hello"
    assert answer.notes == (GUARDRAIL_NOTE,)


async def test_a_stream_despite_a_failed_guardrail_carries_a_note() -> None:
    body = b"data: " + json.dumps(FAILED_CHECKS).encode() + b"\n\n" + EVENTS

    answer, _ = await answer_of("@team", status=246, body=body, stream=True)

    assert answer.text == "hello"
    assert answer.notes == (GUARDRAIL_NOTE,)


async def test_guardrails_that_hold_leave_no_note() -> None:
    checks = {"hook_results": {"before_request_hooks": [{"verdict": True}], "after_request_hooks": []}}

    answer, _ = await answer_of("@team", body=ANSWER | checks)

    assert answer.notes == ()


@pytest.mark.parametrize("way", ["@team", "openai-vk-1"])
async def test_the_models_are_listed_by_the_same_way(way: str) -> None:
    async with hosted(body={"data": [{"id": "gpt-6-luna"}]}) as (gateway, base_url, transport):
        provider = routed(OPENAI, way, base_url=base_url).provider
        adapter = registry.adapter_for(provider, provider.format)

        response = await transport.send(adapter.build_list_request(provider, api_key=PORTKEY_KEY), timeout_s=10)

    assert [model.id for model in adapter.parse_list(response.body)] == ["gpt-6-luna"]
    assert gateway.received[0].path == "/v1/models"


# --- What the gateway does to answers and errors -------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400])
async def test_an_error_that_the_gateway_only_quotes_is_read_where_it_is_quoted(status: int) -> None:
    quoted = {"error": {"code": 400, "message": "Too long", "metadata": {"error_type": "context_length_exceeded"}}}
    body = {"error": {"message": f"Invalid response received from openrouter: {json.dumps(quoted)}", "code": None}}

    with pytest.raises(errors.ContextTooLong):
        await answer_of("@team", status=status, body=body)


async def test_an_answer_about_such_an_error_stays_an_answer() -> None:
    text = 'Invalid response received from openrouter: {"error": {"code": 402}}'
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}

    answer, _ = await answer_of("@team", body=body)

    assert answer.text == text


@pytest.mark.parametrize("reason", ["error", "OTHER", "overloaded_error", "insufficient_system_resource"])
async def test_an_answer_that_ended_in_an_error_is_none(reason: str) -> None:
    body = {"choices": [{"message": {"content": "hel"}, "finish_reason": reason}]}

    with pytest.raises(errors.ServerFailed) as caught:
        await answer_of("@team", body=body)

    assert caught.value.partial_text == "hel"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("end_turn", "stop"), ("eos", "stop")],
)
async def test_reasons_arrive_in_the_providers_words_and_are_understood(reason: str, expected: str) -> None:
    answer, arrived = await answer_of(
        "@team", body={"choices": [{"message": {"content": "hello"}, "finish_reason": reason}]}
    )

    assert arrived.headers["x-portkey-strict-open-ai-compliance"] == "false"
    assert answer.finish == expected


# --- Requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC, GEMINI], ids=lambda provider: provider.name)
@pytest.mark.parametrize("way", ["@team", "some-vk-1"])
def test_where_portkey_holds_the_key_only_portkeys_is_sent(provider: Provider, way: str) -> None:
    target = routed(provider, way)

    wire = request_to(target)

    assert target.provider.key_env == (KEY_ENV,)
    assert {name for name, value in wire.headers.items() if PORTKEY_KEY in value} == {"x-portkey-api-key"}


@pytest.mark.parametrize(
    ("provider", "way"), [(OPENAI, "openai"), (ANTHROPIC, "anthropic"), (GEMINI, "google")], ids=["o", "a", "g"]
)
def test_where_portkey_forwards_the_key_it_goes_as_a_bearer_token_in_every_format(provider: Provider, way: str) -> None:
    target = routed(provider, way)

    wire = request_to(target, key=PROVIDER_KEY, portkey_key=PORTKEY_KEY)

    assert target.provider.key_env == provider.key_env
    assert wire.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert wire.headers["x-portkey-api-key"] == PORTKEY_KEY
    assert not wire.headers.keys() & {"x-api-key", "x-goog-api-key"}


def test_no_key_shows_in_a_request_or_a_row() -> None:
    target = routed(OPENAI, "vk-canary")

    wire = request_to(target, key=PROVIDER_KEY, portkey_key=PORTKEY_KEY)

    assert "canary" not in f"{wire!r} {wire.url} {wire.body!r} {target!r}"


def test_messages_keep_their_format_and_their_version() -> None:
    wire = request_to(routed(ANTHROPIC, "@team"))

    assert wire.url == "https://portkey.test/v1/messages"
    assert wire.headers["anthropic-version"]
    assert sent(wire)["model"] == "@team/some-model"


def test_gemini_is_asked_in_chat_completions() -> None:
    wire = request_to(routed(GEMINI, "@team"))

    assert wire.url == "https://portkey.test/v1/chat/completions"
    assert sent(wire)["messages"] == [{"role": "user", "content": "Hello"}]


def test_responses_go_to_responses() -> None:
    provider = OPENAI.model_copy(update={"responses": True, "search_style": "responses"})

    wire = request_to(routed(provider, "@team"), ask(web_search=True))

    assert wire.url == "https://portkey.test/v1/responses"


@pytest.mark.parametrize(
    ("way", "url", "host"),
    [
        ("perplexity-ai", "https://portkey.test/v1/agent", "https://api.perplexity.ai/v1"),
        ("@team", "https://portkey.test/v1/responses", None),
    ],
)
def test_perplexitys_agent_is_reached_by_its_own_path(way: str, url: str, host: str | None) -> None:
    perplexity = Provider(
        name="perplexity", format="responses", search_style="perplexity", base_url="https://perplexity.test/v1"
    )

    wire = request_to(routed(perplexity, way))

    assert wire.url == url
    assert wire.headers.get("x-portkey-custom-host") == host


def test_the_rows_own_headers_are_forwarded_unless_they_are_for_portkey() -> None:
    target = routed(OPENAI, "@team", headers={"X-Title": "Orchestra", "x-portkey-config": "pc-1"})

    wire = request_to(target)

    assert wire.headers["x-portkey-forward-headers"] == "X-Title"
    assert wire.headers["x-portkey-config"] == "pc-1"


def test_a_host_of_ones_own_is_named() -> None:
    wire = request_to(routed(OPENAI, "openai", portkey_host="https://models.example.com/v1"), key=PROVIDER_KEY)

    assert wire.headers["x-portkey-custom-host"] == "https://models.example.com/v1"


def test_what_was_noted_before_stays_noted() -> None:
    noted = WireRequest(BASE_URL, {}, b'{"model":"m"}', notes=("stop was left out",))

    wire = wrap(noted, routed(OPENAI, "openai").provider, ask(), portkey_key="")

    assert wire.notes == ("stop was left out",)


# --- Rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "portkeys"), [("xai", "x-ai"), ("together", "together-ai"), ("gemini", "google"), ("openai", "openai")]
)
def test_our_own_name_of_a_provider_means_portkeys(name: str, portkeys: str) -> None:
    row = routed(OPENAI.model_copy(update={"name": name}), name).provider

    assert row.portkey == portkeys
    assert not holds_key(row)


@pytest.mark.parametrize("way", ["own name", "@team", "some-vk-1"])
@pytest.mark.parametrize("name", ["deepseek", "gemini"])
def test_tools_that_would_be_lost_are_refused_whichever_way_leads_there(name: str, way: str) -> None:
    target = routed(OPENAI.model_copy(update={"name": name}), name if way == "own name" else way)

    with pytest.raises(InvalidRequest, match=r"^tools:"):
        request_to(target, ask(tools=(Tool("look_up", "", {"type": "object"}),)))


@pytest.mark.parametrize(
    ("name", "style", "kept"),
    [
        ("openai", "reasoning_effort", True),
        ("xai", "reasoning_effort", True),
        ("openrouter", "reasoning", True),
        ("deepseek", "thinking", False),
        ("together", "reasoning_effort", False),
    ],
)
def test_an_effort_that_would_be_lost_is_noted(name: str, style: str, kept: bool) -> None:
    provider = OPENAI.model_copy(update={"name": name, "effort_style": style})
    target = deployment(through(provider.model_copy(update={"portkey": name}), base_url=BASE_URL), efforts=("low",))

    wire = request_to(target, ask(effort="low"))

    assert ('"low"' in str(wire.body)) is kept
    assert any(note.startswith("effort was left out") for note in wire.notes) is not kept


def test_under_strict_params_a_lost_parameter_is_refused() -> None:
    target = routed(OPENAI.model_copy(update={"name": "openrouter"}), "openrouter")

    with pytest.raises(InvalidRequest, match=r"^stop:"):
        request_to(target, ask(stop=("END",), strict_params=True))


def test_a_stream_that_would_be_lost_is_asked_for_in_one_piece() -> None:
    spoiled = routed(OPENAI.model_copy(update={"name": "deepseek"}), "@team")

    wire = request_to(spoiled, stream=True)

    assert "stream" not in sent(wire)


def test_citations_that_may_be_lost_are_noted() -> None:
    provider = OPENAI.model_copy(update={"name": "openrouter", "search_style": "openrouter"})

    wire = request_to(routed(provider, "@team"), ask(web_search=True))

    assert any(note.startswith("citations may be missing") for note in wire.notes)
