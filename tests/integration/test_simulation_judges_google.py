"""Google's own SDK as judge of the simulated Gemini; see `test_simulation_judges.py` for the others."""

# pyright: reportUnknownMemberType=false
# google-genai's signatures name types of an optional package, which is not installed.

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from loopback import GEMINI, Loopback, open_loopback
from orchestra_router.simulation import StreamError

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["city", "size"],
}
PROMPT = "What is the capital of France?"


@pytest.fixture
async def loopback() -> AsyncGenerator[Loopback]:
    async with open_loopback() as opened:
        yield opened


def gemini_client(loopback: Loopback) -> genai.Client:
    options = genai_types.HttpOptions(base_url=loopback.world.base_urls["gemini"])
    return genai.Client(api_key=loopback.world["gemini"].key, http_options=options)


async def test_googles_sdk_reads_an_answer(loopback: Loopback) -> None:
    config = genai_types.GenerateContentConfig(
        system_instruction="Be brief.",
        max_output_tokens=500,
        thinking_config=genai_types.ThinkingConfig(include_thoughts=True),
    )

    async with gemini_client(loopback).aio as client:
        answer = await client.models.generate_content(model=GEMINI.model, contents=PROMPT, config=config)

    assert answer.text == f"[simulated {GEMINI.model}] Paris."
    assert answer.model_version == GEMINI.model
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.thoughts_token_count == 4
    assert answer.usage_metadata.total_token_count == loopback.world["gemini"].bills[-1].tokens.total


async def test_googles_sdk_reads_a_stream_and_its_sources(loopback: Loopback) -> None:
    config = genai_types.GenerateContentConfig(tools=[genai_types.Tool(google_search=genai_types.GoogleSearch())])

    async with gemini_client(loopback).aio as client:
        stream = await client.models.generate_content_stream(model=GEMINI.model, contents=PROMPT, config=config)
        chunks = [chunk async for chunk in stream]

    last = chunks[-1]
    assert "".join(chunk.text or "" for chunk in chunks).endswith("smaller than the last one.")
    assert last.candidates is not None
    assert last.candidates[0].finish_reason == genai_types.FinishReason.STOP
    assert last.candidates[0].grounding_metadata is not None
    assert last.candidates[0].grounding_metadata.web_search_queries == ["simulated"]


async def test_googles_sdk_goes_through_a_tool_loop(loopback: Loopback) -> None:
    declared = genai_types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
    config = genai_types.GenerateContentConfig(tools=[genai_types.Tool(function_declarations=[declared])])
    question = genai_types.Content(role="user", parts=[genai_types.Part(text="Use the tool.")])

    async with gemini_client(loopback).aio as client:
        first = await client.models.generate_content(model=GEMINI.model, contents=[question], config=config)
        assert first.function_calls is not None
        assert first.candidates is not None
        assert first.candidates[0].content is not None
        said = first.candidates[0].content
        result = genai_types.Part.from_function_response(name="weather", response={"result": "Rain."})
        told = genai_types.Content(role="user", parts=[result])
        second = await client.models.generate_content(
            model=GEMINI.model, contents=[question, said, told], config=config
        )

    assert first.function_calls[0].args == {"city": f"[simulated {GEMINI.model}]", "size": 1}
    assert second.text is not None
    assert "Rain." in second.text


async def test_googles_sdk_parses_json_and_reads_thoughtless_and_legacy_models(loopback: Loopback) -> None:
    config = genai_types.GenerateContentConfig(response_mime_type="application/json", response_json_schema=SCHEMA)

    async with gemini_client(loopback).aio as client:
        answer = await client.models.generate_content(model="gemini-2.5-flash", contents=PROMPT, config=config)

    assert answer.parsed == {"city": "[simulated gemini-2.5-flash]", "size": 1}
    assert answer.model_status is not None
    assert answer.model_status.model_stage == genai_types.ModelStage.DEPRECATED
    assert answer.model_status.retirement_time is not None


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("auth", "INVALID_ARGUMENT"),
        ("permission", "PERMISSION_DENIED"),
        ("out_of_money", "RESOURCE_EXHAUSTED"),
        ("rate_limited", "RESOURCE_EXHAUSTED"),
        ("overloaded", "UNAVAILABLE"),
        ("server", "INTERNAL"),
        ("timeout", "DEADLINE_EXCEEDED"),
        ("gone", "NOT_FOUND"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_googles_sdk_knows_googles_errors(loopback: Loopback, kind: Any, status: str, stream: bool) -> None:
    provider = loopback.world["gemini"]
    provider.script(provider.failure(kind))

    async with gemini_client(loopback).aio as client:
        asking = (
            anext(await client.models.generate_content_stream(model=GEMINI.model, contents=PROMPT))
            if stream
            else client.models.generate_content(model=GEMINI.model, contents=PROMPT)
        )
        with pytest.raises(genai_errors.APIError) as caught:
            await asking

    assert caught.value.status == status


async def test_googles_sdk_notices_an_error_inside_a_stream(loopback: Loopback) -> None:
    loopback.world["gemini"].script(StreamError(after_events=1, kind="overloaded"))

    async with gemini_client(loopback).aio as client:
        stream = await client.models.generate_content_stream(model=GEMINI.model, contents=PROMPT)
        with pytest.raises(genai_errors.ServerError, match="UNAVAILABLE"):
            async for _ in stream:
                pass


async def test_googles_sdk_lists_models(loopback: Loopback) -> None:
    async with gemini_client(loopback).aio as client:
        models = [model.name async for model in await client.models.list(config={"page_size": 2})]

    assert f"models/{GEMINI.model}" in models
    assert len(models) == len(loopback.world["gemini"].vendor.models)
