import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import NOW_MS, body, events, load, response
from mutated import WIRE, bodies, check_answer, check_error, events_of, read_stream, streams
from orchestra_router import errors
from orchestra_router.deployments import Provider
from orchestra_router.errors import InvalidAnswer, ProviderError, StreamBroken
from orchestra_router.providers import messages
from orchestra_router.types import Citation, ListedModel, StreamEvent, ToolCall, Usage, WireResponse

ANTHROPIC = Provider(
    name="anthropic", base_url="https://api.anthropic.test", format="messages", search_style="anthropic"
)

ANSWERS = [path.read_bytes() for path in sorted((WIRE / "messages").glob("*.json"))]
STREAMS = [events_of(path) for path in sorted((WIRE / "messages").glob("*.sse"))]


# --- The answer --------------------------------------------------------------------------------------------


def test_an_answer_has_text_usage_and_model() -> None:
    answer = messages.parse_response(body("messages/text.json"))

    assert (answer.text, answer.finish, answer.model) == ("Paris.", "stop", "claude-sonnet-5-5")
    assert answer.usage == Usage(
        input_fresh=21, cache_read=18000, cache_write=300, cache_write_1h=2000, output=23, reasoning=41
    )


def test_tool_calls_come_with_their_arguments_as_json() -> None:
    answer = messages.parse_response(body("messages/tool_use.json"))

    assert answer.finish == "tool_calls"
    assert [(call.id, call.name) for call in answer.tool_calls] == [
        ("toolu_01A09q90qw90lq917835lq9", "get_weather"),
        ("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather"),
    ]
    assert json.loads(answer.tool_calls[0].arguments) == {"city": "Zürich", "unit": "celsius"}


def test_a_searched_answer_names_each_source_once_and_counts_the_searches() -> None:
    answer = messages.parse_response(body("messages/web_search.json"))

    assert answer.text == "I'll look up the forecast. Tomorrow it snows in Zürich, as it does in the whole of the Alps."
    assert answer.citations == (
        Citation("https://weather.example.org/zurich", "Zürich forecast"),
        Citation("https://news.example.com/snow", "Snow in the Alps"),
    )
    assert answer.usage is not None
    assert answer.usage.searches == 1


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "continue"),
        ("something_new", "other"),
        (None, "other"),
    ],
)
def test_stop_reasons_come_in_common_terms(stop_reason: str | None, finish: str) -> None:
    reply = load("messages/text.json") | {"stop_reason": stop_reason}

    answer = messages.parse_response(json.dumps(reply).encode())

    assert answer.finish == finish


def test_a_refusal_without_a_word_is_an_answer() -> None:
    answer = messages.parse_response(body("messages/refusal.json"))

    assert (answer.text, answer.finish) == ("", "content_filter")


def test_an_empty_answer_is_none_and_says_what_it_cost() -> None:
    reply = load("messages/text.json") | {"content": []}

    with pytest.raises(InvalidAnswer) as caught:
        messages.parse_response(json.dumps(reply).encode())

    assert caught.value.usage is not None
    assert caught.value.usage.output_total == 64


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"input_tokens": 5},
        {"input_tokens": -5, "output_tokens": 5},
        {"input_tokens": "5", "output_tokens": 5},
    ],
)
def test_usage_that_is_missing_or_nonsense_is_unknown_and_not_zero(usage: object) -> None:
    reply = load("messages/text.json") | {"usage": usage}

    answer = messages.parse_response(json.dumps(reply).encode())

    assert answer.usage is None


def test_cache_writes_without_a_stated_time_count_as_five_minutes() -> None:
    counts = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 70}
    reply = load("messages/text.json") | {"usage": counts}

    usage = messages.parse_response(json.dumps(reply).encode()).usage

    assert usage == Usage(input_fresh=1, cache_write=70, output=1)


# --- Errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("error_overloaded", 529, errors.ServerFailed),
        ("error_rate_limit", 429, errors.RateLimited),
        ("error_spend_limit", 429, errors.OutOfMoney),
        ("error_on_hold", 400, errors.PermissionRefused),
        ("error_not_found", 404, errors.ModelGone),
        ("error_sampling", 400, errors.BadRequest),
    ],
)
def test_errors_are_told_apart_by_their_codes(name: str, status: int, kind: type[ProviderError]) -> None:
    error = messages.parse_error(response(f"messages/{name}.json", status), now_ms=NOW_MS)

    assert type(error) is kind
    assert error.status == status
    assert load(f"messages/{name}.json")["error"]["message"] not in str(error)


def test_the_wait_a_rate_limit_names_is_kept() -> None:
    error = messages.parse_error(response("messages/error_rate_limit.json", 429, retry_after="17"), now_ms=NOW_MS)

    assert error.retry_after_s == 17


@pytest.mark.parametrize("page", [b"", b"<html>Bad gateway</html>", b"[]", b'{"error": "text"}', b"\xff"])
def test_an_error_without_a_readable_body_is_told_by_its_status(page: bytes) -> None:
    error = messages.parse_error(WireResponse(status=502, headers={}, body=page), now_ms=NOW_MS)

    assert isinstance(error, errors.ServerFailed)


def test_an_error_with_a_good_status_is_an_error() -> None:
    with pytest.raises(errors.ServerFailed):
        messages.parse_response(body("messages/error_overloaded.json"))


# --- The stream --------------------------------------------------------------------------------------------


def test_a_stream_gives_its_text_in_pieces_and_the_whole_at_the_end() -> None:
    text, answer = read_stream(messages, events("messages/stream_text.sse"))

    assert text == answer.text == "Grüezi mitenand!"
    assert (answer.finish, answer.model) == ("stop", "claude-sonnet-5-5")
    assert answer.usage == Usage(input_fresh=25, cache_read=1200, output=13, reasoning=20)


def test_tool_calls_are_put_together_from_their_pieces() -> None:
    text, answer = read_stream(messages, events("messages/stream_tools.sse"))

    assert text == "Checking."
    assert answer.finish == "tool_calls"
    assert answer.tool_calls == (
        ToolCall("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", '{"city": "Zürich"}'),
        ToolCall("toolu_01Clock", "get_time", "{}"),
    )
    assert answer.usage == Usage(input_fresh=472, output=89)


def test_a_streamed_search_has_its_sources_and_the_final_counts() -> None:
    _, answer = read_stream(messages, events("messages/stream_search.sse"))

    assert answer.citations == (Citation("https://weather.example.org/zurich", "Zürich forecast"),)
    assert answer.usage == Usage(input_fresh=10682, output=510, searches=1)
    assert '"query":"weather zurich"' in answer.provider_state


def test_events_and_blocks_of_the_future_are_skipped() -> None:
    stream = events("messages/stream_text.sse")
    novelties = [
        StreamEvent("message_note", '{"type":"message_note","note":1}'),
        StreamEvent("content_block_start", '{"type":"content_block_start","index":9,"content_block":{"type":"new"}}'),
        StreamEvent("content_block_delta", '{"type":"content_block_delta","index":9,"delta":{"type":"new_delta"}}'),
    ]

    text, _ = read_stream(messages, [*stream[:1], *novelties, *stream[1:]])

    assert text == "Grüezi mitenand!"


def test_an_error_in_the_stream_says_what_had_come() -> None:
    with pytest.raises(errors.ServerFailed) as caught:
        read_stream(messages, events("messages/stream_error.sse"))

    assert caught.value.partial_text == "Once upon"
    assert caught.value.provider_code == "overloaded_error"


def test_a_stream_that_is_cut_anywhere_is_never_taken_for_whole() -> None:
    stream = events("messages/stream_text.sse")

    for length in range(len(stream)):
        reader = messages.stream_reader()
        delivered = "".join([reader.feed(event) for event in stream[:length]])
        with pytest.raises(StreamBroken if delivered else InvalidAnswer) as caught:
            reader.finish()
        assert caught.value.partial_text == delivered


def test_a_stream_cut_before_its_final_counts_costs_the_estimate() -> None:
    stream = events("messages/stream_text.sse")

    with pytest.raises(StreamBroken) as before:
        read_stream(messages, stream[:-2])
    with pytest.raises(StreamBroken) as after:
        read_stream(messages, stream[:-1])

    assert before.value.usage is None
    assert after.value.usage == Usage(input_fresh=25, cache_read=1200, output=13, reasoning=20)


@pytest.mark.parametrize("counts", [{"input_tokens": 0, "output_tokens": 9}, {"input_tokens": 9, "output_tokens": 0}])
def test_zeros_beside_what_was_written_are_no_counts(counts: dict[str, int]) -> None:
    reply = load("messages/text.json") | {"usage": counts}

    assert messages.parse_response(json.dumps(reply).encode()).usage is None


def test_counts_of_an_answer_that_goes_on_are_not_those_of_its_end() -> None:
    begun, *rest = events("messages/stream_text.sse")
    so_far = StreamEvent("message_delta", '{"type": "message_delta", "delta": {}, "usage": {"output_tokens": 1}}')

    with pytest.raises(StreamBroken) as caught:
        read_stream(messages, [begun, so_far, *rest[:-2]])

    assert caught.value.usage is None


# --- The list ----------------------------------------------------------------------------------------------


def test_the_list_is_asked_for_whole() -> None:
    wire = messages.build_list_request(ANTHROPIC, api_key="k")

    assert wire.url == "https://api.anthropic.test/v1/models?limit=1000"
    assert wire.headers == {"x-api-key": "k", "anthropic-version": "2026-10-21"}
    assert wire.body is None


def test_the_path_of_the_list_can_be_configured() -> None:
    provider = Provider(base_url="https://x.test/v1", format="messages", models_path="/models")

    wire = messages.build_list_request(provider, api_key="k")

    assert wire.url == "https://x.test/v1/models?limit=1000"


def test_the_list_says_which_models_end_and_when() -> None:
    listed = messages.parse_list(body("messages/models.json"))

    assert listed == (
        ListedModel("claude-sonnet-5-5", context_tokens=1_000_000),
        ListedModel("claude-sonnet-4-5-20250929", retires="2026-11-30", context_tokens=200_000),
        ListedModel("claude-3-haiku-20240307", retires="2026-04-20", retired=True),
    )


# --- Whatever comes ----------------------------------------------------------------------------------------


@given(bodies(ANSWERS), st.sampled_from([200, 400, 404, 429, 500, 529]))
@settings(deadline=None)
def test_a_damaged_body_is_an_answer_or_a_provider_error(damaged: bytes, status: int) -> None:
    check_error(messages.parse_error(WireResponse(status=status, headers={}, body=damaged), now_ms=NOW_MS))
    try:
        check_answer(messages.parse_response(damaged))
    except ProviderError as error:
        check_error(error)
    with contextlib.suppress(InvalidAnswer):
        messages.parse_list(damaged)


@given(streams(STREAMS))
@settings(deadline=None)
def test_a_damaged_stream_is_an_answer_or_a_provider_error(damaged: list[StreamEvent]) -> None:
    try:
        seen, answer = read_stream(messages, damaged)
    except ProviderError as error:
        check_error(error)
    else:
        check_answer(answer)
        assert seen == answer.text


def test_every_recorded_body_names_its_source() -> None:
    table = (WIRE / "SOURCES_anthropic_gemini.md").read_text()

    recorded = [path for folder in ("messages", "gemini") for path in (WIRE / folder).iterdir()]

    assert [path for path in recorded if f"`{Path(path.parent.name, path.name).as_posix()}`" not in table] == []
