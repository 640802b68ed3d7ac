"""How a program asks: `await router.complete("Why is the sky blue?", task="general_chat", max_cost_usd=0.01)`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypedDict, cast

from pydantic import BaseModel, BeforeValidator, Field, WrapValidator

from orchestra_router.asking import CompleteArguments, Id, MessageArgument, Number, ToolArgument, parsed
from orchestra_router.errors import InvalidRequest
from orchestra_router.types import CacheMode, CompletionRequest, Effort, Message, Strategy, Tool


class Asking(TypedDict, total=False):
    """What a program may say besides the prompt, by keyword. All of it may be left out, and None is the same."""

    prompt: str | None
    """What to ask, where it is not the first argument."""
    messages: Sequence[Message | Mapping[str, Any]] | None
    """A conversation, instead of a prompt: `{"role": "user", "content": "Hello"}`, or `Message` itself."""
    system: str | None
    """System instructions."""
    task: str | None
    """The kind of work, like "coding" or "web_search"; recognised where it is left out."""
    provider: str | None
    """Ask this one first, and no other unless `fallback_providers` names it."""
    model: str | None
    """Use only this model."""
    fallback_providers: Sequence[str] | None
    """Asked next, in order; [] for none."""
    strategy: Strategy | None
    """How to choose among models: "task", "weighted", "cheapest", "fastest" or "escalate"."""
    max_retries: int | None
    """Further tries at one deployment, 0 to 10."""
    max_tokens: int | None
    """The longest answer to pay for, thinking included; 4096 unless the settings say otherwise."""
    max_cost_usd: float | None
    """The most that all attempts together may cost; of a batch, that all its prompts may."""
    temperature: float | None
    """Randomness, 0 to 2; an answer above 0 is not cached."""
    top_p: float | None
    """Only the likeliest words that make up this share, 0 to 1."""
    stop: Sequence[str] | str | None
    """Ends the answer."""
    effort: Effort | None
    """How hard to think: "none", "minimal", "low", "medium", "high", "xhigh" or "max"."""
    web_search: bool
    """Let the model search the web."""
    response_schema: Mapping[str, Any] | type[BaseModel] | None
    """What the answer must match: a JSON Schema, or a pydantic model."""
    tools: Sequence[Tool | Mapping[str, Any]] | None
    """Functions the model may call: `{"name", "description", "parameters"}`, or `Tool` itself."""
    tool_choice: str | None
    """Either "auto", "none", "required", or the name of a tool."""
    strict_params: bool
    """Skip models that ignore one of these."""
    accept: str | None
    """A regular expression that a good answer matches somewhere."""
    cache: CacheMode
    """Either "use", "refresh" (ask anew), "off" or "only" (never pay)."""
    cache_ttl_s: float | None
    """Seconds the answer may be served again."""
    wrong_cache_entry: str | None
    """The id of a cache entry that was served and did not fit: it is taken back."""
    metadata: Mapping[str, str] | None
    """Labels to record, like {"app": "docs"}."""


def _from_a_model(value: object) -> object:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return cast("object", value)


def _made(kind: type[object]) -> WrapValidator:
    """Lets pass what a program has made itself."""
    return WrapValidator(lambda value, handler: value if isinstance(value, kind) else handler(value))


class Keywords(CompleteArguments):
    """`Asking`, checked: what the tool `complete` takes, and what only a program can give."""

    messages: list[Annotated[MessageArgument, _made(Message)]] | None = None
    tools: Annotated[list[Annotated[ToolArgument, _made(Tool)]] | None, Field(max_length=128)] = None
    response_schema: Annotated[dict[str, Any] | None, BeforeValidator(_from_a_model)] = None
    top_p: Annotated[float | None, Number, Field(gt=0, le=1)] = None
    tool_choice: Id | None = None

    def request(self, *, max_tokens: int) -> CompletionRequest:
        request = replace(
            super().request(max_tokens=max_tokens), top_p=self.top_p, tool_choice=self.tool_choice or "auto"
        )
        for name, schema in (
            ("response_schema", request.response_schema),
            *((f"tools[{place}].parameters", tool.parameters) for place, tool in enumerate(request.tools)),
        ):
            try:
                json.dumps(schema, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                raise InvalidRequest(f"`{name}` holds something that JSON has not.") from None
        return request


Asked = str | CompletionRequest | None
"""What is asked: a prompt, a whole request, or nothing, where keywords say it."""


def request_of(name: str, asked: Asked, keywords: Mapping[str, object], *, max_tokens: int) -> CompletionRequest:
    """The request that a program means, which called `name`; with `max_tokens` where it names none.

    Raises:
        InvalidRequest: it cannot be served as it is.
    """
    if isinstance(asked, CompletionRequest):
        if keywords:
            raise InvalidRequest(
                f"`{name}` was given a CompletionRequest, which says everything, and {', '.join(keywords)} besides."
                " Use dataclasses.replace(request, ...) to change it."
            )
        return asked
    if asked is not None and "prompt" in keywords:
        raise InvalidRequest(f"`{name}` was given two prompts. Give one.")
    prompt = {} if asked is None else {"prompt": asked}
    return parsed(name, Keywords, {**keywords, **prompt}).request(max_tokens=max_tokens)


def requests_of(
    name: str, asked: Sequence[str | CompletionRequest], keywords: Mapping[str, object], *, max_tokens: int
) -> tuple[CompletionRequest, ...]:
    """The same for several that are asked together. Keywords are for each of them, but `max_cost_usd` is for all.

    Raises:
        InvalidRequest: one of them cannot be served as it is, or what belongs to a single request was given too.
    """
    if isinstance(asked, str):
        raise InvalidRequest(f"`{name}` takes a list of prompts; for one there is `complete`.")
    if not asked:
        raise InvalidRequest(f"`{name}` was given no prompts.")
    prompts = [each for each in asked if isinstance(each, str)]
    if len(prompts) == len(asked):
        return parsed(name, Keywords, {**keywords, "prompts": prompts}).requests(max_tokens=max_tokens)
    requests = tuple(request_of(name, each, keywords, max_tokens=max_tokens) for each in asked)
    if any(replace(each, messages=()) != replace(requests[0], messages=()) for each in requests):
        raise InvalidRequest(f"The requests of one `{name}` may differ in their messages only; ask the others apart.")
    return requests
