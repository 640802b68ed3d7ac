"""What the tools accept, and what they say to what they do not, through the SDK's client."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestra_router.config import Config
from orchestra_router.errors import ConfigError, InvalidRequest
from orchestra_router.explain import explain
from orchestra_router.simulation import Says, SimulatedWorld, simulated_world
from orchestra_tools.arguments import CompleteArguments
from surface import Json, call, configured, connected, fail, succeed, text_of

QUESTION = "What is the capital of France?"


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@pytest.fixture
def config(world: SimulatedWorld, tmp_path: Path) -> Config:
    return configured(world, tmp_path)


def nested(levels: int) -> Json:
    value: Json = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def calling(arguments: str | Json) -> list[Json]:
    return [{"role": "assistant", "tool_calls": [{"id": "c", "name": "f", "arguments": arguments}]}]


NO_ID = "may hold letters, digits and . _ : / @ + ~ - only"
WRONG: list[tuple[Json, str]] = [
    ({"prompt": "x", "max_token": 5}, "`max_token` is not known. Did you mean `max_tokens`?"),
    ({"prompt": "x", "zzz": 5}, "`zzz` is not known. Known: prompt, messages, system"),
    ({"prompt": ["x"]}, "`prompt` must be a string."),
    ({"prompt": "x", "temperature": 2.5}, "`temperature` must be at most 2."),
    ({"prompt": "x", "max_tokens": -1}, "`max_tokens` must be at least 1."),
    ({"prompt": "x", "max_tokens": 10**40}, "`max_tokens` must be at most 1,000,000."),
    ({"prompt": "x", "max_tokens": 1.5}, "`max_tokens` must be a whole number."),
    ({"prompt": "x", "max_cost_usd": -0.01}, "`max_cost_usd` must be at least 0"),
    ({"prompt": "x", "cache": "always"}, '`cache` must be "use", "refresh", "off" or "only".'),
    ({"prompt": "x", "web_search": "perhaps"}, "`web_search` must be true or false."),
    ({"prompt": "x", "fallback_providers": {"a": 1}}, "`fallback_providers` must be a list."),
    ({"prompt": "x", "response_schema": "not JSON"}, "`response_schema` must be an object."),
    ({"prompt": "x", "metadata": {"app": 7}}, "`metadata[...]` must be a string."),
    ({"prompt": "x", "tools": [{"nam": "add"}]}, "`nam` is not known in `tools[0]`. Did you mean `name`?"),
    ({"prompt": "x", "tools": [{}]}, "`tools[0].name` is missing."),
    ({"messages": [{"role": "robot", "content": "x"}]}, '`messages[0].role` must be "system", "user", "assistant"'),
    ({"messages": [{"role": "user"}]}, "`messages[0]` needs `content`"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "`messages[0].content[0]` needs an https"),
    ({"messages": [{"role": "tool", "content": "3"}]}, "`messages[0]` needs `tool_call_id`"),
    ({"messages": [{"role": "tool", "tool_call_id": "c", "content": "3"}]}, "answers no tool call"),
    ({}, "Neither `prompt` nor `messages` was given."),
    ({"prompt": "  \n"}, "Neither `prompt` nor `messages` was given."),
    ({"prompt": "x", "messages": [{"role": "user", "content": "y"}]}, "Both `prompt` and `messages` were given."),
    ({"prompt": "x", "model": "x\n2026-11-23 ERROR forged", "provider": "ollama"}, f"`model` {NO_ID}"),
    ({"prompt": "x", "model": "../../../evil/path", "provider": "gemini"}, f"`model` {NO_ID}"),
    ({"prompt": "x", "model": "x" * 201}, "`model` is too long: at most 200"),
    ({"prompt": "x", "provider": "openai\x1b[2J"}, f"`provider` {NO_ID}"),
    ({"prompt": "x", "task": "coding\nforged"}, f"`task` {NO_ID}"),
    ({"prompt": "x", "fallback_providers": ["a\nb"]}, f"`fallback_providers[0]` {NO_ID}"),
    ({"prompt": "x", "response_schema": nested(200)}, "`response_schema` is nested too deep: at most 100 levels."),
    ({"prompt": "x", "response_schema": "[" * 100_000}, "`response_schema` is nested too deep"),
    ({"prompt": "x", "tools": [{"name": "f", "parameters": nested(200)}]}, "`tools[0].parameters` is nested too deep"),
    ({"messages": calling("[" * 100_000)}, "`messages[0].tool_calls[0].arguments` is nested too deep"),
    ({"messages": calling(json.dumps(nested(200)))}, "`messages[0].tool_calls[0].arguments` is nested too deep"),
    ({"messages": calling(nested(200))}, "`messages[0].tool_calls[0].arguments` is nested too deep"),
    ({"request_id": "abc"}, "No call with this `request_id` can be collected."),
    ({"request_id": "abc", "prompt": "x"}, "`request_id` collects the answer of an earlier call"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
async def test_a_wrong_argument_is_explained(arguments: Json, said: str, config: Config) -> None:
    async with connected(config) as client:
        text, error = await fail(client, "complete", **arguments)

    assert said in text
    assert "pydantic" not in text
    assert error == {"code": "invalid_request"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompt": "half \ud800"}, "`prompt` holds half of a character"),
        ({"prompt": "x", "system": "\udfff"}, "`system` holds half of a character"),
        ({"messages": '[{"role": "user", "content": "\\ud800"}]'}, "`messages[0].content[0].text` holds half of"),
        ({"messages": calling('{"a": "\\ud800"}')}, "`messages[0].tool_calls[0].arguments` holds half of"),
        ({"prompt": "x", "stop": ["a\ud800"]}, "`stop` holds half of a character"),
        ({"prompt": "x", "metadata": {"app": "\ud800"}}, "`metadata[...]` holds half of a character"),
        ({"prompt": "x", "response_schema": {"\udc00": {}}}, "`response_schema` holds half of a character"),
        ({"prompt": "x", "response_schema": '{"const": "\\ud800"}'}, "`response_schema` holds half of a character"),
    ],
)
def test_half_a_character_is_explained(arguments: Json, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CompleteArguments.model_validate(arguments)

    assert said in explain("complete", CompleteArguments, caught.value)


async def test_a_tools_result_that_looks_like_endless_json_is_text(config: Config, world: SimulatedWorld) -> None:
    call_ = {"id": "c1", "name": "f", "arguments": "{}"}
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "tool_calls": [call_]},
        {"role": "tool", "tool_call_id": "c1", "content": "[" * 100_000},
    ]

    async with connected(config) as client:
        await succeed(client, "complete", messages=messages, provider="openrouter", tools=[{"name": "f"}])

    (sent,) = world["openrouter"].received
    assert sent.json["messages"][-1]["content"] == "[" * 100_000


NAMES = ("prompt", "messages", "fallback_providers", "max_tokens", "cache", "metadata", "tools", "response_schema")


@settings(max_examples=40, deadline=None)
@given(names=st.sets(st.sampled_from(NAMES), min_size=1), shape=st.sampled_from(["text", "list", "object", "nested"]))
def test_no_rejected_value_is_ever_repeated(names: set[str], shape: str) -> None:
    secret = "sk-canary-93c1"
    value = {"text": secret, "list": [secret], "object": {secret: secret}, "nested": [{"role": secret}]}[shape]

    async def said() -> str:
        async with connected(ConfigError("broken")) as client:
            return text_of(await call(client, "complete", zzz=secret, **dict.fromkeys(names, value)))

    text = anyio.run(said)

    assert "`zzz` is not known" in text
    assert secret not in text


async def test_what_is_left_out_may_also_be_null_or_empty(config: Config) -> None:
    async with connected(config) as client:
        data = await succeed(client, "complete", prompt=QUESTION, system="", model=None, task="", stop=None, tools=None)

    assert "Paris" in data["text"]


async def test_a_list_or_an_object_may_come_as_json_text(config: Config, world: SimulatedWorld) -> None:
    async with connected(config) as client:
        await succeed(
            client,
            "complete",
            messages=json.dumps([{"role": "user", "content": QUESTION}]),
            response_schema=json.dumps({"type": "object", "properties": {"city": {"type": "string"}}}),
            fallback_providers='["deepseek"]',
            provider="openai",
            stop="END",
        )

    (sent,) = world["openai"].received
    assert QUESTION in sent.raw.decode()
    assert "city" in sent.raw.decode()


@pytest.mark.parametrize("prompt", ['{"a": [1, 2]}', "[1, 2, 3]", "null", '"quoted"', "12"])
async def test_a_prompt_that_happens_to_be_json_stays_text(prompt: str, config: Config, world: SimulatedWorld) -> None:
    async with connected(config) as client:
        await succeed(client, "complete", prompt=prompt, provider="openrouter")

    (sent,) = world["openrouter"].received
    assert sent.json["messages"] == [{"role": "user", "content": prompt}]


async def test_a_conversation_with_pictures_reaches_the_provider(config: Config, world: SimulatedWorld) -> None:
    picture = {"type": "image", "url": "https://example.com/cat.png"}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]},
    ]

    async with connected(config) as client:
        await succeed(client, "complete", messages=messages, provider="openrouter")

    (sent,) = world["openrouter"].received
    assert "https://example.com/cat.png" in sent.raw.decode()
    assert sent.json["messages"][0] == {"role": "system", "content": "Be brief."}


async def test_a_tool_call_comes_back_and_its_result_goes_out_again(config: Config, world: SimulatedWorld) -> None:
    world["openrouter"].script(Says(calls=(("add", {"a": 1, "b": 2}),)), Says(text="It is 3."))
    question = {"role": "user", "content": "What is 1 + 2?"}
    routed: Json = {"provider": "openrouter", "tools": [{"name": "add", "parameters": {"type": "object"}}]}

    async with connected(config) as client:
        first = await succeed(client, "complete", messages=[question], **routed)
        (wanted,) = first["tool_calls"]
        turn = {"role": "assistant", "tool_calls": [wanted], "provider_state": first.get("provider_state")}
        result = {"role": "tool", "tool_call_id": wanted["id"], "content": "3"}
        second = await succeed(client, "complete", messages=[question, turn, result], **routed)

    assert first["finish"] == "tool_calls"
    assert (wanted["name"], json.loads(wanted["arguments"])) == ("add", {"a": 1, "b": 2})
    assert second["text"] == "It is 3."


@pytest.mark.parametrize("argument", ["max_tokens", "max_retries", "temperature", "max_cost_usd"])
def test_true_is_not_taken_for_one(argument: str) -> None:
    with pytest.raises(ValidationError):
        CompleteArguments.model_validate({"prompt": "Hello", argument: True})


def test_an_empty_message_is_refused_before_anybody_is_paid_to_read_it() -> None:
    arguments = CompleteArguments.model_validate({"messages": [{"role": "user", "content": " "}]})

    with pytest.raises(InvalidRequest, match=r"messages\[0\]. is empty"):
        arguments.request(max_tokens=10)
