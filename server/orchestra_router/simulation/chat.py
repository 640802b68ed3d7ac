"""Chat completions, as OpenRouter, OpenAI, DeepSeek, Together, xAI and Ollama each speak them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from orchestra_router.simulation.answering import Ask, Function, Outcome
from orchestra_router.simulation.failures import Failure, Refused, as_bytes, body
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.wire import Body, Call, Event, shown, sse


class ChatFunction(Body):
    name: str
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class ChatTool(Body):
    type: str
    function: ChatFunction | None = None


class _ContentPart(Body):
    type: str
    text: str = ""


class _CalledFunction(Body):
    name: str
    arguments: str


class _ToolCall(Body):
    id: str
    type: Literal["function"] = "function"
    function: _CalledFunction


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_ContentPart] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if part.type == "text")
        return self.content or ""

    @property
    def images(self) -> int:
        return 0 if not isinstance(self.content, list) else sum(part.type == "image_url" for part in self.content)


class _JsonSchema(Body):
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class _ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class _StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = True


class _NamedTool(Body):
    name: str


class _ForcedTool(Body):
    type: Literal["function"]
    function: _NamedTool


class _Switch(Body):
    """DeepSeek's `thinking`, OpenRouter's and Together's `reasoning`."""

    type: Literal["enabled", "disabled"] | None = None
    enabled: bool | None = None
    effort: str | None = None


class ChatRequest(Body):
    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: str | list[str] | None = None
    tools: list[ChatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _ForcedTool | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: str | None = None
    thinking: _Switch | None = None
    reasoning: _Switch | None = None
    plugins: list[dict[str, Any]] | None = None
    search_parameters: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def functions(self) -> list[ChatFunction]:
        return [tool.function for tool in self.tools or () if tool.function is not None]


def _nothing(_outcome: Outcome) -> dict[str, Any]:
    return {}


def _no_thought(_text: str) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """The format, with one vendor's ways of it. The defaults are what most share."""

    provider: str
    check: Callable[[ChatRequest, Model], None]
    """Raises `Refused` for what this vendor does not take."""
    effort: Callable[[ChatRequest, Model], str]
    """How hard it thinks about this request."""
    usage: Callable[[Outcome], dict[str, Any]]
    usage_in_stream: Literal["asked", "own_chunk", "last_chunk"] = "asked"
    """An extra chunk if asked for; always an extra chunk; or part of the last one unless an extra one is asked for."""
    max_tokens_fields: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    """The first of them that is set counts; others are ignored."""
    head_fields: Callable[[Outcome], dict[str, Any]] = _nothing
    """Beside `id` and `model`, in every answer and chunk."""
    message_fields: Callable[[Outcome], dict[str, Any]] = _nothing
    last_fields: Callable[[Outcome], dict[str, Any]] = _nothing
    """Beside `usage`."""
    thought_fields: Callable[[str], dict[str, Any]] = _no_thought
    """How a message or a delta shows a thought."""
    finish_fields: tuple[str, ...] = ("finish_reason",)
    stop_reason: str = "stop"
    calls_reason: str = "tool_calls"
    comment: bytes = b""
    """Sent before a stream, while the request waits."""
    padding: bytes = b""
    """Sent before the JSON of a plain answer, while the request waits."""
    obfuscates: bool = False
    error_in_chunk: bool = False
    """An error inside a stream is a chunk with `choices`."""

    def read(self, call: Call) -> Ask:
        request = call.read(ChatRequest)
        model = call.find(request.model)
        check_tool_turns(request)
        self.check(request, model)
        options = request.stream_options or _StreamOptions()
        wanted = request.response_format
        return Ask(
            model=model,
            asked_as=request.model,
            parts=_parts(request),
            question=_last_user_text(request),
            tool_results=_tool_results(request),
            images=sum(message.images for message in request.messages),
            functions=tuple(Function(tool.name, tool.parameters) for tool in request.functions)
            if request.tool_choice != "none"
            else (),
            forced=_forced(request),
            schema=wanted.json_schema.schema_ if wanted and wanted.json_schema else None,
            json_mode=wanted is not None and wanted.type == "json_object",
            max_tokens=self._max_tokens(request),
            stop=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
            effort=self.effort(request, model),
            searches=int(_searches(request)),
            stream=bool(request.stream),
            stream_usage=options.include_usage,
            obfuscate=options.include_obfuscation,
        )

    def _max_tokens(self, request: ChatRequest) -> int | None:
        limits = (getattr(request, name) for name in self.max_tokens_fields)
        return next((limit for limit in limits if limit is not None), None)

    # --- answers

    def plain(self, outcome: Outcome) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": outcome.text if outcome.text or not outcome.calls else None,
        }
        message |= self.message_fields(outcome) | (self.thought_fields(outcome.thought) if outcome.thought else {})
        if outcome.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in outcome.calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, **self._finish(outcome)}
        document = self._head(outcome, "chat.completion") | {"choices": [choice], "usage": self.usage(outcome)}
        return self.padding + as_bytes(document | self.last_fields(outcome))

    def events(self, outcome: Outcome) -> Iterator[Event]:
        if self.comment:
            yield Event(self.comment, "opening")
        yield Event(self._chunk(outcome, [_delta({"role": "assistant", "content": ""})]), "opening")
        call = -1
        for piece in outcome.pieces():
            if piece.kind == "thought":
                delta = self.thought_fields(piece.text)
            elif piece.kind == "text":
                delta = {"content": piece.text}
            else:
                delta = {"tool_calls": [_call_delta(outcome, piece.call, piece.text, first=piece.call != call)]}
                call = piece.call
            if delta:
                yield shown(self._chunk(outcome, [_delta(delta)]), piece)
        # Whatever else a message holds (its sources) comes with the last delta.
        delta = self.message_fields(outcome) if outcome.sources else {}
        last: dict[str, Any] = {"delta": delta, **self._finish(outcome)}
        if self.usage_in_stream == "last_chunk" and not outcome.ask.stream_usage:
            yield self._closing(outcome, [last], usage=self.usage(outcome), **self.last_fields(outcome))
        else:
            yield self._closing(outcome, [last])
            if self.usage_in_stream != "asked" or outcome.ask.stream_usage:
                yield self._closing(outcome, [], usage=self.usage(outcome), **self.last_fields(outcome))
        yield Event(b"data: [DONE]\n\n", "closing", outcome.tokens.visible, outcome.tokens.reasoning)

    def stream_error(self, failure: Failure, outcome: Outcome) -> bytes:
        document = body(self.provider, failure, request_id=outcome.id)
        if self.error_in_chunk:
            choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
            document = self._head(outcome, "chat.completion.chunk") | {"error": document["error"], "choices": [choice]}
        return sse(document)

    def error_with_200(self, failure: Failure, outcome: Outcome) -> bytes:
        return as_bytes(body(self.provider, failure, request_id=outcome.id))

    # --- pieces of answers

    def _head(self, outcome: Outcome, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{outcome.id}",
            "object": kind,
            "created": outcome.created_s,
            "model": outcome.ask.model.id,
            **self.head_fields(outcome),
        }

    def _finish(self, outcome: Outcome) -> dict[str, Any]:
        reasons = {"stop": self.stop_reason, "stop_sequence": "stop", "tool_calls": self.calls_reason}
        return dict.fromkeys(self.finish_fields, reasons.get(outcome.finish, outcome.finish))

    def _chunk(self, outcome: Outcome, choices: list[dict[str, Any]], **more: Any) -> bytes:
        document = self._head(outcome, "chat.completion.chunk")
        document["choices"] = [{"index": 0, "logprobs": None, **choice} for choice in choices]
        if outcome.ask.stream_usage:
            document["usage"] = None
        if self.obfuscates and outcome.ask.obfuscate and choices:
            document["obfuscation"] = "x" * (1 + outcome.created_s % 7)
        return sse(document | more)

    def _closing(self, outcome: Outcome, choices: list[dict[str, Any]], **more: Any) -> Event:
        tokens = outcome.tokens
        return Event(self._chunk(outcome, choices, **more), "closing", tokens.visible, tokens.reasoning)


def check_tool_turns(request: ChatRequest) -> None:
    """Every tool result answers a call made before it."""
    called: set[str] = set()
    for number, message in enumerate(request.messages):
        called |= {call.id for call in message.tool_calls or ()}
        if message.role == "tool" and message.tool_call_id not in called:
            raise Refused(
                "bad_request",
                "messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
                param=f"messages.{number}.tool_call_id",
            )


def _parts(request: ChatRequest) -> tuple[str, ...]:
    """Everything the model reads: tools, the schema, then the messages in order."""
    parts = [json.dumps(tool.model_dump(exclude_none=True)) for tool in request.tools or ()]
    if request.response_format is not None and request.response_format.json_schema is not None:
        parts.append(json.dumps(request.response_format.json_schema.schema_))
    for message in request.messages:
        parts.append(message.text)
        parts += [call.function.name + call.function.arguments for call in message.tool_calls or ()]
    return tuple(part for part in parts if part)


def _last_user_text(request: ChatRequest) -> str:
    return next((message.text for message in reversed(request.messages) if message.role == "user"), "")


def _tool_results(request: ChatRequest) -> tuple[str, ...]:
    """What tools returned since the user last spoke."""
    results: list[str] = []
    for message in reversed(request.messages):
        if message.role == "user":
            break
        if message.role == "tool":
            results.insert(0, message.text)
    return tuple(results)


def _forced(request: ChatRequest) -> str:
    if isinstance(request.tool_choice, _ForcedTool):
        return request.tool_choice.function.name
    return "any" if request.tool_choice == "required" else ""


def _searches(request: ChatRequest) -> bool:
    """OpenRouter's server tool or plugin; nobody else searches on chat completions."""
    kinds = {tool.type for tool in request.tools or ()} | {plugin.get("id") for plugin in request.plugins or ()}
    return bool(kinds & {"openrouter:web_search", "web_search", "web"})


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"delta": delta, "finish_reason": None}


def _call_delta(outcome: Outcome, number: int, arguments: str, *, first: bool) -> dict[str, Any]:
    if not first:
        return {"index": number, "function": {"arguments": arguments}}
    call = outcome.calls[number]
    return {
        "index": number,
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
