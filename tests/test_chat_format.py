import json
from typing import Any

import pytest
from hypothesis import given

from mutated import WIRE, bodies, check_answer, check_error, events_of, read_stream, streams
from orchestra_router import errors
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.errors import InvalidAnswer, InvalidRequest, ProviderError, StreamBroken
from orchestra_router.providers import chat
from orchestra_router.providers.base import Adapter
from orchestra_router.types import (
    Answer,
    Citation,
    CompletionRequest,
    Image,
    ListedModel,
    Message,
    StreamEvent,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)

ADAPTER: Adapter = chat
BODIES = WIRE / "chat"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
WEATHER = Tool("get_weather", "The weather now.", {"type": "object", "properties": {"city": {"type": "string"}}})


def deployment(model: Model | None = None, /, **provider: object) -> Deployment:
    row = Provider.model_validate({"name": "acme", "base_url": "https://api.acme.example/v1"} | provider)
    return Deployment(row, model or Model(name="acme-1", images=True), Offer(id="acme-1-2026"))


def user(*parts: Text | Image | ToolResult) -> Message:
    return Message("user", parts)


def ask(*messages: Message, **more: object) -> CompletionRequest:
    values = {"messages": messages or (user(Text("Hello")),)} | more
    return CompletionRequest(**values)  # pyright: ignore[reportArgumentType] - the tests set one field each


def sent(to: Deployment, request: CompletionRequest, *, stream: bool = False) -> dict[str, Any]:
    return json.loads(ADAPTER.build_request(to, request, api_key="k", stream=stream).body or b"")


def answer(name: str) -> Answer:
    return ADAPTER.parse_response((BODIES / name).read_bytes())


def reply(message: dict[str, Any] | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."} | (message or {}), "finish_reason": "stop"}
    return json.dumps({"id": "x", "model": "m", "choices": [choice | more]}).encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> StreamEvent:
    return StreamEvent("", json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more))


DONE = StreamEvent("", "[DONE]")


# --- Asking ------------------------------------------------------------------------------------------------


def test_a_plain_question_is_sent_with_nothing_more_than_it_needs() -> None:
    wire = ADAPTER.build_request(deployment(), ask(max_tokens=100), api_key="secret")

    assert wire.url == "https://api.acme.example/v1/chat/completions"
    assert wire.headers == {"authorization": "Bearer secret", "content-type": "application/json"}
    assert json.loads(wire.body or b"") == {
        "model": "acme-1-2026",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 100,
    }


def test_a_key_is_in_the_headers_only_and_not_in_the_repr() -> None:
    wire = ADAPTER.build_request(deployment(), ask(), api_key="secret")

    assert "secret" not in repr(wire)
    assert b"secret" not in (wire.body or b"")


def test_a_server_without_a_key_gets_no_authorization() -> None:
    wire = ADAPTER.build_request(deployment(headers={"x-title": "Orchestra"}), ask(), api_key="")

    assert wire.headers == {"x-title": "Orchestra", "content-type": "application/json"}


def test_a_path_of_the_providers_own_replaces_the_usual_one() -> None:
    wire = ADAPTER.build_request(
        deployment(base_url="https://api.acme.example/", path="/openai/chat"), ask(), api_key="k"
    )

    assert wire.url == "https://api.acme.example/openai/chat"


def test_the_longest_answer_goes_into_the_field_that_the_provider_reads() -> None:
    body = sent(deployment(max_tokens_field="max_completion_tokens"), ask(max_tokens=77))

    assert body["max_completion_tokens"] == 77
    assert "max_tokens" not in body


def test_what_was_left_out_is_noted() -> None:
    wire = ADAPTER.build_request(deployment(Model(name="m", sampling="no")), ask(temperature=0.1), api_key="k")

    assert wire.notes == ("temperature was left out: m does not take it",)


def test_sampling_and_stop_are_sent_when_set() -> None:
    body = sent(deployment(), ask(temperature=0.0, top_p=0.9, stop=("END",)))

    assert (body["temperature"], body["top_p"], body["stop"]) == (0.0, 0.9, ["END"])


@pytest.mark.parametrize(
    ("style", "effort", "fields"),
    [
        ("reasoning_effort", "high", {"reasoning_effort": "high"}),
        ("reasoning_effort", "none", {"reasoning_effort": "none"}),
        ("reasoning", "high", {"reasoning": {"effort": "high"}}),
        ("reasoning", "none", {"reasoning": {"effort": "none"}}),
        ("thinking", "high", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("thinking", "none", {"thinking": {"type": "disabled"}}),
        ("thinking", None, {}),
    ],
)
def test_each_style_of_reasoning_effort(style: str, effort: str | None, fields: dict[str, Any]) -> None:
    thinker = Model(name="m", efforts=("none", "high"), thinks="default")

    body = sent(deployment(thinker, effort_style=style), ask(effort=effort))

    assert {name: body[name] for name in body if name in {"reasoning", "reasoning_effort", "thinking"}} == fields


def test_system_messages_come_first_as_one() -> None:
    system = Message("system", (Text("Be brief."),)), Message("system", (Text("Be kind."),))

    body = sent(deployment(), ask(system[0], user(Text("Hello")), system[1]))

    assert body["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind."},
        {"role": "user", "content": "Hello"},
    ]


def test_images_are_sent_by_address_or_as_data() -> None:
    picture = user(
        Text("Compare:"),
        Image(url="https://example.org/cat.png"),
        Image(data="aGk=", media_type="image/png"),
    )

    body = sent(deployment(), ask(picture))

    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Compare:"},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ]


def test_a_tool_conversation_is_sent_turn_by_turn() -> None:
    calls = Message("assistant", (ToolCall("c1", "get_weather", '{"city":"Oslo"}'), ToolCall("c2", "now", "{}")))
    results = Message(
        "tool",
        (ToolResult("c1", "get_weather", "rain"), ToolResult("c2", "now", "no clock", is_error=True)),
    )

    body = sent(deployment(), ask(user(Text("Weather?")), calls, results, tools=(WEATHER,)))

    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}},
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no clock"},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "The weather now.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
    ]
    assert "tool_choice" not in body


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("none", "none"),
        ("required", "required"),
        ("get_weather", {"type": "function", "function": {"name": "get_weather"}}),
    ],
)
def test_a_tool_choice_is_said_when_it_is_not_the_default(choice: str, said: object) -> None:
    assert sent(deployment(), ask(tools=(WEATHER,), tool_choice=choice))["tool_choice"] == said


@pytest.mark.parametrize(
    "message",
    [
        Message("assistant", (Text("Look:"), Image(url="https://example.org/cat.png"))),
        Message("user", (Text("I call"), ToolCall("c1", "now", "{}"))),
    ],
)
def test_a_turn_that_the_format_cannot_say_is_refused(message: Message) -> None:
    with pytest.raises(InvalidRequest, match="messages: "):
        sent(deployment(), ask(message))


def test_a_schema_is_held_to_strictly_where_it_is_closed() -> None:
    body = sent(deployment(), ask(response_schema=SCHEMA))

    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False},
        {"type": "object", "properties": {}, "required": []},
        {"type": "array", "items": SCHEMA},
        SCHEMA | {"properties": {"n": {"type": "object"}}},
        SCHEMA | {"properties": {"n": {"type": "array", "items": {"type": "object"}}}},
        SCHEMA | {"properties": {"n": {"anyOf": [{"type": "null"}, {"type": "object"}]}}},
        SCHEMA | {"properties": {"n": {"not": {"type": "null"}}}},
        SCHEMA | {"$defs": {"open": {"type": "object"}}},
    ],
)
def test_a_schema_that_is_not_closed_all_through_is_not_called_strict(schema: dict[str, Any]) -> None:
    body = sent(deployment(), ask(response_schema=schema))

    assert body["response_format"]["json_schema"]["strict"] is False


def test_a_provider_that_promises_only_json_is_told_the_schema_in_words() -> None:
    body = sent(
        deployment(schema_style="json_object"),
        ask(Message("system", (Text("Be brief."),)), user(Text("Count.")), response_schema=SCHEMA),
    )

    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["content"].startswith("Be brief.\n\nAnswer with one JSON object")
    assert json.dumps(SCHEMA) in body["messages"][0]["content"]


def test_openrouter_searches_with_its_own_tool() -> None:
    body = sent(deployment(search_style="openrouter"), ask(web_search=True))

    assert body["tools"] == [{"type": "openrouter:web_search"}]


def test_a_search_that_only_responses_can_do_is_refused_here() -> None:
    searcher = deployment(Model(name="m", web_search=True), search_style="responses")

    with pytest.raises(InvalidRequest, match="web_search"):
        sent(searcher, ask(web_search=True))


@pytest.mark.parametrize(("stream_usage", "options"), [(True, {"include_usage": True}), (False, None)])
def test_usage_is_asked_for_in_streams_where_it_has_to_be(*, stream_usage: bool, options: object) -> None:
    body = sent(deployment(stream_usage=stream_usage), ask(), stream=True)

    assert body["stream"] is True
    assert body.get("stream_options") == options


# --- Thoughts that go back ---------------------------------------------------------------------------------

DEEPSEEK = Model(name="deepseek-flash", efforts=("none", "high"), thinks="default")


def conversation(state: str, **more: object) -> CompletionRequest:
    earlier = Message("assistant", (Text("9.8 is greater."),), provider_state=state)
    return ask(user(Text("9.8 or 9.11?")), earlier, user(Text("Sure?")), **more)


def test_a_thinking_deepseek_sees_its_own_thoughts_again() -> None:
    state = answer("deepseek_thinking.json").provider_state

    body = sent(deployment(DEEPSEEK, returns_reasoning=True, effort_style="thinking"), conversation(state))

    assert body["messages"][1]["reasoning_content"] == "Compare 9.8 and 9.11: 0.80 > 0.11."


@pytest.mark.parametrize("state", ["", '{"format":"messages","reasoning_content":"not ours"}', "not JSON", "[]"])
def test_a_thinking_deepseek_gets_a_blank_thought_for_a_turn_that_somebody_else_wrote(state: str) -> None:
    body = sent(deployment(DEEPSEEK, returns_reasoning=True, effort_style="thinking"), conversation(state))

    assert body["messages"][1]["reasoning_content"] == " "


@pytest.mark.parametrize(
    ("row", "asked"),
    [({"returns_reasoning": True, "effort_style": "thinking"}, {"effort": "none"}), ({}, {})],
)
def test_no_thoughts_go_to_a_provider_that_does_not_want_them(row: dict[str, Any], asked: dict[str, Any]) -> None:
    state = answer("deepseek_thinking.json").provider_state

    body = sent(deployment(DEEPSEEK, **row), conversation(state, **asked))

    assert body["messages"][1] == {"role": "assistant", "content": "9.8 is greater."}


def test_openrouters_reasoning_details_go_back_unchanged_and_to_nobody_else() -> None:
    state = answer("openrouter_text.json").provider_state

    to_openrouter = sent(deployment(effort_style="reasoning"), conversation(state))
    to_another = sent(deployment(), conversation(state))

    assert to_openrouter["messages"][1]["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "2 + 2 = 4.",
            "signature": "EpcBCkgIBxAB",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
    ]
    assert "reasoning_details" not in to_another["messages"][1]


# --- Answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "finish"),
    [
        ("openai_text.json", "Paris.", "stop"),
        ("openai_tools.json", "", "tool_calls"),
        ("openai_refusal.json", "I'm sorry, I can't help with that.", "content_filter"),
        ("openai_length.json", "", "length"),
        ("openrouter_text.json", "Four.", "stop"),
        ("deepseek_thinking.json", "9.8 is greater.", "stop"),
        ("together_text.json", "Bonjour.", "stop"),
        ("xai_text.json", "It is blue.", "stop"),
        ("xai_tools.json", "", "tool_calls"),
        ("ollama_tools.json", "", "tool_calls"),
        ("vllm_parts.json", "Hello there.", "stop"),
    ],
)
def test_text_and_finish_of_each_vendors_answer(name: str, text: str, finish: str) -> None:
    read = answer(name)

    assert (read.text, read.finish) == (text, finish)


def test_the_model_and_the_id_that_the_provider_names_are_kept() -> None:
    read = answer("openai_text.json")

    assert (read.model, read.provider_request_id) == ("gpt-6-luna-2026-09-02", "chatcmpl-CfT2m8QeZ1")


def test_tool_calls_are_read_in_order() -> None:
    assert answer("openai_tools.json").tool_calls == (
        ToolCall("call_9fUq", "get_weather", '{"city":"Paris"}'),
        ToolCall("call_Xk2b", "get_weather", '{"city":"Oslo"}'),
    )


@pytest.mark.parametrize(
    ("call", "read"),
    [
        ({"function": {"name": "now", "arguments": {"zone": "UTC"}}}, ToolCall("call_0", "now", '{"zone":"UTC"}')),
        ({"id": "", "function": {"name": "now", "arguments": ""}}, ToolCall("call_0", "now", "{}")),
        ({"id": "c", "function": {"name": "now"}}, ToolCall("c", "now", "{}")),
    ],
)
def test_sloppy_tool_calls_are_read_all_the_same(call: dict[str, Any], read: ToolCall) -> None:
    assert ADAPTER.parse_response(reply({"content": None, "tool_calls": [call]})).tool_calls == (read,)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("error", "error"),
        ("insufficient_system_resource", "error"),
        ("something_new", "other"),
        ("tool_calls", "other"),
        ("", "other"),
        (None, "other"),
        (7, "other"),
    ],
)
def test_every_finish_reason_maps_to_one_of_ours(reason: object, finish: str) -> None:
    assert ADAPTER.parse_response(reply(finish_reason=reason)).finish == finish


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        (
            "openai_text.json",
            Usage(input_fresh=240, cache_read=1024, cache_write=256, output=20, reasoning=192, reported_total=1732),
        ),
        (
            "openrouter_text.json",
            Usage(input_fresh=64, cache_read=512, cache_write=64, output=8, reasoning=40, reported_total=688),
        ),
        ("deepseek_thinking.json", Usage(input_fresh=64, cache_read=256, output=12, reasoning=78, reported_total=410)),
        ("deepseek_cache_fields.json", Usage(input_fresh=128, cache_read=192, output=3, reported_total=323)),
        ("together_text.json", Usage(input_fresh=70, output=30, reported_total=100)),
        # xAI counts reasoning beside the completion ...
        ("xai_text.json", Usage(input_fresh=50, cache_read=150, output=10, reasoning=300, reported_total=510)),
        # ... and Portkey in front of Anthropic counts cached tokens beside the prompt.
        ("portkey_anthropic.json", Usage(input_fresh=30, cache_read=800, output=5, reported_total=835)),
        ("vllm_parts.json", Usage(input_fresh=12, output=3, reported_total=15)),
    ],
)
def test_usage_is_read_into_buckets_that_add_up(name: str, usage: Usage) -> None:
    read = answer(name).usage

    assert read == usage
    assert usage.mismatch == 0


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"total_tokens": 9},
        {"prompt_tokens": 9},
        {"prompt_tokens": -1, "completion_tokens": 4},
        {"prompt_tokens": "9", "completion_tokens": 4},
        {"prompt_tokens": True, "completion_tokens": 4},
        {"prompt_tokens": 10**13, "completion_tokens": 4},
        [],
    ],
)
def test_usage_that_cannot_be_right_is_unknown_and_never_zero(usage: object) -> None:
    body = json.loads(reply()) | {"usage": usage}

    assert ADAPTER.parse_response(json.dumps(body).encode()).usage is None


def test_reasoning_that_exceeds_the_completion_was_counted_beside_it() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 50}}
    body = json.loads(reply()) | {"usage": usage}

    assert ADAPTER.parse_response(json.dumps(body).encode()).usage == Usage(input_fresh=5, output=2, reasoning=50)


@pytest.mark.parametrize(
    ("name", "cost_nusd"),
    [
        ("openrouter_text.json", 930_000),
        ("openrouter_byok.json", 157_500),
        ("xai_text.json", 867_501),  # 8,675,005 ticks of a ten-billionth of a dollar, rounded half up
        ("openai_text.json", None),
    ],
)
def test_the_cost_that_the_provider_names_is_read(name: str, cost_nusd: int | None) -> None:
    assert answer(name).cost_nusd == cost_nusd


@pytest.mark.parametrize(
    "usage",
    [
        {"cost": -1},
        {"cost": "0.1"},
        {"cost": True},
        {"cost": float("nan")},
        {"cost": float("inf")},
        {"cost": 10**9},
        {"cost": 0.1, "is_byok": True},
        {"cost_in_usd_ticks": -5},
    ],
)
def test_a_cost_that_cannot_be_right_is_unknown(usage: dict[str, Any]) -> None:
    body = json.loads(reply()) | {"usage": usage}

    assert ADAPTER.parse_response(json.dumps(body).encode()).cost_nusd is None


def test_a_free_answer_costs_nothing_and_is_not_unknown() -> None:
    body = json.loads(reply()) | {"usage": {"cost": 0}}

    assert ADAPTER.parse_response(json.dumps(body).encode()).cost_nusd == 0


def test_citations_are_read_once_each() -> None:
    assert answer("openrouter_search.json").citations == (
        Citation("https://www.yr.no/en/oslo", "Oslo - Yr"),
        Citation("https://example.org/oslo", "Weather"),
    )
    assert answer("xai_text.json").citations == (Citation("https://en.wikipedia.org/wiki/Rayleigh_scattering"),)


def test_a_citation_that_is_no_web_page_is_dropped() -> None:
    body = json.loads(reply()) | {"citations": ["javascript:alert(1)", "data:text/html,x", 7, {"title": "no address"}]}

    assert ADAPTER.parse_response(json.dumps(body).encode()).citations == ()


def test_blank_lines_before_the_answer_are_skipped() -> None:
    body = b"\n\n \r\n" + (BODIES / "deepseek_thinking.json").read_bytes()

    assert ADAPTER.parse_response(body).text == "9.8 is greater."


def test_half_a_character_does_not_break_an_answer() -> None:
    assert ADAPTER.parse_response(reply({"content": "Hi \ud83d"})).text == "Hi ?"


# --- What is not an answer ---------------------------------------------------------------------------------


def test_an_error_with_status_200_is_classified_by_its_code() -> None:
    with pytest.raises(errors.ServerFailed) as caught:
        answer("openrouter_error_200.json")

    assert (caught.value.status, caught.value.provider_code) == (502, "provider_unavailable")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "message": "slow"}, errors.RateLimited),
        ({"code": 402, "message": "no"}, errors.OutOfMoney),
        ({"code": "model_not_found"}, errors.ModelGone),
        ({"type": "server_error"}, errors.ServerFailed),
        ({"type": "invalid_request_error"}, errors.BadRequest),
        ({"code": None, "message": "no"}, InvalidAnswer),
        ({"code": 9}, InvalidAnswer),
        ("it did not work", InvalidAnswer),
    ],
)
def test_an_error_inside_a_success_is_that_error(error: object, kind: type[ProviderError]) -> None:
    with pytest.raises(ProviderError) as caught:
        ADAPTER.parse_response(json.dumps({"error": error}).encode())

    assert type(caught.value) is kind


def test_an_error_in_the_choice_keeps_the_usage_that_was_billed() -> None:
    body = {
        "choices": [{"error": {"code": 502}, "message": {"content": "Once"}, "finish_reason": "error"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 2, "cost": 0.000004},
    }

    with pytest.raises(errors.ServerFailed) as caught:
        ADAPTER.parse_response(json.dumps(body).encode())

    assert (caught.value.usage, caught.value.cost_nusd) == (Usage(input_fresh=20, output=2), 4_000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<html>busy</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [null]}',
        b'{"choices": [{}]}',
        b"[" * 100_000,
        b'{"choices": [{"message": {"content": "cut o',
        b"\xff\xfe\xff",
        reply({"content": ""}),
        reply({"content": " \n"}),
        reply({"content": None}),
        reply({"content": None}, finish_reason="error"),
    ],
)
def test_a_body_that_says_nothing_is_not_an_answer(body: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        ADAPTER.parse_response(body)


def test_an_empty_answer_keeps_the_usage_that_was_billed() -> None:
    body = json.loads(reply({"content": ""})) | {"usage": {"prompt_tokens": 9, "completion_tokens": 1}}

    with pytest.raises(InvalidAnswer) as caught:
        ADAPTER.parse_response(json.dumps(body).encode())

    assert caught.value.usage == Usage(input_fresh=9, output=1)


# --- Streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("openai_text.sse", "The capital is Paris."),
        ("openrouter_text.sse", "Four."),
        ("deepseek_thinking.sse", "9.8 is greater."),
    ],
)
def test_what_was_streamed_is_the_answer(name: str, text: str) -> None:
    seen, read = read_stream(ADAPTER, events_of(BODIES / name))

    assert (seen, read.text, read.finish) == (text, text, "stop")


def test_a_streamed_answer_has_its_usage_cost_and_model() -> None:
    _, openai = read_stream(ADAPTER, events_of(BODIES / "openai_text.sse"))
    _, openrouter = read_stream(ADAPTER, events_of(BODIES / "openrouter_text.sse"))

    assert openai.usage == Usage(input_fresh=496, cache_read=1024, output=20, reasoning=192, reported_total=1732)
    assert (openai.model, openai.provider_request_id) == ("gpt-6-luna-2026-09-02", "chatcmpl-CfT6r")
    assert openrouter.cost_nusd == 9_000


def test_streamed_tool_calls_are_put_together_by_their_index() -> None:
    seen, read = read_stream(ADAPTER, events_of(BODIES / "openai_tools.sse"))

    assert (seen, read.finish) == ("", "tool_calls")
    assert read.tool_calls == answer("openai_tools.json").tool_calls


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_tool_calls_that_share_an_index_are_told_apart_by_their_id(index: dict[str, int]) -> None:
    calls = [{"id": name, "function": {"name": name, "arguments": "{}"}} | index for name in ("first", "second")]

    _, read = read_stream(ADAPTER, [*(chunk({"tool_calls": [call]}) for call in calls), DONE])

    assert [call.name for call in read.tool_calls] == ["first", "second"]


def test_streamed_thoughts_are_kept_whole_for_the_next_turn() -> None:
    _, deepseek = read_stream(ADAPTER, events_of(BODIES / "deepseek_thinking.sse"))
    _, openrouter = read_stream(ADAPTER, events_of(BODIES / "openrouter_text.sse"))

    assert json.loads(deepseek.provider_state)["reasoning_content"] == "Compare them."
    assert json.loads(openrouter.provider_state)["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Two and two.", "signature": "c2ln", "format": "unknown", "index": 0}
    ]


def test_reasoning_details_of_different_kinds_stay_apart() -> None:
    kinds = [
        {"type": "reasoning.text", "text": "a", "index": 0},
        {"type": "reasoning.encrypted", "data": "b", "index": 1},
    ]

    _, read = read_stream(ADAPTER, [chunk({"content": "Hi.", "reasoning_details": [kind]}) for kind in kinds] + [DONE])

    assert json.loads(read.provider_state)["reasoning_details"] == kinds


def test_a_streamed_refusal_is_seen_and_read_as_one() -> None:
    events = [chunk({"refusal": "I can't"}), chunk({"refusal": " do that."}), chunk({}, "stop"), DONE]

    seen, read = read_stream(ADAPTER, events)

    assert (seen, read.text, read.finish) == ("I can't do that.", "I can't do that.", "content_filter")


def test_a_finish_reason_ends_an_answer_without_a_terminator() -> None:
    _, read = read_stream(ADAPTER, [chunk({"content": "Hi."}), chunk({}, "stop")])

    assert (read.text, read.finish) == ("Hi.", "stop")


def test_usage_that_is_cut_off_does_not_cost_the_answer() -> None:
    _, read = read_stream(ADAPTER, [chunk({"content": "Hi."}), chunk({}, "stop"), StreamEvent("", '{"usage": {"pro')])

    assert (read.text, read.usage) == ("Hi.", None)


def test_nothing_after_the_terminator_counts() -> None:
    reader = ADAPTER.stream_reader()

    seen = [reader.feed(event) for event in (chunk({"content": "Hi."}), DONE, chunk({"content": "More."}))]

    assert reader.done
    assert seen == ["Hi.", "", ""]


def test_a_stream_that_breaks_off_keeps_what_had_come() -> None:
    reader = ADAPTER.stream_reader()
    reader.feed(chunk({"content": "Once upon"}, usage={"prompt_tokens": 20, "completion_tokens": 2}))

    with pytest.raises(StreamBroken) as caught:
        reader.finish()

    assert caught.value.partial_text == "Once upon"


def test_usage_from_before_the_end_of_a_broken_stream_is_not_its_bill() -> None:
    early = {"prompt_tokens": 20, "completion_tokens": 2, "cost": 0.000004}
    broken, failed = ADAPTER.stream_reader(), ADAPTER.stream_reader()
    for reader in (broken, failed):
        reader.feed(chunk({"content": "Once upon"}, usage=early))

    with pytest.raises(StreamBroken) as cut:
        broken.finish()
    with pytest.raises(errors.ServerFailed) as error:
        failed.feed(StreamEvent("", '{"error": {"code": "server_error"}}'))

    assert [(caught.value.usage, caught.value.cost_nusd) for caught in (cut, error)] == [(None, None)] * 2


def test_usage_that_more_output_came_after_is_not_that_of_the_answer() -> None:
    early = {"prompt_tokens": 20, "completion_tokens": 2}

    _, read = read_stream(ADAPTER, [chunk({"content": "Once"}, usage=early), chunk({"content": " upon"}, "stop")])

    assert (read.text, read.usage) == ("Once upon", None)


@pytest.mark.parametrize(
    ("message", "usage"),
    [
        ({}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
        ({}, {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}),
        ({}, {"prompt_tokens": 0, "completion_tokens": 9, "total_tokens": 9}),
        ({"content": "", "reasoning_content": "Hm."}, {"prompt_tokens": 9, "completion_tokens": 0}),
    ],
)
def test_zeros_beside_what_was_written_are_no_counts(message: dict[str, Any], usage: dict[str, int]) -> None:
    body = json.loads(reply(message)) | {"usage": usage}
    body["choices"][0]["finish_reason"] = "length"

    assert ADAPTER.parse_response(json.dumps(body).encode()).usage is None


def test_a_stream_that_ends_before_any_output_is_no_answer() -> None:
    reader = ADAPTER.stream_reader()
    reader.feed(chunk({"role": "assistant", "content": ""}))

    with pytest.raises(InvalidAnswer):
        reader.finish()


@pytest.mark.parametrize(("before", "kind"), [([], InvalidAnswer), ([chunk({"content": "Once"})], StreamBroken)])
def test_a_chunk_that_is_cut_off_breaks_the_stream(before: list[StreamEvent], kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        read_stream(ADAPTER, [*before, StreamEvent("", '{"choices": [{"del')])


@pytest.mark.parametrize(
    ("name", "kind", "partial"),
    [
        ("openrouter_error.sse", errors.ServerFailed, "Once upon"),
        ("openai_error.sse", errors.ServerFailed, "The cap"),
    ],
)
def test_an_error_in_a_stream_is_that_error_with_what_had_come(
    name: str, kind: type[ProviderError], partial: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        read_stream(ADAPTER, events_of(BODIES / name))

    assert type(caught.value) is kind
    assert caught.value.partial_text == partial
    assert caught.value.status is not None


def test_an_error_in_a_stream_keeps_the_usage_that_was_billed() -> None:
    with pytest.raises(ProviderError) as caught:
        read_stream(ADAPTER, events_of(BODIES / "openrouter_error.sse"))

    assert caught.value.usage == Usage(input_fresh=20, output=2, reported_total=22)
    assert (caught.value.status, caught.value.cost_nusd) == (529, 4_000)


def test_an_event_named_error_is_an_error_whatever_its_shape() -> None:
    with pytest.raises(errors.RateLimited):
        read_stream(ADAPTER, [StreamEvent("error", '{"code": "rate_limit_exceeded", "message": "slow down"}')])


# --- Lists -------------------------------------------------------------------------------------------------


def test_the_list_is_asked_for_with_the_key_and_without_a_body() -> None:
    wire = ADAPTER.build_list_request(deployment(models_path="/models?x=1").provider, api_key="secret")

    assert (wire.url, wire.body) == ("https://api.acme.example/v1/models?x=1", None)
    assert wire.headers == {"authorization": "Bearer secret"}


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        (
            "openai_models.json",
            (ListedModel("gpt-6.2-sol"), ListedModel("gpt-5-mini", retires="2026-12-11")),
        ),
        (
            "openrouter_models.json",
            (
                ListedModel("anthropic/claude-opus-5.5", context_tokens=1_000_000),
                ListedModel("openai/o3", retires="2026-12-11", context_tokens=200_000),
            ),
        ),
        (
            "together_models.json",
            (
                ListedModel("openai/gpt-oss-120b", context_tokens=131_072),
                ListedModel("zai-org/GLM-5.3", context_tokens=1_048_575),
            ),
        ),
        ("vllm_models.json", (ListedModel("meta-llama/Llama-5-8B", context_tokens=8_192),)),
    ],
)
def test_each_vendors_list_is_read(name: str, listed: tuple[ListedModel, ...]) -> None:
    assert ADAPTER.parse_list((BODIES / name).read_bytes()) == listed


@pytest.mark.parametrize(
    ("date", "day"),
    [("2026-12-11T00:00:00Z", "2026-12-11"), (1_796_947_200, "2026-12-11"), ("soon", ""), (10**12, ""), ([], "")],
)
def test_a_day_of_retirement_is_read_in_every_form(date: object, day: str) -> None:
    body = json.dumps({"data": [{"id": "m", "shutdown_date": date}]}).encode()

    assert ADAPTER.parse_list(body) == (ListedModel("m", retires=day),)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"data": null}', b'{"error": {"code": "invalid_api_key"}}'])
def test_what_is_not_a_list_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        ADAPTER.parse_list(body)


@pytest.mark.parametrize("folder", ["chat", "responses"])
def test_every_body_names_its_source(folder: str) -> None:
    rows = [line for line in (WIRE / "README.md").read_text().splitlines() if line.startswith(f"| {folder}/")]

    named = {name.removeprefix(f"{folder}/") for row in rows for name in row.split("|")[1].strip().split(", ")}

    assert named == {path.name for path in (WIRE / folder).iterdir()}


# --- Anything at all ---------------------------------------------------------------------------------------

REAL_BODIES = [path.read_bytes() for path in sorted(BODIES.glob("*.json"))]
REAL_STREAMS = [events_of(path) for path in sorted(BODIES.glob("*.sse"))]


@given(body=bodies(REAL_BODIES))
def test_any_body_is_an_answer_or_a_provider_error(body: bytes) -> None:
    try:
        read = ADAPTER.parse_response(body)
    except ProviderError as error:
        check_error(error)
    else:
        check_answer(read)


@given(events=streams(REAL_STREAMS))
def test_any_stream_is_an_answer_or_a_provider_error(events: list[StreamEvent]) -> None:
    try:
        seen, read = read_stream(ADAPTER, events)
    except ProviderError as error:
        check_error(error)
    else:
        check_answer(read)
        assert seen == read.text


@given(body=bodies(REAL_BODIES))
def test_any_list_is_read_or_refused(body: bytes) -> None:
    try:
        listed = ADAPTER.parse_list(body)
    except InvalidAnswer:
        return

    assert all(model.id and (model.context_tokens is None or model.context_tokens > 0) for model in listed)
