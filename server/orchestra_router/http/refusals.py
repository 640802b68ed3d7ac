"""Everything that can go wrong, as an HTTP client sees it: a status, and JSON in OpenAI's shape, in our own words.

`x-should-retry` is read by OpenAI's SDKs before the status: what costs money, or cannot end well, is not repeated by
itself.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from orchestra_router import errors
from orchestra_router.errors import AllAttemptsFailed, ProviderError, RouterError
from orchestra_router.types import usd

Kind = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "budget_error",
    "api_error",
]

_BY_CODE: Mapping[str, tuple[int, Kind]] = {
    errors.InvalidRequest.code: (400, "invalid_request_error"),
    errors.UnknownModel.code: (404, "not_found_error"),
    errors.AccessDenied.code: (403, "permission_error"),
    errors.KeyLimitReached.code: (429, "rate_limit_error"),
    errors.GuardrailBlocked.code: (400, "invalid_request_error"),
    errors.NoRoute.code: (400, "invalid_request_error"),
    errors.CacheMiss.code: (404, "not_found_error"),
    # 429 is what OpenAI answers, and what many clients repeat; nobody repeats a 402.
    errors.BudgetExceeded.code: (402, "budget_error"),
    errors.DeadlineExceeded.code: (504, "api_error"),
    errors.AllAttemptsFailed.code: (502, "api_error"),
    errors.StoreError.code: (503, "api_error"),
    errors.ConfigError.code: (503, "api_error"),
}
_BY_FAILURE: Mapping[str, tuple[int, Kind, str]] = {
    errors.BadRequest.code: (400, "invalid_request_error", "bad_request"),
    errors.ContextTooLong.code: (400, "invalid_request_error", "context_length_exceeded"),
    errors.ContentRefused.code: (400, "invalid_request_error", "content_filter"),
    errors.RateLimited.code: (429, "rate_limit_error", "rate_limit_exceeded"),
}
"""What the last provider said, where the caller can do something about it."""


class ProblemBody(BaseModel):
    message: str
    type: Kind
    param: str | None
    code: str


class Problem(BaseModel):
    """The shape of every error."""

    error: ProblemBody


class Refused(Exception):
    """An answer that is an error of HTTP's own: no such path, no token, a body that is too large."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: Kind = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = _error(message, kind, code, param)
        self.headers = {"x-should-retry": "false"} | dict(headers or {})


def refused(error: RouterError) -> Refused:
    """`error` as it is answered."""
    status, kind = _BY_CODE.get(error.code, (500, "api_error"))
    code, message = error.code, str(error)
    if isinstance(error, AllAttemptsFailed):
        status, kind, code = _all_failed(error)
    headers: dict[str, str] = {}
    wait_s = error.retry_after_s
    if wait_s is not None:
        # A client that waits as long as it is told to may ask again by itself.
        headers = {"retry-after": str(math.ceil(wait_s)), "x-should-retry": "true"}
    if cost_nusd := sum(attempt.cost_nusd for attempt in error.attempts):
        headers["x-orchestra-cost-usd"] = f"{usd(cost_nusd):.9f}"
    return Refused(status, code, message, kind=kind, headers=headers)


def _all_failed(error: AllAttemptsFailed) -> tuple[int, Kind, str]:
    last: ProviderError = error.failures[-1]
    if isinstance(last, errors.RateLimited) and error.retry_after_s is None:
        return 502, "api_error", error.code
    return _BY_FAILURE.get(last.code, (502, "api_error", error.code))


def _error(message: str, kind: str, code: str, param: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class JsonAnswer:
    """JSON that is sent as it is; a response without Starlette's per-response work."""

    def __init__(self, data: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self._data = data
        self._headers = dict(headers or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        body = json.dumps(self._data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self._headers.items()]
        headers += [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def refusal(error: Refused) -> JsonAnswer:
    return JsonAnswer(error.body, status=error.status, headers=error.headers)
