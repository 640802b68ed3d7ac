import datetime as dt
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutated import WIRE, any_text, bodies, check_error
from orchestra_router import errors
from orchestra_router.errors import ProviderError
from orchestra_router.providers import chat
from orchestra_router.providers.failures import BY_CODE, BY_STATUS, VAGUE, classify, retry_after
from orchestra_router.types import Usage, WireResponse

NOW_MS = 1_795_449_600_000  # 2026-11-23T16:00:00Z
NOW = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.UTC)


def refused(name: str, status: int, **headers: str) -> ProviderError:
    body = (WIRE / "chat" / name).read_bytes()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return chat.parse_error(WireResponse(status, named, body), now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, errors.InvalidAnswer),
        (302, errors.InvalidAnswer),
        (400, errors.BadRequest),
        (401, errors.AuthFailed),
        (402, errors.OutOfMoney),
        (403, errors.PermissionRefused),
        (404, errors.ModelGone),
        (405, errors.ModelGone),
        (408, errors.ServerFailed),
        (409, errors.ServerFailed),
        (410, errors.ModelGone),
        (412, errors.OutOfMoney),
        (413, errors.BadRequest),
        (415, errors.BadRequest),
        (422, errors.BadRequest),
        (429, errors.RateLimited),
        (446, errors.ContentRefused),
        (500, errors.ServerFailed),
        (502, errors.ServerFailed),
        (503, errors.ServerFailed),
        (504, errors.ServerFailed),
        (524, errors.ServerFailed),
        (529, errors.ServerFailed),
    ],
)
def test_a_status_without_a_code_decides(status: int, kind: type[ProviderError]) -> None:
    error = classify(status)

    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("openai_401.json", 401, errors.AuthFailed),
        ("openai_quota_429.json", 429, errors.OutOfMoney),
        ("openai_rate_429.json", 429, errors.RateLimited),
        ("openai_context_400.json", 400, errors.ContextTooLong),
        ("openai_model_404.json", 404, errors.ModelGone),
        ("openai_overloaded_503.json", 503, errors.ServerFailed),
        ("openrouter_in_flight_402.json", 402, errors.RateLimited),
        ("openrouter_credits_402.json", 402, errors.OutOfMoney),
        ("openrouter_key_limit_403.json", 403, errors.OutOfMoney),
        ("openrouter_moderation_403.json", 403, errors.ContentRefused),
        ("openrouter_context_400.json", 400, errors.ContextTooLong),
        ("deepseek_401.json", 401, errors.AuthFailed),
        ("deepseek_402.json", 402, errors.OutOfMoney),
        ("together_422.json", 422, errors.BadRequest),
        ("xai_404.json", 404, errors.ModelGone),
        ("xai_spending_403.json", 403, errors.OutOfMoney),
        ("ollama_404.json", 404, errors.ModelGone),
        ("vllm_400.json", 400, errors.BadRequest),
        ("llamacpp_400.json", 400, errors.ContextTooLong),
        ("portkey_400.json", 400, errors.BadRequest),
    ],
)
def test_each_vendors_error_is_classified(name: str, status: int, kind: type[ProviderError]) -> None:
    error = refused(name, status)

    assert type(error) is kind
    assert error.status == status


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_code_decides_where_no_status_does(code: str) -> None:
    error = classify(200, codes=("unheard_of", code))

    assert type(error) is BY_CODE[code]
    assert error.provider_code == code


@pytest.mark.parametrize("code", sorted(BY_CODE.keys() - VAGUE))
@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_telling_code_outweighs_the_status(code: str, status: int) -> None:
    assert type(classify(status, codes=(code,))) is BY_CODE[code]


@pytest.mark.parametrize("code", sorted(VAGUE))
@pytest.mark.parametrize("status", [401, 402, 404, 429])
def test_a_vague_code_does_not_outweigh_the_status(code: str, status: int) -> None:
    assert type(classify(status, codes=(code,))) is BY_STATUS[status]


@pytest.mark.parametrize(
    "body", [b"", b"<html><h1>502 Bad Gateway</h1></html>", b"busy, try later", b"null", b"[]", b'"no"', b"[" * 9999]
)
def test_a_body_without_codes_leaves_the_decision_to_the_status(body: bytes) -> None:
    error = chat.parse_error(WireResponse(502, {}, body), now_ms=NOW_MS)

    assert type(error) is errors.ServerFailed


def test_an_error_wrapped_in_a_list_is_read() -> None:
    body = b'[{"error": {"code": "insufficient_quota"}}]'

    assert type(chat.parse_error(WireResponse(429, {}, body), now_ms=NOW_MS)) is errors.OutOfMoney


def test_no_word_of_the_vendors_prose_is_shown() -> None:
    error = refused("xai_404.json", 404)

    assert str(error) == "the provider does not serve this model any more (404)"


@pytest.mark.parametrize(
    "code", ["Some requested entity was not found", "sk-proj-4f9a", "a" * 65, "<b>", "naïve", "live-key-in-words"]
)
def test_a_code_that_is_not_in_the_table_is_not_repeated(code: str) -> None:
    assert classify(400, codes=(code,)).provider_code == ""
    assert classify(400, codes=(code, "api_error")).provider_code == "api_error"


def test_usage_and_cost_sent_with_an_error_are_kept() -> None:
    error = classify(502, usage=Usage(input_fresh=3), cost_nusd=7)

    assert (error.usage, error.cost_nusd) == (Usage(input_fresh=3), 7)


# --- Retry-After -------------------------------------------------------------------------------------------


def in_s(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after": format_datetime(in_s(90), usegmt=True)}, 90.0),
        ({"retry-after": format_datetime(in_s(-90), usegmt=True)}, 0.0),
        ({"retry-after": in_s(30).isoformat()}, 30.0),
        ({"retry-after": "2026-11-23T16:00:30"}, 30.0),
        ({"retry-after": "2026-11-23T17:00:30+01:00"}, 30.0),
        ({"retry-after": "6m0s"}, 360.0),
        ({"retry-after": str(NOW_MS // 1000 + 12)}, 12.0),
        ({"retry-after": ""}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Mon, 99 Foo 2026 99:99:99 GMT"}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now_ms=NOW_MS) == seconds


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("120ms", 0.12),
        ("1d", 86_400.0),
        ("20", 20.0),
        (in_s(45).isoformat().replace("+00:00", "Z"), 45.0),
        (str(NOW_MS + 5_000), 5.0),
        (str(NOW_MS // 1000 + 5), 5.0),
        ("soon", None),
        ("5 apples", None),
    ],
)
@pytest.mark.parametrize(
    ("remaining", "name"),
    [
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ],
)
def test_the_reset_of_a_limit_that_is_used_up_is_waited_for(
    remaining: str, name: str, reset: str, seconds: float | None
) -> None:
    assert retry_after({remaining: "0", name: reset}, now_ms=NOW_MS) == seconds


def test_a_limit_that_is_not_used_up_asks_for_no_wait() -> None:
    headers = {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"}

    assert retry_after(headers, now_ms=NOW_MS) is None


def test_the_latest_of_several_resets_counts() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "6m0s",
    }

    assert retry_after(headers, now_ms=NOW_MS) == 360.0


def test_the_header_is_obeyed_before_any_reset() -> None:
    headers = {"retry-after": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}

    assert retry_after(headers, now_ms=NOW_MS) == 2.0


def test_a_rate_limit_carries_its_wait() -> None:
    assert refused("openai_rate_429.json", 429, retry_after="3").retry_after_s == 3.0
    assert refused("openrouter_in_flight_402.json", 402, retry_after="3").retry_after_s == 3.0
    assert refused("openai_overloaded_503.json", 503, retry_after="3").retry_after_s == 3.0


def test_no_wait_is_promised_where_waiting_does_not_help() -> None:
    assert refused("openai_quota_429.json", 429, retry_after="3").retry_after_s is None
    assert refused("openai_context_400.json", 400, retry_after="3").retry_after_s is None


def test_a_wait_that_the_body_named_is_kept() -> None:
    assert classify(429, headers={"retry-after": "3"}, retry_after_s=37.0).retry_after_s == 37.0


header_values = (
    any_text
    | st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,12})?(ms|s|m|h|d)?", fullmatch=True)
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    | st.datetimes().map(lambda moment: f"{moment:%a, %d %b} {moment.year} 10:00:00 {moment.microsecond:+05d}")
    | st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1e999", "inf", "nan", "²"])
)
header_names = st.sampled_from(
    ["retry-after", "retry-after-ms", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "x-ratelimit-reset"]
)


@given(headers=st.dictionaries(header_names, header_values), now_ms=st.integers(0, 10**13))
def test_a_wait_is_never_negative_and_no_header_breaks_it(headers: dict[str, str], now_ms: int) -> None:
    wait = retry_after(headers, now_ms=now_ms)

    assert wait is None or 0 <= wait < float("inf")


ERROR_BODIES = [path.read_bytes() for path in sorted((WIRE / "chat").glob("*_4*.json"))]


@given(status=st.integers(400, 599), body=bodies(ERROR_BODIES), headers=st.dictionaries(header_names, header_values))
def test_any_error_body_becomes_a_provider_error(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = chat.parse_error(WireResponse(status, headers, body), now_ms=NOW_MS)

    assert error.status == status
    assert error.provider_code == "" or error.provider_code in BY_CODE
    check_error(error)
