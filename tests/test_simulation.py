"""The simulated providers, asked over plain HTTP: who may ask, what is refused, what is answered."""

import asyncio
import json
import subprocess
import sys
import tomllib
from collections.abc import AsyncGenerator
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from loopback import (
    ANTHROPIC,
    DEEPSEEK,
    DIALECTS,
    GEMINI,
    OLLAMA,
    OPENAI,
    OPENAI_RESPONSES,
    OPENROUTER,
    PERPLEXITY,
    TOGETHER,
    XAI,
    XAI_RESPONSES,
    Dialect,
    Loopback,
    events,
    open_loopback,
)
from orchestra_router.simulation import Says, simulated_config, simulated_world
from orchestra_router.simulation.schemas import example

KEYED = [dialect for dialect in DIALECTS if dialect is not OLLAMA]
LOOKUP: dict[str, Any] = {
    "name": "look_up",
    "description": "Finds a word.",
    "parameters": {"type": "object", "properties": {}},
}
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "integer", "minimum": 3}},
    "required": ["answer", "score"],
    "additionalProperties": False,
}


@pytest.fixture
async def loopback() -> AsyncGenerator[Loopback]:
    async with open_loopback() as opened:
        yield opened


def of_dialects(dialects: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("dialect", dialects, ids=str)


# --- answers ----------------------------------------------------------------------------------------------


@of_dialects(DIALECTS)
async def test_every_provider_answers_in_its_own_format_and_says_that_it_is_simulated(
    loopback: Loopback, dialect: Dialect
) -> None:
    answer = await loopback.ask(dialect, "What is the capital of France?")

    assert answer.status_code == 200
    assert answer.headers["x-orchestra-simulated"] == "1"
    assert dialect.text(answer.json()) == f"[simulated {dialect.model}] Paris."


@of_dialects(DIALECTS)
async def test_a_streamed_answer_says_what_the_plain_one_says(loopback: Loopback, dialect: Dialect) -> None:
    plain = await loopback.ask(dialect, "Please write at length.")

    streamed = await loopback.ask(dialect, "Please write at length.", stream=True)

    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert dialect.stream_text(streamed.text) == dialect.text(plain.json())
    assert len(events(streamed.text)) > 100


@of_dialects(DIALECTS)
async def test_the_upstream_saw_exactly_what_was_sent_and_repeats_placeholders(
    loopback: Loopback, dialect: Dialect
) -> None:
    request = loopback.request(dialect, "My number is [SSN_1], write to [EMAIL_2].")

    answer = await loopback.http.send(request)

    received = loopback.world[dialect.provider].received[-1]
    assert received.raw == request.content
    assert received.headers["host"] == request.headers["host"]
    assert "Noted: [EMAIL_2], [SSN_1]." in dialect.text(answer.json())


async def test_gemini_streams_one_json_array_unless_asked_for_events(loopback: Loopback) -> None:
    url = GEMINI.url(loopback.world, stream=True).removesuffix("?alt=sse")
    body = GEMINI.body(GEMINI.model, "Is it worth it?")

    answer = await loopback.http.post(url, headers=GEMINI.auth(loopback.world), json=body)

    chunks = answer.json()
    assert len(chunks) > 1
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"


async def test_one_connection_carries_one_request_after_another(loopback: Loopback) -> None:
    request = loopback.request(DEEPSEEK)
    head = f"POST {request.url.path} HTTP/1.1\r\nhost: x\r\nauthorization: {request.headers['authorization']}\r\n"
    message = f"{head}content-length: {len(request.content)}\r\n\r\n".encode() + request.content
    reader, writer = await asyncio.open_connection("127.0.0.1", request.url.port)

    writer.write(message + message)  # the second before the first is answered
    answers = [await _one_answer(reader) for _ in range(2)]
    writer.write(message)
    answers.append(await _one_answer(reader))

    writer.close()
    await writer.wait_closed()
    assert [json.loads(answer)["model"] for answer in answers] == ["deepseek-flash"] * 3


async def _one_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.decode().split("\r\n") if line.startswith("content-length: "))
    return await reader.readexactly(int(length.removeprefix("content-length: ")))


@pytest.mark.parametrize(
    ("dialect", "model", "max_field"),
    [
        (OPENAI, "gpt-6-luna", "max_completion_tokens"),
        (OPENAI_RESPONSES, "gpt-6.2-sol", "max_output_tokens"),
        (ANTHROPIC, "claude-haiku-5-5", "max_tokens"),
        (DEEPSEEK, "deepseek-flash", "max_tokens"),
        (PERPLEXITY, "perplexity/sonar", "max_output_tokens"),
        (XAI, "grok-4.3", "max_tokens"),
    ],
)
async def test_an_answer_ends_at_the_longest_that_was_asked_for(
    loopback: Loopback, dialect: Dialect, model: str, max_field: str
) -> None:
    limits: dict[str, Any] = {max_field: 20}

    answer = await loopback.ask(dialect, "Write at length.", model=model, **limits)

    bill = loopback.world[dialect.provider].bills[-1]
    assert bill.tokens.output == 20
    assert any(
        word in answer.text for word in ('"finish_reason":"length"', '"max_tokens"', '"reason":"max_output_tokens"')
    )


async def test_a_stop_sequence_ends_the_answer_before_it(loopback: Loopback) -> None:
    answer = await loopback.ask(ANTHROPIC, "Write at length.", stop_sequences=["Point 3"])

    assert answer.json()["stop_reason"] == "stop_sequence"
    assert answer.json()["stop_sequence"] == "Point 3"
    assert ANTHROPIC.text(answer.json()).endswith("none of them twice.\n")


async def test_a_thought_can_use_up_all_the_tokens_there_are(loopback: Loopback) -> None:
    answer = await loopback.ask(GEMINI, generationConfig={"maxOutputTokens": 2})

    candidate = answer.json()["candidates"][0]
    assert candidate["finishReason"] == "MAX_TOKENS"
    assert "parts" not in candidate["content"]


# --- tools and JSON -----------------------------------------------------------------------------------------

FORCED: dict[Dialect, dict[str, Any]] = {
    OPENROUTER: {"tools": [{"type": "function", "function": LOOKUP}], "tool_choice": "required"},
    DEEPSEEK: {"tools": [{"type": "function", "function": LOOKUP}], "tool_choice": "required"},
    TOGETHER: {"tools": [{"type": "function", "function": LOOKUP}], "tool_choice": "required"},
    XAI: {"tools": [{"type": "function", "function": LOOKUP}], "tool_choice": "required"},
    OLLAMA: {"tools": [{"type": "function", "function": LOOKUP}], "tool_choice": "required"},
    OPENAI_RESPONSES: {"tools": [{"type": "function", **LOOKUP}], "tool_choice": "required"},
    XAI_RESPONSES: {"tools": [{"type": "function", **LOOKUP}], "tool_choice": "required"},
    ANTHROPIC: {
        "model": "claude-haiku-5-5",
        "tools": [{"name": "look_up", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "look_up"},
    },
    GEMINI: {
        "tools": [{"functionDeclarations": [{"name": "look_up"}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
    },
}


@of_dialects(FORCED)
async def test_a_tool_that_must_be_called_is_called(loopback: Loopback, dialect: Dialect) -> None:
    plain = await loopback.ask(dialect, **FORCED[dialect])
    streamed = await loopback.ask(dialect, **FORCED[dialect], stream=True)

    assert plain.status_code == streamed.status_code == 200
    assert '"look_up"' in plain.text
    assert '"look_up"' in streamed.text
    assert "[simulated" not in (dialect.text(plain.json()) or "")


async def test_the_prompt_can_ask_for_a_tool_and_its_result_is_repeated(loopback: Loopback) -> None:
    tools = [{"name": "look_up", "input_schema": {"type": "object"}}]
    first = await loopback.ask(ANTHROPIC, "Please use the tool.", tools=tools)
    content = first.json()["content"]
    result = {"type": "tool_result", "tool_use_id": content[-1]["id"], "content": "It rains."}

    second = await loopback.ask(
        ANTHROPIC,
        tools=tools,
        messages=[
            {"role": "user", "content": "Please use the tool."},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [result]},
        ],
    )

    assert first.json()["stop_reason"] == "tool_use"
    assert ANTHROPIC.text(second.json()) == "[simulated claude-opus-5-5] The tool answered: It rains."


async def test_gemini_says_so_when_a_call_comes_back_without_its_signature(loopback: Loopback) -> None:
    first = await loopback.ask(GEMINI, **FORCED[GEMINI])
    call = first.json()["candidates"][0]["content"]["parts"][0]
    response = {"functionResponse": {"name": "look_up", "response": {"result": "rain"}}}

    async def go_on(part: dict[str, Any]) -> str:
        contents = [
            {"role": "user", "parts": [{"text": "Use the tool."}]},
            {"role": "model", "parts": [part]},
            {"role": "user", "parts": [response]},
        ]
        answer = await loopback.ask(GEMINI, contents=contents, tools=FORCED[GEMINI]["tools"])
        return answer.json()["candidates"][0]["finishReason"]

    assert await go_on(call) == "STOP"
    assert await go_on({"functionCall": call["functionCall"]}) == "MISSING_THOUGHT_SIGNATURE"
    assert await go_on(call | {"thoughtSignature": "skip_thought_signature_validator"}) == "STOP"


@pytest.mark.parametrize(
    ("dialect", "more"),
    [
        (
            OPENAI,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "strict": True, "schema": CLOSED},
                }
            },
        ),
        (OPENAI_RESPONSES, {"text": {"format": {"type": "json_schema", "name": "a", "schema": CLOSED}}}),
        (ANTHROPIC, {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}}),
        (GEMINI, {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": CLOSED}}),
        (PERPLEXITY, {"response_format": {"type": "json_schema", "json_schema": {"schema": CLOSED}}}),
    ],
    ids=str,
)
async def test_an_answer_satisfies_the_schema_it_was_given(
    loopback: Loopback, dialect: Dialect, more: dict[str, Any]
) -> None:
    answer = await loopback.ask(dialect, "Answer as JSON about [SSN_1].", **more)

    class Shape(BaseModel, extra="forbid"):
        answer: str
        score: int = Field(ge=3)

    assert "[SSN_1]" in Shape.model_validate_json(dialect.text(answer.json())).answer


def test_generated_json_satisfies_bounds_unions_and_references() -> None:
    class Leaf(BaseModel):
        kind: Literal["leaf"]
        size: int = Field(gt=4, lt=6)
        word: str = Field(min_length=9, max_length=9)
        share: float | None = Field(None, ge=0, le=0.5)

    class Branch(BaseModel):
        leaves: list[Leaf] = Field(min_length=2)
        either: Leaf | int
        flags: dict[str, bool]

    branch = Branch.model_validate(example(Branch.model_json_schema(), "a long enough text"))

    assert len(branch.leaves) == 2
    assert branch.flags == {}
    assert branch.leaves[0] == Leaf(kind="leaf", size=5, word="a long en", share=0)


def test_generated_json_ends_where_a_schema_contains_itself() -> None:
    node = {"type": "object", "properties": {"below": {"$ref": "#/$defs/node"}, "name": {"type": "STRING"}}}

    value = example({"$ref": "#/$defs/node", "$defs": {"node": node | {"required": ["name"]}}}, "x")

    assert value["name"] == "x"
    assert "below" not in json.dumps(value).rpartition('"below"')[2]


# --- who may ask --------------------------------------------------------------------------------------------


@of_dialects(KEYED)
@pytest.mark.parametrize("key", ["", "not-the-key"])
async def test_a_missing_or_wrong_key_is_refused_in_the_providers_own_shape_and_costs_nothing(
    loopback: Loopback, dialect: Dialect, key: str
) -> None:
    request = loopback.request(dialect)
    name = next(iter(dialect.headers))
    del request.headers[name]
    if key:
        request.headers[name] = dialect.headers[name].format(key=key)

    answer = await loopback.http.send(request)

    wrong_is_400 = dialect is GEMINI or (dialect.provider == "xai" and key)
    assert answer.status_code == (400 if wrong_is_400 else 401)
    assert "error" in answer.json()
    assert "not-the-key" not in answer.text
    assert loopback.world.billed_nusd == 0


async def test_anthropic_takes_a_bearer_key_but_prefers_its_own_header(loopback: Loopback) -> None:
    key = loopback.world["anthropic"].key
    request = loopback.request(ANTHROPIC)
    del request.headers["x-api-key"]

    request.headers["authorization"] = f"Bearer {key}"
    with_bearer = await loopback.http.send(request)
    request.headers["x-api-key"] = "not-the-key"
    with_both = await loopback.http.send(request)

    assert (with_bearer.status_code, with_both.status_code) == (200, 401)


# --- models that are not served -----------------------------------------------------------------------------


@of_dialects(DIALECTS)
async def test_a_retired_model_is_refused_with_its_replacement_until_it_is_restored(
    loopback: Loopback, dialect: Dialect
) -> None:
    provider = loopback.world[dialect.provider]
    provider.retire(dialect.model, replacement="the-next-one")

    gone = await loopback.ask(dialect)
    provider.restore(dialect.model)
    back = await loopback.ask(dialect)

    assert gone.status_code == {"deepseek": 400, "together": 400, "perplexity": 400}.get(dialect.provider, 404)
    assert "the-next-one" in gone.text
    assert back.status_code == 200


async def test_xai_says_of_grok_beta_what_it_says_to_everybody(loopback: Loopback) -> None:
    answer = await loopback.ask(XAI, model="grok-beta")

    assert answer.status_code == 404
    assert answer.json() == {
        "code": "Some requested entity was not found",
        "error": "The model grok-beta does not exist or your team simulated does not have access to it.",
    }


async def test_together_tells_a_model_it_ended_from_one_it_never_had(loopback: Loopback) -> None:
    ended = await loopback.ask(TOGETHER, model="meta-llama/Llama-3-8b-chat-hf")
    never = await loopback.ask(TOGETHER, model="nobody/nothing")

    assert (ended.status_code, ended.json()["error"]["code"]) == (400, "model_not_available")
    assert (never.status_code, never.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_model_ends_on_its_day_and_gemini_quietly_answers_with_another() -> None:
    december_12_ms = 1_797_033_600_000
    async with open_loopback(december_12_ms) as loopback:
        openai = await loopback.ask(OPENAI, model="gpt-5-mini")
        gemini = await loopback.ask(GEMINI, model="gemini-2.5-flash")

    assert openai.status_code == 404
    assert gemini.json()["modelVersion"] == "gemini-3.5-flash-lite"


async def test_the_sonar_endpoint_is_gone(loopback: Loopback) -> None:
    url = loopback.world.base_urls["perplexity"].removesuffix("/v1") + "/chat/completions"

    answer = await loopback.http.post(url, headers=PERPLEXITY.auth(loopback.world), json={})

    assert answer.status_code == 410
    assert "Sonar is now the Agent API" in answer.text


# --- the world ----------------------------------------------------------------------------------------------


async def test_a_router_is_pointed_at_the_world_by_a_file_and_the_environment(loopback: Loopback) -> None:
    config = tomllib.loads(simulated_config(loopback.world))

    providers = config["providers"]
    assert {name: row["base_url"] for name, row in providers.items()} == loopback.world.base_urls
    assert providers["ollama"]["enabled"] is True
    assert loopback.world.keys["DEEPSEEK_API_KEY"] == loopback.world["deepseek"].key
    assert len(loopback.world.keys) == 8


def test_the_simulation_knows_nothing_of_the_router_it_is_held_against() -> None:
    program = "import sys, orchestra_router.simulation; print(*sys.modules)"

    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    ours = {name for name in imported if name.startswith("orchestra_router.")}
    assert {name for name in ours if not name.startswith("orchestra_router.simulation")} == {"orchestra_router.clock"}


async def test_nobody_listens_any_more_when_the_world_has_ended() -> None:
    async with simulated_world() as world:
        url = world.base_urls["ollama"] + "/models"

    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)


async def test_a_test_can_say_what_the_model_says(loopback: Loopback) -> None:
    loopback.world["anthropic"].script(Says("", finish="content_filter"))

    answer = await loopback.ask(ANTHROPIC)

    assert answer.json()["stop_reason"] == "refusal"
    assert ANTHROPIC.text(answer.json()) == ""
