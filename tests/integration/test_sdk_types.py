"""Answers built from OpenAI's own SDK types, and read by our formats: nothing of what they say is lost or bent."""

from typing import Any, get_args

import pytest
from documents import ARGUMENTS, WITH_AND_WITHOUT_NULLS, counts, sent, some, streamed, texts
from hypothesis import given
from hypothesis import strategies as st
from openai.types import CompletionUsage, ErrorObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails
from openai.types.responses import Response, ResponseStreamEvent, ResponseUsage
from pydantic import BaseModel

from orchestra_router import errors
from orchestra_router.errors import ProviderError
from orchestra_router.providers import chat, responses
from orchestra_router.types import Finish, ToolCall, Usage, WireResponse

# --- OpenAI's chat completions -----------------------------------------------------------------------------


def chat_usage(fresh: int, cached: int, written: int, visible: int, reasoning: int) -> CompletionUsage:
    prompt, completion = fresh + cached + written, visible + reasoning
    return CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=cached, cache_write_tokens=written),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=reasoning),
    )


def completion(message: dict[str, Any], finish: str, usage: CompletionUsage | None = None) -> ChatCompletion:
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant"} | message}
    return ChatCompletion.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-6-luna",
            "choices": [choice],
            "usage": usage,
        }
    )


def chunk(delta: dict[str, Any], finish: str | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk.model_validate(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-6-luna",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


@given(text=texts, fresh=some, cached=counts, written=counts, visible=some, reasoning=counts)
def test_a_chat_answer_is_read_with_its_usage(
    text: str, fresh: int, cached: int, written: int, visible: int, reasoning: int
) -> None:
    reply = completion({"content": text}, "stop", chat_usage(fresh, cached, written, visible, reasoning))

    answer = chat.parse_response(sent(reply))

    assert (answer.text, answer.finish, answer.model) == (text, "stop", "gpt-6-luna")
    assert answer.usage is not None
    assert (answer.usage.input_fresh, answer.usage.cache_read, answer.usage.cache_write) == (fresh, cached, written)
    assert (answer.usage.output, answer.usage.reasoning, answer.usage.mismatch) == (visible, reasoning, 0)


@WITH_AND_WITHOUT_NULLS
def test_the_tool_calls_of_a_chat_answer_are_read(nulls: bool) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}

    answer = chat.parse_response(sent(completion({"tool_calls": [call]}, "tool_calls"), nulls=nulls))

    assert answer.tool_calls == (ToolCall("call_1", "get_weather", ARGUMENTS),)
    assert answer.finish == "tool_calls"


@WITH_AND_WITHOUT_NULLS
@given(pieces=st.lists(texts, min_size=1, max_size=5))
def test_the_chunks_of_a_chat_answer_add_up(nulls: bool, pieces: list[str]) -> None:
    usage = ChatCompletionChunk.model_validate(
        chunk({}).model_dump() | {"choices": [], "usage": chat_usage(5, 3, 0, 4, 2)}
    )
    chunks = [chunk({"role": "assistant"}), *(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"), usage]

    answer, seen = streamed(chat.stream_reader(), chunks, nulls=nulls)

    assert answer.text == seen == "".join(pieces)
    assert answer.usage == Usage(input_fresh=5, cache_read=3, output=4, reasoning=2, reported_total=14)


@WITH_AND_WITHOUT_NULLS
def test_the_chunks_of_a_tool_call_add_up(nulls: bool) -> None:
    begun = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    further = [{"index": 0, "function": {"arguments": piece}} for piece in (ARGUMENTS[:7], ARGUMENTS[7:])]
    chunks = [chunk({"tool_calls": [piece]}) for piece in (begun, *further)]

    answer, _ = streamed(chat.stream_reader(), [*chunks, chunk({}, "tool_calls")], nulls=nulls)

    assert answer.tool_calls == (ToolCall("call_1", "get_weather", ARGUMENTS),)


def test_every_reason_that_openai_knows_has_a_meaning() -> None:
    known = get_args(ChatCompletion.model_fields["choices"].annotation)[0].model_fields["finish_reason"].annotation

    unmapped = {reason for reason in get_args(known) if reason not in chat.FINISH}

    assert not unmapped


@WITH_AND_WITHOUT_NULLS
def test_openais_refusal_is_a_refusal(nulls: bool) -> None:
    answer = chat.parse_response(sent(completion({"refusal": "I will not."}, "stop"), nulls=nulls))

    assert (answer.text, answer.finish) == ("I will not.", "content_filter")


@pytest.mark.parametrize(
    ("status", "code", "type_", "expected"),
    [
        (401, "invalid_api_key", "invalid_request_error", errors.AuthFailed),
        (404, "model_not_found", "invalid_request_error", errors.ModelGone),
        (429, "rate_limit_exceeded", "requests", errors.RateLimited),
        (429, "credit_balance_exhausted", "insufficient_quota", errors.OutOfMoney),
        (400, "context_length_exceeded", "invalid_request_error", errors.ContextTooLong),
        (400, "content_policy_violation", "invalid_request_error", errors.ContentRefused),
        (503, "server_is_overloaded", "service_unavailable_error", errors.ServerFailed),
    ],
)
def test_an_error_of_openais_has_its_class(status: int, code: str, type_: str, expected: type[ProviderError]) -> None:
    error = ErrorObject(message="Some words", type=type_, code=code)

    found = chat.parse_error(WireResponse(status, {}, b'{"error":' + sent(error) + b"}"), now_ms=0)

    assert type(found) is expected


def test_openais_list_of_models_is_read_with_the_day_one_ends() -> None:
    model = Model(id="gpt-5", created=1, object="model", owned_by="openai", shutdown_date="2026-12-11")

    listed = chat.parse_list(b'{"object":"list","data":[' + sent(model) + b"]}")

    assert [(one.id, one.retires) for one in listed] == [("gpt-5", "2026-12-11")]


# --- OpenAI's Responses ------------------------------------------------------------------------------------


def response(output: list[dict[str, Any]], **fields: Any) -> Response:
    empty = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-6-luna", "status": "completed"}
    return Response.model_validate(
        empty | {"output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []} | fields
    )


def said(text: str) -> dict[str, Any]:
    citation = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 1}
    part = {"type": "output_text", "text": text, "annotations": [citation]}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


CALLED = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get_weather", "arguments": ARGUMENTS}
THOUGHT: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}


@given(text=texts, fresh=some, cached=counts, visible=some, reasoning=counts)
def test_a_response_is_read_with_its_usage_and_sources(
    text: str, fresh: int, cached: int, visible: int, reasoning: int
) -> None:
    usage = ResponseUsage.model_validate(
        {
            "input_tokens": fresh + cached,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": visible + reasoning,
            "output_tokens_details": {"reasoning_tokens": reasoning},
            "total_tokens": fresh + cached + visible + reasoning,
        }
    )

    answer = responses.parse_response(sent(response([THOUGHT, said(text)], usage=usage)))

    assert (answer.text, answer.finish) == (text, "stop")
    assert [citation.url for citation in answer.citations] == ["https://a.test"]
    assert answer.usage is not None
    assert (answer.usage.input_fresh, answer.usage.cache_read) == (fresh, cached)
    assert (answer.usage.output, answer.usage.reasoning, answer.usage.mismatch) == (visible, reasoning, 0)


@WITH_AND_WITHOUT_NULLS
def test_the_tool_calls_of_a_response_are_read(nulls: bool) -> None:
    answer = responses.parse_response(sent(response([THOUGHT, CALLED]), nulls=nulls))

    assert answer.tool_calls == (ToolCall("call_1", "get_weather", ARGUMENTS),)
    assert answer.finish == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("max_messages", "other")],
)
def test_an_incomplete_response_says_why(reason: str, expected: Finish) -> None:
    cut = response([said("As far as")], status="incomplete", incomplete_details={"reason": reason})

    answer = responses.parse_response(sent(cut))

    assert answer.finish == expected


def event(kind: str, **fields: Any) -> BaseModel:
    """The event of this type, with no more in it than is given."""
    for known in get_args(get_args(ResponseStreamEvent)[0]):
        if get_args(known.model_fields["type"].annotation)[0] == kind:
            return known.model_construct(type=kind, sequence_number=1, **fields)
    raise LookupError(kind)


@given(pieces=st.lists(texts, min_size=1, max_size=5))
def test_the_events_of_a_response_add_up(pieces: list[str]) -> None:
    text = "".join(pieces)
    events = [
        event("response.created", response=response([], status="in_progress")),
        *(event("response.output_text.delta", delta=piece) for piece in pieces),
        event("response.output_text.done", text=text),
        event("response.completed", response=response([said(text)])),
    ]

    answer, seen = streamed(responses.stream_reader(), events)

    assert answer.text == seen == text


def test_every_event_that_openai_knows_can_pass_by() -> None:
    known = {get_args(one.model_fields["type"].annotation)[0] for one in get_args(get_args(ResponseStreamEvent)[0])}
    ends = {"response.completed", "response.incomplete", "response.failed", "error"}

    answer, seen = streamed(
        responses.stream_reader(),
        [*map(event, sorted(known - ends)), event("response.completed", response=response([said("hello")]))],
        nulls=False,
    )

    assert len(known) > 50
    assert (answer.text, seen) == ("hello", "")
