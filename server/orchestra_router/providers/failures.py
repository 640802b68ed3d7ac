"""Which error an answer is: one table for all providers.

Machine-readable codes decide first, because the status alone does not (out of money arrives as 429 at two
vendors); then the status. A vendor's prose never decides: it changes without notice.
"""

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from orchestra_router import errors
from orchestra_router.errors import ProviderError
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
    # rate
    "rate_limit_exceeded": errors.RateLimited,
    "rate_limit_error": errors.RateLimited,
    "ramp_limit_exceeded": errors.RateLimited,
    "slow_down": errors.RateLimited,
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
    "content_policy_violation": errors.ContentRefused,
    "content_filter": errors.ContentRefused,
    "refusal": errors.ContentRefused,
    # the model
    "model_not_found": errors.ModelGone,
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
}

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

    `retry_after_s` is a delay the body named; otherwise the headers (names in lower case) are read.
    """
    kind = next((BY_CODE[code] for code in codes if code in BY_CODE), None) or _by_status(status)
    if retry_after_s is None and headers is not None:
        retry_after_s = retry_after(headers, now_ms=now_ms)
    return kind(
        status=status,
        provider_code=safe_code(codes[0]) if codes else "",
        retry_after_s=retry_after_s,
        usage=usage,
        cost_nusd=cost_nusd,
    )


def _by_status(status: int) -> type[ProviderError]:
    if status in BY_STATUS:
        return BY_STATUS[status]
    return errors.ServerFailed if status >= 500 else errors.BadRequest


def safe_code(code: str) -> str:
    """`code` if it looks like one, else "": nothing a stranger wrote as prose reaches a message or a log."""
    return code if re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", code) else ""


def retry_after(headers: Mapping[str, str], *, now_ms: int) -> float | None:
    """Seconds to wait, from whichever header says so; None if none does. Never negative.

    `retry-after-ms` before `retry-after` (seconds or an HTTP date), then the latest reset of a rate limit
    that is used up: OpenAI's durations ("6m0s"), Anthropic's RFC 3339 times, plain seconds.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return max(0.0, ms / 1000)
    if value := headers.get("retry-after"):
        if (seconds := _number(value)) is not None:
            return max(0.0, seconds)
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=dt.UTC)
        return max(0.0, when.timestamp() - now_ms / 1000)
    waits = [
        wait
        for name, value in headers.items()
        if "ratelimit" in name and "remaining" in name and _number(value) == 0
        if (wait := _reset(headers.get(_reset_name(name)), now_ms=now_ms)) is not None
    ]
    return max(waits, default=None)


def _reset_name(name: str) -> str:
    """OpenAI puts the kind last (-remaining-requests), Anthropic first (-requests-remaining)."""
    return name.replace("remaining", "reset")


def _reset(value: str | None, *, now_ms: int) -> float | None:
    if value is None:
        return None
    if (seconds := _number(value)) is not None:
        # A large number is a moment (epoch seconds or milliseconds), a small one a wait.
        if seconds > 1e11:
            return max(0.0, (seconds - now_ms) / 1000)
        return max(0.0, seconds - now_ms / 1000) if seconds > 1e8 else max(0.0, seconds)
    if parts := re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", value):
        unit = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
        return sum(float(number) * unit[name] for number, name in parts)
    try:
        return max(0.0, dt.datetime.fromisoformat(value).timestamp() - now_ms / 1000)
    except ValueError:
        return None


def _number(value: str | None) -> float | None:
    if value is None or not re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", value.strip()):
        return None
    return float(value)
