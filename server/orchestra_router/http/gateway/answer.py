"""An answer as OpenAI's clients read it: whole, or chunk by chunk."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from orchestra_router.types import Citation, Completion, Finish, ToolCall, Usage, usd
from orchestra_tools.results import noted, without_blanks

Json = dict[str, Any]

_FINISH: Mapping[Finish, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}
"""What OpenAI has no word for has at least come to an end."""


def whole(completion: Completion, *, created_s: int, notice: str, one_call: bool) -> Json:
    """`one_call`: the caller wanted no more than one tool call at a time."""
    answer = completion.answer
    calls = answer.tool_calls[:1] if one_call else answer.tool_calls
    message: Json = {"role": "assistant", "content": answer.text if answer.text or not calls else None, "refusal": None}
    if calls:
        message["tool_calls"] = [_call(call) for call in calls]
    if answer.citations:
        message["annotations"] = [_annotation(cited) for cited in answer.citations]
    return {
        "id": _id(completion.request_id),
        "object": "chat.completion",
        "created": created_s,
        "model": _model(completion),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish(completion)}],
        "usage": usage(answer.usage),
        "orchestra": story(completion, notice=notice),
    }


def finish(completion: Completion) -> str:
    return _FINISH.get(completion.answer.finish, "stop")


def headers(completion: Completion) -> dict[str, str]:
    return {
        "x-orchestra-request-id": completion.request_id,
        "x-orchestra-provider": completion.provider,
        "x-orchestra-model": completion.model,
        "x-orchestra-cost-usd": f"{usd(completion.cost_nusd):.9f}",
        "x-orchestra-cache": completion.cache,
    }


def story(completion: Completion, *, notice: str) -> Json:
    """What became of the request, beyond what OpenAI's API has words for."""
    return without_blanks(
        {
            "request_id": completion.request_id,
            "trace_id": completion.trace_id,
            "provider": completion.provider,
            "model": completion.model,
            "task": completion.task,
            "reason": completion.reason,
            "cost_usd": usd(completion.cost_nusd),
            "cost_nusd": completion.cost_nusd,
            "cost_source": completion.cost_source,
            "cache": completion.cache,
            "cache_reason": completion.cache_reason,
            "cache_entry": completion.cache_entry,
            "saved_usd": usd(completion.saved_nusd) if completion.saved_nusd else None,
            "attempts": [
                {"deployment": attempt.deployment, "outcome": attempt.outcome, "latency_ms": attempt.latency_ms}
                for attempt in completion.attempts
            ],
            "flaw": completion.flaw,
            "notes": noted(notice, completion.notes),
            "redactions": dict(completion.redactions),
        }
    )


def usage(used: Usage | None) -> Json | None:
    if used is None:
        return None
    return {
        "prompt_tokens": used.input_total,
        "completion_tokens": used.output_total,
        "total_tokens": used.input_total + used.output_total,
        "prompt_tokens_details": {"cached_tokens": used.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class Chunks:
    """The events of one streamed answer. What is the same in all of them is written once."""

    def __init__(self, request_id: str, model: str, *, created_s: int, with_usage: bool) -> None:
        self._with_usage = with_usage
        self._head: Json = {
            "id": _id(request_id),
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": model,
        }
        head = json.dumps(self._head, separators=(",", ":"))[:-1]
        tail = ',"usage":null}' if with_usage else "}"
        self._before = f'data: {head},"choices":[{{"index":0,"delta":{{"content":'
        self._after = f'}},"logprobs":null,"finish_reason":null}}]{tail}\n\n'

    def opening(self) -> bytes:
        return self._event([_choice({"role": "assistant", "content": "", "refusal": None})])

    def text(self, text: str) -> bytes:
        return f"{self._before}{json.dumps(text)}{self._after}".encode()

    def calls(self, calls: Iterable[ToolCall]) -> bytes:
        """Each call in two: whose it is, then its arguments, which are checked whole."""
        events: list[bytes] = []
        for index, call in enumerate(calls):
            opening: Json = {"index": index} | _call(call) | {"function": {"name": call.name, "arguments": ""}}
            rest: Json = {"index": index, "function": {"arguments": call.arguments}}
            events += [self._event([_choice({"tool_calls": [piece]})]) for piece in (opening, rest)]
        return b"".join(events)

    def ending(self, completion: Completion, *, notice: str, finished: str) -> bytes:
        """The rest of an answer whose text and calls are out, and the end of the stream."""
        cited = completion.answer.citations
        delta: Json = {"annotations": [_annotation(each) for each in cited]} if cited else {}
        told: Json = {"orchestra": story(completion, notice=notice)}
        last = self._event([_choice(delta, finished)], {} if self._with_usage else told)
        if self._with_usage:
            nothing: list[Json] = []
            last += _sse(self._head | {"choices": nothing, "usage": usage(completion.answer.usage)} | told)
        return last + b"data: [DONE]\n\n"

    def _event(self, choices: list[Json], more: Json | None = None) -> bytes:
        without = {"usage": None} if self._with_usage else {}
        return _sse(self._head | {"choices": choices} | without | (more or {}))


def error_event(body: Json) -> bytes:
    return _sse(body)


def _choice(delta: Json, finish_reason: str | None = None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _call(call: ToolCall) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _annotation(cited: Citation) -> Json:
    # Providers do not all say which words a page stands behind, so none are named.
    page = {"url": cited.url, "title": cited.title, "start_index": 0, "end_index": 0}
    return {"type": "url_citation", "url_citation": page}


def _model(completion: Completion) -> str:
    """As it could be asked for again."""
    return f"{completion.provider}/{completion.model}"


def _id(request_id: str) -> str:
    return f"chatcmpl-{request_id}"


def _sse(data: Json) -> bytes:
    return f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
