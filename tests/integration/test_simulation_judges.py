"""The vendors' own SDKs as judges: each reads what the simulated providers send, and is not told that it is simulated.

Where an answer is a vendor's own and nobody's dialect of it, the SDK validates it strictly against its types.
"""

from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import openai
import pytest
from anthropic.types import MessageParam, ToolResultBlockParam, ToolUnionParam

from loopback import (
    ANTHROPIC,
    DEEPSEEK,
    DIALECTS,
    OLLAMA,
    OPENAI,
    OPENAI_RESPONSES,
    OPENROUTER,
    PERPLEXITY,
    XAI,
    Dialect,
    Loopback,
    open_loopback,
)
from orchestra_router.simulation import StreamError

CHAT = [dialect for dialect in DIALECTS if dialect.path == "/chat/completions"]
RESPONSES = [dialect for dialect in DIALECTS if dialect.path == "/responses"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["city", "size"],
    "additionalProperties": False,
}
PROMPT = "What is the capital of France?"


@pytest.fixture
async def loopback() -> AsyncGenerator[Loopback]:
    async with open_loopback() as opened:
        yield opened


def of_dialects(dialects: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("dialect", dialects, ids=str)


def openai_client(loopback: Loopback, dialect: Dialect) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=loopback.world[dialect.provider].key,
        base_url=loopback.world.base_urls[dialect.provider],
        max_retries=0,
        _strict_response_validation=dialect.provider == "openai",
    )


def anthropic_client(loopback: Loopback) -> anthropic.AsyncAnthropic:
    world = loopback.world
    return anthropic.AsyncAnthropic(
        api_key=world["anthropic"].key,
        base_url=world.base_urls["anthropic"],
        max_retries=0,
        _strict_response_validation=True,
    )


# --- chat completions, by openai ----------------------------------------------------------------------------


@of_dialects(CHAT)
async def test_openais_sdk_reads_every_chat_answer(loopback: Loopback, dialect: Dialect) -> None:
    async with openai_client(loopback, dialect) as client:
        answer = await client.chat.completions.create(
            model=dialect.model, messages=[{"role": "user", "content": PROMPT}]
        )

    assert answer.choices[0].message.content == f"[simulated {dialect.model}] Paris."
    assert answer.usage is not None
    assert answer.usage.total_tokens == loopback.world[dialect.provider].bills[-1].tokens.total


@of_dialects(CHAT)
async def test_openais_sdk_reads_every_chat_stream(loopback: Loopback, dialect: Dialect) -> None:
    async with openai_client(loopback, dialect) as client:
        stream = await client.chat.completions.create(
            model=dialect.model,
            messages=[{"role": "user", "content": PROMPT}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]

    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == f"[simulated {dialect.model}] Paris."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == loopback.world[dialect.provider].bills[-1].tokens.total


@of_dialects(CHAT)
async def test_openais_sdk_puts_streamed_tool_calls_together(loopback: Loopback, dialect: Dialect) -> None:
    async with (
        openai_client(loopback, dialect) as client,
        client.chat.completions.stream(
            model=dialect.model,
            messages=[{"role": "user", "content": "Use the tool."}],
            tools=[{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}],
            # OpenAI's reasoning models take tools on chat completions only when they do not reason.
            reasoning_effort="none",
        ) as stream,
    ):
        answer = await stream.get_final_completion()

    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.name == "weather"
    assert '"size": 1' in calls[0].function.arguments


async def test_openais_sdk_parses_json_that_satisfies_its_schema(loopback: Loopback) -> None:
    async with openai_client(loopback, OPENAI) as client:
        answer = await client.chat.completions.create(
            model=OPENAI.model,
            messages=[{"role": "user", "content": PROMPT}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "city", "strict": True, "schema": SCHEMA},
            },
        )

    assert answer.choices[0].message.content == f'{{"city": "[simulated {OPENAI.model}]", "size": 1}}'


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("auth", openai.AuthenticationError),
        ("permission", openai.PermissionDeniedError),
        ("out_of_money", openai.RateLimitError),
        ("rate_limited", openai.RateLimitError),
        ("overloaded", openai.InternalServerError),
        ("server", openai.InternalServerError),
        ("context", openai.BadRequestError),
        ("gone", openai.NotFoundError),
        ("bad_request", openai.BadRequestError),
    ],
)
async def test_openais_sdk_knows_openais_errors(
    loopback: Loopback, kind: Any, error: type[openai.APIStatusError]
) -> None:
    provider = loopback.world["openai"]
    provider.script(provider.failure(kind))

    async with openai_client(loopback, OPENAI) as client:
        with pytest.raises(error) as caught:
            await client.chat.completions.create(model=OPENAI.model, messages=[{"role": "user", "content": PROMPT}])

    assert caught.value.request_id == "simulated000001"
    assert caught.value.type


@of_dialects([dialect for dialect in CHAT if dialect is not XAI])
async def test_openais_sdk_notices_an_error_inside_a_chat_stream(loopback: Loopback, dialect: Dialect) -> None:
    loopback.world[dialect.provider].script(StreamError(after_events=1))

    async with openai_client(loopback, dialect) as client:
        stream = await client.chat.completions.create(
            model=dialect.model, messages=[{"role": "user", "content": PROMPT}], stream=True
        )
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass


@of_dialects([OPENAI, DEEPSEEK, PERPLEXITY, XAI, OLLAMA])  # the others' lists have shapes of their own
async def test_openais_sdk_lists_the_models(loopback: Loopback, dialect: Dialect) -> None:
    async with openai_client(loopback, dialect) as client:
        models = [model.id async for model in client.models.list()]

    assert dialect.model in models


# --- responses, by openai -----------------------------------------------------------------------------------


@of_dialects(RESPONSES)
async def test_openais_sdk_reads_every_response(loopback: Loopback, dialect: Dialect) -> None:
    async with openai_client(loopback, dialect) as client:
        answer = await client.responses.create(
            model=dialect.model, input=[{"type": "message", "role": "user", "content": PROMPT}]
        )

    assert answer.status == "completed"
    assert answer.output_text == f"[simulated {dialect.model}] Paris."
    assert answer.usage is not None
    assert answer.usage.total_tokens == loopback.world[dialect.provider].bills[-1].tokens.total


@of_dialects(RESPONSES)
async def test_openais_sdk_reads_every_responses_stream(loopback: Loopback, dialect: Dialect) -> None:
    async with openai_client(loopback, dialect) as client:
        stream = await client.responses.create(
            model=dialect.model,
            input=[{"type": "message", "role": "user", "content": PROMPT}],
            tools=[{"type": "web_search"}],
            stream=True,
        )
        told = [event async for event in stream]

    text = "".join(event.delta for event in told if event.type == "response.output_text.delta")
    last = told[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == text
    assert text.endswith("smaller than the last one.")


async def test_openais_sdk_puts_a_streamed_response_together(loopback: Loopback) -> None:
    async with (
        openai_client(loopback, OPENAI_RESPONSES) as client,
        client.responses.stream(
            model=OPENAI_RESPONSES.model,
            input="Use the tool.",
            tools=[{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}],
        ) as stream,
    ):
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_response()

    assert [item.type for item in answer.output] == ["reasoning", "function_call"]
    assert "response.function_call_arguments.done" in kinds


async def test_openais_sdk_sees_that_a_response_was_cut_short_or_failed(loopback: Loopback) -> None:
    loopback.world["perplexity"].script(StreamError())

    async with openai_client(loopback, OPENAI_RESPONSES) as client:
        short = await client.responses.create(model="gpt-6.2-sol", input="Write at length.", max_output_tokens=16)
    async with openai_client(loopback, PERPLEXITY) as client:
        failed = await client.responses.create(model=PERPLEXITY.model, input=PROMPT)

    assert short.status == "incomplete"
    assert short.incomplete_details is not None
    assert short.incomplete_details.reason == "max_output_tokens"
    assert failed.status == "failed"
    assert failed.error is not None


# --- messages, by anthropic ---------------------------------------------------------------------------------


async def test_anthropics_sdk_reads_an_answer_with_its_thought(loopback: Loopback) -> None:
    async with anthropic_client(loopback) as client:
        raw = await client.messages.with_raw_response.create(
            model=ANTHROPIC.model, max_tokens=1024, messages=[{"role": "user", "content": PROMPT}]
        )
        answer = await raw.parse()

    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens_details is not None
    assert answer.usage.output_tokens_details.thinking_tokens == 8
    assert raw.request_id == "simulated000001"


async def test_anthropics_sdk_puts_a_stream_together_as_the_plain_answer(loopback: Loopback) -> None:
    tools: list[ToolUnionParam] = [{"type": "web_search_20260318", "name": "web_search"}]
    turns: list[MessageParam] = [{"role": "user", "content": PROMPT}]

    async with anthropic_client(loopback) as client:
        plain = await client.messages.create(model=ANTHROPIC.model, max_tokens=1024, messages=turns, tools=tools)
        async with client.messages.stream(
            model=ANTHROPIC.model, max_tokens=1024, messages=turns, tools=tools
        ) as stream:
            streamed = await stream.get_final_message()

    kinds = ["thinking", "server_tool_use", "web_search_tool_result", "text"]
    assert [block.type for block in plain.content] == [block.type for block in streamed.content] == kinds
    assert streamed.stop_reason == plain.stop_reason
    assert streamed.usage.output_tokens == plain.usage.output_tokens
    assert streamed.usage.server_tool_use == plain.usage.server_tool_use


async def test_anthropics_sdk_goes_through_a_tool_loop(loopback: Loopback) -> None:
    tools: list[ToolUnionParam] = [{"name": "weather", "input_schema": SCHEMA}]
    turns: list[MessageParam] = [{"role": "user", "content": "Use the tool."}]

    async with anthropic_client(loopback) as client:
        async with client.messages.stream(
            model=ANTHROPIC.model, max_tokens=1024, messages=turns, tools=tools
        ) as stream:
            first = await stream.get_final_message()
        call = first.content[-1]
        assert call.type == "tool_use"
        result: ToolResultBlockParam = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain."}
        turns.append(first.to_param())
        turns.append({"role": "user", "content": [result]})
        second = await client.messages.create(model=ANTHROPIC.model, max_tokens=1024, messages=turns, tools=tools)

    last = second.content[-1]
    assert call.input == {"city": f"[simulated {ANTHROPIC.model}]", "size": 1}
    assert last.type == "text"
    assert last.text.endswith("The tool answered: Rain.")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("auth", anthropic.AuthenticationError),
        ("permission", anthropic.PermissionDeniedError),
        ("out_of_money", anthropic.RateLimitError),
        ("rate_limited", anthropic.RateLimitError),
        ("overloaded", anthropic.InternalServerError),
        ("server", anthropic.InternalServerError),
        ("context", anthropic.BadRequestError),
        ("gone", anthropic.NotFoundError),
        ("bad_request", anthropic.BadRequestError),
    ],
)
async def test_anthropics_sdk_knows_anthropics_errors(
    loopback: Loopback, kind: Any, error: type[anthropic.APIStatusError]
) -> None:
    provider = loopback.world["anthropic"]
    provider.script(provider.failure(kind))

    async with anthropic_client(loopback) as client:
        with pytest.raises(error):
            await client.messages.create(
                model=ANTHROPIC.model, max_tokens=1024, messages=[{"role": "user", "content": PROMPT}]
            )


async def test_anthropics_sdk_notices_an_error_inside_a_stream(loopback: Loopback) -> None:
    loopback.world["anthropic"].script(StreamError(after_events=1, kind="overloaded"))

    async with anthropic_client(loopback) as client:
        stream = await client.messages.create(
            model=ANTHROPIC.model, max_tokens=1024, messages=[{"role": "user", "content": PROMPT}], stream=True
        )
        with pytest.raises(anthropic.APIStatusError):
            async for _ in stream:
                pass


async def test_anthropics_sdk_lists_models_page_by_page_and_counts_tokens(loopback: Loopback) -> None:
    async with anthropic_client(loopback) as client:
        stages = {model.id: model.lifecycle async for model in client.models.list(limit=2)}
        counted = await client.messages.count_tokens(
            model=ANTHROPIC.model, messages=[{"role": "user", "content": "12345678"}]
        )

    assert stages["claude-opus-5-5"] == "active"
    assert stages["claude-sonnet-4-5"] == "deprecated"
    assert stages["claude-3-haiku-20240307"] == "retired"
    assert counted.input_tokens == 2


# --- OpenRouter's cost, which openai keeps as an unknown field ----------------------------------------------


async def test_openrouters_cost_survives_the_sdk(loopback: Loopback) -> None:
    async with openai_client(loopback, OPENROUTER) as client:
        answer = await client.chat.completions.create(
            model=OPENROUTER.model, messages=[{"role": "user", "content": PROMPT}]
        )

    assert answer.usage is not None
    assert answer.usage.model_extra is not None
    assert round(answer.usage.model_extra["cost"] * 1e9) == loopback.world["openrouter"].billed_nusd
