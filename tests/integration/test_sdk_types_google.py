"""Answers built from Google's own SDK types, and read by our formats: nothing of what they say is lost or bent."""

import pytest
from documents import ARGUMENTS, WITH_AND_WITHOUT_NULLS, counts, sent, streamed, texts
from google.genai import types as genai
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router import errors
from orchestra_router.providers import gemini
from orchestra_router.types import ToolCall, Usage


def candidate(parts: list[genai.Part], reason: genai.FinishReason | None) -> genai.Candidate:
    return genai.Candidate(content=genai.Content(role="model", parts=parts), finish_reason=reason, index=0)


@given(text=texts, fresh=counts, cached=counts, tools=counts, visible=counts, thoughts=counts)
def test_an_answer_of_geminis_is_read_with_its_usage(
    text: str, fresh: int, cached: int, tools: int, visible: int, thoughts: int
) -> None:
    prompt = fresh + cached + 1
    usage = genai.GenerateContentResponseUsageMetadata(
        prompt_token_count=prompt,
        cached_content_token_count=cached,
        tool_use_prompt_token_count=tools,
        candidates_token_count=visible + 1,
        thoughts_token_count=thoughts,
        total_token_count=prompt + tools + visible + 1 + thoughts,
    )
    parts = [genai.Part(text="Hm.", thought=True), genai.Part(text=text)]
    reply = genai.GenerateContentResponse(
        candidates=[candidate(parts, genai.FinishReason.STOP)], usage_metadata=usage, model_version="gemini-3.8-flash"
    )

    answer = gemini.parse_response(sent(reply, nulls=False))

    assert (answer.text, answer.finish, answer.model) == (text, "stop", "gemini-3.8-flash")
    assert answer.usage is not None
    assert (answer.usage.input_fresh, answer.usage.cache_read) == (fresh + 1 + tools, cached)
    assert (answer.usage.output, answer.usage.reasoning, answer.usage.mismatch) == (visible + 1, thoughts, 0)


@WITH_AND_WITHOUT_NULLS
def test_the_tool_calls_of_geminis_are_read(nulls: bool) -> None:
    call = genai.FunctionCall(id="call_1", name="get_weather", args={"city": "Zürich"})
    part = genai.Part(function_call=call, thought_signature=b"signed")
    reply = genai.GenerateContentResponse(candidates=[candidate([part], genai.FinishReason.STOP)])

    answer = gemini.parse_response(sent(reply, nulls=nulls))

    assert answer.tool_calls == (ToolCall("call_1", "get_weather", ARGUMENTS),)
    assert answer.finish == "tool_calls"


@WITH_AND_WITHOUT_NULLS
@given(pieces=st.lists(texts, min_size=1, max_size=5))
def test_the_chunks_of_geminis_add_up(nulls: bool, pieces: list[str]) -> None:
    chunks = [
        genai.GenerateContentResponse(
            candidates=[
                candidate([genai.Part(text=piece)], genai.FinishReason.STOP if number == len(pieces) else None)
            ],
            usage_metadata=genai.GenerateContentResponseUsageMetadata(
                prompt_token_count=5, candidates_token_count=number, total_token_count=5 + number
            ),
        )
        for number, piece in enumerate(pieces, start=1)
    ]

    answer, seen = streamed(gemini.stream_reader(), chunks, nulls=nulls)

    assert answer.text == seen == "".join(pieces)
    assert answer.usage == Usage(input_fresh=5, output=len(pieces), reported_total=5 + len(pieces))


@pytest.mark.parametrize("reason", sorted(set(genai.FinishReason) - {"FINISH_REASON_UNSPECIFIED", "NO_IMAGE"}))
def test_every_reason_that_gemini_knows_has_a_meaning(reason: genai.FinishReason) -> None:
    reply = genai.GenerateContentResponse(candidates=[candidate([genai.Part(text="hello")], reason)])

    answer = gemini.parse_response(sent(reply, nulls=False))

    assert answer.finish != "other"


@WITH_AND_WITHOUT_NULLS
@pytest.mark.parametrize("reason", list(genai.BlockedReason))
def test_a_prompt_that_gemini_blocks_is_a_refusal(nulls: bool, reason: genai.BlockedReason) -> None:
    feedback = genai.GenerateContentResponsePromptFeedback(block_reason=reason)

    with pytest.raises(errors.ContentRefused):
        gemini.parse_response(sent(genai.GenerateContentResponse(prompt_feedback=feedback), nulls=nulls))


def test_geminis_list_of_models_is_read() -> None:
    model = genai.Model(
        name="models/gemini-3.8-flash", input_token_limit=1_048_576, supported_actions=["generateContent"]
    )

    listed = gemini.parse_list(b'{"models":[' + sent(model, nulls=False) + b"]}")

    assert [(one.id, one.context_tokens) for one in listed] == [("gemini-3.8-flash", 1_048_576)]
