"""What the two formats with alternating turns share: Anthropic's messages and Gemini's contents.

`Answer.provider_state` holds a turn as its provider wrote it, with what only the provider can read (thinking,
signatures, search results) unchanged, and a marker in the place of every text and tool call. Those go back as the
message has them, so that an edit to the message is obeyed: a placeholder for a name must not be undone by a copy.
"""

import datetime as dt
import json
from collections.abc import Iterable, Sequence

from orchestra_router.errors import InvalidAnswer, InvalidRequest
from orchestra_router.providers.wire import JsonObject, as_object, as_objects, as_text, dump, parse_object
from orchestra_router.types import Answer, Format, Message, ToolCall

Block = dict[str, object]


def alternating(turns: Iterable[tuple[str, Sequence[Block]]]) -> list[tuple[str, list[Block]]]:
    """Roles with their blocks, neighbours of one role merged: results of parallel tool calls belong in one turn.

    Raises:
        InvalidRequest: nothing is left to answer.
    """
    merged: list[tuple[str, list[Block]]] = []
    for role, blocks in turns:
        if merged and merged[-1][0] == role:
            merged[-1][1].extend(blocks)
        elif blocks:
            merged.append((role, list(blocks)))
    if not merged:
        raise InvalidRequest("messages: there is nothing to answer; add a user message with some text")
    return merged


def arguments(call: ToolCall) -> JsonObject:
    """The arguments of `call` as these formats take them back: an object, where others take any text.

    Raises:
        InvalidRequest: they are not one.
    """
    try:
        return parse_object(call.arguments.strip() or "{}")
    except InvalidAnswer:
        raise InvalidRequest(f"messages: the arguments of the call to {call.name!r} are not a JSON object") from None


def written(value: object) -> str:
    """The arguments of a call as JSON text: in letters, not in escapes, which would be counted as tokens ever after.

    Raises:
        InvalidAnswer: they are nested too deep to be written again.
    """
    try:
        return as_text(json.dumps(as_object(value), ensure_ascii=False, separators=(",", ":")))
    except RecursionError:
        raise InvalidAnswer from None


def pack(wire_format: Format, blocks: Sequence[JsonObject], *, token: str = "") -> str:
    """`blocks`, and a `token` that continues the answer, as a `provider_state`."""
    return dump({"format": wire_format, "blocks": blocks} | ({"token": token} if token else {}))


def unpack(wire_format: Format, message: Message) -> tuple[Sequence[JsonObject], str]:
    """What `pack` was given; nothing where another format wrote the turn, or a stranger."""
    if not message.provider_state:
        return (), ""
    try:
        state = parse_object(message.provider_state)
    except InvalidAnswer:
        return (), ""
    if state.get("format") != wire_format:
        return (), ""
    return as_objects(state.get("blocks")), as_text(state.get("token"))


def checked(answer: Answer, *, reason: str = "") -> Answer:
    """`answer`, unless it says nothing and was not stopped on the way to saying something.

    Raises:
        InvalidAnswer: `reason` is the provider's code for the end.
    """
    if answer.text.strip() or answer.tool_calls or answer.finish in {"length", "content_filter", "continue"}:
        return answer
    raise InvalidAnswer(usage=answer.usage, provider_code=reason)


def day(value: object) -> str:
    """The ISO date that a time begins with; "" if it is not one."""
    try:
        return dt.date.fromisoformat(as_text(value)[:10]).isoformat()
    except ValueError:
        return ""
