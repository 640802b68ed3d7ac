"""Responses: OpenAI, xAI, and Perplexity's Agent API.

Perplexity's dialect (`search_style = "perplexity"`) asks for a schema as chat completions do, knows neither `stop` nor
sampling, and refuses fields that it does not know.
"""

from collections.abc import Mapping, Sequence

from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import InvalidAnswer, InvalidRequest, ProviderError, StreamBroken
from orchestra_router.providers import openai_common
from orchestra_router.providers.failures import error_in
from orchestra_router.providers.openai_common import (
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
    encode,
    parse_object,
)
from orchestra_router.types import (
    Answer,
    CompletionRequest,
    Finish,
    Image,
    Message,
    StreamEvent,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    WireRequest,
)

FINISH: Mapping[str, Finish] = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "in_progress": "continue",
    "queued": "continue",
    "failed": "error",
    "cancelled": "error",
}
"""By `status`, or by the reason of an incomplete answer."""
MAY_BE_EMPTY = frozenset[Finish]({"length", "content_filter"})
_ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


# --- Asking ------------------------------------------------------------------------------------------------


def build_request(
    deployment: Deployment, request: CompletionRequest, *, api_key: str, stream: bool = False
) -> WireRequest:
    provider = deployment.provider
    params = fit(deployment, request, lacks=("stop",))
    if request.web_search and provider.search_style not in {"responses", "perplexity"}:
        raise InvalidRequest(f"web_search: {deployment.key} cannot search the web over Responses")
    body: dict[str, object] = {
        "model": deployment.offer.id,
        "input": [item for turn in request.turns for item in _items(turn)],
        "max_output_tokens": params.max_tokens,
        # The conversation is sent anew each time, so nothing has to stay with the provider.
        "store": False,
    }
    if system := system_text(provider, request):
        body["instructions"] = system
    body |= _optional(params) | _tools(provider, request) | _format(provider, request)
    if request.prefix_key:
        body["prompt_cache_key"] = request.prefix_key
    if stream:
        body["stream"] = True
    # `path` replaces the path of the provider's own format, which may be another one.
    path = provider.path if provider.format == "responses" else ""
    return WireRequest(
        url=f"{provider.base_url.rstrip('/')}{path or '/responses'}",
        headers=bearer_headers(provider, api_key) | {"content-type": "application/json"},
        body=encode(body),
        notes=params.notes,
    )


def _is_agent(provider: Provider) -> bool:
    return provider.search_style == "perplexity"


def _optional(params: Params) -> dict[str, object]:
    body: dict[str, object] = {}
    if params.temperature is not None:
        body["temperature"] = params.temperature
    if params.top_p is not None:
        body["top_p"] = params.top_p
    if params.effort is not None:
        body["reasoning"] = {"effort": params.effort}
    return body


def _tools(provider: Provider, request: CompletionRequest) -> dict[str, object]:
    if _is_agent(provider) and request.tools and request.tool_choice not in {"auto", "none"}:
        raise InvalidRequest(f"tool_choice: {provider.name} cannot be made to use a tool; leave it out")
    # Perplexity has no `tool_choice`, and refuses fields it does not know.
    offered = () if _is_agent(provider) and request.tool_choice == "none" else request.tools
    lenient: dict[str, object] = {"strict": False} if provider.tools_are_strict else {}
    tools: list[dict[str, object]] = [
        {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.parameters}
        | lenient
        for tool in offered
    ]
    if request.web_search:
        tools.append({"type": "web_search"})
    body: dict[str, object] = {"tools": tools} if tools else {}
    if offered and request.tool_choice != "auto":
        named = request.tool_choice not in {"none", "required"}
        body["tool_choice"] = {"type": "function", "name": request.tool_choice} if named else request.tool_choice
    return body


def _format(provider: Provider, request: CompletionRequest) -> dict[str, object]:
    if request.response_schema is None:
        return {}
    schema = named_schema(request.response_schema)
    if _is_agent(provider):
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if provider.schema_style == "json_object":
        return {"text": {"format": {"type": "json_object"}}}
    return {"text": {"format": {"type": "json_schema"} | schema}}


def _items(turn: Message) -> list[dict[str, object]]:
    """One turn as input items: what was said, then the tool calls; or the tools' results, then what was said."""
    items: list[dict[str, object]] = [
        {"type": "function_call_output", "call_id": part.call_id, "output": result_text(part)}
        for part in turn.parts
        if isinstance(part, ToolResult)
    ]
    calls: list[dict[str, object]] = [
        {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        for part in turn.parts
        if isinstance(part, ToolCall)
    ]
    if said := [part for part in turn.parts if isinstance(part, Text | Image)]:
        plain = all(isinstance(part, Text) for part in said)
        if turn.role == "assistant":
            items.append({"type": "message", "role": "assistant", "content": assistant_text(turn)})
        else:
            content = turn.text if plain else [_content_part(part) for part in said]
            items.append({"type": "message", "role": "user", "content": content})
    return [*items, *calls]


def _content_part(part: Text | Image) -> dict[str, object]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    return {"type": "input_image", "image_url": image_url(part)}


# --- The answer --------------------------------------------------------------------------------------------


def parse_response(body: bytes) -> Answer:
    return _answer(parse_object(body))


def _answer(reply: JsonObject) -> Answer:
    output = as_objects(reply.get("output"))
    usage, cost_nusd = _bill(reply, output, said=any(item.get("content") for item in output))
    status = as_text(reply.get("status"))
    if reply.get("error") or status == "failed":
        raise error_in(reply, usage=usage, cost_nusd=cost_nusd)
    contents = [part for item in output for part in as_objects(item.get("content")) if item.get("type") == "message"]
    calls = tuple(
        tool_call(as_text(item.get("call_id")) or as_text(item.get("id")) or f"call_{number}", item)
        for number, item in enumerate(output)
        if item.get("type") == "function_call" and item.get("name")
    )
    text = "".join(as_text(part.get("text")) for part in contents if part.get("type") == "output_text")
    finish = _finish(reply, calls)
    if refusal := "".join(as_text(part.get("refusal")) for part in contents):
        text, finish = text or refusal, "content_filter"
    if not (text.strip() or calls or finish in MAY_BE_EMPTY):
        raise InvalidAnswer(status=200, usage=usage, cost_nusd=cost_nusd)
    annotated = [note for part in contents for note in as_list(part.get("annotations"))]
    searched = [
        page for item in output for page in as_list(item.get("results")) if item.get("type") == "search_results"
    ]
    return Answer(
        text=text,
        finish=finish,
        usage=usage,
        model=as_text(reply.get("model")),
        tool_calls=calls,
        citations=citations([*annotated, *searched, *as_list(reply.get("citations"))]),
        cost_nusd=cost_nusd,
        provider_request_id=as_text(reply.get("id")),
    )


def _finish(reply: JsonObject, calls: tuple[ToolCall, ...]) -> Finish:
    status = as_text(reply.get("status"))
    reason = as_text(as_object(reply.get("incomplete_details")).get("reason")) if status == "incomplete" else status
    finish = FINISH.get(reason, "other")
    if calls and finish in {"stop", "other"}:
        return "tool_calls"
    return "other" if finish == "tool_calls" and not calls else finish


def _bill(reply: JsonObject, output: Sequence[JsonObject], *, said: bool) -> tuple[Usage | None, int | None]:
    return credible(_usage(reply, output), said=said), reported_cost(as_object(reply.get("usage")))


def _usage(reply: JsonObject, output: Sequence[JsonObject]) -> Usage | None:
    usage = as_object(reply.get("usage"))
    read = as_object(usage.get("input_tokens_details"))
    wrote = as_object(usage.get("output_tokens_details"))
    searches = as_object(as_object(usage.get("tool_calls_details")).get("search_web")).get("invocation")
    counted = sum(item.get("type") == "web_search_call" for item in output)
    # The second names are Perplexity's.
    return disjoint_usage(
        as_count(usage.get("input_tokens")),
        as_count(usage.get("output_tokens")),
        total=as_count(usage.get("total_tokens")),
        cached=as_count(read.get("cached_tokens")) or as_count(read.get("cache_read_input_tokens")) or 0,
        written=as_count(read.get("cache_write_tokens")) or as_count(read.get("cache_creation_input_tokens")) or 0,
        reasoning=as_count(wrote.get("reasoning_tokens")) or 0,
        searches=counted if (invoked := as_count(searches)) is None else invoked,
    )


# --- The answer in a stream --------------------------------------------------------------------------------


def stream_reader() -> "ResponsesReader":
    return ResponsesReader()


class ResponsesReader:
    """Waits for the event that carries the whole response; the deltas before it are for whoever reads along.

    What that event leaves out (its output, at some) is filled in from the items that had been finished, or from
    the deltas: each text counts once, from the most complete source there is.
    """

    def __init__(self) -> None:
        self.done = False
        self._texts: list[str] = []
        self._items: list[object] = []
        self._response: JsonObject = {}
        """The latest state of the response: from `response.created` on, and whole in the last event."""
        self._status = ""

    def feed(self, event: StreamEvent) -> str:
        if self.done or not event.data.strip():
            return ""
        if event.data.strip() == "[DONE]":
            self.done = True
            return ""
        try:
            data = parse_object(event.data)
        except InvalidAnswer:
            raise self._broken() from None
        kind = as_text(data.get("type")) or event.event
        self._keep(as_object(data.get("response")), ended=kind in _ENDS or bool(data.get("error")))
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                text = as_text(data.get("delta"))
                self._texts.append(text)
                return text
            case "response.output_item.done":
                self._items.append(data.get("item"))
            case "response.completed" | "response.incomplete":
                self.done = True
                self._status = kind.removeprefix("response.")
            case "response.failed" if self._response.get("error"):
                raise self._with_what_came(error_in(self._response))
            case "error" | "response.failed":
                raise self._with_what_came(error_in(data))
            case _ if data.get("error"):
                raise self._with_what_came(error_in(data))
            case _:
                pass
        return ""

    def _keep(self, response: JsonObject, *, ended: bool) -> None:
        if response:
            # While it is under way, its usage is only the least that it can be.
            self._response = response if ended else {**response, "usage": None}

    def finish(self) -> Answer:
        if not self.done:
            raise self._broken()
        output = list(as_list(self._response.get("output"))) or self._items
        if not any(item.get("type") == "message" for item in as_objects(output)):
            content = [{"type": "output_text", "text": "".join(self._texts)}]
            output = [*output, {"type": "message", "content": content}]
        # Perplexity ends a cut answer with `response.completed`, too; only its status tells.
        said = as_text(self._response.get("status"))
        status = self._status if said in {"", "in_progress", "queued"} else said
        return _answer({**self._response, "status": status, "output": output})

    def _broken(self) -> ProviderError:
        return self._with_what_came(StreamBroken() if any(self._texts) or self._items else InvalidAnswer())

    def _with_what_came(self, error: ProviderError) -> ProviderError:
        error.usage, error.cost_nusd = _bill(self._response, as_objects(self._items), said=any(self._texts))
        error.partial_text = "".join(self._texts)
        return error


# --- Errors and lists: as everything that follows OpenAI -----------------------------------------------------

parse_error = openai_common.parse_error
build_list_request = openai_common.build_list_request
parse_list = openai_common.parse_list
