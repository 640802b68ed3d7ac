"""Anthropic's messages."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from orchestra_router.simulation.answering import THOUGHT_TOKENS, Ask, Function, Outcome, Piece
from orchestra_router.simulation.answering import Call as ToolCall
from orchestra_router.simulation.failures import Failure, Refused, as_bytes, body
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.schemas import open_object
from orchestra_router.simulation.wire import Body, Call, Event, Moment, shown, sse

VERSIONS = ("2023-06-01", "2026-10-21")
SIGNATURE = "c2ltdWxhdGVk"
"""What signs every simulated thought; a thought that comes back must bear it."""

Block = dict[str, Any]


class _CacheControl(Body):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class _Block(Body):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] | None = None
    tool_use_id: str = ""
    content: "str | list[_Block] | None" = None
    cache_control: _CacheControl | None = None

    @property
    def all_text(self) -> str:
        said = self.text + self.thinking + self.name + (json.dumps(self.input) if self.input is not None else "")
        return said + _joined(self.content)


class _Turn(Body):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Block]

    @property
    def blocks(self) -> list[_Block]:
        return self.content if isinstance(self.content, list) else [_Block(type="text", text=self.content)]

    def ids(self, type_: str) -> set[str]:
        return {block.tool_use_id or block.id for block in self.blocks if block.type == type_}


class _Tool(Body):
    type: str = "custom"
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    cache_control: _CacheControl | None = None


class _ToolChoice(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""


class _Thinking(Body):
    type: Literal["adaptive", "enabled", "disabled", "between_tools"]
    budget_tokens: int | None = None


class _OutputFormat(Body):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class _OutputConfig(Body):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: _OutputFormat | None = None


class _CountRequest(Body):
    """What is counted, and all that counting needs."""

    model: str
    messages: list[_Turn] = Field(min_length=1)
    system: str | list[_Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: _OutputConfig | None = None
    cache_control: _CacheControl | None = None


class _MessagesRequest(_CountRequest):
    max_tokens: int = Field(ge=1)
    stop_sequences: list[str] | None = None
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = None
    top_k: int | None = None
    stream: bool | None = None


_OTHER_FIELDS = frozenset(
    {"metadata", "service_tier", "speed", "container", "diagnostics", "inference_geo", "context_management"}
)


@dataclass(frozen=True, slots=True)
class Messages:
    def read(self, call: Call) -> Ask:
        check_version(call)
        request = call.read(_MessagesRequest)
        model = call.find(request.model)
        _check(request, model, version=call.headers["anthropic-version"])
        for number, turn in enumerate(request.messages):
            _check_turn(request.messages, number, turn)
        parts, marked, hour = _parts(request)
        wanted = request.output_config.format if request.output_config is not None else None
        return Ask(
            model=model,
            asked_as=request.model,
            parts=parts,
            question=_last_user_text(request),
            tool_results=tuple(
                _joined(block.content) for block in request.messages[-1].blocks if block.type == "tool_result"
            ),
            images=sum(block.type == "image" for turn in request.messages for block in turn.blocks),
            functions=_functions(request),
            forced=_forced(request),
            schema=wanted.schema_ if wanted is not None else None,
            max_tokens=request.max_tokens,
            stop=tuple(request.stop_sequences or ()),
            effort=_effort(request, model),
            searches=int(any(tool.type.startswith("web_search_") for tool in request.tools or ())),
            stream=bool(request.stream),
            cache_upto=marked,
            cache_for_an_hour=hour,
        )

    def count(self, call: Call) -> bytes:
        """The answer of the free token counter."""
        check_version(call)
        request = call.read(_CountRequest)
        call.find(request.model)
        parts, _, _ = _parts(request)
        return as_bytes({"input_tokens": max(1, sum(-(-len(part.encode()) // 4) for part in parts))})

    # --- answers

    def plain(self, outcome: Outcome) -> bytes:
        return as_bytes(
            _message(outcome) | {"content": _content(outcome), **_ending(outcome), "usage": _usage(outcome)}
        )

    def events(self, outcome: Outcome) -> Iterator[Event]:
        begun = _usage(outcome) | {"output_tokens": 1, "output_tokens_details": None}
        yield _event("message_start", message=_message(outcome) | {"content": [], "usage": begun})
        yield _event("ping")
        pieces = list(outcome.pieces())
        for index, block in enumerate(_content(outcome)):
            yield from _block_events(outcome, index, block, pieces)
        usage = {
            name: value for name, value in _usage(outcome).items() if name not in {"cache_creation", "service_tier"}
        }
        yield _event("message_delta", "closing", delta=_ending(outcome), usage=usage)
        yield _event("message_stop", "closing")

    def stream_error(self, failure: Failure, outcome: Outcome) -> bytes:
        return sse(body("anthropic", failure, request_id=f"req_{outcome.id}"), "error")

    def error_with_200(self, failure: Failure, outcome: Outcome) -> bytes:
        return as_bytes(body("anthropic", failure, request_id=f"req_{outcome.id}"))


def check_version(call: Call) -> None:
    """Every call names a version of the API."""
    version = call.headers.get("anthropic-version")
    if version is None:
        raise Refused("bad_request", "anthropic-version: header is required")
    if version not in VERSIONS:
        raise Refused("bad_request", f"anthropic-version: {version!r} is not a valid version")


def _check(request: _MessagesRequest, model: Model, *, version: str) -> None:
    for name in sorted(set(request.model_extra or ()) - _OTHER_FIELDS):
        raise Refused("bad_request", f"{name}: Extra inputs are not permitted")
    older = model.id == "claude-sonnet-4-5"
    for name, default in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        value = getattr(request, name)
        if value is not None and version == "2026-10-21":
            raise Refused("bad_request", f"{name}: Extra inputs are not permitted")
        if value is not None and value != default and not older:
            raise Refused("bad_request", f"{name}: this model does not support a value other than the default")
    if request.max_tokens > model.max_output:
        message = f"max_tokens: {request.max_tokens} > {model.max_output}, the maximum for {model.id}"
        raise Refused("bad_request", message)
    _check_thinking(request, model, older=older)
    if request.tool_choice is not None and request.tool_choice.type in {"any", "tool"} and not model.forced_tools:
        raise Refused("bad_request", "tool_choice: forcing a tool is not supported with this model")
    if request.messages[-1].role == "assistant" and not older:
        message = (
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
        raise Refused("bad_request", message)
    wanted = request.output_config.format if request.output_config is not None else None
    if wanted is not None and open_object(wanted.schema_, all_required=False):
        message = (
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
        )
        raise Refused("bad_request", message)


def _check_thinking(request: _MessagesRequest, model: Model, *, older: bool) -> None:
    match request.thinking:
        case _Thinking(type="disabled") if model.always_thinks:
            raise Refused("bad_request", "thinking: cannot be disabled for this model")
        case _Thinking(type="enabled") if not older:
            raise Refused("bad_request", "thinking: 'enabled' is not supported with this model; use 'adaptive'")
        case _Thinking(type="enabled", budget_tokens=budget):
            if budget is None or budget < 1024 or budget >= request.max_tokens:
                raise Refused("bad_request", "thinking.budget_tokens: must be at least 1024 and below max_tokens")
        case _:
            pass


def _check_turn(turns: list[_Turn], number: int, turn: _Turn) -> None:
    if not turn.blocks or any(block.type == "text" and not block.text for block in turn.blocks):
        raise Refused("bad_request", f"messages.{number}: text content blocks must be non-empty")
    if any(block.type == "thinking" and block.signature != SIGNATURE for block in turn.blocks):
        raise Refused("bad_request", f"messages.{number}: Invalid `signature` in `thinking` block")
    calls = turns[number - 1].ids("tool_use") if number else set[str]()
    results = turn.ids("tool_result")
    if results - calls:
        raise Refused("bad_request", f"messages.{number}: unexpected `tool_use_id` found in `tool_result` blocks")
    if calls - results:
        message = f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after"
        raise Refused("bad_request", message)


def _effort(request: _CountRequest, model: Model) -> str:
    asked = request.thinking is not None and request.thinking.type != "disabled"
    if not model.always_thinks and not asked:
        return "none"
    effort = request.output_config.effort if request.output_config is not None else None
    return effort or (model.effort if THOUGHT_TOKENS[model.effort] else "high")


def _parts(request: _CountRequest) -> tuple[tuple[str, ...], int, bool]:
    """Everything the model reads, in the order it is cached; how many of it is marked; whether for an hour."""
    parts: list[tuple[str, _CacheControl | None]] = [
        (json.dumps(tool.model_dump(exclude_none=True, exclude={"cache_control"})), tool.cache_control)
        for tool in request.tools or ()
    ]
    if request.output_config is not None and request.output_config.format is not None:
        parts.append((json.dumps(request.output_config.format.schema_), None))
    system = request.system if isinstance(request.system, list) else [_Block(type="text", text=request.system or "")]
    blocks = [*system, *(block for turn in request.messages for block in turn.blocks)]
    parts += [(block.all_text, block.cache_control) for block in blocks]
    parts = [part for part in parts if part[0]]
    marks = [number for number, (_, mark) in enumerate(parts, start=1) if mark is not None]
    upto = len(parts) if request.cache_control is not None else max(marks, default=0)
    controls = [request.cache_control, *(mark for _, mark in parts)]
    return tuple(text for text, _ in parts), upto, any(mark is not None and mark.ttl == "1h" for mark in controls)


def _last_user_text(request: _MessagesRequest) -> str:
    texts = (
        "".join(block.text for block in turn.blocks if block.type == "text")
        for turn in reversed(request.messages)
        if turn.role == "user"
    )
    return next((text for text in texts if text), "")


def _functions(request: _MessagesRequest) -> tuple[Function, ...]:
    if request.tool_choice is not None and request.tool_choice.type == "none":
        return ()
    own = (tool for tool in request.tools or () if tool.type == "custom")
    return tuple(Function(tool.name, tool.input_schema or {}) for tool in own)


def _forced(request: _MessagesRequest) -> str:
    if request.tool_choice is None or request.tool_choice.type not in {"any", "tool"}:
        return ""
    return request.tool_choice.name or "any"


def _joined(content: str | list[_Block] | None) -> str:
    return "".join(block.all_text for block in content) if isinstance(content, list) else content or ""


# --- pieces of answers ------------------------------------------------------------------------------------


def _message(outcome: Outcome) -> Block:
    return {
        "id": f"msg_{outcome.id}",
        "type": "message",
        "role": "assistant",
        "model": outcome.ask.model.id,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
    }


def _ending(outcome: Outcome) -> Block:
    reasons = {
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    }
    refused = outcome.finish == "content_filter"
    return {
        "stop_reason": reasons[outcome.finish],
        "stop_sequence": outcome.stopped_by or None,
        "stop_details": {"type": "refusal", "category": None, "explanation": None} if refused else None,
    }


def _usage(outcome: Outcome) -> Block:
    """Input without what was read from or written to the cache; output with the thinking."""
    tokens = outcome.tokens
    searched = {"web_search_requests": tokens.searches, "web_fetch_requests": 0}
    return {
        "input_tokens": tokens.fresh,
        "cache_creation_input_tokens": tokens.written + tokens.written_1h,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.written,
            "ephemeral_1h_input_tokens": tokens.written_1h,
        },
        "output_tokens": tokens.output,
        "output_tokens_details": {"thinking_tokens": tokens.reasoning},
        "server_tool_use": searched if tokens.searches else None,
        "service_tier": "standard",
    }


def _content(outcome: Outcome) -> list[Block]:
    blocks: list[Block] = []
    if outcome.tokens.reasoning:
        blocks.append({"type": "thinking", "thinking": outcome.thought, "signature": SIGNATURE})
    if outcome.sources:
        use = f"srvtoolu_{outcome.id}"
        found = [
            {
                "type": "web_search_result",
                "url": source.url,
                "title": source.title,
                "encrypted_content": SIGNATURE,
                "page_age": None,
            }
            for source in outcome.sources
        ]
        blocks.append({"type": "server_tool_use", "id": use, "name": "web_search", "input": {"query": "simulated"}})
        blocks.append({"type": "web_search_tool_result", "tool_use_id": use, "content": found})
    if outcome.text:
        blocks.append({"type": "text", "text": outcome.text, "citations": _citations(outcome) or None})
    return blocks + [_tool_use(call) for call in outcome.calls]


def _citations(outcome: Outcome) -> list[Block]:
    return [
        {
            "type": "web_search_result_location",
            "url": source.url,
            "title": source.title,
            "cited_text": source.snippet,
            "encrypted_index": SIGNATURE,
        }
        for source in outcome.sources
    ]


def _tool_use(call: ToolCall) -> Block:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": json.loads(call.arguments)}


def _event(name: str, moment: Moment = "opening", **fields: Any) -> Event:
    return Event(sse({"type": name, **fields}, name), moment)


def _delta(index: int, piece: Piece, **delta: Any) -> Event:
    return shown(sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta"), piece)


def _block_events(outcome: Outcome, index: int, block: Block, pieces: list[Piece]) -> Iterator[Event]:
    """One content block: announced empty, filled, ended."""
    empty: Mapping[str, Block] = {
        "thinking": {"thinking": "", "signature": ""},
        "text": {"text": "", "citations": None},
        "tool_use": {"input": {}},
        "server_tool_use": {"input": {}},
    }
    yield _event("content_block_start", index=index, content_block=block | empty.get(block["type"], {}))
    match block["type"]:
        case "thinking":
            thought = pieces[0]
            yield _delta(index, thought, type="thinking_delta", thinking=thought.text)
            yield _delta(index, thought, type="signature_delta", signature=SIGNATURE)
        case "server_tool_use":
            asked = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            yield _event("content_block_delta", index=index, delta=asked)
        case "text":
            for piece in pieces:
                if piece.kind == "text":
                    yield _delta(index, piece, type="text_delta", text=piece.text)
            for citation in _citations(outcome):
                cited = {"type": "citations_delta", "citation": citation}
                yield _event("content_block_delta", index=index, delta=cited)
        case "tool_use":
            for piece in pieces:
                if piece.kind == "call" and outcome.calls[piece.call].id == block["id"]:
                    yield _delta(index, piece, type="input_json_delta", partial_json=piece.text)
        case _:
            pass
    yield _event("content_block_stop", index=index)
