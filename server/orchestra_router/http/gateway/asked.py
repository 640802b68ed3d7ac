"""From OpenAI's request to the router's."""

import json
import math
from collections.abc import Iterable
from typing import NoReturn, cast

import anyio.to_thread
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from orchestra_router import dense
from orchestra_router.config import Config
from orchestra_router.errors import InvalidRequest, UnknownModel
from orchestra_router.explain import HALF_A_CHARACTER, explain
from orchestra_router.http.gateway.chat_request import ChatMessage, ChatRequest
from orchestra_router.http.gateway.states import States
from orchestra_router.http.refusals import Refused
from orchestra_router.policy import names
from orchestra_router.policy.guardrails import is_id
from orchestra_router.types import (
    CompletionRequest,
    Message,
    Part,
    Scope,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    changed,
    nusd,
)

AUTO = "auto"
TASK = "task:"
LARGE_BODY_BYTES = 100_000
"""Reading this much takes longer than other requests should wait."""
MAX_VALUES = 200_000
"""Lists, objects, strings, names and commas: those of thousands of messages."""
MAX_DEPTH = 100
"""Of lists and objects in each other: more than a schema needs, less than any reader of JSON gives up at."""
WHAT = "POST /v1/chat/completions"


async def read(body: bytes) -> ChatRequest:
    """Raises: Refused, InvalidRequest."""
    return _read(body) if len(body) < LARGE_BODY_BYTES else await anyio.to_thread.run_sync(_read, body)


def _read(body: bytes) -> ChatRequest:
    if len(body) >= LARGE_BODY_BYTES and dense.has_more_values(body, MAX_VALUES):
        raise Refused(413, "request_too_large", f"The body holds more than {MAX_VALUES:,} values. Send fewer messages.")
    try:
        data = json.loads(body.decode(), parse_constant=_no_constant, parse_float=_finite)
        too_deep = _is_deeper(data, MAX_DEPTH)
    except (ValueError, RecursionError):
        raise Refused(
            400, "invalid_json", "The body is no JSON, or none that can be read: UTF-8 without NaN."
        ) from None
    if too_deep:
        raise Refused(400, "invalid_json", f"The body is nested too deep: at most {MAX_DEPTH} levels.")
    if not isinstance(data, dict):
        raise Refused(400, "invalid_json", "The body must be a JSON object.")
    if b"\\u" in body:
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Refused(400, "invalid_json", f"The body {HALF_A_CHARACTER}.") from None
    try:
        return ChatRequest.model_validate(data)
    except ValidationError as error:
        # Not chained: the original quotes the caller's values.
        raise InvalidRequest(explain(WHAT, ChatRequest, error)) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(number: str) -> float:
    """Raises: ValueError: it is past what JSON's readers agree on, and would go out as no JSON."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(number)
    return value


def _is_deeper(data: object, most: int) -> bool:
    level = [data]
    for _ in range(most + 1):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return False
    return True


def _inside(item: object) -> Iterable[object]:
    if isinstance(item, dict):
        return cast("dict[str, object]", item).values()
    return cast("list[object]", item) if isinstance(item, list) else ()


async def meant(chat: ChatRequest, body: bytes, config: Config, states: States, scope: Scope) -> CompletionRequest:
    """As `asked`; what is meant by a large `body` is found out beside the event loop."""
    if len(body) < LARGE_BODY_BYTES:
        return asked(chat, config, states, scope)
    return await anyio.to_thread.run_sync(asked, chat, config, states, scope)


def asked(chat: ChatRequest, config: Config, states: States, scope: Scope) -> CompletionRequest:
    """What `chat` asks for `scope`.

    Raises:
        InvalidRequest: it makes no sense, or cannot be served here.
        UnknownModel: nobody knows the task that `model` names.
    """
    request = CompletionRequest(
        messages=tuple(_messages(chat.messages, states, scope)),
        max_tokens=chat.max_completion_tokens or chat.max_tokens or config.settings.max_tokens,
        temperature=chat.temperature,
        top_p=chat.top_p,
        seed=chat.seed,
        stop=tuple(chat.stop or ()),
        response_schema=None if chat.response_format is None else chat.response_format.wanted,
        tools=tuple(_tools(chat)),
        tool_choice=_choice(chat),
        effort=chat.reasoning_effort,
        web_search=chat.web_search_options is not None,
        metadata=chat.metadata or {},
    )
    if (more := chat.orchestra) is not None:
        fallbacks = more.fallback_providers
        request = changed(
            request,
            fallback_providers=None if fallbacks is None else tuple(fallbacks),
            strategy=more.strategy,
            cache=more.cache,
            cache_ttl_s=more.cache_ttl_s,
            max_cost_nusd=None if more.max_cost_usd is None else nusd(more.max_cost_usd),
            max_retries=more.max_retries,
            strict_params=more.strict_params,
            accept=more.accept,
        )
    return _of_model(request, chat.model.strip(), config)


def _of_model(request: CompletionRequest, name: str, config: Config) -> CompletionRequest:
    if name.lower() == AUTO:
        return request
    if name.lower().startswith(TASK):
        task = name[len(TASK) :].strip()
        if task not in config.catalog.tasks and is_id(task):
            raise UnknownModel(names.unknown("task", task, config.catalog.tasks))
        return changed(request, task=task)
    provider, _, model = name.partition("/")
    provider = provider.lower()
    if not model or provider not in config.catalog.providers:
        return changed(request, model=name)
    # "openai/gpt-6-luna" is also what OpenRouter calls it: without a key for OpenAI that is what is meant.
    is_here = callable_at(provider, config) and config.catalog.find(model, provider) is not None
    # And an id that nobody here knows may be known there; it is passed on as it is.
    if is_here or config.catalog.find(name) is None:
        return changed(request, provider=provider, model=model)
    return changed(request, model=name)


def callable_at(provider: str, config: Config) -> bool:
    """Whether `provider` can be asked at all with the keys there are."""
    row = config.catalog.providers[provider]
    return row.enabled and (provider in config.keys or not row.key_env or bool(row.portkey))


def _tools(chat: ChatRequest) -> Iterable[Tool]:
    for tool in chat.tools or ():
        function = tool.function
        parameters = function.parameters or {"type": "object", "properties": {}}
        yield Tool(function.name, function.description or "", parameters)


def _choice(chat: ChatRequest) -> str:
    choice = chat.tool_choice or "auto"
    names = {tool.function.name for tool in chat.tools or ()}
    if choice in {"none", "auto"} or (choice == "required" and names) or choice in names:
        return choice
    raise InvalidRequest("`tool_choice` asks for a tool that is not among `tools`.")


def _messages(given: list[ChatMessage], states: States, scope: Scope) -> Iterable[Message]:
    names: dict[str, str] = {}
    for number, message in enumerate(given):
        where = f"messages[{number}]"
        try:
            content: list[Part] = [part.said() for part in message.content]
        except PydanticCustomError as error:
            raise InvalidRequest(f"`{where}.content[].image_url.url` {error.message()}.") from None
        if message.role == "tool":
            call_id = message.tool_call_id or ""
            if call_id not in names:
                raise InvalidRequest(
                    f"`{where}.tool_call_id` answers no tool call: an earlier assistant message must hold the call in its"
                    " `tool_calls`."
                )
            text = "".join(part.text for part in content if isinstance(part, Text))
            yield Message("tool", (ToolResult(call_id, names[call_id], text),))
            continue
        if message.refusal:
            content.append(Text(message.refusal))
        calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
        names |= {call.id: call.name for call in calls}
        if not any(not isinstance(part, Text) or part.text.strip() for part in (*content, *calls)):
            raise InvalidRequest(f"`{where}` is empty. Give it `content`, or leave it out.")
        role = "system" if message.role == "developer" else message.role
        yield Message(role, (*content, *calls), states.of(scope, calls))
