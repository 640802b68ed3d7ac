"""Anthropic's messages. Facts: the `anthropic` package 2.12.0 and platform.claude.com, checked 2026-11."""

from collections.abc import Iterable, Iterator, Sequence

from orchestra_router.deployments import Deployment, Model, Provider
from orchestra_router.errors import InvalidAnswer, ProviderError, StreamBroken
from orchestra_router.providers import params, turns
from orchestra_router.providers.failures import classify
from orchestra_router.providers.turns import Block
from orchestra_router.providers.wire import (
    JsonObject,
    as_count,
    as_list,
    as_object,
    as_objects,
    as_text,
    credible,
    dump,
    encode,
    parse_json,
    parse_object,
)
from orchestra_router.types import (
    Answer,
    Citation,
    CompletionRequest,
    Effort,
    Finish,
    Image,
    ListedModel,
    Message,
    Part,
    StreamEvent,
    Text,
    Tool,
    ToolCall,
    Usage,
    WireRequest,
    WireResponse,
)

API_VERSION = "2026-10-21"
SAMPLING_VERSION = "2023-06-01"
"""The newer version refuses every temperature and top_p, also from models that take them in this one."""
MAX_SEARCHES = 5
"""Per answer: each search is billed, and so is every result it puts before the model."""

_FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "continue",
}
_PIECES = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}
"""Which field of a delta carries the next piece of its block."""


# --- The request -------------------------------------------------------------------------------------------


def build_request(
    deployment: Deployment, request: CompletionRequest, *, api_key: str, stream: bool = False
) -> WireRequest:
    provider = deployment.provider
    fitted = params.fit(deployment, request, lacks=_excluded(deployment.model, request))
    sampling = {"temperature": fitted.temperature, "top_p": fitted.top_p}
    body: Block = {"model": deployment.offer.id, "max_tokens": fitted.max_tokens, "messages": _messages(request)}
    optional: Block = {
        "system": _system(request),
        "stop_sequences": list(fitted.stop),
        "thinking": _thinking(deployment.model, request, fitted.effort),
        "output_config": _output_config(request, fitted.effort),
        "tools": _tools(request),
        "tool_choice": _tool_choice(request),
        "stream": stream,
    }
    body |= {name: value for name, value in optional.items() if value}
    body |= {name: value for name, value in sampling.items() if value is not None}
    samples = any(value is not None for value in sampling.values())
    version = SAMPLING_VERSION if samples else provider.api_version or API_VERSION
    return WireRequest(
        url=provider.base_url.rstrip("/") + (provider.path or "/v1/messages"),
        headers=_headers(provider, api_key, version) | {"content-type": "application/json"},
        body=encode(body),
        notes=fitted.notes,
    )


def build_list_request(provider: Provider, *, api_key: str) -> WireRequest:
    path = provider.models_path if "models_path" in provider.model_fields_set else "/v1/models"
    every = "" if "?" in path else "?limit=1000"  # a page holds 20 unless asked
    return WireRequest(
        url=provider.base_url.rstrip("/") + path + every,
        headers=_headers(provider, api_key, provider.api_version or API_VERSION),
    )


def _headers(provider: Provider, api_key: str, version: str) -> dict[str, str]:
    return {**provider.headers, "anthropic-version": version} | ({"x-api-key": api_key} if api_key else {})


def _excluded(model: Model, request: CompletionRequest) -> Sequence[params.Optional]:
    """What cannot be said beside something else: sampling beside thinking, and top_p beside temperature."""
    if request.effort in model.efforts and request.effort != "none":
        return ("temperature", "top_p")
    return ("top_p",) if request.temperature is not None else ()


def _thinking(model: Model, request: CompletionRequest, effort: Effort | None) -> Block:
    if effort == "none":
        return {"type": "disabled"} if model.thinks == "default" else {}
    forced = request.tool_choice not in {"auto", "none"}  # which cannot be done while thinking
    return {"type": "adaptive"} if effort is not None and model.thinks == "no" and not forced else {}


def _output_config(request: CompletionRequest, effort: Effort | None) -> Block:
    config: Block = {} if effort in {None, "none"} else {"effort": effort}
    if request.response_schema is not None:
        config["format"] = {"type": "json_schema", "schema": _closed(request.response_schema)}
    return config


_SEARCH: Block = {
    "type": "web_search_20260318",
    "name": "web_search",
    "max_uses": MAX_SEARCHES,
    # Without it the model filters results with code it runs, which not every model can.
    "allowed_callers": ["direct"],
}


_KEEP: Block = {"cache_control": {"type": "ephemeral"}}
"""Keeps everything up to this block for five minutes: tools come first, then the system prompt, then the turns."""
_MARKABLE = frozenset({"text", "image", "tool_use", "tool_result"})


def _system(request: CompletionRequest) -> str | list[Block]:
    if request.mark_prefix and request.system:
        return [{"type": "text", "text": request.system} | _KEEP]
    return request.system


def _tools(request: CompletionRequest) -> list[Block]:
    tools: list[Block] = [*map(_tool, request.tools), *([_SEARCH] if request.web_search else [])]
    if request.mark_prefix and tools and not request.system:
        tools[-1] = tools[-1] | _KEEP
    return tools


def _tool(tool: Tool) -> Block:
    described: Block = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **described, "input_schema": {"type": "object", **tool.parameters}}


def _tool_choice(request: CompletionRequest) -> Block:
    if not request.tools or request.tool_choice == "auto":
        return {}
    kinds = {"none": "none", "required": "any"}
    kind = kinds.get(request.tool_choice)
    return {"type": kind} if kind else {"type": "tool", "name": request.tool_choice}


def _messages(request: CompletionRequest) -> list[Block]:
    roles = (
        (_role(message), _marked(list(_blocks(message))) if number in request.mark_turns else list(_blocks(message)))
        for number, message in enumerate(request.turns, start=1)
    )
    # Tool results have to come first in their turn.
    return [
        {"role": role, "content": sorted(blocks, key=lambda block: role == "user" and block["type"] != "tool_result")}
        for role, blocks in turns.alternating(roles)
    ]


def _marked(blocks: list[Block]) -> list[Block]:
    """`blocks`, marked at the last one that may be; a thought may not."""
    for place in reversed(range(len(blocks))):
        if blocks[place]["type"] in _MARKABLE:
            return [*blocks[:place], blocks[place] | _KEEP, *blocks[place + 1 :]]
    return blocks


def _role(message: Message) -> str:
    return "assistant" if message.role == "assistant" else "user"


def _blocks(message: Message) -> Iterator[Block]:
    kept = turns.unpack("messages", message)[0]
    if not kept:
        yield from _said(message.parts)
        return
    text = message.text
    calls = {part.id: part for part in message.parts if isinstance(part, ToolCall)}
    for block in kept:
        if block.get("type") == "text":
            yield from _said([Text(text)])
            text = ""
        elif block.get("type") == "tool_use":
            call = calls.pop(as_text(block.get("id")), None)
            yield from _said([call] if call else [])
        else:
            yield dict(block)
    yield from _said([Text(text), *calls.values()])


def _said(parts: Iterable[Part]) -> Iterator[Block]:
    for part in parts:
        if isinstance(part, Text):
            if part.text.strip():  # blank text is refused
                yield {"type": "text", "text": part.text}
        elif isinstance(part, Image):
            source = (
                {"type": "url", "url": part.url}
                if part.url
                else {"type": "base64", "media_type": part.media_type, "data": part.data}
            )
            yield {"type": "image", "source": source}
        elif isinstance(part, ToolCall):
            yield {"type": "tool_use", "id": part.id, "name": part.name, "input": turns.arguments(part)}
        else:
            result: Block = {"type": "tool_result", "tool_use_id": part.call_id, "content": part.content}
            yield result | ({"is_error": True} if part.is_error else {})


_TAKEN = frozenset({"type", "enum", "const", "$ref", "required", "title", "description"})
_NAMED = frozenset({"properties", "$defs", "definitions"})
_LISTED = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}


def _closed(schema: JsonObject) -> Block:
    """`schema` in the dialect that answers can be held to: objects are closed, and most limits cannot be said.

    Those limits go into the description, where the model reads them.
    """
    closed: Block = {}
    limits: Block = {}
    for keyword, value in schema.items():
        if keyword in _NAMED:
            closed[keyword] = {name: _closed(as_object(one)) for name, one in as_object(value).items()}
        elif keyword in _LISTED:
            closed[_LISTED[keyword]] = [_closed(one) for one in as_objects(value)]
        elif keyword == "items":
            closed[keyword] = _closed(as_object(value))
        elif keyword in _TAKEN:
            closed[keyword] = value
        elif keyword not in {"additionalProperties", "$schema", "$id"}:
            limits[keyword] = value
    if schema.get("type") == "object" or "object" in as_list(schema.get("type")):
        closed["additionalProperties"] = False
    if limits:
        closed["description"] = f"{as_text(schema.get('description'))} {dump(limits)}".strip()
    return closed


# --- The answer --------------------------------------------------------------------------------------------


def parse_response(body: bytes) -> Answer:
    reply = parse_object(body)
    if reply.get("type") == "error" or reply.get("error"):
        raise classify(200, codes=_codes(reply))
    blocks = as_objects(reply.get("content"))
    return _answer(
        blocks,
        text="".join(as_text(block.get("text")) for block in blocks if block.get("type") == "text"),
        stop_reason=as_text(reply.get("stop_reason")),
        usage=_usage(as_object(reply.get("usage"))),
        model=as_text(reply.get("model")),
    )


def _answer(blocks: Sequence[JsonObject], *, text: str, stop_reason: str, usage: Usage | None, model: str) -> Answer:
    opaque = any(_is_opaque(block) for block in blocks)
    answer = Answer(
        text=text,
        finish=_FINISH.get(stop_reason, "other"),
        usage=credible(usage, said=bool(text) or any(block.get("type") == "tool_use" for block in blocks)),
        model=model,
        tool_calls=tuple(_call(block) for block in blocks if block.get("type") == "tool_use" and block.get("name")),
        citations=_citations(blocks),
        provider_state=turns.pack("messages", [*map(_kept, blocks)]) if opaque else "",
    )
    return turns.checked(answer)


def _is_opaque(block: JsonObject) -> bool:
    return as_text(block.get("type")) not in {"", "text", "tool_use"}


def _kept(block: JsonObject) -> JsonObject:
    return block if _is_opaque(block) else {name: block[name] for name in ("type", "id") if name in block}


def _call(block: JsonObject) -> ToolCall:
    arguments = as_text(block.get("partial_json")) or turns.written(block.get("input"))
    return ToolCall(id=as_text(block.get("id")), name=as_text(block.get("name")), arguments=arguments)


def _citations(blocks: Sequence[JsonObject]) -> tuple[Citation, ...]:
    found: dict[str, Citation] = {}
    for block in blocks:
        for cited in as_objects(block.get("citations")):
            if url := as_text(cited.get("url")):
                found.setdefault(url, Citation(url, as_text(cited.get("title"))))
    return tuple(found.values())


def _usage(counts: JsonObject) -> Usage | None:
    """Here `input_tokens` leaves out what the cache served or took, unlike everywhere else."""
    fresh, output = as_count(counts.get("input_tokens")), as_count(counts.get("output_tokens"))
    if fresh is None or output is None:
        return None
    by_time = as_object(counts.get("cache_creation"))
    five_minutes = as_count(by_time.get("ephemeral_5m_input_tokens")) or 0
    hour = as_count(by_time.get("ephemeral_1h_input_tokens")) or 0
    written = max(as_count(counts.get("cache_creation_input_tokens")) or 0, five_minutes + hour)
    thinking = as_count(as_object(counts.get("output_tokens_details")).get("thinking_tokens")) or 0
    reasoning = min(thinking, output)
    return Usage(
        input_fresh=fresh,
        cache_read=as_count(counts.get("cache_read_input_tokens")) or 0,
        cache_write=written - hour,
        cache_write_1h=hour,
        output=output - reasoning,
        reasoning=reasoning,
        searches=as_count(as_object(counts.get("server_tool_use")).get("web_search_requests")) or 0,
    )


# --- Errors and the list -----------------------------------------------------------------------------------


def parse_error(response: WireResponse, *, now_ms: int) -> ProviderError:
    try:
        codes = _codes(as_object(parse_json(response.body)))
    except InvalidAnswer:  # a proxy's page
        codes = ()
    return classify(response.status, codes=codes, headers=response.headers, now_ms=now_ms)


def _codes(body: JsonObject) -> tuple[str, ...]:
    """The cause, where it is named, before the broad type: a spent budget is a `rate_limit_error` too."""
    error = as_object(body.get("error"))
    found = (as_object(error.get("details")).get("error_code"), error.get("type"))
    return tuple(filter(None, map(as_text, found)))


def parse_list(body: bytes) -> tuple[ListedModel, ...]:
    listing = parse_object(body)
    if not isinstance(listing.get("data"), list):
        raise InvalidAnswer
    return tuple(
        ListedModel(
            id=model_id,
            retires=turns.day(model.get("retires_at")),
            retired=model.get("lifecycle") == "retired",
            context_tokens=as_count(model.get("max_input_tokens")),
        )
        for model in as_objects(listing.get("data"))
        if (model_id := as_text(model.get("id")))
    )


# --- The stream --------------------------------------------------------------------------------------------


class _Growing:
    """A content block that is being written."""

    def __init__(self, begun: JsonObject) -> None:
        self.block: Block = dict(begun)
        self.kind = as_text(begun.get("type"))
        self.citations: list[object] = [*as_list(begun.get("citations"))]
        self.pieces: list[str] = []

    def grow(self, delta: JsonObject) -> str:
        """Takes `delta`; returns the visible text in it."""
        kind = as_text(delta.get("type"))
        if kind == "citations_delta":
            self.citations.append(delta.get("citation"))
        elif kind == "signature_delta":
            self.block["signature"] = delta.get("signature")
        elif kind in _PIECES:
            self.pieces.append(as_text(delta.get(_PIECES[kind])))
            return self.pieces[-1] if kind == "text_delta" and self.kind == "text" else ""
        return ""

    def grown(self) -> JsonObject:
        """The block as a plain answer has it; the input of a tool call stays `partial_json`, as it was written."""
        written = "".join(self.pieces)
        if self.kind in {"text", "thinking"}:
            self.block[self.kind] = as_text(self.block.get(self.kind)) + written
        elif self.kind == "tool_use":
            self.block["partial_json"] = written
        elif written:
            self.block["input"] = parse_json(written)
        if self.citations:
            self.block["citations"] = self.citations
        return self.block


class Reader:
    """Puts a streamed message together."""

    def __init__(self) -> None:
        self.done = False
        self._model = ""
        self._stop_reason = ""
        self._blocks: dict[int | None, _Growing] = {}
        self._text: list[str] = []
        self._counts: Block = {}
        self._counted = False
        """The count of the end has come; any earlier is only the least that it can be."""

    def feed(self, event: StreamEvent) -> str:
        if self.done:
            return ""
        data = parse_object(event.data or "{}")
        text = self._take(as_text(data.get("type")) or event.event, data)
        self._text.append(text)
        return text

    def _take(self, kind: str, data: JsonObject) -> str:
        if kind == "message_start":
            message = as_object(data.get("message"))
            self._model = as_text(message.get("model"))
            self._count(message)
        elif kind == "content_block_start":
            begun = as_object(data.get("content_block"))
            self._blocks[as_count(data.get("index"))] = _Growing(begun)
            return as_text(begun.get("text")) if begun.get("type") == "text" else ""
        elif kind == "content_block_delta":
            block = self._blocks.get(as_count(data.get("index")))
            if block is None:  # a part of the stream is lost
                raise InvalidAnswer
            return block.grow(as_object(data.get("delta")))
        elif kind == "message_delta":
            self._stop_reason = as_text(as_object(data.get("delta")).get("stop_reason")) or self._stop_reason
            self._count(data)
            self._counted = bool(self._stop_reason) and "output_tokens" in self._counts
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            error = classify(200, codes=_codes(data), usage=self._usage)
            error.partial_text = "".join(self._text)
            raise error
        return ""

    def _count(self, source: JsonObject) -> None:
        # Counts are totals so far; one that is left out or null has not changed.
        self._counts |= {name: count for name, count in as_object(source.get("usage")).items() if count is not None}

    @property
    def _usage(self) -> Usage | None:
        return credible(_usage(self._counts), said=any(self._text)) if self._counted else None

    def finish(self) -> Answer:
        text = "".join(self._text)
        if not self.done:
            raise StreamBroken(usage=self._usage, partial_text=text) if text else InvalidAnswer(usage=self._usage)
        blocks = [block.grown() for block in self._blocks.values()]
        return _answer(blocks, text=text, stop_reason=self._stop_reason, usage=self._usage, model=self._model)


def stream_reader() -> Reader:
    return Reader()
