"""Chat completions: OpenRouter, OpenAI, DeepSeek, Together, xAI, local servers, and whatever else speaks it.

Vendors differ in the fields of `Provider` and `Model` only; an answer is read by what it holds, not by who sent it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import InvalidAnswer, InvalidRequest, ProviderError, StreamBroken
from orchestra_router.providers import openai_common
from orchestra_router.providers.failures import error_in
from orchestra_router.providers.openai_common import (
    arguments_text,
    assistant_text,
    bearer_headers,
    citations,
    image_url,
    named_schema,
    reported_cost,
    result_text,
    system_text,
    tool_call,
)
from orchestra_router.providers.params import Params, fit
from orchestra_router.providers.wire import (
    JsonObject,
    as_count,
    as_list,
    as_object,
    as_objects,
    as_text,
    credible,
    disjoint_usage,
    dump,
    encode,
    first_object,
    parse_object,
)
from orchestra_router.types import (
    Answer,
    Citation,
    CompletionRequest,
    Finish,
    Image,
    Message,
    StreamEvent,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    WireRequest,
)

FINISH: Mapping[str, Finish] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",  # OpenRouter
    "insufficient_system_resource": "error",  # DeepSeek
    # Gateways pass on what Anthropic and Gemini say in their own formats.
    **dict.fromkeys(("end_turn", "stop_sequence", "STOP"), "stop"),
    **dict.fromkeys(("max_tokens", "model_context_window_exceeded", "MAX_TOKENS"), "length"),
    "tool_use": "tool_calls",
    **dict.fromkeys(("refusal", "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "content_filter"),
    **dict.fromkeys(("OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"), "error"),
    # And the code of an error that ended a stream as the reason for its end.
    **dict.fromkeys(("overloaded_error", "api_error", "timeout_error"), "error"),
}
MAY_BE_EMPTY = frozenset[Finish]({"length", "content_filter"})
"""An answer without text that ended so is still an answer: it was cut off, or refused."""
_WRITTEN = ("content", "refusal", "reasoning", "reasoning_content", "reasoning_details", "tool_calls")
"""The fields of a message that are output."""
_OF_THE_WHOLE = ("id", "model", "usage", "citations")
"""The fields of a chunk that say something of the whole answer."""


# --- Asking ------------------------------------------------------------------------------------------------


def build_request(
    deployment: Deployment, request: CompletionRequest, *, api_key: str, stream: bool = False
) -> WireRequest:
    provider = deployment.provider
    params = fit(deployment, request)
    if request.web_search and provider.search_style != "openrouter":
        raise InvalidRequest(f"web_search: {deployment.key} cannot search the web over chat completions")
    body = {
        "model": deployment.offer.id,
        "messages": _messages(deployment, request, params),
        provider.max_tokens_field: params.max_tokens,
    }
    body |= _optional(deployment, params) | _tools(request) | _response_format(provider, request)
    if request.prefix_key:
        body["prompt_cache_key"] = request.prefix_key
    if stream:
        body |= {"stream": True}
        body |= {"stream_options": {"include_usage": True}} if provider.stream_usage else {}
    return WireRequest(
        url=f"{provider.base_url.rstrip('/')}{provider.path or '/chat/completions'}",
        headers=bearer_headers(provider, api_key) | {"content-type": "application/json"},
        body=encode(body),
        notes=params.notes,
    )


def _optional(deployment: Deployment, params: Params) -> dict[str, object]:
    body: dict[str, object] = {}
    if params.temperature is not None:
        body["temperature"] = params.temperature
    if params.top_p is not None:
        body["top_p"] = params.top_p
    if params.seed is not None:
        body["seed"] = params.seed
    if params.stop:
        body["stop"] = list(params.stop)
    if params.effort is not None:
        match deployment.provider.effort_style:
            case "reasoning":
                body["reasoning"] = {"effort": params.effort}
            case "thinking" if params.effort == "none":
                body["thinking"] = {"type": "disabled"}
            case "thinking":
                body |= {"thinking": {"type": "enabled"}, "reasoning_effort": params.effort}
            case _:
                body["reasoning_effort"] = params.effort
    return body


def _tools(request: CompletionRequest) -> dict[str, object]:
    tools = [_function(tool) for tool in request.tools]
    if request.web_search:
        tools.append({"type": "openrouter:web_search"})
    body: dict[str, object] = {"tools": tools} if tools else {}
    if request.tools and request.tool_choice != "auto":
        named = request.tool_choice not in {"none", "required"}
        choice = {"type": "function", "function": {"name": request.tool_choice}} if named else request.tool_choice
        body["tool_choice"] = choice
    return body


def _function(tool: Tool) -> dict[str, object]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _response_format(provider: Provider, request: CompletionRequest) -> dict[str, object]:
    if request.response_schema is None:
        return {}
    if provider.schema_style == "json_object":
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": "json_schema", "json_schema": named_schema(request.response_schema)}}


def _messages(deployment: Deployment, request: CompletionRequest, params: Params) -> list[dict[str, object]]:
    system = system_text(deployment.provider, request)
    content: object = system
    if request.mark_prefix:
        content = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
    messages: list[dict[str, object]] = [{"role": "system", "content": content}] if system else []
    for turn in request.turns:
        if turn.role == "assistant":
            messages.append(_assistant(turn) | _returned_reasoning(deployment, params, turn))
        else:
            messages += _tool_results(turn)
            messages += _user(turn)
    return messages


def _user(turn: Message) -> list[dict[str, object]]:
    parts = [part for part in turn.parts if not isinstance(part, ToolResult)]
    if not parts:
        return []
    if all(isinstance(part, Text) for part in parts):
        return [{"role": "user", "content": turn.text}]
    return [{"role": "user", "content": [_content_part(part) for part in parts]}]


def _content_part(part: Text | Image | ToolCall) -> dict[str, object]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image():
            return {"type": "image_url", "image_url": {"url": image_url(part)}}
        case ToolCall():
            raise InvalidRequest("messages: only an assistant turn can call a tool; give that turn role 'assistant'")


def _tool_results(turn: Message) -> list[dict[str, object]]:
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    return [{"role": "tool", "tool_call_id": result.call_id, "content": result_text(result)} for result in results]


def _assistant(turn: Message) -> dict[str, object]:
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in turn.parts
        if isinstance(part, ToolCall)
    ]
    text = assistant_text(turn)
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": calls}


def _returned_reasoning(deployment: Deployment, params: Params, turn: Message) -> dict[str, object]:
    """What the provider wants to see again of its own thoughts, from the state that `_state` made."""
    state = _read_state(turn.provider_state)
    returned: dict[str, object] = {}
    if deployment.provider.returns_reasoning and _thinks(deployment, params):
        # It refuses any assistant turn without, also one that somebody else wrote; a blank is enough.
        returned["reasoning_content"] = state.get("reasoning_content") or " "
    if deployment.provider.effort_style == "reasoning" and "reasoning_details" in state:
        returned["reasoning_details"] = state["reasoning_details"]
    return returned


def _thinks(deployment: Deployment, params: Params) -> bool:
    return deployment.model.thinks != "no" if params.effort is None else params.effort != "none"


# --- The answer --------------------------------------------------------------------------------------------


def parse_response(body: bytes) -> Answer:
    return _answer(parse_object(body))


def _answer(reply: JsonObject) -> Answer:
    choice = first_object(reply.get("choices"))
    message = as_object(choice.get("message"))
    text = _text(message.get("content"))
    calls = _tool_calls(message)
    usage, cost_nusd = _bill(as_object(reply.get("usage")), said=_is_written(message))
    for carrier in (reply, choice):
        if carrier.get("error"):
            raise error_in(carrier, usage=usage, cost_nusd=cost_nusd)
    finish = _finish(as_text(choice.get("finish_reason")), calls)
    if refusal := as_text(message.get("refusal")):
        text, finish = text or refusal, "content_filter"
    if not choice or not (text.strip() or calls or finish in MAY_BE_EMPTY):
        raise InvalidAnswer(status=200, usage=usage, cost_nusd=cost_nusd)
    return Answer(
        text=text,
        finish=finish,
        usage=usage,
        model=as_text(reply.get("model")),
        tool_calls=calls,
        citations=_citations(reply, message),
        cost_nusd=cost_nusd,
        provider_state=_state(message),
        provider_request_id=as_text(reply.get("id")),
    )


def _text(content: object) -> str:
    """Content is a string, or a list of parts of which some are text, or null."""
    if isinstance(content, str):
        return as_text(content)
    parts = as_objects(content)
    return "".join(as_text(part.get("text")) for part in parts if part.get("type") == "text")


def _finish(reason: str, calls: tuple[ToolCall, ...]) -> Finish:
    finish = FINISH.get(reason, "other")
    # xAI says "" and some local servers "stop" beside tool calls.
    if calls and finish in {"stop", "other"}:
        return "tool_calls"
    return "other" if finish == "tool_calls" and not calls else finish


def _tool_calls(message: JsonObject) -> tuple[ToolCall, ...]:
    return tuple(
        tool_call(as_text(call.get("id")) or f"call_{number}", function)
        for number, call in enumerate(as_objects(message.get("tool_calls")))
        if (function := as_object(call.get("function"))).get("name")
    )


def _citations(reply: JsonObject, message: JsonObject) -> tuple[Citation, ...]:
    annotated = [as_object(note.get("url_citation")) for note in as_objects(message.get("annotations"))]
    return citations([*annotated, *as_list(reply.get("citations"))])


def _is_written(message: JsonObject) -> bool:
    """Whether a message, or what a stream adds to one, holds any output, thoughts included."""
    return any(message.get(name) for name in _WRITTEN)


def _bill(usage: JsonObject, *, said: bool) -> tuple[Usage | None, int | None]:
    read = as_object(usage.get("prompt_tokens_details"))
    wrote = as_object(usage.get("completion_tokens_details"))
    counts = disjoint_usage(
        as_count(usage.get("prompt_tokens")),
        as_count(usage.get("completion_tokens")),
        total=as_count(usage.get("total_tokens")),
        cached=as_count(read.get("cached_tokens")) or as_count(usage.get("prompt_cache_hit_tokens")) or 0,
        # The second name is a gateway's, which has it from Anthropic.
        written=as_count(read.get("cache_write_tokens")) or as_count(usage.get("cache_creation_input_tokens")) or 0,
        reasoning=as_count(wrote.get("reasoning_tokens")) or 0,
    )
    return credible(counts, said=said), reported_cost(usage)


def _state(message: JsonObject) -> str:
    """The thoughts to send back, marked as ours; "" if there are none."""
    state: dict[str, object] = {}
    if content := as_text(message.get("reasoning_content")):
        state["reasoning_content"] = content
    if details := as_objects(message.get("reasoning_details")):
        state["reasoning_details"] = details
    return dump({"format": "chat"} | state) if state else ""


def _read_state(provider_state: str) -> JsonObject:
    """What `_state` made, or {} for a state that another format made."""
    try:
        state = parse_object(provider_state)
    except InvalidAnswer:
        return {}
    return state if state.get("format") == "chat" else {}


# --- The answer in a stream --------------------------------------------------------------------------------


def stream_reader() -> "ChatReader":
    return ChatReader()


@dataclass(slots=True)
class _CallPieces:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _DetailPieces:
    first: dict[str, object]
    texts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Of each field that goes on in later pieces, what it began with and what came since."""

    def goes_on(self, piece: JsonObject) -> bool:
        return "index" in piece and all(self.first.get(key) == piece.get(key) for key in ("type", "index"))

    def add(self, piece: JsonObject) -> None:
        for key, value in piece.items():
            if key in {"text", "summary", "data"}:
                self.texts.setdefault(key, [as_text(self.first.get(key))]).append(as_text(value))
            elif value is not None:
                self.first[key] = value

    def joined(self) -> dict[str, object]:
        return self.first | {key: "".join(texts) for key, texts in self.texts.items()}


class ChatReader:
    """Collects the chunks into the message that a plain answer would have held, and reads that."""

    def __init__(self) -> None:
        self.done = False
        self._head: dict[str, object] = {}
        self._texts: list[str] = []
        """All that was visible, a refusal included."""
        self._refusals: list[str] = []
        self._reasoning: list[str] = []
        self._details: list[_DetailPieces] = []
        self._annotations: list[object] = []
        self._calls: list[_CallPieces] = []
        self._call_at: dict[int, _CallPieces] = {}
        self._finish_reason = ""

    def feed(self, event: StreamEvent) -> str:
        data = event.data.strip()
        if self.done or not data:
            return ""
        if data == "[DONE]":
            self.done = True
            return ""
        try:
            chunk = parse_object(data)
        except InvalidAnswer:
            if self._finish_reason:  # the answer is whole; only its usage was cut off
                return ""
            raise self._broken() from None
        # Usage may come alone, with `choices: []`; whatever a later chunk says replaces the earlier.
        for key in _OF_THE_WHOLE:
            if said := chunk.get(key):
                self._head[key] = said
        choice = first_object(chunk.get("choices"))
        if event.event == "error" or chunk.get("error") or choice.get("error"):
            carrier = chunk if event.event == "error" or chunk.get("error") else choice
            raise self._with_what_came(error_in(carrier), counted=bool(chunk.get("usage") or self._finish_reason))
        if reason := choice.get("finish_reason"):
            self._finish_reason = as_text(reason) or self._finish_reason
        delta = as_object(choice.get("delta"))
        if "usage" in self._head and not chunk.get("usage") and _is_written(delta):
            del self._head["usage"]  # it counted less than has been written by now
        return self._add(delta)

    def finish(self) -> Answer:
        if not (self.done or self._finish_reason):
            raise self._broken()
        message = {
            "content": "".join(self._texts),
            "refusal": "".join(self._refusals),
            "reasoning_content": "".join(self._reasoning),
            "reasoning_details": [detail.joined() for detail in self._details],
            "annotations": self._annotations,
            "tool_calls": [
                {"id": call.id, "function": {"name": call.name, "arguments": "".join(call.arguments)}}
                for call in self._calls
            ],
        }
        return _answer(self._head | {"choices": [{"finish_reason": self._finish_reason, "message": message}]})

    def _add(self, delta: JsonObject) -> str:
        text = _text(delta.get("content"))
        if refusal := delta.get("refusal"):
            self._refusals.append(as_text(refusal))
            text += self._refusals[-1]
        self._texts.append(text)
        if reasoning := delta.get("reasoning_content"):
            self._reasoning.append(as_text(reasoning))
        if annotations := delta.get("annotations"):
            self._annotations += as_list(annotations)
        if details := delta.get("reasoning_details"):
            for detail in as_objects(details):
                self._add_detail(detail)
        if calls := delta.get("tool_calls"):
            for piece in as_objects(calls):
                self._add_call(piece)
        return text

    def _add_call(self, piece: JsonObject) -> None:
        index, call_id = as_count(piece.get("index")), as_text(piece.get("id"))
        if index is None:  # some local servers count nothing: an id starts the next call
            index = len(self._calls) if call_id else max(0, len(self._calls) - 1)
        call = self._call_at.get(index)
        if call is None or (call.id and call_id and call.id != call_id):  # others count every call as 0
            call = self._call_at[index] = _CallPieces()
            self._calls.append(call)
        function = as_object(piece.get("function"))
        call.id = call.id or call_id
        call.name = call.name or as_text(function.get("name"))
        call.arguments.append(arguments_text(function.get("arguments")))

    def _add_detail(self, piece: JsonObject) -> None:
        """OpenRouter streams each of its reasoning details in pieces, told apart by type and index."""
        if self._details and self._details[-1].goes_on(piece):
            self._details[-1].add(piece)
        else:
            self._details.append(_DetailPieces(dict(piece)))

    def _broken(self) -> ProviderError:
        came = any(self._texts) or self._calls
        return self._with_what_came(StreamBroken() if came else InvalidAnswer(), counted=False)

    def _with_what_came(self, error: ProviderError, *, counted: bool) -> ProviderError:
        """`counted`: the usage that came is that of the end. Any earlier is only the least that it can be."""
        error.partial_text = "".join(self._texts)
        if counted:
            said = bool(error.partial_text or self._calls or any(self._reasoning))
            error.usage, error.cost_nusd = _bill(as_object(self._head.get("usage")), said=said)
        return error


# --- Errors and lists: as everything that follows OpenAI -----------------------------------------------------

parse_error = openai_common.parse_error
build_list_request = openai_common.build_list_request
parse_list = openai_common.parse_list
