import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats import NOW_MS, body, events, load, response
from mutated import WIRE, bodies, check_answer, check_error, events_of, read_stream, streams
from orchestra_router import errors
from orchestra_router.deployments import Provider
from orchestra_router.errors import ContentRefused, InvalidAnswer, ProviderError, StreamBroken
from orchestra_router.providers import gemini
from orchestra_router.types import Citation, ListedModel, StreamEvent, Usage, WireResponse

GOOGLE = Provider(name="google", base_url="https://gemini.test", format="gemini", search_style="google", max_stop=5)

ANSWERS = [path.read_bytes() for path in sorted((WIRE / "gemini").glob("*.json"))]
STREAMS = [events_of(path) for path in sorted((WIRE / "gemini").glob("*.sse"))]


# --- The answer --------------------------------------------------------------------------------------------


def test_an_answer_has_text_without_thoughts_and_counts_them_apart() -> None:
    answer = gemini.parse_response(body("gemini/text.json"))

    assert (answer.text, answer.finish, answer.model) == ("Hello from Gemini.", "stop", "gemini-3.8-flash")
    assert answer.provider_request_id == "Il0taoSYJ5CezPIP9vq0wAs"
    assert answer.usage == Usage(input_fresh=186, cache_read=1024, output=6, reasoning=145, reported_total=1361)
    assert answer.usage is not None
    assert answer.usage.mismatch == 0


def test_calls_are_calls_whatever_the_finish_reason_says() -> None:
    answer = gemini.parse_response(body("gemini/tools.json"))

    assert answer.finish == "tool_calls"
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("get_weather", '{"city":"Zürich"}'),
        ("get_weather", '{"city":"Bern"}'),
        ("get_time", "{}"),
    ]


def test_a_call_without_an_id_always_gets_the_same_one_of_its_own() -> None:
    first = [call.id for call in gemini.parse_response(body("gemini/tools.json")).tool_calls]
    again = [call.id for call in gemini.parse_response(body("gemini/tools.json")).tool_calls]
    other = load("gemini/tools.json") | {"responseId": "another"}
    elsewhere = [call.id for call in gemini.parse_response(json.dumps(other).encode()).tool_calls]

    assert first == again
    assert first[1] == "fc-7f3a"
    assert len({*first, *elsewhere}) == 5


def test_a_grounded_answer_names_each_source_once_and_counts_each_query_once() -> None:
    answer = gemini.parse_response(body("gemini/grounded.json"))

    assert answer.text == "It snows in Zürich."
    assert answer.citations == (
        Citation("https://vertexaisearch.example.com/grounding-api-redirect/AUZIYQ", "weather.example.org"),
        Citation("https://vertexaisearch.example.com/grounding-api-redirect/BVAJZR", "news.example.com"),
    )
    assert answer.usage == Usage(input_fresh=334, output=8, reasoning=70, searches=2, reported_total=412)
    assert answer.usage is not None
    assert answer.usage.mismatch == 0


def test_an_answer_that_thought_until_its_limit_is_an_answer() -> None:
    answer = gemini.parse_response(body("gemini/thinking_only.json"))

    assert (answer.text, answer.finish) == ("", "length")
    assert answer.usage == Usage(input_fresh=9, reasoning=64, reported_total=73)


def test_a_refused_prompt_is_refused_content() -> None:
    with pytest.raises(ContentRefused) as caught:
        gemini.parse_response(body("gemini/blocked.json"))

    assert caught.value.provider_code == "PROHIBITED_CONTENT"
    assert caught.value.usage == Usage(input_fresh=31, reported_total=31)


def test_a_filtered_answer_is_an_answer() -> None:
    answer = gemini.parse_response(body("gemini/safety.json"))

    assert (answer.text, answer.finish) == ("", "content_filter")


def test_a_call_the_model_garbled_is_no_answer_and_says_what_it_cost() -> None:
    with pytest.raises(InvalidAnswer) as caught:
        gemini.parse_response(body("gemini/malformed_call.json"))

    assert caught.value.provider_code == "MALFORMED_FUNCTION_CALL"
    assert caught.value.usage == Usage(input_fresh=77, reasoning=14, reported_total=91)


def test_an_answer_says_when_its_model_ends() -> None:
    answer = gemini.parse_response(body("gemini/retiring.json"))

    assert answer.retires == "2026-12-01"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("IMAGE_OTHER", "content_filter"),
        ("PUP_LIMITED_DISABLED", "content_filter"),
        ("CONTINUATION", "continue"),
        ("OTHER", "error"),
        ("MALFORMED_RESPONSE", "error"),
        ("UNEXPECTED_TOOL_CALL", "error"),
        ("TOO_MANY_TOOL_CALLS", "error"),
        ("MISSING_THOUGHT_SIGNATURE", "error"),
        ("LANGUAGE", "error"),
        ("ESCALATION", "error"),
        ("SOMETHING_NEW", "other"),
    ],
)
def test_finish_reasons_come_in_common_terms(reason: str, finish: str) -> None:
    reply = load("gemini/retiring.json")
    reply["candidates"][0]["finishReason"] = reason

    answer = gemini.parse_response(json.dumps(reply).encode())

    assert answer.finish == finish


def test_a_stream_that_came_as_one_array_is_read() -> None:
    answer = gemini.parse_response(body("gemini/array.json"))

    assert (answer.text, answer.finish) == ("One two.", "stop")
    assert answer.usage == Usage(input_fresh=5, output=3, reported_total=8)


def test_an_array_that_stops_before_its_finish_is_no_answer() -> None:
    unfinished = json.dumps(load("gemini/array.json")[:1]).encode()

    with pytest.raises(InvalidAnswer):
        gemini.parse_response(unfinished)


@pytest.mark.parametrize(
    "usage", [None, {}, {"candidatesTokenCount": 3}, {"promptTokenCount": -1}, {"promptTokenCount": 9}]
)
def test_usage_that_is_missing_or_nonsense_is_unknown_and_not_zero(usage: object) -> None:
    reply = load("gemini/retiring.json") | {"usageMetadata": usage}

    answer = gemini.parse_response(json.dumps(reply).encode())

    assert answer.usage is None


# --- Errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("error_rate", 429, errors.RateLimited),
        ("error_quota_day", 429, errors.RateLimited),
        ("error_key", 400, errors.AuthFailed),
        ("error_prepaid", 402, errors.OutOfMoney),
        ("error_region", 400, errors.PermissionRefused),
        ("error_not_found", 404, errors.ModelGone),
        ("error_array", 503, errors.ServerFailed),
    ],
)
def test_errors_are_told_apart_by_their_codes(name: str, status: int, kind: type[ProviderError]) -> None:
    said_by_vendor = json.dumps(load(f"gemini/{name}.json")).partition('"message": "')[2].partition('"')[0]

    error = gemini.parse_error(response(f"gemini/{name}.json", status), now_ms=NOW_MS)

    assert type(error) is kind
    assert error.status == status
    assert said_by_vendor
    assert said_by_vendor not in str(error)


def test_the_wait_a_rate_limit_names_is_kept() -> None:
    error = gemini.parse_error(response("gemini/error_rate.json", 429), now_ms=NOW_MS)

    assert error.retry_after_s == 37


def test_a_quota_for_the_day_lasts_until_the_next_day_begins_in_california() -> None:
    error = gemini.parse_error(response("gemini/error_quota_day.json", 429), now_ms=NOW_MS)

    assert error.retry_after_s == 16 * 3600  # from 16:00 to 08:00 UTC


@given(now_ms=st.integers(0, 4_000_000_000_000))
def test_the_next_day_is_never_more_than_a_day_away_nor_here_already(now_ms: int) -> None:
    error = gemini.parse_error(response("gemini/error_quota_day.json", 429), now_ms=now_ms)

    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 86_400


@pytest.mark.parametrize("page", [b"", b"<html>Bad gateway</html>", b"[]", b"[1]", b'{"error": "text"}', b"\xff"])
def test_an_error_without_a_readable_body_is_told_by_its_status(page: bytes) -> None:
    error = gemini.parse_error(WireResponse(status=502, headers={}, body=page), now_ms=NOW_MS)

    assert isinstance(error, errors.ServerFailed)


def test_an_error_with_a_good_status_is_an_error() -> None:
    with pytest.raises(errors.ServerFailed):
        gemini.parse_response(body("gemini/error_array.json"))


# --- The stream --------------------------------------------------------------------------------------------


def test_a_stream_gives_its_text_in_pieces_and_the_last_counts_at_the_end() -> None:
    text, answer = read_stream(gemini, events("gemini/stream_text.sse"))

    assert text == answer.text == "The old bridge"
    assert (answer.finish, answer.provider_request_id) == ("stop", "Streamed1")
    assert answer.usage == Usage(input_fresh=18, output=4, reasoning=42, reported_total=64)


def test_calls_in_chunks_of_their_own_are_all_there() -> None:
    _, answer = read_stream(gemini, events("gemini/stream_tools.sse"))

    assert answer.finish == "tool_calls"
    assert [call.arguments for call in answer.tool_calls] == ['{"city":"Zürich"}', '{"city":"Bern"}']
    assert len({call.id for call in answer.tool_calls}) == 2


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_error_in_the_stream_says_what_had_come(wrapped: bool) -> None:
    first, error = events("gemini/stream_error.sse")
    error = StreamEvent("", f"[{error.data}]") if wrapped else error

    with pytest.raises(errors.ServerFailed) as caught:
        read_stream(gemini, [first, error])

    assert caught.value.partial_text == "Once upon"


def test_the_count_before_an_error_is_not_that_of_the_end_unless_the_error_brings_one() -> None:
    first, error = events("gemini/stream_error.sse")
    final = json.loads(error.data) | {"usageMetadata": {"promptTokenCount": 18, "candidatesTokenCount": 7}}

    with pytest.raises(errors.ServerFailed) as uncounted:
        read_stream(gemini, [first, error])
    with pytest.raises(StreamBroken) as broken:
        read_stream(gemini, [first])
    with pytest.raises(errors.ServerFailed) as counted:
        read_stream(gemini, [first, StreamEvent("", json.dumps(final))])

    assert (uncounted.value.usage, broken.value.usage) == (None, None)
    assert counted.value.usage == Usage(input_fresh=18, output=7)


def test_a_count_that_more_text_came_after_is_not_that_of_the_answer() -> None:
    first, _ = events("gemini/stream_error.sse")
    last = {"candidates": [{"content": {"parts": [{"text": " a time"}]}, "finishReason": "STOP"}]}

    _, answer = read_stream(gemini, [first, StreamEvent("", json.dumps(last))])

    assert (answer.text, answer.usage) == ("Once upon a time", None)


def test_a_stream_that_is_cut_anywhere_is_never_taken_for_whole() -> None:
    stream = events("gemini/stream_text.sse")

    for length in range(len(stream)):
        reader = gemini.stream_reader()
        delivered = "".join([reader.feed(event) for event in stream[:length]])
        with pytest.raises(StreamBroken if delivered else InvalidAnswer) as caught:
            reader.finish()
        assert caught.value.partial_text == delivered


def test_a_prompt_refused_in_a_stream_is_refused_content() -> None:
    stream = [StreamEvent("", body("gemini/blocked.json").decode())]

    with pytest.raises(ContentRefused):
        read_stream(gemini, stream)


# --- The list ----------------------------------------------------------------------------------------------


def test_the_list_is_asked_for_whole() -> None:
    wire = gemini.build_list_request(GOOGLE, api_key="k")

    assert wire.url == "https://gemini.test/v1beta/models?pageSize=1000"
    assert wire.headers == {"x-goog-api-key": "k"}
    assert wire.body is None


def test_the_list_has_the_models_that_write() -> None:
    listed = gemini.parse_list(body("gemini/models.json"))

    assert listed == (ListedModel("gemini-3.8-flash", context_tokens=1_048_576),)


# --- Whatever comes ----------------------------------------------------------------------------------------


@given(bodies(ANSWERS), st.sampled_from([200, 400, 402, 404, 429, 500, 503]))
@settings(deadline=None)
def test_a_damaged_body_is_an_answer_or_a_provider_error(damaged: bytes, status: int) -> None:
    check_error(gemini.parse_error(WireResponse(status=status, headers={}, body=damaged), now_ms=NOW_MS))
    try:
        check_answer(gemini.parse_response(damaged))
    except ProviderError as error:
        check_error(error)
    with contextlib.suppress(InvalidAnswer):
        gemini.parse_list(damaged)


@given(streams(STREAMS))
@settings(deadline=None)
def test_a_damaged_stream_is_an_answer_or_a_provider_error(damaged: list[StreamEvent]) -> None:
    try:
        seen, answer = read_stream(gemini, damaged)
    except ProviderError as error:
        check_error(error)
    else:
        check_answer(answer)
        assert seen == answer.text
