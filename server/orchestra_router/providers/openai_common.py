"""What chat completions and Responses have in common: how OpenAI writes a schema, a price, an error, a list."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import cast

from orchestra_router.deployments import Provider
from orchestra_router.errors import InvalidAnswer, InvalidRequest, ProviderError
from orchestra_router.providers.failures import classify, error_codes
from orchestra_router.providers.wire import (
    JsonObject,
    as_count,
    as_list,
    as_nusd,
    as_object,
    as_objects,
    as_text,
    dump,
    first_object,
    parse_json,
)
from orchestra_router.types import (
    Citation,
    CompletionRequest,
    Image,
    ListedModel,
    Message,
    ToolCall,
    ToolResult,
    WireRequest,
    WireResponse,
    nusd,
)

XAI_TICK_USD = Decimal("1e-10")


# --- Asking ------------------------------------------------------------------------------------------------


def bearer_headers(provider: Provider, api_key: str) -> dict[str, str]:
    return provider.headers | ({"authorization": f"Bearer {api_key}"} if api_key else {})


def named_schema(schema: Mapping[str, object]) -> dict[str, object]:
    """`schema` as OpenAI takes it: held to it strictly where it is written the way that `strict` demands."""
    return {"name": "answer", "schema": schema, "strict": schema.get("type") == "object" and _closed(schema)}


def _closed(schema: object) -> bool:
    """Whether every object in `schema` requires all its properties and allows no others.

    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    node = as_object(schema)
    if node.keys() & {"allOf", "not", "if", "oneOf", "patternProperties", "dependentRequired", "dependentSchemas"}:
        return False
    properties = as_object(node.get("properties"))
    if node.get("type") == "object" or properties:
        required = {as_text(name) for name in as_list(node.get("required"))}
        if node.get("additionalProperties") is not False or required != set(properties):
            return False
    items = [node["items"]] if "items" in node else []
    below = [*properties.values(), *as_object(node.get("$defs")).values(), *as_list(node.get("anyOf")), *items]
    return all(_closed(child) for child in below)


def said_schema(schema: Mapping[str, object]) -> str:
    """The schema in words, for providers that promise JSON but not its shape. The word "JSON" has to be said."""
    return (
        "Answer with one JSON object and nothing else. It must follow this JSON Schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}"
    )


def system_text(provider: Provider, request: CompletionRequest) -> str:
    said = provider.schema_style == "json_object" and request.response_schema is not None
    parts = (request.system, said_schema(request.response_schema or {}) if said else "")
    return "\n\n".join(filter(None, parts))


def assistant_text(turn: Message) -> str:
    """What an assistant turn says.

    Raises:
        InvalidRequest: it holds an image, which only user turns can here.
    """
    if any(isinstance(part, Image) for part in turn.parts):
        raise InvalidRequest("messages: an assistant turn cannot hold an image here; move it to a user turn")
    return turn.text


def image_url(image: Image) -> str:
    return image.url or f"data:{image.media_type};base64,{image.data}"


def result_text(result: ToolResult) -> str:
    # No field says that a tool failed, so the text does.
    return f"Error: {result.content}" if result.is_error else result.content


# --- The answer --------------------------------------------------------------------------------------------


def tool_call(call_id: str, function: JsonObject) -> ToolCall:
    arguments = arguments_text(function.get("arguments"))
    return ToolCall(id=call_id, name=as_text(function.get("name")), arguments=arguments or "{}")


def arguments_text(arguments: object) -> str:
    """JSON text by the book; some local servers send the object itself."""
    sent_as_object = as_object(arguments)
    return dump(sent_as_object) if sent_as_object else as_text(arguments)


def citations(found: Iterable[object]) -> tuple[Citation, ...]:
    """Each web page once, in order: `found` holds objects with `url` and `title`, or bare addresses."""
    pages: dict[str, Citation] = {}
    for item in found:
        page = as_object(item)
        url = as_text(page.get("url")) or as_text(item)
        if url.startswith(("https://", "http://")):
            pages.setdefault(url, Citation(url, as_text(page.get("title"))))
    return tuple(pages.values())


def reported_cost(usage: JsonObject) -> int | None:
    """What the provider says it charges: xAI in ticks, OpenRouter in dollars, Perplexity in an object of dollars."""
    if (ticks := as_count(usage.get("cost_in_usd_ticks"))) is not None:
        return nusd(ticks * XAI_TICK_USD)
    if itemised := as_object(usage.get("cost")):
        return as_nusd(itemised.get("total_cost")) if itemised.get("currency", "USD") == "USD" else None
    cost = as_nusd(usage.get("cost"))
    if usage.get("is_byok") is True:
        # With the caller's own key `cost` is OpenRouter's fee alone; the model is charged upstream.
        upstream = as_nusd(as_object(usage.get("cost_details")).get("upstream_inference_cost"))
        return None if cost is None or upstream is None else cost + upstream
    return cost


# --- Errors and lists --------------------------------------------------------------------------------------


def parse_error(response: WireResponse, *, now_ms: int) -> ProviderError:
    try:
        body = parse_json(response.body)
    except InvalidAnswer:  # a page of HTML, a plain sentence, nothing
        body = None
    # Some wrap the error in a list.
    carrier = as_object(body) or first_object(body)
    return classify(response.status, codes=error_codes(carrier), headers=response.headers, now_ms=now_ms)


def build_list_request(provider: Provider, *, api_key: str) -> WireRequest:
    return WireRequest(
        url=f"{provider.base_url.rstrip('/')}{provider.models_path}", headers=bearer_headers(provider, api_key)
    )


def parse_list(body: bytes) -> tuple[ListedModel, ...]:
    listed = parse_json(body)
    # Together answers with the bare list.
    rows = as_object(listed).get("data", listed)
    if not isinstance(rows, list):
        raise InvalidAnswer
    return tuple(
        ListedModel(
            id=model_id,
            retires=_day(row.get("shutdown_date") or row.get("expiration_date")),
            context_tokens=as_count(row.get("context_length")) or as_count(row.get("max_model_len")) or None,
        )
        for row in as_objects(cast("object", rows))
        if (model_id := as_text(row.get("id")))
    )


def _day(value: object) -> str:
    """The ISO date in a date, a time, or seconds since 1970; "" if it is none of these."""
    try:
        if (seconds := as_count(value)) is not None:
            return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()
        return dt.date.fromisoformat(as_text(value)[:10]).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""
