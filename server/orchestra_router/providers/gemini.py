"""Gemini's generateContent. Facts: the `google-genai` package 3.4.0 and ai.google.dev/gemini-api, checked 2026-11."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import ContentRefused, InvalidAnswer, InvalidRequest, ProviderError, StreamBroken
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

API_VERSION = "v1beta"
"""The aliases that follow the latest model exist only there."""
FOREIGN_SIGNATURE = "skip_thought_signature_validator"
"""Stands for the signature of a call that this API did not make. [ai.google.dev/gemini-api/docs/thought-signatures]"""
DAY_S = 86_400
QUOTA_RESET_S = 8 * 3600
"""Daily quotas begin anew at midnight in California: at 08:00 UTC in winter, an hour earlier in summer."""

_FILTERED = (
    "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII MODEL_ARMOR PUP_LIMITED_DISABLED "
    "IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION IMAGE_OTHER"
)
_FAILED = (
    "OTHER MALFORMED_FUNCTION_CALL MALFORMED_RESPONSE UNEXPECTED_TOOL_CALL TOO_MANY_TOOL_CALLS "
    "MISSING_THOUGHT_SIGNATURE LANGUAGE ESCALATION"
)
_FINISH: Mapping[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "continue",
    **dict.fromkeys(_FILTERED.split(), "content_filter"),
    **dict.fromkeys(_FAILED.split(), "error"),
}
_IMAGE_TYPES = {"png": "image/png", "gif": "image/gif", "webp": "image/webp"}


# --- The request -------------------------------------------------------------------------------------------


def build_request(
    deployment: Deployment, request: CompletionRequest, *, api_key: str, stream: bool = False
) -> WireRequest:
    """See `Adapter`. `Provider.path` replaces all before the model's id, `api_version` only the version in it."""
    provider = deployment.provider
    fitted = params.fit(deployment, request)
    contents, token = _contents(deployment, request)
    body: Block = {"contents": contents}
    optional: Block = {
        "systemInstruction": {"parts": [{"text": request.system}]} if request.system else {},
        "tools": _tools(request),
        "toolConfig": _tool_config(request),
        "generationConfig": _generation_config(request, fitted),
        "continuationToken": token,
    }
    body |= {name: value for name, value in optional.items() if value}
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    # One segment of the path, whatever it holds: an id must not lead to another address.
    model_id = quote(deployment.offer.id.removeprefix("models/"), safe="")
    path = f"{provider.path or _models_path(provider)}/{model_id}"
    return WireRequest(
        url=f"{provider.base_url.rstrip('/')}{path}:{verb}",
        headers=_headers(provider, api_key) | {"content-type": "application/json"},
        body=encode(body),
        notes=fitted.notes,
    )


def build_list_request(provider: Provider, *, api_key: str) -> WireRequest:
    path = provider.models_path if "models_path" in provider.model_fields_set else _models_path(provider)
    every = "" if "?" in path else "?pageSize=1000"  # a page holds 50 unless asked
    return WireRequest(url=provider.base_url.rstrip("/") + path + every, headers=_headers(provider, api_key))


def _models_path(provider: Provider) -> str:
    return f"/{provider.api_version or API_VERSION}/models"


def _headers(provider: Provider, api_key: str) -> dict[str, str]:
    return dict(provider.headers) | ({"x-goog-api-key": api_key} if api_key else {})


def _generation_config(request: CompletionRequest, fitted: params.Params) -> Block:
    config: Block = {"maxOutputTokens": fitted.max_tokens}
    if fitted.temperature is not None:
        config["temperature"] = fitted.temperature
    if fitted.top_p is not None:
        config["topP"] = fitted.top_p
    if fitted.seed is not None:
        config["seed"] = fitted.seed
    if fitted.stop:
        config["stopSequences"] = list(fitted.stop)
    if request.response_schema is not None:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = request.response_schema
    if fitted.effort is not None:
        config["thinkingConfig"] = _thinking(fitted.effort)
    return config


def _thinking(effort: Effort) -> Block:
    if effort == "none":
        return {"thinkingBudget": 0}  # there is no such level
    return {"thinkingLevel": "xhigh" if effort == "max" else effort}


def _tools(request: CompletionRequest) -> list[Block]:
    tools: list[Block] = []
    if request.tools:
        tools.append({"functionDeclarations": [_declaration(tool) for tool in request.tools]})
    if request.web_search:
        tools.append({"googleSearch": {}})
    return tools


def _declaration(tool: Tool) -> Block:
    declaration: Block = {"name": tool.name, "description": tool.description}
    return declaration | ({"parametersJsonSchema": tool.parameters} if tool.parameters else {})


def _tool_config(request: CompletionRequest) -> Block:
    if not request.tools:
        return {}
    config: Block = {"includeServerSideToolInvocations": True} if request.web_search else {}
    if request.tool_choice == "none":
        config["functionCallingConfig"] = {"mode": "NONE"}
    elif request.tool_choice == "required":
        config["functionCallingConfig"] = {"mode": "ANY"}
    elif request.tool_choice != "auto":
        config["functionCallingConfig"] = {"mode": "ANY", "allowedFunctionNames": [request.tool_choice]}
    return config


def _contents(deployment: Deployment, request: CompletionRequest) -> tuple[list[Block], str]:
    """The turns, and the token that continues the last of them, which then is left out."""
    conversation = request.turns
    token = turns.unpack("gemini", conversation[-1])[1] if conversation else ""
    if token:
        conversation = conversation[:-1]
    names = {part.id: part.name for turn in conversation for part in turn.parts if isinstance(part, ToolCall)}
    signed = deployment.model.thinks != "no"
    roles = (
        (_role(message), _signed(_parts(message, names)) if signed else _parts(message, names))
        for message in conversation
    )
    return [{"role": role, "parts": parts} for role, parts in turns.alternating(roles)], token


def _role(message: Message) -> str:
    return "model" if message.role == "assistant" else "user"


def _signed(parts: list[Block]) -> list[Block]:
    """Models that think refuse a turn whose first call has no signature, be it another model's."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", FOREIGN_SIGNATURE)
    return parts


def _parts(message: Message, names: Mapping[str, str]) -> list[Block]:
    kept = turns.unpack("gemini", message)[0]
    if not kept:
        return list(_said(message.parts, names))
    parts: list[Block] = []
    text = message.text
    calls = {part.id: part for part in message.parts if isinstance(part, ToolCall)}
    for block in kept:
        signature = _signature(block)
        if "functionCall" in block:
            call = calls.pop(as_text(as_object(block["functionCall"]).get("id")), None)
            parts += [said | signature for said in _said([call] if call else [], names)]
        elif _is_text(block):
            # A signature can stand on a text that is empty, or that was joined to the one before.
            parts += [{"text": text} | signature] if text or signature else []
            text = ""
        else:
            parts.append(dict(block))
    return [*parts, *_said([Text(text), *calls.values()], names)]


def _said(parts: Iterable[Part], names: Mapping[str, str]) -> Iterator[Block]:
    for part in parts:
        if isinstance(part, Text):
            if part.text:
                yield {"text": part.text}
        elif isinstance(part, Image):
            yield _image(part)
        elif isinstance(part, ToolCall):
            yield {"functionCall": {"id": part.id, "name": part.name, "args": turns.arguments(part)}}
        else:
            name = part.name or names.get(part.call_id)
            if not name:
                raise InvalidRequest(f"messages: no call {part.call_id!r} comes before its result; name its tool")
            outcome = {"error" if part.is_error else "output": part.content}
            yield {"functionResponse": {"id": part.call_id, "name": name, "response": outcome}}


def _image(image: Image) -> Block:
    if not image.url:
        return {"inlineData": {"mimeType": image.media_type, "data": image.data}}
    ending = image.url.partition("?")[0].rpartition(".")[2].lower()
    media_type = image.media_type or _IMAGE_TYPES.get(ending, "image/jpeg")
    return {"fileData": {"mimeType": media_type, "fileUri": image.url}}


# --- The answer, whole or in pieces ------------------------------------------------------------------------


def parse_response(body: bytes) -> Answer:
    """See `Adapter`. The chunks of a stream in one array, as they come without `alt=sse`, are read too."""
    reader = Reader()
    for chunk in _chunks(parse_json(body)):
        reader.take(chunk)
    try:
        return reader.finish()
    except StreamBroken:  # nobody has seen any of it yet, and all of it has been counted
        raise InvalidAnswer(usage=reader.usage) from None


def _chunks(value: object) -> Sequence[JsonObject]:
    return as_objects(value) or as_objects([value])


def stream_reader() -> "Reader":
    return Reader()


class Reader:
    """Puts an answer together: a stream is a row of answers, each with the next parts."""

    done = False
    """This format's streams have no end of their own."""

    def __init__(self) -> None:
        self._parts: list[JsonObject] = []
        self._text: list[str] = []
        self._reason = ""
        self._counts: JsonObject = {}
        self._queries: set[str] = set()
        self._citations: dict[str, Citation] = {}
        self._model = ""
        self._response_id = ""
        self._retires = ""
        self._token = ""

    def feed(self, event: StreamEvent) -> str:
        return "".join([self.take(chunk) for chunk in _chunks(parse_json(event.data or "{}"))])

    def take(self, chunk: JsonObject) -> str:
        """Add one chunk; returns the visible text in it.

        Raises:
            ProviderError: the chunk is an error, or says that the prompt was refused (`ContentRefused`: nothing was
                written, as after another provider's 400; an answer cut short by a filter is an answer).
        """
        counts = as_object(chunk.get("usageMetadata"))
        self._counts = counts or self._counts
        self._model = as_text(chunk.get("modelVersion")) or self._model
        self._response_id = as_text(chunk.get("responseId")) or self._response_id
        self._retires = turns.day(as_object(chunk.get("modelStatus")).get("retirementTime")) or self._retires
        if chunk.get("error"):
            raise self._failed(as_object(chunk["error"]), counted=bool(counts or self._reason))
        if blocked := as_text(as_object(chunk.get("promptFeedback")).get("blockReason")):
            raise ContentRefused(provider_code=_known(blocked), usage=self.usage if counts else None)
        candidates = as_objects(chunk.get("candidates"))
        return self._add(candidates[0], counted=bool(counts)) if candidates else ""

    def _add(self, candidate: JsonObject, *, counted: bool) -> str:
        parts = as_objects(as_object(candidate.get("content")).get("parts"))
        if parts and not counted:
            self._counts = {}  # they are of less than has been written by now
        for part in parts:
            self._parts.append(self._identified(part))
        text = "".join(as_text(part["text"]) for part in parts if _is_text(part))
        self._text.append(text)
        self._reason = as_text(candidate.get("finishReason")) or self._reason
        self._token = as_text(candidate.get("continuationToken")) or self._token
        grounding = as_object(candidate.get("groundingMetadata"))
        self._queries.update(filter(None, map(as_text, as_list(grounding.get("webSearchQueries")))))
        for source in as_objects(grounding.get("groundingChunks")):
            page = as_object(source.get("web"))
            if url := as_text(page.get("uri")):
                self._citations.setdefault(url, Citation(url, as_text(page.get("title"))))
        return text

    def _failed(self, error: JsonObject, *, counted: bool) -> ProviderError:
        status = as_count(error.get("code")) or 0
        usage = self.usage if counted else None
        failed = classify(status if 400 <= status <= 599 else 200, codes=_codes(error), usage=usage)
        failed.partial_text = "".join(self._text)
        return failed

    @property
    def usage(self) -> Usage | None:
        """As of the last count. Until the end has come, that is only the least that it can be."""
        usage = _usage(self._counts, searches=len(self._queries))
        uncounted = usage is not None and not usage.output and (any(self._text) or any(map(_call_in, self._parts)))
        return None if uncounted else usage

    def finish(self) -> Answer:
        if not self._reason:
            text = "".join(self._text)
            raise StreamBroken(partial_text=text) if text else InvalidAnswer
        calls = tuple(_tool_call(call) for part in self._parts if (call := _call_in(part)))
        finish = _FINISH.get(self._reason, "other")
        answer = Answer(
            text="".join(self._text),
            finish="tool_calls" if calls and finish == "stop" else finish,
            usage=self.usage,
            model=self._model,
            tool_calls=calls,
            citations=tuple(self._citations.values()),
            provider_state=_state(self._parts, token=self._token if finish == "continue" else ""),
            provider_request_id=self._response_id,
            retires=self._retires,
        )
        return turns.checked(answer, reason=_known(self._reason))

    def _identified(self, part: JsonObject) -> JsonObject:
        """`part`; a call without an id has one made from what is in the answer, so that it is always the same."""
        call = _call_in(part)
        if not call or as_text(call.get("id")):
            return part
        seed = dump([self._response_id, len(self._parts), call])
        return {**part, "functionCall": {**call, "id": f"call_{hashlib.sha256(seed.encode()).hexdigest()[:24]}"}}


def _is_text(part: JsonObject) -> bool:
    return "text" in part and not part.get("thought")


def _call_in(part: JsonObject) -> JsonObject:
    call = as_object(part.get("functionCall"))
    return call if as_text(call.get("name")) else {}


def _tool_call(call: JsonObject) -> ToolCall:
    return ToolCall(id=as_text(call.get("id")), name=as_text(call["name"]), arguments=turns.written(call.get("args")))


def _signature(part: JsonObject) -> Block:
    return {"thoughtSignature": part["thoughtSignature"]} if "thoughtSignature" in part else {}


def _state(parts: Sequence[JsonObject], *, token: str) -> str:
    """What has to come back unchanged: signatures, and what the servers did on the way. Unsigned thoughts need not."""
    kept: list[JsonObject] = []
    opaque = bool(token)
    for part in parts:
        signature = _signature(part)
        if call := _call_in(part):
            kept.append({"functionCall": {"id": call.get("id")}} | signature)
        elif _is_text(part):
            kept.append({"text": ""} | signature)
        elif signature or not part.get("thought"):
            kept.append(part)
            opaque = True
        opaque = opaque or bool(signature)
    return turns.pack("gemini", kept, token=token) if opaque else ""


def _usage(counts: JsonObject, *, searches: int) -> Usage | None:
    """Here a count that is left out is 0, and neither tool results nor thoughts are in the counts beside them."""
    names = ("promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount")
    outputs = ("candidatesTokenCount", "thoughtsTokenCount")
    found = [0 if counts.get(name) is None else as_count(counts[name]) for name in (*names, *outputs)]
    if not found[0] or None in found:
        return None
    prompt, tools, cached, output, reasoning = (count or 0 for count in found)
    cached = min(cached, prompt + tools)
    return Usage(
        input_fresh=prompt + tools - cached,
        cache_read=cached,
        output=output,
        reasoning=reasoning,
        searches=searches,
        reported_total=as_count(counts.get("totalTokenCount")),
    )


# --- Errors and the list -----------------------------------------------------------------------------------


def parse_error(response: WireResponse, *, now_ms: int) -> ProviderError:
    """See `Adapter`. A quota for the day that is used up is `RateLimited` until the next one begins."""
    try:
        bodies = _chunks(parse_json(response.body))  # a stream's error comes in an array
    except InvalidAnswer:  # a proxy's page
        bodies = ()
    error: JsonObject = as_object(bodies[0].get("error")) if bodies else {}
    wait_s = _retry_after(error, now_ms=now_ms) if response.status in {429, 503} else None
    return classify(response.status, codes=_codes(error), headers=response.headers, now_ms=now_ms, retry_after_s=wait_s)


def _codes(error: JsonObject) -> tuple[str, ...]:
    details = as_objects(error.get("details"))
    return tuple(filter(None, map(as_text, [*(detail.get("reason") for detail in details), error.get("status")])))


def _retry_after(error: JsonObject, *, now_ms: int) -> float | None:
    details = as_objects(error.get("details"))
    violations = [violation for detail in details for violation in as_objects(detail.get("violations"))]
    if any("PerDay" in as_text(violation.get("quotaId")) for violation in violations):
        return float((QUOTA_RESET_S - now_ms // 1000) % DAY_S or DAY_S)
    delays = (re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", as_text(detail.get("retryDelay"))) for detail in details)
    return next((float(delay[1]) for delay in delays if delay), None)


def parse_list(body: bytes) -> tuple[ListedModel, ...]:
    listing = parse_object(body)
    if not isinstance(listing.get("models"), list):
        raise InvalidAnswer
    return tuple(
        ListedModel(id=model_id, context_tokens=as_count(model.get("inputTokenLimit")))
        for model in as_objects(listing.get("models"))
        if (model_id := as_text(model.get("name")).removeprefix("models/"))
        and "generateContent" in as_list(model.get("supportedGenerationMethods") or ["generateContent"])
    )


def _known(reason: str) -> str:
    """`reason` if it is one that we know: only such words are repeated."""
    return reason if reason in _FINISH else ""
