"""How a request is asked for: what the tools and the Python API accept, and how it becomes a `CompletionRequest`.

The schemas that clients read are made from these models, so there is one truth about every argument. Clients
differ in habits, and three of them are met half-way: null or "" for an argument left out, JSON text where a list
or an object belongs, and one string where a list of strings belongs. A `prompt` that happens to be JSON stays text.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestra_router import base64_text, dense
from orchestra_router.errors import InvalidRequest
from orchestra_router.explain import HALF_A_CHARACTER, explain
from orchestra_router.policy.guardrails import MAX_ID_CHARS, is_id
from orchestra_router.types import (
    CacheMode,
    CompletionRequest,
    Effort,
    Image,
    Message,
    Part,
    Role,
    Strategy,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    nusd,
)

STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)
MAX_TOKENS = 1_000_000
MAX_RETRIES = 10
MAX_COST_USD = 10_000
MAX_PROMPTS = 500
MAX_PATTERN = 1_000
MAX_TTL_S = 31_536_000
MAX_VALUES = 20_000
"""Lists, objects, strings, names and commas of JSON that is read while nobody else is served."""
LARGE_TEXT_CHARACTERS = 20_000
MAX_DEPTH = 100
"""Of lists and objects in each other: more than a schema needs, less than any reader of JSON gives up at."""


def _from_json_text(value: object) -> object:
    if not isinstance(value, str):
        return value
    if len(value) > LARGE_TEXT_CHARACTERS and dense.has_more_values(value.encode("utf-8", "replace"), MAX_VALUES):
        raise PydanticCustomError("orchestra", "is nested too deep, or holds too many values")
    try:
        parsed: object = json.loads(value)
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        return value
    return cast("object", parsed) if isinstance(parsed, list | dict) else value


def _as_list(value: object) -> object:
    value = _from_json_text(value)
    return [value] if isinstance(value, str) else value


def _as_json_text(value: object) -> object:
    return json.dumps(_sound(cast("object", value)), ensure_ascii=False) if isinstance(value, dict) else value


def _sound(value: object) -> object:
    """`value`, if everything that it is sent through can read and encode it."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        if any(isinstance(item, str) and not _encodable(item) for item in level):
            raise PydanticCustomError("orchestra", HALF_A_CHARACTER)
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            raise PydanticCustomError("orchestra", "holds NaN or Infinity, which JSON has not")
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return value
    raise _too_deep()


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        held = cast("dict[object, object]", value)
        return (*held, *held.values())
    return cast("list[object]", value) if isinstance(value, list) else ()


def _encodable(text: str) -> bool:
    return text.isascii() or text == text.encode("utf-8", "replace").decode()


def _too_deep() -> PydanticCustomError:
    return PydanticCustomError("orchestra", "is nested too deep: at most {most} levels", {"most": MAX_DEPTH})


def _id(text: str) -> str:
    text = text.strip()
    if not is_id(text):
        raise PydanticCustomError(
            "orchestra", "may hold letters, digits and . _ : / @ + ~ - only, and no path that leads upwards"
        )
    return text


def _as_parts(value: object) -> object:
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    return [] if value is None else value


JsonText = BeforeValidator(_from_json_text)
Strings = BeforeValidator(_as_list)


class SoundArguments(BaseModel):
    """Arguments of which each, at any depth, can be read and encoded everywhere."""

    @field_validator("*")
    @classmethod
    def _checked(cls, value: object) -> object:
        return _sound(value)


class PartArgument(SoundArguments):
    model_config = STRICT

    type: Literal["text", "image"]
    text: str = ""
    url: str = ""
    data: str = ""
    media_type: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.type == "image":
            by_url = self.url.startswith("https://") and not self.data
            by_data = bool(self.data) and self.media_type.startswith("image/") and not self.url
            if not (by_url or by_data):
                raise PydanticCustomError(
                    "orchestra", 'needs an https `url`, or base64 `data` with its `media_type` ("image/png")'
                )
        return self

    @field_validator("data")
    @classmethod
    def _is_base64(cls, text: str) -> str:
        data = base64_text.without_blanks(text)
        if data is None:
            raise PydanticCustomError("orchestra", "must be base64")
        return data

    def part(self) -> Part:
        if self.type == "text":
            return Text(self.text)
        return Image(url=self.url, data=self.data, media_type=self.media_type)


class ToolCallArgument(SoundArguments):
    model_config = STRICT

    id: str
    name: str
    arguments: Annotated[str, BeforeValidator(_as_json_text)] = "{}"

    @field_validator("arguments")
    @classmethod
    def _read(cls, text: str) -> str:
        _sound(_from_json_text(text))
        return text


MESSAGE = (
    "{role: system|user|assistant|tool, content: text or [{type: text, text} | {type: image, url|data, media_type}],"
    " tool_calls: [{id, name, arguments}], tool_call_id, provider_state}"
)
"""How a client reads of it: a schema of its own would be longer, and some clients drop nested ones."""


class MessageArgument(SoundArguments):
    model_config = STRICT

    role: Role
    content: Annotated[
        list[PartArgument],
        BeforeValidator(_as_parts),
    ] = []
    tool_calls: Annotated[
        list[ToolCallArgument],
        BeforeValidator(lambda value: [] if value is None else value),
    ] = []
    tool_call_id: str = ""
    provider_state: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("orchestra", 'has `tool_calls`, which only the role "assistant" may have')
        if (self.role == "tool") != bool(self.tool_call_id):
            raise PydanticCustomError("orchestra", 'needs `tool_call_id` exactly when its role is "tool"')
        if not self.content and not self.tool_calls and self.role != "tool":
            raise PydanticCustomError("orchestra", "needs `content`: a string, or a list of parts")
        if self.role in {"system", "tool"} and any(part.type != "text" for part in self.content):
            raise PydanticCustomError("orchestra", "may hold text only, for its role")
        return self


class ToolArgument(SoundArguments):
    model_config = STRICT

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    description: str = ""
    parameters: Annotated[dict[str, Any], JsonText] = {"type": "object", "properties": {}}


def _no_switch(value: object) -> object:
    """True and false would count as 1 and 0, which nobody means."""
    if isinstance(value, bool):
        raise PydanticCustomError("orchestra", "is a number, not true or false")
    return value


Number = BeforeValidator(_no_switch)
Id = Annotated[str, Field(max_length=MAX_ID_CHARS), AfterValidator(_id)]


class RoutingArguments(SoundArguments):
    """What a route depends on."""

    model_config = STRICT

    prompt: Annotated[str | None, Field(description="What to ask.")] = None
    messages: Annotated[
        list[MessageArgument] | None,
        JsonText,
        Field(
            description="A conversation, instead of prompt.",
            json_schema_extra={"items": {"type": "object", "description": MESSAGE}},
        ),
    ] = None
    system: Annotated[str | None, Field(description="System instructions.")] = None
    task: Annotated[Id | None, Field(description="Kind of work, e.g. coding; guessed when absent.")] = None
    provider: Annotated[Id | None, Field(description="Ask this one, e.g. anthropic.")] = None
    model: Annotated[Id | None, Field(description="Use only this model.")] = None
    fallback_providers: Annotated[
        list[Id] | None, Strings, Field(max_length=20, description="Asked next, in order; [] for none.")
    ] = None
    strategy: Annotated[Strategy | None, Field(description="How to choose among models.")] = None
    temperature: Annotated[
        float | None, Number, Field(ge=0, le=2, description="Randomness; above 0 is not cached.")
    ] = None
    max_tokens: Annotated[
        int | None, Number, Field(ge=1, le=MAX_TOKENS, description="Cap on the answer, thinking included.")
    ] = None
    response_schema: Annotated[
        dict[str, Any] | None, JsonText, Field(description="JSON Schema the answer must match.")
    ] = None
    tools: Annotated[
        list[ToolArgument] | None,
        JsonText,
        Field(
            max_length=128,
            description="Functions the model may call.",
            json_schema_extra={"items": {"type": "object", "description": "{name, description, parameters}"}},
        ),
    ] = None
    effort: Annotated[Effort | None, Field(description="How hard to think.")] = None
    web_search: Annotated[bool, Field(description="Let the model search the web.")] = False
    max_cost_usd: Annotated[
        float | None, Number, Field(ge=0, le=MAX_COST_USD, description="Cap on all attempts, e.g. 0.05.")
    ] = None
    strict_params: Annotated[bool, Field(description="Skip models that ignore an argument.")] = False
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=256)]] | None,
        JsonText,
        Field(max_length=16, description="Labels to record: {app: docs}."),
    ] = None

    def request(self, *, max_tokens: int) -> CompletionRequest:
        """The request these arguments stand for; with `max_tokens` where they name none.

        Raises:
            InvalidRequest: both or neither of `prompt` and `messages`, or a tool message that answers nothing.
        """
        return CompletionRequest(
            messages=self._conversation(),
            task=self.task,
            provider=self.provider,
            model=self.model,
            fallback_providers=None if self.fallback_providers is None else tuple(self.fallback_providers),
            strategy=self.strategy,
            max_tokens=max_tokens if self.max_tokens is None else self.max_tokens,
            temperature=self.temperature,
            response_schema=self.response_schema,
            tools=tuple(Tool(tool.name, tool.description, tool.parameters) for tool in self.tools or ()),
            effort=self.effort,
            web_search=self.web_search,
            strict_params=self.strict_params,
            max_cost_nusd=None if self.max_cost_usd is None else nusd(self.max_cost_usd),
            metadata=self.metadata or {},
        )

    def _conversation(self) -> tuple[Message, ...]:
        prompt = self.prompt if self.prompt and not self.prompt.isspace() else None
        if prompt and self.messages:
            raise InvalidRequest(
                "Both `prompt` and `messages` were given. Give one: `prompt` for a single question, `messages` for a"
                " whole conversation (its last question included)."
            )
        opening = (Message("system", (Text(self.system),)),) if self.system else ()
        if prompt:
            return (*opening, Message("user", (Text(prompt),)))
        if not self.messages:
            raise InvalidRequest(
                "Neither `prompt` nor `messages` was given. Put the question into `prompt`, or a conversation into"
                ' `messages`, e.g. [{"role": "user", "content": "Hello"}].'
            )
        return (*opening, *_messages(self.messages))


def _messages(arguments: Sequence[MessageArgument | Message]) -> tuple[Message, ...]:
    called: dict[str, str] = {}
    messages: list[Message] = []
    for number, argument in enumerate(arguments):
        if isinstance(argument, Message):
            parts = _parts_of(argument, number)
            called.update({part.id: part.name for part in parts if isinstance(part, ToolCall)})
            messages.append(argument)
            continue
        content = tuple(part.part() for part in argument.content)
        if argument.role == "tool":
            if (name := called.get(argument.tool_call_id)) is None:
                raise InvalidRequest(
                    f"`messages[{number}].tool_call_id` answers no tool call: an earlier assistant message must hold"
                    " the call in its `tool_calls`."
                )
            text = "".join(part.text for part in argument.content)
            content = (ToolResult(argument.tool_call_id, name, text),)
        calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in argument.tool_calls)
        called.update({call.id: call.name for call in calls})
        parts = (*content, *calls)
        if _is_empty(parts):
            raise InvalidRequest(f"`messages[{number}]` is empty. Give it `content`, or leave it out.")
        messages.append(Message(argument.role, parts, argument.provider_state))
    return tuple(messages)


def _parts_of(message: Message, number: int) -> tuple[Part, ...]:
    """Those of a message that a program has made itself.

    Raises:
        InvalidRequest: they are something else; types that nobody has checked may be wrong.
    """
    parts = cast("object", message.parts)
    if not isinstance(parts, tuple) or not all(isinstance(part, Part) for part in cast("tuple[object, ...]", parts)):
        raise InvalidRequest(
            f"`messages[{number}].parts` must be a tuple of Text, Image, ToolCall and ToolResult, like"
            ' Message("user", (Text("Hello"),)).'
        )
    if _is_empty(message.parts):
        raise InvalidRequest(f"`messages[{number}]` is empty. Give it a text, or leave it out.")
    return message.parts


def _is_empty(parts: Sequence[Part]) -> bool:
    return all(isinstance(part, Text) and not part.text.strip() for part in parts)


class CompleteArguments(RoutingArguments):
    prompts: Annotated[
        list[str] | None,
        Strings,
        Field(max_length=MAX_PROMPTS, description="Many at once, under one cap."),
    ] = None
    max_retries: Annotated[
        int | None, Number, Field(ge=0, le=MAX_RETRIES, description="Further tries per provider.")
    ] = None
    stop: Annotated[list[str] | None, Strings, Field(max_length=16, description="Ends the answer.")] = None
    accept: Annotated[str | None, Field(max_length=MAX_PATTERN, description="Regex that a good answer matches.")] = None
    cache: Annotated[CacheMode, Field(description="refresh asks anew, only never pays.")] = "use"
    cache_ttl_s: Annotated[float | None, Number, Field(ge=1, le=MAX_TTL_S, description="Keep the answer so long.")] = (
        None
    )
    wrong_cache_entry: Annotated[Id | None, Field(description="A cache_entry that did not fit.")] = None

    def request(self, *, max_tokens: int) -> CompletionRequest:
        return replace(
            super().request(max_tokens=max_tokens),
            max_retries=self.max_retries,
            stop=tuple(self.stop or ()),
            accept=self.accept,
            cache=self.cache,
            cache_ttl_s=self.cache_ttl_s,
            wrong_cache_entry=self.wrong_cache_entry or "",
        )

    def requests(self, *, max_tokens: int) -> tuple[CompletionRequest, ...]:
        """One request for each of `prompts`.

        Raises:
            InvalidRequest: one of them is empty, or what belongs to a single request was given too.
        """
        prompts = self.prompts or []
        if self.prompt or self.messages or self.wrong_cache_entry:
            raise InvalidRequest("`prompts` stands alone: leave out `prompt`, `messages` and `wrong_cache_entry`.")
        for place, prompt in enumerate(prompts):
            if not prompt.strip():
                raise InvalidRequest(f"`prompts[{place}]` is empty. Leave it out.")
        return tuple(
            self.model_copy(update={"prompt": prompt, "prompts": None}).request(max_tokens=max_tokens)
            for prompt in prompts
        )


Arguments = TypeVar("Arguments", bound=BaseModel)


def parsed(name: str, model: type[Arguments], arguments: Mapping[str, object]) -> Arguments:
    """`arguments` as `model` has them, without those that are None or "": many send every argument they know of.

    Raises:
        InvalidRequest: they are wrong; says which, what is wrong with it and what to do, and calls them `name`'s.
    """
    given = {
        key: value
        for key, value in arguments.items()
        if key not in model.model_fields or (value is not None and value != "")
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        # Not chained: the original quotes the caller's values.
        raise InvalidRequest(explain(name, model, error)) from None
