"""A chat completions request as OpenAI's clients send it, and what it asks of the router.

What we do not know is ignored, as clients send much of it. What we know, cannot do, and would change the answer is
refused by name.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from orchestra_router import base64_text
from orchestra_router.types import CacheMode, Effort, Image, Strategy, Text

MAX_TOKENS = 1_000_000
MAX_MESSAGES = 10_000
MAX_COST_USD = 10_000
LENIENT = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True, allow_inf_nan=False)
STRICT = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False)
_DATA_URL = re.compile(r"data:(image/[a-zA-Z0-9.+-]+);base64,")

Json = dict[str, Any]


def _problem(what: str) -> PydanticCustomError:
    return PydanticCustomError("orchestra", cast("Any", what))


def _as_parts(value: object) -> object:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    return [] if value is None else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_choice(value: object) -> object:
    """The name of the tool, where one is to be called."""
    if not isinstance(value, dict):
        return value
    choice = cast("Mapping[str, Any]", value)
    function: object = choice.get("function")
    name = cast("Mapping[str, Any]", function).get("name") if isinstance(function, dict) else None
    if choice.get("type") != "function" or not isinstance(name, str) or not name:
        raise _problem('must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}}')
    return name


def _nothing_of(what: str, *harmless: object) -> BeforeValidator:
    """Refuses a parameter that would change the answer, unless it says what happens anyway."""

    def check(value: object) -> object:
        if value is not None and value not in harmless:
            raise _problem(what)
        return value

    return BeforeValidator(check)


class ImageUrl(BaseModel):
    model_config = LENIENT

    url: Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    model_config = LENIENT

    type: Literal["text", "image_url", "refusal"]
    text: str = ""
    refusal: str = ""
    image_url: ImageUrl | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.type == "image_url") != (self.image_url is not None):
            raise _problem('needs `image_url` exactly when its type is "image_url"')
        return self

    def said(self) -> Text | Image:
        """Raises: PydanticCustomError: the image cannot be passed on."""
        if self.image_url is None:
            return Text(self.text or self.refusal)
        url = self.image_url.url
        if url.startswith("https://"):
            return Image(url=url)
        head = _DATA_URL.match(url)
        data = None if head is None else base64_text.without_blanks(url[head.end() :])
        if head is None or data is None:
            raise _problem('must be an https address or "data:image/...;base64,..."')
        return Image(media_type=head[1], data=data)


class CalledFunction(BaseModel):
    model_config = LENIENT

    name: Annotated[str, Field(min_length=1, max_length=128)]
    arguments: str = "{}"


class Called(BaseModel):
    model_config = LENIENT

    id: Annotated[str, Field(min_length=1, max_length=512)]
    type: Literal["function"] = "function"
    function: CalledFunction


CONTENT = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
        {"type": "null"},
    ]
}
Content = Annotated[list[Part], BeforeValidator(_as_parts), WithJsonSchema(CONTENT)]


class ChatMessage(BaseModel):
    model_config = LENIENT

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = []
    tool_calls: list[Called] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise _problem('has `tool_calls`, which only the role "assistant" may have')
        if (self.role == "tool") != bool(self.tool_call_id):
            raise _problem('needs `tool_call_id` exactly when its role is "tool"')
        if self.role != "user" and any(part.type == "image_url" for part in self.content):
            raise _problem("may hold text only, for its role")
        if not (self.content or self.tool_calls or self.refusal or self.role == "tool"):
            raise _problem("needs `content`: a string, or a list of parts")
        return self


class Function(BaseModel):
    model_config = LENIENT

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    description: str | None = None
    parameters: Json | None = None


class OfferedTool(BaseModel):
    model_config = LENIENT

    type: Literal["function"]
    function: Function


class JsonSchema(BaseModel):
    model_config = LENIENT

    schema_: Annotated[Json, Field(alias="schema")]


class ResponseFormat(BaseModel):
    model_config = LENIENT

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise _problem('needs `json_schema` exactly when its type is "json_schema"')
        return self

    @property
    def wanted(self) -> Json | None:
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


class StreamOptions(BaseModel):
    model_config = LENIENT

    include_usage: bool = False


class Routing(BaseModel):
    """What OpenAI's API has no word for, under `orchestra`."""

    model_config = STRICT

    fallback_providers: Annotated[list[str], Field(max_length=20)] | None = None
    strategy: Strategy | None = None
    cache: CacheMode = "use"
    cache_ttl_s: Annotated[float | None, Field(ge=1, le=31_536_000)] = None
    max_cost_usd: Annotated[float | None, Field(ge=0, le=MAX_COST_USD)] = None
    max_retries: Annotated[int | None, Field(ge=0, le=10)] = None
    strict_params: bool = False
    accept: Annotated[str | None, Field(max_length=1_000)] = None


Labels = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class ChatRequest(BaseModel):
    model_config = LENIENT

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1, le=MAX_TOKENS)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: Annotated[
        Annotated[list[str], Field(max_length=16)] | None,
        BeforeValidator(_as_list),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}, "maxItems": 16},
                    {"type": "null"},
                ]
            }
        ),
    ] = None
    reasoning_effort: Effort | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=128)] | None = None
    tool_choice: Annotated[
        str | None,
        BeforeValidator(_as_choice),
        WithJsonSchema(
            {
                "anyOf": [
                    {"enum": ["none", "auto", "required"]},
                    {
                        "type": "object",
                        "properties": {
                            "type": {"const": "function"},
                            "function": {
                                "type": "object",
                                "properties": {"name": {"type": "string", "minLength": 1}},
                                "required": ["name"],
                            },
                        },
                        "required": ["type", "function"],
                    },
                    {"type": "null"},
                ]
            }
        ),
    ] = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    web_search_options: Json | None = None
    user: Annotated[str | None, Field(max_length=512)] = None
    metadata: Annotated[Labels, Field(max_length=16)] | None = None
    orchestra: Routing | None = None

    n: Annotated[int | None, _nothing_of("must be 1: ask several times for several answers", 1)] = None
    frequency_penalty: Annotated[float | None, _nothing_of("is not passed on; leave it out", 0)] = None
    presence_penalty: Annotated[float | None, _nothing_of("is not passed on; leave it out", 0)] = None
    logit_bias: Annotated[Json | None, _nothing_of("is not passed on; leave it out", {})] = None
    logprobs: Annotated[bool | None, _nothing_of("cannot be had; leave it out", False)] = None
    top_logprobs: Annotated[int | None, _nothing_of("cannot be had; leave it out", 0)] = None
    modalities: Annotated[list[str] | None, _nothing_of('may only be ["text"]', ["text"], [])] = None
    audio: Annotated[Json | None, _nothing_of("cannot be had; leave it out")] = None
    verbosity: Annotated[str | None, _nothing_of("is not passed on; say it in the prompt", "medium")] = None
    functions: Annotated[list[Json] | None, _nothing_of("is the old way; use `tools`", [])] = None
    function_call: Annotated[Json | str | None, _nothing_of("is the old way; use `tool_choice`", "auto", "none")] = None
