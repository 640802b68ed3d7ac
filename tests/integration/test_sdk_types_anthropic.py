"""Answers built from Anthropic's own SDK types, and read by our formats: nothing of what they say is lost or bent."""

from typing import Any, get_args

import pytest
from anthropic.types import (
    CacheCreation,
    InputJSONDelta,
    Message,
    MessageDeltaUsage,
    OutputTokensDetails,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawContentBlockStopEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
    ServerToolUsage,
    SignatureDelta,
    StopReason,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from anthropic.types import Usage as ClaudeUsage
from anthropic.types.raw_message_delta_event import Delta
from anthropic.types.shared import ErrorObject as ClaudeErrorObject
from anthropic.types.shared import ErrorResponse
from documents import ARGUMENTS, WITH_AND_WITHOUT_NULLS, counts, sent, some, streamed, texts
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from orchestra_router import errors
from orchestra_router.errors import ProviderError
from orchestra_router.providers import messages
from orchestra_router.types import StreamEvent, ToolCall, Usage, WireResponse


def claude(content: list[Any], stop: StopReason | None, usage: ClaudeUsage | None = None) -> Message:
    return Message(
        id="msg_1",
        type="message",
        role="assistant",
        model="claude-haiku-5-5",
        content=content,
        stop_reason=stop,
        usage=usage or ClaudeUsage(input_tokens=5, output_tokens=7),
    )


@given(text=texts, fresh=some, read=counts, five_minutes=counts, hour=counts, visible=some, thinking=counts)
def test_a_message_is_read_with_its_usage(
    text: str, fresh: int, read: int, five_minutes: int, hour: int, visible: int, thinking: int
) -> None:
    usage = ClaudeUsage(
        input_tokens=fresh,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=five_minutes + hour,
        cache_creation=CacheCreation(ephemeral_5m_input_tokens=five_minutes, ephemeral_1h_input_tokens=hour),
        output_tokens=visible + thinking,
        output_tokens_details=OutputTokensDetails(thinking_tokens=thinking),
        server_tool_use=ServerToolUsage(web_search_requests=2, web_fetch_requests=0),
    )
    thought = ThinkingBlock(type="thinking", thinking="Hm.", signature="sig")

    answer = messages.parse_response(sent(claude([thought, TextBlock(type="text", text=text)], "end_turn", usage)))

    assert (answer.text, answer.finish) == (text, "stop")
    assert answer.usage == Usage(
        input_fresh=fresh,
        cache_read=read,
        cache_write=five_minutes,
        cache_write_1h=hour,
        output=visible,
        reasoning=thinking,
        searches=2,
    )


@WITH_AND_WITHOUT_NULLS
def test_the_tool_calls_of_a_message_are_read(nulls: bool) -> None:
    used = ToolUseBlock(type="tool_use", id="toolu_1", name="get_weather", input={"city": "Zürich"})

    answer = messages.parse_response(sent(claude([used], "tool_use"), nulls=nulls))

    assert answer.tool_calls == (ToolCall("toolu_1", "get_weather", ARGUMENTS),)
    assert answer.finish == "tool_calls"


def test_every_reason_that_anthropic_knows_has_a_meaning() -> None:
    for reason in get_args(StopReason):
        answer = messages.parse_response(sent(claude([TextBlock(type="text", text="hello")], reason)))

        assert answer.finish != "other", reason


@WITH_AND_WITHOUT_NULLS
@given(pieces=st.lists(texts, min_size=1, max_size=5))
def test_the_events_of_a_message_add_up(nulls: bool, pieces: list[str]) -> None:
    blocks: list[tuple[Any, list[Any]]] = [
        (
            ThinkingBlock(type="thinking", thinking="", signature=""),
            [
                ThinkingDelta(type="thinking_delta", thinking="Hm."),
                SignatureDelta(type="signature_delta", signature="s"),
            ],
        ),
        (TextBlock(type="text", text=""), [TextDelta(type="text_delta", text=piece) for piece in pieces]),
        (
            ToolUseBlock(type="tool_use", id="toolu_1", name="get_weather", input={}),
            [
                InputJSONDelta(type="input_json_delta", partial_json=piece)
                for piece in ("", ARGUMENTS[:5], ARGUMENTS[5:])
            ],
        ),
    ]
    events: list[BaseModel] = [RawMessageStartEvent(type="message_start", message=claude([], None))]
    for index, (block, deltas) in enumerate(blocks):
        events.append(RawContentBlockStartEvent(type="content_block_start", index=index, content_block=block))
        events += [RawContentBlockDeltaEvent(type="content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(RawContentBlockStopEvent(type="content_block_stop", index=index))
    events += [
        RawMessageDeltaEvent(
            type="message_delta", delta=Delta(stop_reason="tool_use"), usage=MessageDeltaUsage(output_tokens=9)
        ),
        RawMessageStopEvent(type="message_stop"),
    ]

    answer, seen = streamed(messages.stream_reader(), events, nulls=nulls)

    assert answer.text == seen == "".join(pieces)
    assert answer.tool_calls == (ToolCall("toolu_1", "get_weather", ARGUMENTS),)
    assert answer.finish == "tool_calls"
    assert answer.usage == Usage(input_fresh=5, output=9)


CLAUDE_ERRORS: dict[str, tuple[int, type[ProviderError]]] = {
    "invalid_request_error": (400, errors.BadRequest),
    "authentication_error": (401, errors.AuthFailed),
    "billing_error": (402, errors.OutOfMoney),
    "permission_error": (403, errors.PermissionRefused),
    "not_found_error": (404, errors.ModelGone),
    "rate_limit_error": (429, errors.RateLimited),
    "timeout_error": (504, errors.ServerFailed),
    "api_error": (500, errors.ServerFailed),
    "overloaded_error": (529, errors.ServerFailed),
}


@pytest.mark.parametrize(("kind", "status", "expected"), [(kind, *found) for kind, found in CLAUDE_ERRORS.items()])
def test_an_error_of_anthropics_has_its_class_plain_and_in_a_stream(
    kind: str, status: int, expected: type[ProviderError]
) -> None:
    error = ErrorResponse.model_validate({"type": "error", "error": {"type": kind, "message": "Some words"}})

    plain = messages.parse_error(WireResponse(status, {}, sent(error)), now_ms=0)
    with pytest.raises(ProviderError) as in_a_stream:
        messages.stream_reader().feed(StreamEvent("error", sent(error).decode()))

    assert type(plain) is expected
    assert type(in_a_stream.value) is expected


def test_no_type_of_anthropics_errors_is_left_out_above() -> None:
    known = {get_args(one.model_fields["type"].annotation)[0] for one in get_args(get_args(ClaudeErrorObject)[0])}

    assert known == CLAUDE_ERRORS.keys()
