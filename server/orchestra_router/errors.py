"""Every way a request can fail, and what follows from each.

    RouterError                   what a caller may see; `code` is closed, the words are ours
    ├── InvalidRequest            the caller's arguments cannot be served as they are
    │   └── UnknownModel          nobody here knows the model that is named
    ├── ConfigError               orchestra.toml or the environment cannot be used
    ├── AccessDenied              whoever asks is not known, or may not do this
    ├── KeyLimitReached           the access key has asked as much as it may, for now
    ├── GuardrailBlocked          the prompt or the answer was refused
    ├── BudgetExceeded            a budget, or the request's own cost cap, cannot pay for the worst case
    ├── NoRoute                   nothing that is configured can serve the request
    │   └── PassedOver            one deployment of the route is not to be asked just now
    ├── CacheMiss                 only a cached answer was wanted, and there is none
    ├── DeadlineExceeded          the request's time is up
    ├── AllAttemptsFailed         every deployment on the route failed; holds every failure
    ├── BatchFailed               no prompt of a batch was answered; holds every failure
    ├── StoreError                the database cannot be read or written
    ├── EmbedderUnavailable       prompts cannot be compared by meaning; everything else goes on
    └── ProviderError             one attempt failed at one deployment
        ├── ConnectFailed         never dispatched: DNS, connect, TLS
        │   └── AddressRefused    its name leads to where nothing may be sent
        ├── RateLimited           429 that passes
        ├── ServerFailed          500, 502, 503, 504, 529, 408, 524, 409
        │   └── ReadTimeout       dispatched, and no answer in time
        ├── InvalidAnswer         a 200 that is an error, empty, or not what the format says
        ├── StreamBroken          the answer broke off after its first byte
        ├── AuthFailed            401, and 403 for a key
        ├── PermissionRefused     403 for a region, a model, a prompt, a policy on the account
        ├── OutOfMoney            the account at the provider is empty (402, and some 429)
        ├── ModelGone             404, 410 and kin: this model is not served here
        ├── BadRequest            400, 413, 422: every provider would refuse
        ├── ContextTooLong        the prompt does not fit this model
        └── ContentRefused        the provider's content policy

The class variables of `ProviderError` are the failure contract: one row per class, tested row by row.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from orchestra_router.types import Attempt, Refusal, Usage

Cools = Literal["nothing", "provider", "key", "deployment"]
Money = Literal["release", "uncertain"]
FallsBack = Literal["next", "larger_context", "no"]


class RouterError(Exception):
    """A failure the caller is told about, in words that say what to do next."""

    code: ClassVar[str] = "internal"
    retry_after_s: float | None = None
    """Seconds after which the same request may succeed; None when waiting does not help."""
    attempts: tuple[Attempt, ...] = ()
    """What was tried, and what it cost, before the request failed."""
    partial_text: str = ""
    """What had come of an answer that broke off, checked like any answer."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class InvalidRequest(RouterError):
    code = "invalid_request"


class UnknownModel(InvalidRequest):
    code = "model_not_found"


class ConfigError(RouterError):
    code = "config"
    secrets: tuple[str, ...] = ()
    """The keys there are all the same, so that whoever writes something down knows them. Never shown."""


class AccessDenied(RouterError):
    code = "access_denied"


class KeyLimitReached(RouterError):
    """Our own limit, so no other provider is asked instead."""

    code = "rate_limited"
    in_flight: bool = False
    """Only requests that are under way are in the way."""


class GuardrailBlocked(RouterError):
    code = "guardrail_blocked"


class BudgetExceeded(RouterError):
    code = "budget_exceeded"
    left_nusd: int | None = None
    """What could still be paid, by every budget or under the request's own cap; None where nobody has counted."""
    in_flight: bool = False
    """Only what is held for calls in flight is in the way."""
    over_nusd: int = 0
    """How far the call would go over its budgets. Nobody but a person may allow that, for this one call."""
    refusal: Refusal | None = None
    """For the record; None where it is the request's own cap that is in the way."""


class NoRoute(RouterError):
    code = "no_route"


class PassedOver(NoRoute):
    """For a reason that was not there yet when the route was planned."""


class CacheMiss(RouterError):
    code = "cache_miss"


class BatchFailed(RouterError):
    code = "batch_failed"

    def __init__(self, message: str, failures: Sequence[RouterError], *, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.failures = tuple(failures)
        self.attempts = tuple(attempt for failure in failures for attempt in failure.attempts)


class DeadlineExceeded(RouterError):
    code = "deadline_exceeded"


class StoreError(RouterError):
    """The database cannot be used. Nothing is overwritten: the message names the file and the way out."""

    code = "store"


class EmbedderUnavailable(RouterError):
    """There are no weights, or not the right ones. Whoever wanted a vector goes on without."""

    code = "embedder_unavailable"


class ProviderError(RouterError):
    """One attempt failed at one deployment.

    The message never holds the provider's own text: that is written by strangers and would reach a model.
    `provider_code` is its machine-readable code, cut down to a safe alphabet.
    """

    code = "provider_failed"
    retryable: ClassVar[bool] = False
    """Worth asking the same deployment again."""
    retries: ClassVar[int | None] = None
    """At most this many retries at the same deployment, whatever the request allows."""
    falls_back: ClassVar[FallsBack] = "next"
    """Which other deployments are worth asking."""
    cools: ClassVar[Cools] = "deployment"
    """What is set aside for a while."""
    money: ClassVar[Money] = "release"
    """What the hold becomes when the provider sent no usage: freed, or kept at the estimate."""
    summary: ClassVar[str] = "failed"

    def __init__(
        self,
        *,
        status: int | None = None,
        provider_code: str = "",
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        cost_nusd: int | None = None,
        partial_text: str = "",
    ) -> None:
        super().__init__("", retry_after_s=retry_after_s)
        self.in_answer = False
        """It came out of an answer that had begun with a success, so it may have been billed whatever it says."""
        self.probing = False
        """It was the one try of a deployment that had been set aside."""
        self.deployment = ""
        """Set by whoever knows it: "xai/grok-beta"."""
        self.key_from = ""
        """The variable of the key that it was asked with, where the provider has several and the key is to blame."""
        self.replacement = ""
        """The model to use instead, where one is known."""
        self.status = status
        self.provider_code = provider_code
        self.usage = usage
        self.cost_nusd = cost_nusd
        self.partial_text = partial_text

    def __str__(self) -> str:
        facts = [str(self.status)] if self.status is not None else []
        if self.provider_code:
            facts.append(self.provider_code)
        text = f"{self.deployment or 'the provider'} {self.summary}"
        said = [" ".join(facts)] if facts else []
        if self.key_from:
            said.append(f"key from {self.key_from}")
        if said:
            text += f" ({'; '.join(said)})"
        if self.replacement:
            text += f"; use {self.replacement} instead"
        return text


class ConnectFailed(ProviderError):
    code = "connect_failed"
    retryable = True
    retries = 1
    cools = "provider"
    summary = "could not be reached"


class AddressRefused(ConnectFailed):
    retryable = False
    summary = (
        "is at an address of a private network or a metadata service, so it was not connected to; if its network is"
        " private and yours, name its host in private_hosts"
    )


class RateLimited(ProviderError):
    code = "rate_limited"
    retryable = True
    cools = "key"
    summary = "limits the rate of requests"


class ServerFailed(ProviderError):
    code = "server_failed"
    retryable = True
    money = "uncertain"
    summary = "answered with a server error"


class ReadTimeout(ServerFailed):
    code = "timeout"
    summary = "did not answer in time"


class InvalidAnswer(ProviderError):
    code = "invalid_answer"
    retryable = True
    money = "uncertain"
    summary = "answered with something that is not an answer"


class StreamBroken(ProviderError):
    code = "stream_broken"
    falls_back = "no"
    money = "uncertain"
    summary = "broke off in the middle of its answer"


class AuthFailed(ProviderError):
    code = "auth_failed"
    cools = "key"
    summary = "refused the key"


class PermissionRefused(ProviderError):
    # Vendors send it for one flagged prompt too, so it says nothing about what else the key may do.
    code = "permission_refused"
    summary = "does not permit this call"


class OutOfMoney(ProviderError):
    code = "out_of_money"
    cools = "key"
    summary = "says that the account is out of credit"


class ModelGone(ProviderError):
    code = "model_gone"
    summary = "does not serve this model any more"


class BadRequest(ProviderError):
    code = "bad_request"
    falls_back = "no"
    cools = "nothing"
    summary = "refused the request as malformed"


class ContextTooLong(ProviderError):
    code = "context_too_long"
    falls_back = "larger_context"
    cools = "nothing"
    summary = "cannot read a prompt this long"


class ContentRefused(ProviderError):
    code = "content_refused"
    falls_back = "no"
    cools = "nothing"
    summary = "refused the content under its policy"


class AllAttemptsFailed(RouterError):
    """Every deployment on the route failed; `failures` holds each, in order."""

    code = "all_attempts_failed"

    def __init__(self, message: str, failures: Sequence[ProviderError], *, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.failures = tuple(failures)
