"""The Responses format, as OpenAI, xAI and Perplexity (Agent API) each speak it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from orchestra_router.simulation.answering import Ask, Function, Outcome
from orchestra_router.simulation.answering import Call as ToolCall
from orchestra_router.simulation.failures import Failure, Refused, as_bytes
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.wire import Body, Call, Event, Moment, sse

Item = dict[str, Any]


class _ContentPart(Body):
    type: Literal["input_text", "output_text", "input_image", "refusal", "summary_text", "reasoning_text"]
    text: str = ""


class InputItem(Body):
    type: str = ""
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[_ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_ContentPart] | None = None

    @property
    def text(self) -> str:
        return _joined(self.content) + (self.name or "") + (self.arguments or "") + _joined(self.output)

    @property
    def images(self) -> int:
        return sum(part.type == "input_image" for part in self.content) if isinstance(self.content, list) else 0


class ResponsesTool(Body):
    type: str
    name: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    search_type: str | None = None


class SchemaFormat(Body):
    """OpenAI's `text.format`, and inside Perplexity's `response_format`."""

    type: Literal["text", "json_object", "json_schema"] = "json_schema"
    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class _TextConfig(Body):
    format: SchemaFormat | None = None


class _ResponseFormat(Body):
    type: Literal["json_schema"]
    json_schema: SchemaFormat


class _Reasoning(Body):
    effort: str | None = None


class _ForcedTool(Body):
    type: str
    name: str | None = None


class _StreamOptions(Body):
    include_obfuscation: bool = True


class ResponsesRequest(Body):
    model: str | None = None
    models: list[str] | None = None
    preset: str | None = None
    input: str | list[InputItem]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    tools: list[ResponsesTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | _ForcedTool | None = None
    text: _TextConfig | None = None
    response_format: _ResponseFormat | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def items(self) -> list[InputItem]:
        return self.input if isinstance(self.input, list) else [InputItem(role="user", content=self.input)]

    @property
    def format(self) -> SchemaFormat | None:
        if self.response_format is not None:
            return self.response_format.json_schema
        return self.text.format if self.text is not None else None

    @property
    def effort(self) -> str | None:
        return self.reasoning.effort if self.reasoning is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """The format, with one vendor's ways of it."""

    check: Callable[[ResponsesRequest], None]
    """Raises `Refused` for what this vendor does not take, whatever the model."""
    check_model: Callable[[ResponsesRequest, Model], None]
    pick: Callable[[ResponsesRequest, Callable[[str], Model]], tuple[Model, str]]
    """The model that answers, and how the caller named it."""
    usage: Callable[[Outcome], dict[str, Any]]
    searches: Callable[[ResponsesRequest], tuple[int, str]]
    """How many searches it makes, and what 1,000 cost if that is the request's choice ("": the model's price)."""
    search_items: Callable[[Outcome], list[Item]]
    """The output items a search leaves."""
    search_events: Callable[[Outcome], list[Item]]
    """The events that tell of a search, without their numbers."""
    annotation_type: str = "url_citation"
    shows_reasoning: bool = True
    """Thinking leaves an output item."""
    has_parts: bool = True
    """Streams tell when a content part begins and ends; and end with `response.incomplete` when cut short."""
    calls_status: str = "completed"
    obfuscates: bool = False
    last_fields: Callable[[Outcome], dict[str, Any]] = field(default=lambda _outcome: {})
    error_event: Literal["error", "response.failed"] = "error"

    def read(self, call: Call) -> Ask:
        request = call.read(ResponsesRequest)
        self.check(request)
        model, asked_as = self.pick(request, call.find)
        self.check_model(request, model)
        _check_tool_turns(request)
        searches, search_price = self.searches(request)
        functions = tuple(
            Function(tool.name or "", tool.parameters or {}) for tool in request.tools or () if tool.type == "function"
        )
        wanted = request.format
        return Ask(
            model=model,
            asked_as=asked_as,
            parts=_parts(request),
            question=next((item.text for item in reversed(request.items) if item.role == "user"), ""),
            tool_results=_tool_results(request),
            images=sum(item.images for item in request.items),
            functions=functions if request.tool_choice != "none" else (),
            forced=_forced(request),
            schema=wanted.schema_ if wanted is not None else None,
            json_mode=wanted is not None and wanted.type == "json_object",
            max_tokens=request.max_output_tokens,
            effort=request.effort or model.effort,
            searches=searches,
            search_price=search_price,
            stream=bool(request.stream),
            obfuscate=request.stream_options is None or request.stream_options.include_obfuscation,
            show_thoughts="reasoning.encrypted_content" in (request.include or ()),
        )

    # --- answers

    def plain(self, outcome: Outcome) -> bytes:
        return as_bytes(self._response(outcome))

    def events(self, outcome: Outcome) -> Iterator[Event]:
        numbered = _Numbered(outcome, obfuscates=self.obfuscates)
        begun: dict[str, Any] = self._response(outcome)
        begun.update(status="in_progress", output=[], usage=None, incomplete_details=None)
        for name in ("response.created", "response.in_progress"):
            yield numbered.event(name, "opening", response=begun)
        for told in self.search_events(outcome):
            yield numbered.event(told["type"], "opening", **told)
        items = self._output(outcome)
        for index, item in enumerate(items):
            last: Moment = "closing" if index == len(items) - 1 else "opening"
            yield from self._item_events(numbered, outcome, {"output_index": index}, item, last)
        short = outcome.finish in {"length", "content_filter"} and self.has_parts
        name = "response.incomplete" if short else "response.completed"
        yield numbered.event(name, "closing", response=self._response(outcome))

    def _item_events(
        self, numbered: "_Numbered", outcome: Outcome, at: Item, item: Item, last: Moment
    ) -> Iterator[Event]:
        """One output item from its announcement to its end; `last` is "closing" for the last item."""
        empty = item | {"status": "in_progress"} if "status" in item else item
        empty |= {"content": []} if "content" in item else {"arguments": ""} if "arguments" in item else {}
        yield numbered.event("response.output_item.added", "opening", item=empty, **at)
        if item["type"] == "message":
            yield from self._text_events(numbered, outcome, {"item_id": item["id"], **at}, item, last)
        if item["type"] == "function_call":
            yield from _call_events(numbered, outcome, {"item_id": item["id"], **at}, item, last)
        yield numbered.event("response.output_item.done", last, item=item, **at)

    def _text_events(
        self, numbered: "_Numbered", outcome: Outcome, at: Item, item: Item, last: Moment
    ) -> Iterator[Event]:
        at = {**at, "content_index": 0}
        part = item["content"][0]
        logs: Item = {"logprobs": []} if self.has_parts else {}
        if self.has_parts:
            yield numbered.event("response.content_part.added", "opening", part=part | {"text": ""}, **at)
        for piece in outcome.pieces():
            if piece.kind == "text":
                numbered.visible, numbered.reasoning = piece.visible, piece.reasoning
                yield numbered.event("response.output_text.delta", "visible", delta=piece.text, **at, **logs)
        yield numbered.event("response.output_text.done", last, text=outcome.text, **at, **logs)
        if self.has_parts:
            yield numbered.event("response.content_part.done", last, part=part, **at)

    def stream_error(self, failure: Failure, outcome: Outcome) -> bytes:  # noqa: ARG002 - the protocol's signature
        error = {"message": failure.message, "code": failure.code, "type": failure.type}
        told: Item = {"type": self.error_event, "sequence_number": 9_999}  # numbers grow; nobody counts them
        told |= {"error": error} if self.error_event == "response.failed" else {**error, "type": "error", "param": None}
        return sse(told, self.error_event)

    def error_with_200(self, failure: Failure, outcome: Outcome) -> bytes:
        error = {"message": failure.message, "code": failure.code or "server_error", "type": failure.type}
        return as_bytes(self._response(outcome) | {"status": "failed", "error": error, "output": [], "usage": None})

    # --- pieces of answers

    def _response(self, outcome: Outcome) -> dict[str, Any]:
        status, details = "completed", None
        if outcome.calls:
            status = self.calls_status
        if outcome.finish in {"length", "content_filter"}:
            reason = "max_output_tokens" if outcome.finish == "length" else "content_filter"
            status, details = "incomplete", {"reason": reason}
        return {
            "id": f"resp_{outcome.id}",
            "object": "response",
            "created_at": outcome.created_s,
            "status": status,
            "error": None,
            "incomplete_details": details,
            "model": outcome.ask.model.id,
            "output": self._output(outcome),
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "tool_choice": "auto",
            "tools": [],
            "usage": self.usage(outcome),
            **self.last_fields(outcome),
        }

    def _output(self, outcome: Outcome) -> list[Item]:
        items: list[Item] = []
        if outcome.tokens.reasoning and self.shows_reasoning:
            thought: Item = {"id": f"rs_{outcome.id}", "type": "reasoning", "summary": []}
            items.append(thought | ({"encrypted_content": "c2ltdWxhdGVk"} if outcome.ask.show_thoughts else {}))
        items += self.search_items(outcome)
        done = "incomplete" if outcome.finish in {"length", "content_filter"} else "completed"
        if outcome.text or not outcome.calls:
            part = {"type": "output_text", "text": outcome.text, "annotations": self._annotations(outcome)}
            items.append(
                {
                    "id": f"msg_{outcome.id}",
                    "type": "message",
                    "status": done,
                    "role": "assistant",
                    "content": [part],
                }
            )
        return items + [_call_item(call) for call in outcome.calls]

    def _annotations(self, outcome: Outcome) -> list[Item]:
        return [
            {
                "type": self.annotation_type,
                "url": source.url,
                "title": source.title,
                "start_index": 0,
                "end_index": len(outcome.text),
            }
            for source in outcome.sources
        ]


class _Numbered:
    """Numbers the events of one stream and remembers how much of the answer is out."""

    def __init__(self, outcome: Outcome, *, obfuscates: bool) -> None:
        self._next = 0
        self._obfuscation = {"obfuscation": "xxx"} if obfuscates and outcome.ask.obfuscate else {}
        self._tokens = outcome.tokens
        self.visible = self.reasoning = 0

    def event(self, name: str, moment: Moment, **fields: Any) -> Event:
        document = {"type": name, "sequence_number": self._next, **fields}
        self._next += 1
        if name.endswith(".delta"):
            document |= self._obfuscation
        if moment == "closing":
            self.visible, self.reasoning = self._tokens.visible, self._tokens.reasoning
        return Event(sse(document, name), moment, self.visible, self.reasoning)


def _call_events(numbered: _Numbered, outcome: Outcome, at: Item, item: Item, last: Moment) -> Iterator[Event]:
    for piece in outcome.pieces():
        if piece.kind == "call" and outcome.calls[piece.call].id == item["call_id"]:
            numbered.visible, numbered.reasoning = piece.visible, piece.reasoning
            yield numbered.event("response.function_call_arguments.delta", "visible", delta=piece.text, **at)
    yield numbered.event("response.function_call_arguments.done", last, arguments=item["arguments"], **at)


def _call_item(call: ToolCall) -> Item:
    return {
        "id": f"fc_{call.id}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _check_tool_turns(request: ResponsesRequest) -> None:
    called: set[str | None] = set()
    for item in request.items:
        if item.type == "function_call":
            called.add(item.call_id)
        if item.type == "function_call_output" and item.call_id not in called:
            message = f"No tool call found for function call output with call_id {item.call_id}."
            raise Refused("bad_request", message, param="input")


def _parts(request: ResponsesRequest) -> tuple[str, ...]:
    parts = [request.instructions or ""]
    parts += [json.dumps(tool.model_dump(exclude_none=True)) for tool in request.tools or ()]
    if request.format is not None and request.format.schema_ is not None:
        parts.append(json.dumps(request.format.schema_))
    parts += [item.text for item in request.items]
    return tuple(part for part in parts if part)


def _tool_results(request: ResponsesRequest) -> tuple[str, ...]:
    results: list[str] = []
    for item in reversed(request.items):
        if item.role == "user":
            break
        if item.type == "function_call_output":
            results.insert(0, _joined(item.output))
    return tuple(results)


def _forced(request: ResponsesRequest) -> str:
    if isinstance(request.tool_choice, _ForcedTool):
        return request.tool_choice.name or ""
    return "any" if request.tool_choice == "required" else ""


def _joined(content: str | list[_ContentPart] | None) -> str:
    return "".join(part.text for part in content) if isinstance(content, list) else content or ""
