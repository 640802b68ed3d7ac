"""What is megabytes long is looked at in pieces, and what would be read for too long is not read."""

import base64
import json
import time
from hashlib import shake_256
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from http_worlds import code_of, open_http
from mcp_wire import MODERN, modern
from orchestra_router import base64_text, dense
from orchestra_router.asking import MAX_VALUES
from orchestra_router.clock import SystemClock
from orchestra_router.config import Settings
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.rules.all_rules import rules_for
from orchestra_router.types import CompletionRequest, Image, Message, Text

texts = st.text(st.sampled_from([*'ab,[{"\\\n', "\u00e9", "\u6f22"]), max_size=30)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def marks(value: Any) -> int:
    """Lists, objects, strings, names and commas."""
    if isinstance(value, str):
        return 1
    if not isinstance(value, list | dict):
        return 0
    held = cast("list[Any] | dict[str, Any]", value)
    names, inner = (len(held), held.values()) if isinstance(held, dict) else (0, held)
    return 1 + max(0, len(held) - 1) + names + sum(map(marks, inner))


@given(value=values, ascii_only=st.booleans())
def test_what_stands_in_a_string_is_no_value(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()

    assert dense.has_more_values(text, marks(value) - 1)
    assert not dense.has_more_values(text, marks(value))


@pytest.mark.parametrize("escaped", ["", "\\", '"', "\\" * 7, "x\n"])
@pytest.mark.parametrize("off", range(-3, 3))
def test_it_makes_no_difference_where_a_piece_ends(escaped: str, off: int) -> None:
    text = json.dumps(["[" * (dense.PIECE_BYTES + off) + escaped + "[", []]).encode()

    assert dense.has_more_values(text, 3)
    assert not dense.has_more_values(text, 4)


@pytest.mark.parametrize("text", [b"", b'"', b'"\\', b'["', b'"a\\"', b'"' * 9, b"]]]"])
def test_what_is_no_json_is_counted_to_its_end(text: bytes) -> None:
    assert not dense.has_more_values(text, 9)


@given(data=st.binary(max_size=200), line=st.integers(1, 20).map(lambda quarter: 4 * quarter))
def test_base64_is_read_with_or_without_line_breaks(data: bytes, line: int) -> None:
    text = base64.b64encode(data).decode()
    broken = "\r\n".join(text[start : start + line] for start in range(0, len(text), line))

    assert base64_text.without_blanks(f"{broken} \n") == text


@pytest.mark.parametrize("text", ["123-45", "a_b", "aGk=aGk=", "====", "\u00e9", "sk-ant-x"])
def test_what_is_no_base64_is_known(text: str) -> None:
    assert not base64_text.is_base64(text)


def picture(seed: int = 1, *, size: int = 3_000_000) -> Image:
    return Image(media_type="image/png", data=base64.b64encode(shake_256(bytes([seed])).digest(size)).decode())


def test_a_picture_is_no_text_and_not_searched_for_numbers() -> None:
    guard = Guardrails(rules_for(Settings(home=Path()), keys=()))
    request = CompletionRequest(messages=(Message("user", (Text("What is this?"), picture())),))
    guard.warm()

    began = time.thread_time()
    guarded = guard.check_prompt(request)

    assert guarded.request == request
    assert time.thread_time() < began + 1  # four seconds, when it was


def test_pictures_are_told_apart_and_shown_by_their_digests() -> None:
    first, same, other = picture(1, size=99), picture(1, size=99), picture(2, size=99)

    assert repr(first) == repr(same) != repr(other)
    assert first.data not in repr(first)


async def test_a_body_of_too_many_values_is_not_read(tmp_path: Path) -> None:
    many = b"[" + b"[]," * 200_000 + b"[]]"
    async with open_http(tmp_path, clock=SystemClock()) as world:
        body = b'{"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "more": ' + many + b"}"
        refused = await world.client.post("/v1/chat/completions", content=body)
        long = {"model": "auto", "messages": [{"role": "user", "content": "[{" * 300_000}]}
        answered = await world.client.post("/v1/chat/completions", json=long)

    assert (refused.status_code, code_of(refused)) == (413, "request_too_large")
    assert answered.status_code == 200


async def test_a_message_of_too_many_values_is_not_read(tmp_path: Path) -> None:
    many = "[" + "[]," * MAX_VALUES + "[]]"
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": MODERN}
    headers |= {"mcp-method": "tools/call", "mcp-name": "complete"}
    async with open_http(tmp_path, clock=SystemClock()) as world:

        async def call(**arguments: Any) -> Any:
            params = modern({"name": "complete", "arguments": arguments})
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            return await world.client.post("/mcp", json=message, headers=headers)

        refused = await call(prompt="Hello", more=json.loads(many))
        in_text = await call(messages=many)
        not_base64 = await call(
            messages=[{"role": "user", "content": [{"type": "image", "media_type": "image/png", "data": "my-secret"}]}]
        )

    assert (refused.status_code, code_of(refused)) == (413, "request_too_large")
    assert "too many values" in in_text.text
    assert "must be base64" in not_base64.text
