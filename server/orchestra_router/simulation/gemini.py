"""Google's generateContent."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from orchestra_router.simulation.answering import IMAGE_TOKENS, THOUGHT_TOKENS, Ask, Function, Outcome
from orchestra_router.simulation.failures import Failure, Refused, as_bytes, body
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.wire import Body, Call, Event, shown, sse

SIGNATURE = base64.b64encode(b"simulated").decode()
"""What signs the function calls of a thinking model; a call that comes back must bear it..."""
_NO_SIGNATURE = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
"""...or, if another model made the call, one of these."""


class _Message(Body):
    """A message of the API. As in all of Google's JSON, names may be in camel or snake case; unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    ignored: ClassVar[frozenset[str]] = frozenset()
    """Names the API knows and this simulation has no use for, in camel case."""

    def check(self) -> None:
        for name in sorted(self.model_extra or ()):
            if to_camel(name) not in self.ignored:
                raise Refused(
                    "bad_request", f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
                )
        for name in type(self).model_fields:
            value = getattr(self, name)
            for inner in cast("list[object]", value) if isinstance(value, list) else [value]:
                if isinstance(inner, _Message):
                    inner.check()


class _FunctionCall(_Message):
    ignored = frozenset({"partialArgs", "willContinue"})
    name: str
    args: dict[str, Any] = Field(default_factory=dict)
    id: str | None = None


class _FunctionResponse(_Message):
    ignored = frozenset({"willContinue", "scheduling", "parts"})
    name: str = Field(min_length=1)
    response: dict[str, Any]
    id: str | None = None


class _Part(_Message):
    ignored = frozenset({"thought", "videoMetadata", "mediaResolution", "executableCode", "codeExecutionResult"})
    text: str = ""
    function_call: _FunctionCall | None = None
    function_response: _FunctionResponse | None = None
    inline_data: dict[str, Any] | None = None
    file_data: dict[str, Any] | None = None
    thought_signature: str | None = None

    @property
    def all_text(self) -> str:
        call, response = self.function_call, self.function_response
        said = self.text + (call.name + json.dumps(call.args) if call is not None else "")
        return said + (json.dumps(response.response) if response is not None else "")


class _Content(_Message):
    role: str = "user"
    parts: list[_Part] = Field(min_length=1)


class _Declaration(_Message):
    ignored = frozenset({"behavior", "response", "responseJsonSchema"})
    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None


class _Tool(_Message):
    ignored = frozenset({"codeExecution", "fileSearch", "computerUse", "googleMaps"})
    function_declarations: list[_Declaration] | None = None
    google_search: dict[str, Any] | None = None
    url_context: dict[str, Any] | None = None


class _CallingConfig(_Message):
    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] = Field(default_factory=list)


class _ToolConfig(_Message):
    ignored = frozenset({"retrievalConfig"})
    function_calling_config: _CallingConfig = Field(default_factory=_CallingConfig)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class _ThinkingConfig(_Message):
    thinking_level: Annotated[Literal["minimal", "low", "medium", "high", "xhigh"] | None, BeforeValidator(_lower)] = (
        None
    )
    thinking_budget: int | None = None
    include_thoughts: bool = False


class _Config(_Message):
    ignored = frozenset(
        {
            "seed",
            "candidateCount",
            "responseLogprobs",
            "logprobs",
            "presencePenalty",
            "frequencyPenalty",
            "responseModalities",
            "speechConfig",
            "mediaResolution",
            "imageConfig",
        }
    )
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = Field(default_factory=list, max_length=5)
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    thinking_config: _ThinkingConfig = Field(default_factory=_ThinkingConfig)


class _Request(_Message):
    # The path names the model, and so may the body (gateways do).
    ignored = frozenset(
        {"model", "safetySettings", "cachedContent", "serviceTier", "store", "continuationToken", "labels"}
    )
    contents: list[_Content] = Field(min_length=1)
    system_instruction: _Content | None = None
    tools: list[_Tool] = Field(default_factory=list[_Tool])
    tool_config: _ToolConfig = Field(default_factory=_ToolConfig)
    generation_config: _Config = Field(default_factory=_Config)

    @property
    def declarations(self) -> list[_Declaration]:
        return [declared for tool in self.tools for declared in tool.function_declarations or ()]

    @property
    def schema_(self) -> dict[str, Any] | None:
        return self.generation_config.response_json_schema or self.generation_config.response_schema


@dataclass(frozen=True, slots=True)
class Gemini:
    def read(self, call: Call) -> Ask:
        request = call.read(_Request)
        request.check()
        model = call.find(call.path_model)
        config, calling = request.generation_config, request.tool_config.function_calling_config
        _check(request)
        effort = _effort(config.thinking_config, model)
        parts = [part for content in request.contents for part in content.parts]
        return Ask(
            model=model,
            asked_as=call.path_model,
            parts=_parts(request),
            question=_last_user_text(request),
            tool_results=tuple(
                json.dumps(part.function_response.response)
                for part in request.contents[-1].parts
                if part.function_response is not None
            ),
            images=sum(part.inline_data is not None or part.file_data is not None for part in parts),
            functions=_functions(request, calling),
            forced="any" if calling.mode == "ANY" else "",
            schema=request.schema_,
            json_mode=config.response_mime_type == "application/json",
            max_tokens=config.max_output_tokens,
            stop=tuple(config.stop_sequences),
            effort=effort,
            searches=int(any(tool.google_search is not None for tool in request.tools)),
            stream=call.stream,
            one_array=not call.sse,
            show_thoughts=config.thinking_config.include_thoughts,
            lost_signature=effort != "none" and _lost_signature(request),
        )

    # --- answers

    def plain(self, outcome: Outcome) -> bytes:
        parts = [_thought(outcome)] if outcome.thought and outcome.ask.show_thoughts else []
        if outcome.text:
            parts.append({"text": outcome.text})
        parts += _calls(outcome)
        return as_bytes(_response(outcome, parts, ended=True, visible=outcome.tokens.visible))

    def events(self, outcome: Outcome) -> Iterator[Event]:
        """The same object again and again: each brings new parts, the last one the finish reason."""
        chunks: list[tuple[dict[str, Any], Event]] = []
        for piece in outcome.pieces():
            if piece.kind == "thought" and outcome.ask.show_thoughts:
                chunks.append((_response(outcome, [_thought(outcome)], visible=0), shown(b"", piece)))
            if piece.kind == "text":
                document = _response(outcome, [{"text": piece.text}], visible=piece.visible)
                chunks.append((document, shown(b"", piece)))
        tokens = outcome.tokens
        for call in _calls(outcome):  # arguments are not split: a call comes whole
            document = _response(outcome, [call], visible=tokens.visible)
            chunks.append((document, Event(b"", "visible", tokens.visible, tokens.reasoning)))
        last = _response(outcome, [{"text": ""}], ended=True, visible=tokens.visible)
        chunks.append((last, Event(b"", "closing", tokens.visible, tokens.reasoning)))
        for number, (document, event) in enumerate(chunks):
            data = _in_array(document, number, len(chunks)) if outcome.ask.one_array else sse(document)
            yield Event(data, event.moment, event.visible, event.reasoning)

    def stream_error(self, failure: Failure, outcome: Outcome) -> bytes:
        error = body("gemini", failure, request_id=outcome.id)
        return b",\r\n" + as_bytes(error) + b"\n]" if outcome.ask.one_array else sse(error)

    def error_with_200(self, failure: Failure, outcome: Outcome) -> bytes:
        return as_bytes(body("gemini", failure, request_id=outcome.id))


def _check(request: _Request) -> None:
    for number, content in enumerate(request.contents):
        if content.role not in {"user", "model"}:
            raise Refused("bad_request", f"contents[{number}]: Please use a valid role: user, model.")
    config = request.generation_config
    if config.response_schema is not None and config.response_json_schema is not None:
        raise Refused("bad_request", "Only one of response_schema and response_json_schema may be set.")
    if request.schema_ is not None and config.response_mime_type != "application/json":
        raise Refused("bad_request", "A response schema needs response_mime_type 'application/json'.")
    thinking = config.thinking_config
    if thinking.thinking_level is not None and thinking.thinking_budget is not None:
        raise Refused("bad_request", "You can only set only one of thinking budget and thinking level.")


def _effort(thinking: _ThinkingConfig, model: Model) -> str:
    if thinking.thinking_level is not None:
        return thinking.thinking_level
    if thinking.thinking_budget == 0 and not model.always_thinks:
        return "none"
    return model.effort


def _lost_signature(request: _Request) -> bool:
    """The first call of a model's turn is signed; it must come back so."""
    firsts = (
        next((part for part in content.parts if part.function_call is not None), None)
        for content in request.contents
        if content.role == "model"
    )
    return any(part is not None and part.thought_signature not in {SIGNATURE, *_NO_SIGNATURE} for part in firsts)


def _parts(request: _Request) -> tuple[str, ...]:
    system = request.system_instruction.parts if request.system_instruction is not None else []
    said = [*system, *(part for content in request.contents for part in content.parts)]
    declared = [json.dumps(declared.model_dump(exclude_none=True)) for declared in request.declarations]
    schema = [json.dumps(request.schema_)] if request.schema_ is not None else []
    return tuple(text for text in (*declared, *schema, *(part.all_text for part in said)) if text)


def _last_user_text(request: _Request) -> str:
    texts = (
        "".join(part.text for part in content.parts) for content in reversed(request.contents) if content.role == "user"
    )
    return next((text for text in texts if text), "")


def _functions(request: _Request, calling: _CallingConfig) -> tuple[Function, ...]:
    if calling.mode == "NONE":
        return ()
    return tuple(
        Function(declared.name, declared.parameters_json_schema or declared.parameters or {})
        for declared in request.declarations
        if not calling.allowed_function_names or declared.name in calling.allowed_function_names
    )


# --- pieces of answers ------------------------------------------------------------------------------------

_REASONS: Mapping[str, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "no_signature": "MISSING_THOUGHT_SIGNATURE",
}


def _response(outcome: Outcome, parts: list[dict[str, Any]], *, visible: int, ended: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {"role": "model"}
    if parts:  # blocked, or out of tokens before the first word: no `parts` at all
        content["parts"] = parts
    candidate: dict[str, Any] = {"content": content, "index": 0}
    if ended:
        candidate["finishReason"] = _REASONS[outcome.finish]
        if outcome.sources:
            candidate["groundingMetadata"] = _grounding(outcome)
    document = {
        "candidates": [candidate],
        "usageMetadata": _usage(outcome, visible),
        "modelVersion": outcome.ask.model.id,
        "responseId": outcome.id,
    }
    if outcome.ask.model.ends is not None:
        day = f"{outcome.ask.model.ends.isoformat()}T00:00:00Z"
        document["modelStatus"] = {"modelStage": "DEPRECATED", "retirementTime": day}
    return document


def _usage(outcome: Outcome, visible: int) -> dict[str, Any]:
    """Thoughts stand beside the candidates, not in them. In a stream the counts grow."""
    tokens = outcome.tokens
    usage: dict[str, Any] = {
        "promptTokenCount": tokens.input,
        "candidatesTokenCount": visible,
        "totalTokenCount": tokens.input + visible + tokens.reasoning,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.input}],
    }
    images = outcome.ask.images * IMAGE_TOKENS
    if images:
        usage["promptTokensDetails"] = [
            {"modality": "TEXT", "tokenCount": tokens.input - images},
            {"modality": "IMAGE", "tokenCount": images},
        ]
    if tokens.cached:
        usage["cachedContentTokenCount"] = tokens.cached
    if THOUGHT_TOKENS[outcome.ask.effort]:
        usage["thoughtsTokenCount"] = tokens.reasoning
    return usage


def _thought(outcome: Outcome) -> dict[str, Any]:
    return {"text": outcome.thought, "thought": True}


def _calls(outcome: Outcome) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        {"functionCall": {"id": call.id, "name": call.name, "args": json.loads(call.arguments)}}
        for call in outcome.calls
    ]
    if parts and outcome.tokens.reasoning:
        parts[0]["thoughtSignature"] = SIGNATURE
    return parts


def _grounding(outcome: Outcome) -> dict[str, Any]:
    return {
        "webSearchQueries": ["simulated"] * outcome.tokens.searches,
        "groundingChunks": [{"web": {"uri": source.url, "title": source.title}} for source in outcome.sources],
        "groundingSupports": [
            {
                "segment": {"startIndex": 0, "endIndex": len(outcome.text), "text": outcome.text},
                "groundingChunkIndices": list(range(len(outcome.sources))),
            }
        ],
    }


def _in_array(document: dict[str, Any], number: int, of: int) -> bytes:
    """Without alt=sse a stream is one JSON array. Some tell its elements apart by the line ends (Portkey's gateway)."""
    return (b"[" if number == 0 else b",\r\n") + as_bytes(document) + b"\n" + (b"]" if number == of - 1 else b"")
