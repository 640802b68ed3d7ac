"""How each provider says no: its status, its codes, its shape.

The shapes are the vendors'; the words are ours. Where a vendor's words are what clients see every day (xAI's
sentences in `code`, DeepSeek's `Model Not Exist`), the beginning is kept.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Kind = Literal[
    "auth",
    "permission",
    "out_of_money",
    "rate_limited",
    "overloaded",
    "server",
    "timeout",
    "context",
    "content",
    "gone",
    "bad_request",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One refusal, before it is put in a vendor's shape."""

    status: int
    type: str = ""
    code: str | None = None
    message: str = ""
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    details: tuple[Mapping[str, Any], ...] = ()
    """Gemini's."""


class Refused(Exception):
    """A simulated provider does not accept this request."""

    def __init__(
        self,
        kind: Kind,
        message: str = "",
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.status = status


_WAIT = {"retry-after": "1"}


def _f(status: int, type_: str, code: str | None = None, message: str = "", **more: Any) -> Failure:
    return Failure(status=status, type=type_, code=code, message=message, **more)


_OPENAI: Mapping[Kind, Failure] = {
    "auth": _f(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "permission": _f(403, "request_forbidden", "unsupported_country_region_territory", "Not available in your region."),
    "out_of_money": _f(429, "insufficient_quota", "credit_balance_exhausted", "No credit is left."),
    "rate_limited": _f(429, "requests", "rate_limit_exceeded", "Too many requests.", headers=_WAIT),
    "overloaded": _f(503, "service_unavailable_error", "server_is_overloaded", "Overloaded."),
    "server": _f(500, "server_error", None, "The server had an error."),
    "timeout": _f(504, "server_error", None, "The request took too long."),
    "context": _f(400, "invalid_request_error", "context_length_exceeded", "The prompt is too long.", param="messages"),
    "content": _f(400, "invalid_request_error", "content_policy_violation", "The request was refused."),
    "gone": _f(404, "invalid_request_error", "model_not_found", "The model does not exist.", param="model"),
    "bad_request": _f(400, "invalid_request_error", None, "The request is malformed."),
}

# An unknown model is a 400 without a code of its own (seen 2025-03 to 2026-07), whatever its documentation leaves out.
_DEEPSEEK: Mapping[Kind, Failure] = {
    "auth": _f(401, "authentication_error", "invalid_request_error", "Authentication Fails."),
    "permission": _f(403, "permission_error", "invalid_request_error", "Not permitted."),
    "out_of_money": _f(402, "unknown_error", "invalid_request_error", "Insufficient Balance"),
    "rate_limited": _f(429, "rate_limit_error", "rate_limit_exceeded", "Too many requests at once."),
    "overloaded": _f(503, "service_unavailable_error", "service_unavailable_error", "Service is too busy."),
    "server": _f(500, "internal_error", "internal_error", "Internal error."),
    "timeout": _f(504, "timeout", "timeout", "Timed out."),
    "context": _f(400, "invalid_request_error", "invalid_request_error", "The prompt exceeds the maximum context."),
    "content": _f(400, "invalid_request_error", "content_filter", "Content Exists Risk"),
    "gone": _f(400, "invalid_request_error", "invalid_request_error", "Model Not Exist"),
    "bad_request": _f(400, "invalid_request_error", "invalid_request_error", "The request is malformed."),
}

# A model that is no longer served is a 400 with this code; only an id that never was is a 404 (seen 2024-12 to 2026).
_TOGETHER: Mapping[Kind, Failure] = {
    **_OPENAI,
    "permission": _f(403, "invalid_request_error", "permission_denied", "Not permitted."),
    "out_of_money": _f(402, "credit_limit", "billing_hard_limit_reached", "The spending limit is reached."),
    "rate_limited": _f(429, "rate_limit", "rate_limit_exceeded", "Too many requests.", headers=_WAIT),
    "overloaded": _f(503, "service_unavailable", "service_unavailable_error", "Overloaded."),
    "context": _f(400, "invalid_request_error", "context_length_exceeded", "The prompt is too long."),
    "gone": _f(400, "invalid_request_error", "model_not_available", "Unable to access non-serverless model"),
}

_OLLAMA: Mapping[Kind, Failure] = {
    **_OPENAI,
    "auth": _f(401, "authentication_error", None, "unauthorized"),
    "gone": _f(404, "not_found_error", None, "model not found, try pulling it first"),
    "overloaded": _f(503, "api_error", None, "server busy"),
    "server": _f(500, "api_error", None, "model runner has unexpectedly stopped"),
}

_PERPLEXITY: Mapping[Kind, Failure] = {
    "auth": _f(401, "invalid_api_key", "invalid_api_key", "Invalid API key provided."),
    "permission": _f(403, "permission_denied", "permission_denied", "Not permitted."),
    "out_of_money": _f(402, "payment_required", "insufficient_quota", "No credit is left."),
    "rate_limited": _f(429, "rate_limit_exceeded", "rate_limit_exceeded", "Too many requests.", headers=_WAIT),
    "overloaded": _f(503, "server_error", "service_unavailable_error", "Overloaded."),
    "server": _f(500, "server_error", "server_error", "Something failed."),
    "timeout": _f(504, "server_error", "timeout", "Timed out."),
    "context": _f(400, "invalid_request", "context_length_exceeded", "The input is too long."),
    "content": _f(400, "invalid_request", "content_policy_violation", "The request was refused."),
    "gone": _f(400, "invalid_model", "invalid_model", "Invalid model."),
    "bad_request": _f(400, "invalid_request", "invalid_request", "The request is malformed."),
}

_ANTHROPIC: Mapping[Kind, Failure] = {
    "auth": _f(401, "authentication_error", None, "invalid x-api-key"),
    "permission": _f(403, "permission_error", None, "Not permitted."),
    "out_of_money": _f(429, "rate_limit_error", "enforced_spend_limit_reached", "The monthly spend limit is reached."),
    "rate_limited": _f(429, "rate_limit_error", None, "Too many requests.", headers=_WAIT),
    "overloaded": _f(529, "overloaded_error", None, "Overloaded"),
    "server": _f(500, "api_error", None, "Internal server error"),
    "timeout": _f(504, "timeout_error", None, "Timed out."),
    "context": _f(400, "invalid_request_error", None, "prompt is too long: 1000001 tokens > 1000000 maximum"),
    "content": _f(400, "invalid_request_error", None, "Output blocked by content filtering policy"),
    "gone": _f(404, "not_found_error", None, "model:"),
    "bad_request": _f(400, "invalid_request_error", None, "The request is malformed."),
}

_BAD_KEY = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "generativelanguage.googleapis.com"},
}
_RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
_QUOTA = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [
        {
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_requests",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel",
        }
    ],
}

_GEMINI: Mapping[Kind, Failure] = {
    "auth": _f(400, "INVALID_ARGUMENT", None, "API key not valid.", details=(_BAD_KEY,)),
    "permission": _f(403, "PERMISSION_DENIED", None, "Not permitted."),
    "out_of_money": _f(402, "RESOURCE_EXHAUSTED", None, "The prepaid balance is empty."),
    "rate_limited": _f(429, "RESOURCE_EXHAUSTED", None, "Quota exceeded.", details=(_QUOTA, _RETRY_INFO)),
    "overloaded": _f(503, "UNAVAILABLE", None, "The model is overloaded."),
    "server": _f(500, "INTERNAL", None, "An internal error has occurred."),
    "timeout": _f(504, "DEADLINE_EXCEEDED", None, "The deadline expired."),
    "context": _f(400, "INVALID_ARGUMENT", None, "The input token count exceeds the maximum number of tokens allowed."),
    "content": _f(400, "INVALID_ARGUMENT", None, "The request was refused."),
    "gone": _f(404, "NOT_FOUND", None, "The model is not found."),
    "bad_request": _f(400, "INVALID_ARGUMENT", None, "Request contains an invalid argument."),
}

# The sentences are the fixed descriptions of gRPC's status codes, and so in effect codes.
_INVALID = "Client specified an invalid argument"
_XAI: Mapping[Kind, Failure] = {
    "auth": _f(401, "", "The request does not have valid authentication credentials", "No API key was given."),
    "permission": _f(403, "", "The caller does not have permission to execute the specified operation", "Blocked."),
    "out_of_money": _f(
        403, "", "The caller does not have permission to execute the specified operation", "No credits are left."
    ),
    "rate_limited": _f(429, "", "Some resource has been exhausted", "Too many requests.", headers=_WAIT),
    "overloaded": _f(503, "", "The service is currently unavailable", "The service is at capacity."),
    "server": _f(500, "", "Internal error", "Something failed."),
    "timeout": _f(504, "", "Deadline expired before operation could complete", "Timed out."),
    "context": _f(400, "", _INVALID, "This model's maximum prompt length is exceeded."),
    "content": _f(403, "", "The caller does not have permission to execute the specified operation", "Refused."),
    "gone": _f(404, "", "Some requested entity was not found", "The model does not exist."),
    "bad_request": _f(400, "", _INVALID, "The request is malformed."),
}

_OPENROUTER: Mapping[Kind, Failure] = {
    "auth": _f(401, "authentication", None, "User not found."),
    "permission": _f(403, "permission_denied", None, "Not permitted."),
    "out_of_money": _f(402, "payment_required", None, "Insufficient credits."),
    "rate_limited": _f(429, "rate_limit_exceeded", None, "Rate limit exceeded.", headers=_WAIT),
    "overloaded": _f(529, "provider_overloaded", None, "The provider is overloaded."),
    "server": _f(502, "provider_unavailable", None, "The provider returned an error."),
    "timeout": _f(524, "timeout", None, "The provider took too long."),
    "context": _f(400, "context_length_exceeded", None, "The prompt exceeds the context length."),
    "content": _f(403, "content_policy_violation", None, "The input was flagged."),
    "gone": _f(404, "not_found", None, "No endpoints found."),
    "bad_request": _f(400, "invalid_request", None, "The request is malformed."),
}

FAILURES: Mapping[str, Mapping[Kind, Failure]] = {
    "openrouter": _OPENROUTER,
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "deepseek": _DEEPSEEK,
    "gemini": _GEMINI,
    "perplexity": _PERPLEXITY,
    "together": _TOGETHER,
    "xai": _XAI,
    "ollama": _OLLAMA,
}

_BY_STATUS: Mapping[int, Kind] = {
    401: "auth",
    402: "out_of_money",
    403: "permission",
    404: "gone",
    408: "timeout",
    429: "rate_limited",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}


def failure(provider: str, kind: Kind) -> Failure:
    return FAILURES[provider][kind]


def with_status(provider: str, status: int) -> Failure:
    """The failure `provider` would send with `status`, as near as its own kinds come."""
    kind = _BY_STATUS.get(status, "server" if status >= 500 else "bad_request")
    return replace(failure(provider, kind), status=status)


def refusal(provider: str, refused: Refused) -> Failure:
    plain = failure(provider, refused.kind)
    return replace(
        plain,
        status=refused.status or plain.status,
        code=refused.code or plain.code,
        message=refused.message or plain.message,
        param=refused.param or plain.param,
    )


def body(provider: str, failure: Failure, *, request_id: str) -> dict[str, Any]:
    """`failure` in the provider's own shape."""
    return _SHAPES.get(provider, _openai_shape)(failure, request_id)


def _openai_shape(failure: Failure, _request_id: str) -> dict[str, Any]:
    """Of OpenAI, DeepSeek, Together and Ollama."""
    error = {"message": failure.message, "type": failure.type, "param": failure.param, "code": failure.code}
    return {"error": error}


def _perplexity_shape(failure: Failure, _request_id: str) -> dict[str, Any]:
    return {"error": {"message": failure.message, "type": failure.type, "code": failure.code}}


def _anthropic_shape(failure: Failure, request_id: str) -> dict[str, Any]:
    details = {"error_code": failure.code} if failure.code else None
    error = {"type": failure.type, "message": failure.message, "details": details}
    return {"type": "error", "error": error, "request_id": request_id}


def _gemini_shape(failure: Failure, _request_id: str) -> dict[str, Any]:
    error: dict[str, Any] = {"code": failure.status, "message": failure.message, "status": failure.type}
    return {"error": error | ({"details": list(failure.details)} if failure.details else {})}


def _xai_shape(failure: Failure, _request_id: str) -> dict[str, Any]:
    """The code is a sentence, and the error a string."""
    return {"code": failure.code, "error": failure.message}


def _openrouter_shape(failure: Failure, _request_id: str) -> dict[str, Any]:
    error = {"code": failure.status, "message": failure.message, "metadata": {"error_type": failure.type}}
    return {"error": error, "user_id": "user_simulated"}


_SHAPES: Mapping[str, Callable[[Failure, str], dict[str, Any]]] = {
    "anthropic": _anthropic_shape,
    "gemini": _gemini_shape,
    "xai": _xai_shape,
    "openrouter": _openrouter_shape,
    "perplexity": _perplexity_shape,
}


def as_bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
