"""Answers that come in very many pieces."""

import json
import time

from orchestra_router.providers import chat
from orchestra_router.types import StreamEvent

PIECES = 20_000


def test_reasoning_details_in_very_many_pieces_are_joined_once() -> None:
    reader = chat.stream_reader()
    detail = {"type": "reasoning.text", "index": 0, "text": "thinking " * 20, "signature": None}
    piece = StreamEvent("", json.dumps({"choices": [{"delta": {"reasoning_details": [detail]}}]}))
    began = time.process_time()

    for _ in range(PIECES):
        reader.feed(piece)
    reader.feed(StreamEvent("", json.dumps({"choices": [{"delta": {"content": "Yes."}, "finish_reason": "stop"}]})))
    answer = reader.finish()

    (joined,) = json.loads(answer.provider_state)["reasoning_details"]
    assert joined == detail | {"text": "thinking " * 20 * PIECES}
    assert time.process_time() - began < 3  # it takes 0.3 s; with a copy for each piece, many times that


def test_the_arguments_of_a_call_in_very_many_pieces_are_joined_once() -> None:
    reader = chat.stream_reader()
    call = {"index": 0, "id": "c1", "function": {"name": "find", "arguments": "argument " * 20}}
    piece = StreamEvent("", json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}))
    began = time.process_time()

    for _ in range(2 * PIECES):
        reader.feed(piece)
    reader.feed(StreamEvent("", json.dumps({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})))
    answer = reader.finish()

    assert answer.tool_calls[0].arguments == "argument " * 20 * 2 * PIECES
    assert time.process_time() - began < 3  # it takes 0.3 s; with a copy for each piece, many times that
