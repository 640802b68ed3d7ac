"""Which error an answer is: one table for all providers.

Machine-readable codes decide first, because the status alone does not (out of money arrives as 429 at two
vendors); then the status. A vendor's prose never decides: it changes without notice. Codes are from the vendors' own
lists of errors (2026-11); one that is not here leaves the decision to the status.
"""

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from orchestra_router import errors
from orchestra_router.errors import ProviderError
from orchestra_router.providers.wire import JsonObject, as_count, as_object, as_text
from orchestra_router.types import Usage

BY_CODE: Mapping[str, type[ProviderError]] = {
    # out of money, whatever the status
    "insufficient_quota": errors.OutOfMoney,
    "credit_balance_exhausted": errors.OutOfMoney,
    "billing_hard_limit_reached": errors.OutOfMoney,
    "enforced_spend_limit_reached": errors.OutOfMoney,
    "contract_spend_limit_reached": errors.OutOfMoney,
    "billing_error": errors.OutOfMoney,
    "payment_required": errors.OutOfMoney,
    "openrouter_credits": errors.OutOfMoney,
    "openrouter_key_limit": errors.OutOfMoney,  # this and the next two are 403s
    "openrouter_workspace_budget": errors.OutOfMoney,
    "openrouter_guardrail_budget": errors.OutOfMoney,
    "personal-team-blocked:spending-limit": errors.OutOfMoney,  # xAI, a 403
    # rate
    "rate_limit_exceeded": errors.RateLimited,
    "rate_limit_error": errors.RateLimited,
    "ramp_limit_exceeded": errors.RateLimited,
    "slow_down": errors.RateLimited,
    "too_many_requests": errors.RateLimited,
    "RESOURCE_EXHAUSTED": errors.RateLimited,
    "openrouter_in_flight_budget": errors.RateLimited,
    # the provider's trouble
    "server_is_overloaded": errors.ServerFailed,
    "service_unavailable_error": errors.ServerFailed,
    "overloaded_error": errors.ServerFailed,
    "provider_overloaded": errors.ServerFailed,
    "provider_unavailable": errors.ServerFailed,
    "api_error": errors.ServerFailed,
    "server_error": errors.ServerFailed,
    "server": errors.ServerFailed,
    "timeout": errors.ServerFailed,
    "timeout_error": errors.ServerFailed,
    "UNAVAILABLE": errors.ServerFailed,
    "INTERNAL": errors.ServerFailed,
    "DEADLINE_EXCEEDED": errors.ServerFailed,
    # the prompt
    "context_length_exceeded": errors.ContextTooLong,
    "token_limit_exceeded": errors.ContextTooLong,
    "exceed_context_size_error": errors.ContextTooLong,
    "string_too_long": errors.ContextTooLong,
    "content_policy_violation": errors.ContentRefused,
    "content_filter": errors.ContentRefused,
    "refusal": errors.ContentRefused,
    # the model
    "model_not_found": errors.ModelGone,
    "model_not_available": errors.ModelGone,  # Together, as a 400
    "invalid_model": errors.ModelGone,  # Perplexity, as a 400
    "not_found_error": errors.ModelGone,
    "not_found": errors.ModelGone,
    "NOT_FOUND": errors.ModelGone,
    # the key
    "invalid_api_key": errors.AuthFailed,
    "authentication_error": errors.AuthFailed,
    "authentication": errors.AuthFailed,
    "API_KEY_INVALID": errors.AuthFailed,
    "UNAUTHENTICATED": errors.AuthFailed,
    "permission_error": errors.PermissionRefused,
    "permission_denied": errors.PermissionRefused,
    "PERMISSION_DENIED": errors.PermissionRefused,
    "FAILED_PRECONDITION": errors.PermissionRefused,  # Gemini's 400 for a region or an account without billing
    "organization_on_hold": errors.PermissionRefused,  # Anthropic, a 400
    # the request
    "invalid_request_error": errors.BadRequest,
    "invalid_request": errors.BadRequest,
    "invalid_prompt": errors.BadRequest,
    "invalid_image": errors.BadRequest,
    "payload_too_large": errors.BadRequest,
    "precondition_failed": errors.BadRequest,
    "unprocessable": errors.BadRequest,
    "INVALID_ARGUMENT": errors.BadRequest,
}

VAGUE = frozenset(
    {"RESOURCE_EXHAUSTED", "api_error", "invalid_request", "invalid_request_error", "server", "server_error"}
    | {"INVALID_ARGUMENT"}
)
"""Codes that come beside many statuses (DeepSeek calls a bad key `invalid_request_error`, Ollama everything
`api_error`; Gemini's `RESOURCE_EXHAUSTED` is a 402 when the account is empty): they decide only inside a 200 or a
stream, where no status does."""

BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: errors.AuthFailed,
    402: errors.OutOfMoney,
    403: errors.PermissionRefused,
    404: errors.ModelGone,
    405: errors.ModelGone,
    408: errors.ServerFailed,
    409: errors.ServerFailed,
    410: errors.ModelGone,
    412: errors.OutOfMoney,  # Portkey: a budget set there is used up
    429: errors.RateLimited,
    446: errors.ContentRefused,  # Portkey: a guardrail there said no
}


def classify(
    status: int,
    *,
    codes: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
    now_ms: int = 0,
    retry_after_s: float | None = None,
    usage: Usage | None = None,
    cost_nusd: int | None = None,
) -> ProviderError:
    """The error that `status` and the machine-readable `codes` (most telling first) stand for.

    `retry_after_s` is a delay the body named; otherwise the headers (names in lower case) are read. Only a code that
    is in the table is repeated: any other is whatever a stranger wrote, and has been a key before.
    """
    deciding = next((code for code in codes if code in BY_CODE and (status < 400 or code not in VAGUE)), None)
    kind = BY_CODE[deciding] if deciding else _by_status(status)
    if retry_after_s is None and headers is not None and kind.retryable:
        retry_after_s = retry_after(headers, now_ms=now_ms)
    return kind(
        status=status,
        provider_code=deciding or next((code for code in codes if code in BY_CODE), ""),
        retry_after_s=retry_after_s,
        usage=usage,
        cost_nusd=cost_nusd,
    )


def _by_status(status: int) -> type[ProviderError]:
    if status in BY_STATUS:
        return BY_STATUS[status]
    if status < 400:  # says that it succeeded, and did not
        return errors.InvalidAnswer
    return errors.ServerFailed if status >= 500 else errors.BadRequest


def error_in(body: JsonObject, *, usage: Usage | None = None, cost_nusd: int | None = None) -> ProviderError:
    """The error that an OpenAI-style body carries although its status was a success."""
    error = as_object(body.get("error")) or body
    # OpenRouter's code is the status that this answer should have had.
    code = as_count(error.get("code")) or 0
    status = code if 400 <= code <= 599 else 200
    return classify(status, codes=error_codes(body), usage=usage, cost_nusd=cost_nusd)


def error_codes(body: JsonObject) -> tuple[str, ...]:
    """The machine-readable codes in an OpenAI-style error body, most telling first.

    `error` is an object; or a sentence, with `code` beside it (xAI); or its fields stand at the top (vLLM).
    """
    error = as_object(body.get("error")) or body
    metadata = as_object(error.get("metadata"))
    found = (metadata.get("limit_source"), metadata.get("error_type"), error.get("code"), error.get("type"))
    return tuple(filter(None, map(as_text, found)))


def retry_after(headers: Mapping[str, str], *, now_ms: int) -> float | None:
    """Seconds to wait, from whichever header says so; None if none does. Never negative.

    `retry-after-ms` before `retry-after` (seconds or a date), then the latest reset of a rate limit that is used
    up: OpenAI's durations ("6m0s"), Anthropic's RFC 3339 times, OpenRouter's epoch milliseconds, plain seconds.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, ms / 1000)
    if (wait := wait_s(headers.get("retry-after"), now_ms=now_ms)) is not None:
        return wait
    waits = [
        wait
        for name, value in headers.items()
        if "ratelimit" in name and "remaining" in name and _number(value) == 0
        # OpenAI puts the kind last (-remaining-requests), Anthropic first (-requests-remaining).
        if (wait := wait_s(headers.get(name.replace("remaining", "reset")), now_ms=now_ms)) is not None
    ]
    return max(waits, default=None)


def wait_s(value: str | None, *, now_ms: int) -> float | None:
    """Seconds from now, for a number, a duration or a moment; None for anything else."""
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        if seconds > 1e11:  # epoch milliseconds
            seconds = (seconds - now_ms) / 1000
        elif seconds > 1e8:  # epoch seconds
            seconds -= now_ms / 1000
        return max(0.0, seconds)
    if re.fullmatch(rf"(?:{_STEP}){{1,5}}", value):
        return sum(float(number) * _UNIT_S[unit] for number, unit in re.findall(_STEP, value))
    moment = _moment(value)
    return None if moment is None else max(0.0, moment.timestamp() - now_ms / 1000)


_STEP = r"(\d{1,9}(?:\.\d{1,9})?)(ms|d|h|m|s)"
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _moment(value: str) -> dt.datetime | None:
    """An RFC 3339 time or an HTTP date; UTC where it names no zone."""
    for parse in (dt.datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(value)
        except (ValueError, OverflowError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return None


def _number(value: str | None) -> float | None:
    if value is None or not re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", value.strip()):
        return None
    return float(value)
