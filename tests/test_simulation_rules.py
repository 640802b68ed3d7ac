"""What the simulated providers refuse, as the vendors do."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from loopback import (
    ANTHROPIC,
    DEEPSEEK,
    GEMINI,
    OPENAI,
    OPENAI_RESPONSES,
    PERPLEXITY,
    TOGETHER,
    XAI,
    Dialect,
    Loopback,
    open_loopback,
)

CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
CHAT_TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look_up", "parameters": CLOSED}}


@pytest.fixture
async def loopback() -> AsyncGenerator[Loopback]:
    async with open_loopback() as opened:
        yield opened


OPEN_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
STRICT_FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": OPEN_SCHEMA}}


REFUSALS: list[tuple[Dialect, dict[str, Any], str]] = [
    (OPENAI, {"max_tokens": 10}, "unsupported_parameter"),
    (OPENAI, {"stop": ["x"]}, "unsupported_parameter"),
    (OPENAI, {"temperature": 0.2}, "unsupported_value"),
    (OPENAI, {"thinking": {"type": "enabled"}}, "unknown_parameter"),
    (OPENAI, {"model": "gpt-6.2-sol", "reasoning_effort": "none"}, "unsupported_value"),
    (OPENAI, {"tools": [CHAT_TOOL]}, "/v1/responses"),
    (OPENAI, {"response_format": {"type": "json_object"}}, "'json'"),
    (OPENAI, {"response_format": STRICT_FORMAT}, "invalid_json_schema"),
    (OPENAI, {"messages": []}, "messages"),
    (OPENAI, {"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}, "tool_calls"),
    (OPENAI_RESPONSES, {"max_tokens": 10}, "unknown_parameter"),
    (OPENAI_RESPONSES, {"temperature": 0.2}, "unsupported_value"),
    (OPENAI_RESPONSES, {"tools": [CHAT_TOOL]}, "tools[0].name"),
    (ANTHROPIC, {"max_tokens": None}, "max_tokens: Field required"),
    (ANTHROPIC, {"temperature": 1}, "temperature: Extra inputs are not permitted"),
    (ANTHROPIC, {"max_completion_tokens": 5}, "Extra inputs are not permitted"),
    (ANTHROPIC, {"max_tokens": 128_001}, "128001 > 128000"),
    (ANTHROPIC, {"thinking": {"type": "disabled"}}, "cannot be disabled"),
    (ANTHROPIC, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "not supported"),
    (ANTHROPIC, {"tool_choice": {"type": "any"}}, "forcing a tool"),
    (ANTHROPIC, {"messages": [{"role": "assistant", "content": "I"}]}, "prefill"),
    (ANTHROPIC, {"messages": [{"role": "user", "content": ""}]}, "non-empty"),
    (
        ANTHROPIC,
        {"output_config": {"format": {"type": "json_schema", "schema": OPEN_SCHEMA}}},
        "additionalProperties",
    ),
    (DEEPSEEK, {"response_format": {"type": "json_object"}}, "'json'"),
    (DEEPSEEK, {"tools": [{"type": "web_search"}]}, "expected `function`"),
    (
        DEEPSEEK,
        {"messages": [{"role": "assistant", "content": "I"}, {"role": "user", "content": "you"}]},
        "`reasoning_content`",
    ),
    (GEMINI, {"temperature": 0.5}, "Unknown name"),
    (GEMINI, {"generationConfig": {"maxTokens": 5}}, "Unknown name"),
    (GEMINI, {"contents": [{"role": "assistant", "parts": [{"text": "I"}]}]}, "valid role"),
    (GEMINI, {"generationConfig": {"responseJsonSchema": CLOSED}}, "response_mime_type"),
    (GEMINI, {"generationConfig": {"stopSequences": list("abcdef")}}, "stopSequences"),
    (PERPLEXITY, {"temperature": 0.5}, "invalid_request"),
    (PERPLEXITY, {"input": [{"role": "user", "content": "hi"}]}, "type"),
    (PERPLEXITY, {"model": None}, "preset"),
    (XAI, {"stop": ["x"]}, "Argument not supported"),
    (XAI, {"search_parameters": {}}, "Live search is deprecated"),
    (XAI, {"reasoning_effort": "max"}, "reasoning_effort"),
]


@pytest.mark.parametrize(("dialect", "more", "said"), REFUSALS, ids=str)
async def test_a_request_this_provider_does_not_take_is_refused(
    loopback: Loopback, dialect: Dialect, more: dict[str, Any], said: str
) -> None:
    answer = await loopback.ask(dialect, "Hello.", **more)

    assert answer.status_code in {400, 410, 422}
    assert said in answer.text
    assert loopback.world.billed_nusd == 0


async def test_sampling_is_taken_where_a_model_does_not_reason(loopback: Loopback) -> None:
    openai = await loopback.ask(OPENAI, temperature=0.2, reasoning_effort="none", tools=[CHAT_TOOL])
    older = await loopback.ask(OPENAI, model="gpt-4.1", temperature=0.2, stop=["x"], max_tokens=50, tools=[CHAT_TOOL])
    together = await loopback.ask(TOGETHER, temperature=0.2, stop=["x"], max_tokens=50)

    assert (openai.status_code, older.status_code, together.status_code) == (200, 200, 200)


async def test_anthropic_wants_a_version_and_only_the_older_one_takes_a_default_temperature(
    loopback: Loopback,
) -> None:
    request = loopback.request(ANTHROPIC, temperature=1)

    request.headers["anthropic-version"] = "2023-06-01"
    older = await loopback.http.send(request)
    del request.headers["anthropic-version"]
    none = await loopback.http.send(request)

    assert older.status_code == 200
    assert none.status_code == 400
    assert "anthropic-version: header is required" in none.text


async def test_a_prompt_that_does_not_fit_is_refused_as_too_long(loopback: Loopback) -> None:
    answer = await loopback.ask(OPENAI, "word " * 330_000, model="gpt-5-mini")

    assert answer.json()["error"]["code"] == "context_length_exceeded"


async def test_a_body_that_is_not_json_is_refused(loopback: Loopback) -> None:
    request = loopback.request(OPENAI)

    answer = await loopback.http.post(request.url, headers=OPENAI.auth(loopback.world), content=b"{not json")

    assert answer.status_code == 400
