"""What can be asked of every provider, plain and streaming, from the request to the bill.

The simulated providers refuse what the real ones refuse, so an answer here means that the wire was right.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestra_router import errors
from orchestra_router.providers.params import fit
from orchestra_router.types import Completion, CompletionRequest, Image, Message, Text, Tool, ToolResult
from worlds import World, ask, open_world

PROVIDERS = ("openrouter", "openai", "anthropic", "deepseek", "gemini", "perplexity", "together", "xai")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "The weather in a city now.", CITY)
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}

SYSTEM = replace(ask("Hello."), messages=(Message("system", (Text("Be brief."),)), *ask("Hello.").messages))
TURNS = replace(
    ask("And now?"),
    messages=(*ask("Hi.").messages, Message("assistant", (Text("Hello."),)), *ask("And now?").messages),
)
PICTURE = Message("user", (Text("What is this?"), Image(data=PIXEL, media_type="image/png")))
REQUESTS: dict[str, CompletionRequest] = {
    "system prompt": SYSTEM,
    "conversation": TURNS,
    "image": replace(ask(), messages=(PICTURE,)),
    "tool call": ask("What is the weather in Oslo? Use the tool.", tools=(WEATHER,)),
    "schema": ask("Invent a person.", response_schema=PERSON),
    "effort": ask("Think a little.", effort="low"),
    "stop": ask("Count.", stop=("END",)),
    "web search": ask("What is new?", web_search=True),
    "temperature": ask("Say something.", temperature=0.5),
}
LACKS = {("deepseek", "web search"), ("together", "web search")}
"""What no model of a provider can do (providers' own documents, 2026-11)."""


async def nobody(_: str) -> None:
    """Listens, so that the answer is streamed."""


async def complete(world: World, provider: str, request: CompletionRequest, *, stream: bool) -> Completion:
    """`request` answered by the first model of `provider` that takes all of it, else by its usual one."""
    usual = world.router.config.catalog.providers[provider].models["default"]
    model = usual
    for deployment in world.router.config.catalog.deployments_at(provider):
        try:
            fit(deployment, replace(request, strict_params=True))
        except errors.InvalidRequest:
            continue
        model = deployment.model.name
        break
    chosen = replace(request, provider=provider, model=model, task="general_chat")
    return await world.router.complete(chosen, on_progress=nobody if stream else None)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("capability", REQUESTS)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_provider_does_what_it_can_and_is_paid_for_it(
    tmp_path: Path, provider: str, capability: str, stream: bool
) -> None:
    request = REQUESTS[capability]
    async with open_world(tmp_path) as world:
        if (provider, capability) in LACKS:
            with pytest.raises(errors.NoRoute, match="cannot"):
                await complete(world, provider, request, stream=stream)
            assert world.calls == []
            return

        completion = await complete(world, provider, request, stream=stream)

        billed = world.providers.billed_nusd

    assert completion.cost_nusd == billed > 0
    check(capability, completion)


def check(capability: str, completion: Completion) -> None:
    answer = completion.answer
    match capability:
        case "tool call":
            assert [call.name for call in answer.tool_calls] == ["get_weather"]
            assert "city" in json.loads(answer.tool_calls[0].arguments)
            assert answer.finish == "tool_calls"
        case "schema":
            written = json.loads(answer.text)
            # DeepSeek promises JSON only; the schema is told to it in words.
            assert isinstance(written, dict) if completion.provider == "deepseek" else written.keys() == {"name", "age"}
        case "web search":
            assert all(citation.url.startswith("http") for citation in answer.citations)
            assert answer.citations
        case "temperature" | "stop" | "effort":
            # Taken, or left out and said so.
            assert answer.text
            left_out = [note for note in completion.notes if note.startswith(capability)]
            assert len(left_out) <= 1
        case _:
            assert answer.text
            assert answer.usage is not None
            assert answer.usage.mismatch == 0


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_tools_result_goes_back_with_all_that_the_provider_wants_to_see_again(
    tmp_path: Path, provider: str, stream: bool
) -> None:
    request = REQUESTS["tool call"]
    async with open_world(tmp_path) as world:
        first = await complete(world, provider, request, stream=stream)
        call = first.answer.tool_calls[0]
        told = (
            *request.messages,
            Message("assistant", (Text(first.answer.text), call), first.answer.provider_state),
            Message("tool", (ToolResult(call.id, call.name, '{"sky": "clear"}'),)),
        )

        second = await complete(world, provider, replace(request, messages=told), stream=stream)

    assert second.answer.text
    assert second.answer.finish == "stop"


@pytest.mark.parametrize(("insist", "ask_with"), [("temperature", {"temperature": 0.5}), ("stop", {"stop": ("END",)})])
async def test_a_caller_who_insists_is_refused_clearly_where_a_parameter_is_not_taken(
    tmp_path: Path, insist: str, ask_with: dict[str, object]
) -> None:
    request = replace(ask("Say something."), **ask_with)  # pyright: ignore[reportArgumentType]  # one field each
    lenient = replace(request, provider="openai", model="gpt-6.2-sol", task="general_chat")
    call: Callable[[CompletionRequest], Awaitable[Completion]]
    async with open_world(tmp_path) as world:
        call = world.router.complete
        completion = await call(lenient)
        with pytest.raises(errors.NoRoute, match=insist):
            await call(replace(lenient, strict_params=True))

    assert any(insist in note for note in completion.notes)
