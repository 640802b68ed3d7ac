"""What a client sends, read as a JSON-RPC message, or told in our words what is wrong with it.

The SDK (2.3) drops what it cannot read from a pipe, and over HTTP answers with pydantic's words, which quote it.
"""

from collections.abc import Mapping
from typing import cast

from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from pydantic_core import from_json


def parsed(text: str) -> JSONRPCMessage | ErrorData:
    """The message that `text` is, or what is wrong with it, without its words."""
    try:
        message = jsonrpc_message_adapter.validate_json(text, by_name=False)
    except ValidationError:
        return _wrong(text)
    # The SDK takes a request whose id cannot be one for a notification, and nobody would answer it.
    if isinstance(message, JSONRPCNotification) and '"id"' in text and "id" in from_json(text):
        return ErrorData(code=INVALID_REQUEST, message="`id` must be a string or a whole number.")
    return message


def refusal(error: ErrorData, text: str) -> JSONRPCError:
    """The answer to `text`, by its id where it has one that can be answered."""
    return JSONRPCError(jsonrpc="2.0", id=_id_of(text), error=error)


def _wrong(text: str) -> ErrorData:
    try:
        value = from_json(text)
    except ValueError:
        return ErrorData(code=PARSE_ERROR, message="This is not JSON. One JSON-RPC 2.0 message is expected.")
    if isinstance(value, list):
        return ErrorData(code=INVALID_REQUEST, message="Batches are not accepted: send one message at a time.")
    return ErrorData(
        code=INVALID_REQUEST,
        message='This is no JSON-RPC 2.0 message: `"jsonrpc":"2.0"`, a `method`, and `params` that are an object.',
    )


def _id_of(text: str) -> str | int | None:
    try:
        value = from_json(text)
    except ValueError:
        return None
    given = cast("Mapping[str, object]", value).get("id") if isinstance(value, dict) else None
    return given if isinstance(given, str | int) and not isinstance(given, bool) else None
