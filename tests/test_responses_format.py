import json
from typing import Any

import pytest
from hypothesis import given

from mutated import WIRE, bodies, check_answer, check_error, events_of, read_stream, streams
from orchestra_router import errors
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.errors import InvalidAnswer, InvalidRequest, ProviderError, StreamBroken
from orchestra_router.providers import responses
from orchestra_router.providers.base import Adapter
from orchestra_router.types import (
    Answer,
    Citation,
    CompletionRequest,
    Image,
    Message,
    StreamEvent,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    WireResponse,
)

ADAPTER: Adapter = responses
BODIES = WIRE / "responses"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
WEATHER = Tool("get_weather", "The weather now.", {"type": "object", "properties": {"city": {"type": "string"}}})
OPENAI = {"format": "responses", "search_style": "responses"}
PERPLEXITY = {"format": "responses", "search_style": "perplexity"}


def deployment(model: Model | None = None, /, **provider: object) -> Deployment:
    row = Provider.model_validate({"name": "acme", "base_url": "https://api.acme.example/v1"} | OPENAI | provider)
    return Deployment(row, model or Model(name="acme-1", images=True, web_search=True), Offer(id="acme-1-2026"))


def user(*parts: Text | Image | ToolResult) -> Message:
    return Message("user", parts)


def ask(*messages: Message, **more: object) -> CompletionRequest:
    values = {"messages": messages or (user(Text("Hello")),)} | more
    return CompletionRequest(**values)  # pyright: ignore[reportArgumentType] - the tests set one field each


def sent(to: Deployment, request: CompletionRequest, *, stream: bool = False) -> dict[str, Any]:
    return json.loads(ADAPTER.build_request(to, request, api_key="k", stream=stream).body or b"")


def answer(name: str) -> Answer:
    return ADAPTER.parse_response((BODIES / name).read_bytes())


def said(text: str = "Hi.", **more: Any) -> dict[str, Any]:
    message = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    return {"id": "r", "model": "m", "status": "completed", "output": [message], "error": None} | more


def parsed(reply: object) -> Answer:
    return ADAPTER.parse_response(json.dumps(reply).encode())


def event(kind: str, **data: object) -> StreamEvent:
    return StreamEvent(kind, json.dumps({"type": kind} | data))


def delta(text: str) -> StreamEvent:
    return event("response.output_text.delta", delta=text)


# --- Asking ------------------------------------------------------------------------------------------------


def test_a_plain_question_is_sent_with_nothing_more_than_it_needs() -> None:
    wire = ADAPTER.build_request(deployment(), ask(max_tokens=100), api_key="secret")

    assert wire.url == "https://api.acme.example/v1/responses"
    assert wire.headers == {"authorization": "Bearer secret", "content-type": "application/json"}
    assert json.loads(wire.body or b"") == {
        "model": "acme-1-2026",
        "input": [{"type": "message", "role": "user", "content": "Hello"}],
        "max_output_tokens": 100,
        "store": False,
    }


@pytest.mark.parametrize(
    ("row", "url"),
    [
        ({"path": "/v1/agent", "base_url": "https://api.acme.example/"}, "https://api.acme.example/v1/agent"),
        ({"path": "/chat", "format": "chat"}, "https://api.acme.example/v1/responses"),
    ],
)
def test_a_path_replaces_the_usual_one_if_it_is_the_path_of_this_format(row: dict[str, str], url: str) -> None:
    assert ADAPTER.build_request(deployment(**row), ask(), api_key="k").url == url


def test_the_system_prompt_is_sent_as_instructions() -> None:
    body = sent(deployment(), ask(Message("system", (Text("Be brief."),)), user(Text("Hello"))))

    assert body["instructions"] == "Be brief."
    assert len(body["input"]) == 1


def test_a_tool_conversation_is_sent_item_by_item() -> None:
    calls = Message("assistant", (Text("Let me see."), ToolCall("c1", "get_weather", '{"city":"Oslo"}')))
    results = Message("tool", (ToolResult("c1", "get_weather", "no signal", is_error=True),))

    body = sent(deployment(), ask(user(Text("Weather?")), calls, results, user(Text("And?")), tools=(WEATHER,)))

    assert body["input"] == [
        {"type": "message", "role": "user", "content": "Weather?"},
        {"type": "message", "role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city":"Oslo"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "Error: no signal"},
        {"type": "message", "role": "user", "content": "And?"},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "name": "get_weather",
            "description": "The weather now.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }
    ]


def test_tools_are_called_lenient_only_where_they_would_be_strict() -> None:
    body = sent(deployment(tools_are_strict=True), ask(tools=(WEATHER,)))

    assert body["tools"][0]["strict"] is False


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", None), ("none", "none"), ("required", "required"), ("now", {"type": "function", "name": "now"})],
)
def test_a_tool_choice_is_said_when_it_is_not_the_default(choice: str, expected: object) -> None:
    assert sent(deployment(), ask(tools=(WEATHER,), tool_choice=choice)).get("tool_choice") == expected


def test_perplexity_is_told_nothing_of_a_tool_choice_for_it_refuses_what_it_does_not_know() -> None:
    offered = sent(deployment(**PERPLEXITY), ask(tools=(WEATHER,)))
    withheld = sent(deployment(**PERPLEXITY), ask(tools=(WEATHER,), tool_choice="none"))

    assert "tool_choice" not in offered.keys() | withheld.keys()
    assert (len(offered["tools"]), withheld.get("tools", [])) == (1, [])
    with pytest.raises(InvalidRequest, match="tool_choice"):
        sent(deployment(**PERPLEXITY), ask(tools=(WEATHER,), tool_choice="required"))


def test_images_are_sent_by_address_or_as_data() -> None:
    picture = user(Text("Compare:"), Image(url="https://e.org/cat.png"), Image(data="aGk=", media_type="image/png"))

    body = sent(deployment(), ask(picture))

    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "Compare:"},
        {"type": "input_image", "image_url": "https://e.org/cat.png"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
    ]


def test_an_image_by_the_assistant_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="messages: "):
        sent(deployment(), ask(Message("assistant", (Image(url="https://e.org/cat.png"),))))


def test_sampling_and_effort_are_sent_when_set() -> None:
    thinker = Model(name="m", efforts=("none", "high"), thinks="default")

    body = sent(deployment(thinker), ask(temperature=0.0, top_p=0.9, effort="high"))

    assert (body["temperature"], body["top_p"], body["reasoning"]) == (0.0, 0.9, {"effort": "high"})


@pytest.mark.parametrize("row", [{}, {"format": "chat"}])
def test_stop_is_left_out_for_there_is_no_such_field(row: dict[str, str]) -> None:
    wire = ADAPTER.build_request(deployment(**row), ask(stop=("END",)), api_key="k")

    assert "stop" not in json.loads(wire.body or b"")
    assert wire.notes == ("stop was left out: acme-1 does not take it",)


def test_perplexity_gets_no_sampling() -> None:
    body = sent(deployment(**PERPLEXITY), ask(temperature=0.5, top_p=0.5))

    assert not body.keys() & {"temperature", "top_p"}


@pytest.mark.parametrize(
    ("row", "field", "value"),
    [
        (OPENAI, "text", {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}),
        (
            PERPLEXITY,
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
        ),
        (OPENAI | {"schema_style": "json_object"}, "text", {"format": {"type": "json_object"}}),
    ],
)
def test_a_schema_is_said_as_the_provider_reads_it(row: dict[str, Any], field: str, value: object) -> None:
    body = sent(deployment(**row), ask(response_schema=SCHEMA))

    assert body[field] == value
    assert len(body.keys() & {"text", "response_format"}) == 1


def test_a_provider_that_promises_only_json_is_told_the_schema_in_words() -> None:
    body = sent(deployment(schema_style="json_object"), ask(response_schema=SCHEMA))

    assert json.dumps(SCHEMA) in body["instructions"]


@pytest.mark.parametrize("row", [OPENAI, PERPLEXITY])
def test_a_search_is_a_tool(row: dict[str, Any]) -> None:
    assert sent(deployment(**row), ask(web_search=True))["tools"] == [{"type": "web_search"}]


def test_a_search_that_another_format_does_is_refused_here() -> None:
    with pytest.raises(InvalidRequest, match="web_search"):
        sent(deployment(search_style="openrouter"), ask(web_search=True))


def test_a_stream_is_asked_for_when_wanted() -> None:
    assert sent(deployment(), ask(), stream=True)["stream"] is True


# --- Answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "finish"),
    [
        ("openai_text.json", "Paris.", "stop"),
        ("openai_tools.json", "", "tool_calls"),
        ("openai_incomplete.json", "", "length"),
        ("openai_refusal.json", "I'm sorry, I can't help with that.", "content_filter"),
        ("xai_search.json", "Rain.", "stop"),
        ("perplexity_search.json", "It rains in Oslo.", "stop"),
    ],
)
def test_text_and_finish_of_each_vendors_answer(name: str, text: str, finish: str) -> None:
    read = answer(name)

    assert (read.text, read.finish) == (text, finish)


def test_the_model_and_the_id_that_the_provider_names_are_kept() -> None:
    read = answer("openai_text.json")

    assert (read.model, read.provider_request_id) == ("gpt-6.2-sol-2026-11-17", "resp_68af")


def test_tool_calls_are_named_by_the_id_that_their_results_must_carry() -> None:
    assert answer("openai_tools.json").tool_calls == (ToolCall("call_9fUq", "get_weather", '{"city":"Paris"}'),)


def test_all_the_texts_of_all_the_messages_are_joined() -> None:
    message = {
        "type": "message",
        "content": [{"type": "output_text", "text": "b"}, {"type": "output_text", "text": "c"}],
    }

    assert parsed(said("a", output=[*said("a")["output"], {"type": "reasoning"}, message])).text == "abc"


@pytest.mark.parametrize(
    ("state", "finish"),
    [
        ({"status": "completed"}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "incomplete_details": {"reason": "new"}}, "other"),
        ({"status": "incomplete", "incomplete_details": None}, "other"),
        ({"status": "requires_action"}, "other"),
        ({"status": "in_progress"}, "continue"),
        ({"status": "queued"}, "continue"),
        ({"status": "cancelled"}, "error"),
        ({"status": "new"}, "other"),
        ({"status": None}, "other"),
    ],
)
def test_every_status_maps_to_one_of_ours(state: dict[str, Any], finish: str) -> None:
    assert parsed(said(**state)).finish == finish


@pytest.mark.parametrize("status", ["completed", "requires_action"])
def test_a_function_call_asks_for_a_tool_whatever_the_status(status: str) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"}

    assert parsed(said(status=status, output=[call])).finish == "tool_calls"


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        (
            "openai_text.json",
            Usage(input_fresh=240, cache_read=1024, cache_write=256, output=20, reasoning=192, reported_total=1732),
        ),
        ("openai_search.json", Usage(input_fresh=9000, output=80, searches=2, reported_total=9080)),
        (
            "xai_search.json",
            Usage(input_fresh=1600, cache_read=2400, output=80, reasoning=420, searches=1, reported_total=4500),
        ),
        (
            "perplexity_search.json",
            Usage(input_fresh=2000, cache_read=1000, cache_write=200, output=150, searches=2, reported_total=3350),
        ),
    ],
)
def test_usage_is_read_into_buckets_that_add_up(name: str, usage: Usage) -> None:
    assert answer(name).usage == usage
    assert usage.mismatch == 0


@pytest.mark.parametrize(
    "usage", [None, {}, [], {"input_tokens": 9}, {"input_tokens": -1, "output_tokens": 1}, {"total_tokens": 1}]
)
def test_usage_that_cannot_be_right_is_unknown_and_never_zero(usage: object) -> None:
    assert parsed(said(usage=usage)).usage is None


@pytest.mark.parametrize(
    ("name", "cost_nusd"),
    [("perplexity_search.json", 5_987_500), ("xai_search.json", 8_730_000), ("openai_text.json", None)],
)
def test_the_cost_that_the_provider_names_is_read(name: str, cost_nusd: int | None) -> None:
    assert answer(name).cost_nusd == cost_nusd


def test_a_cost_in_another_currency_is_unknown() -> None:
    assert parsed(said(usage={"cost": {"currency": "EUR", "total_cost": 1}})).cost_nusd is None


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        (
            "openai_search.json",
            (Citation("https://www.yr.no/en/oslo", "Oslo - Yr"), Citation("https://example.org/oslo", "Weather")),
        ),
        ("xai_search.json", (Citation("https://www.yr.no/en/oslo", "1"), Citation("https://www.met.no"))),
        (
            "perplexity_search.json",
            (Citation("https://www.yr.no/en/oslo", "Oslo - Yr"), Citation("https://www.met.no", "MET Norway")),
        ),
    ],
)
def test_citations_and_search_results_are_read_once_each(name: str, pages: tuple[Citation, ...]) -> None:
    assert answer(name).citations == pages


# --- What is not an answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("openai_failed.json", errors.ServerFailed, "server_error"),
        ("perplexity_failed.json", errors.ModelGone, "model_not_found"),
    ],
)
def test_a_failure_with_status_200_is_classified_by_its_code(name: str, kind: type[ProviderError], code: str) -> None:
    with pytest.raises(ProviderError) as caught:
        answer(name)

    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.provider_code) == (200, code)


def test_a_failure_keeps_the_usage_that_was_billed() -> None:
    with pytest.raises(InvalidAnswer) as caught:
        parsed(said(status="failed", usage={"input_tokens": 9, "output_tokens": 1}))

    assert caught.value.usage == Usage(input_fresh=9, output=1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"status": "completed", "output": []}',
        b'{"status": "cancelled", "output": []}',
        b'{"status": "queued", "output": []}',
        b'{"status": "completed", "output": [{"type": "message", "content": [{"type": "output_text", "text": " "}]}]}',
        b'{"id": "chatcmpl-1", "choices": [{"message": {"content": "another format"}}]}',
    ],
)
def test_a_body_that_says_nothing_is_not_an_answer(body: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        ADAPTER.parse_response(body)


def test_errors_and_lists_are_read_as_in_chat_completions() -> None:
    gone = WireResponse(429, {}, b'{"error": {"type": "insufficient_quota", "code": null, "message": "..."}}')

    assert type(ADAPTER.parse_error(gone, now_ms=0)) is errors.OutOfMoney
    assert [model.id for model in ADAPTER.parse_list(b'{"data": [{"id": "perplexity/sonar"}]}')] == ["perplexity/sonar"]
    assert ADAPTER.build_list_request(deployment().provider, api_key="k").url == "https://api.acme.example/v1/models"


# --- Streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [("openai_text.sse", "The capital is Paris."), ("perplexity_search.sse", "It rains in Oslo.")],
)
def test_what_was_streamed_is_the_answer_and_counts_once(name: str, text: str) -> None:
    seen, read = read_stream(ADAPTER, events_of(BODIES / name))

    assert (seen, read.text, read.finish) == (text, text, "stop")


def test_a_streamed_answer_is_the_same_as_a_plain_one() -> None:
    _, openai = read_stream(ADAPTER, events_of(BODIES / "openai_text.sse"))
    _, perplexity = read_stream(ADAPTER, events_of(BODIES / "perplexity_search.sse"))

    assert openai.usage == answer("openai_text.json").usage
    assert perplexity == answer("perplexity_search.json")


def test_the_completed_event_ends_the_stream() -> None:
    reader = ADAPTER.stream_reader()

    seen = [reader.feed(item) for item in (delta("Hi."), event("response.completed", response=said()), delta("More."))]

    assert reader.done
    assert seen == ["Hi.", "", ""]


def test_a_stream_whose_events_have_no_name_is_read_by_their_type() -> None:
    events = [StreamEvent("", item.data) for item in events_of(BODIES / "openai_text.sse")]

    assert read_stream(ADAPTER, events)[1].text == "The capital is Paris."


def test_a_last_event_without_output_leaves_the_deltas_to_count() -> None:
    _, read = read_stream(ADAPTER, [delta("Hi"), delta("."), event("response.completed", response={"id": "r"})])

    assert (read.text, read.finish, read.provider_request_id) == ("Hi.", "stop", "r")


def test_a_streamed_tool_call_is_read_from_its_finished_item() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"}
    events = [
        event("response.function_call_arguments.delta", delta="{"),
        event("response.function_call_arguments.done", arguments="{}"),
        event("response.output_item.done", item=call),
        event("response.completed", response={"id": "r", "status": "completed"}),
    ]

    seen, read = read_stream(ADAPTER, events)

    assert (seen, read.text, read.tool_calls) == ("", "", (ToolCall("c", "now", "{}"),))


def test_a_streamed_answer_that_was_cut_at_its_limit_says_so() -> None:
    whole = said("Once", status="incomplete", incomplete_details={"reason": "max_output_tokens"})

    for last in ("response.incomplete", "response.completed"):  # the second is Perplexity's
        _, read = read_stream(ADAPTER, [delta("Once"), event(last, response=whole)])

        assert (read.text, read.finish) == ("Once", "length")


def test_a_streamed_refusal_is_seen_and_read_as_one() -> None:
    content = [{"type": "refusal", "refusal": "I can't."}]
    whole = said(output=[{"type": "message", "content": content}])

    seen, read = read_stream(
        ADAPTER, [event("response.refusal.delta", delta="I can't."), event("response.completed", response=whole)]
    )

    assert (seen, read.text, read.finish) == ("I can't.", "I can't.", "content_filter")


def test_a_stream_that_breaks_off_keeps_what_had_come() -> None:
    reader = ADAPTER.stream_reader()
    reader.feed(delta("Once upon"))

    with pytest.raises(StreamBroken) as caught:
        reader.finish()

    assert caught.value.partial_text == "Once upon"


def test_a_stream_that_ends_before_any_output_is_no_answer() -> None:
    reader = ADAPTER.stream_reader()
    reader.feed(event("response.created", response={"status": "in_progress"}))

    with pytest.raises(InvalidAnswer):
        reader.finish()


@pytest.mark.parametrize(("before", "kind"), [([], InvalidAnswer), ([delta("Once")], StreamBroken)])
def test_an_event_that_is_cut_off_breaks_the_stream(before: list[StreamEvent], kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        read_stream(ADAPTER, [*before, StreamEvent("response.completed", '{"type": "response.com')])


@pytest.mark.parametrize(
    ("name", "kind", "partial"),
    [
        ("openai_failed.sse", errors.RateLimited, "The cap"),
        ("openai_error.sse", errors.ServerFailed, ""),
        ("perplexity_failed.sse", errors.OutOfMoney, ""),
    ],
)
def test_an_error_in_a_stream_is_that_error_with_what_had_come(
    name: str, kind: type[ProviderError], partial: str
) -> None:
    with pytest.raises(ProviderError) as caught:
        read_stream(ADAPTER, events_of(BODIES / name))

    assert type(caught.value) is kind
    assert caught.value.partial_text == partial


def test_an_error_in_a_stream_keeps_the_usage_that_was_billed() -> None:
    with pytest.raises(ProviderError) as caught:
        read_stream(ADAPTER, events_of(BODIES / "openai_failed.sse"))

    assert caught.value.usage == Usage(input_fresh=40, output=4, reported_total=44)


def test_usage_of_a_response_under_way_is_not_its_bill() -> None:
    early = {"status": "in_progress", "usage": {"input_tokens": 40, "output_tokens": 1}}
    begun = [event("response.in_progress", response=early), delta("Once")]

    with pytest.raises(StreamBroken) as broken:
        read_stream(ADAPTER, begun)
    with pytest.raises(errors.ServerFailed) as failed:
        read_stream(ADAPTER, [*begun, event("error", code="server_error")])

    assert (broken.value.usage, failed.value.usage) == (None, None)


@pytest.mark.parametrize("usage", [{"input_tokens": 0, "output_tokens": 9}, {"input_tokens": 9, "output_tokens": 0}])
def test_zeros_beside_what_was_written_are_no_counts(usage: dict[str, int]) -> None:
    assert parsed(said(usage=usage)).usage is None


def test_an_error_in_chat_completions_shape_is_an_error_here_too() -> None:
    with pytest.raises(errors.ServerFailed):
        read_stream(ADAPTER, [StreamEvent("", '{"error": {"code": 503, "message": "busy"}}')])


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
        _, read = read_stream(ADAPTER, events)
    except ProviderError as error:
        check_error(error)
    else:
        check_answer(read)
