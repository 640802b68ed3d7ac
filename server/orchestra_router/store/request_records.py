"""What became of a request."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestra_router.store.cache_records import CacheMatch
from orchestra_router.store.ledger_records import Period
from orchestra_router.store.log_records import Exchange
from orchestra_router.types import CacheStatus, Refusal, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class CheapStep:
    """An escalation's cheap step that answered, and whether its answer was good enough."""

    prompt_kind: str
    provider: str
    model: str
    escalated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request, whatever became of it. Prompt and answer are not in it, but in its `exchange` if anywhere."""

    request_id: str
    trace_id: str
    scope: Scope
    period: Period
    task: str
    outcome: str
    """"ok", or the code of the error."""
    cache: CacheStatus
    provider: str
    model: str
    cost_nusd: int
    saved_nusd: int
    attempts: int
    created_ms: int
    latency_ms: int
    redactions: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many of each kind the guard replaced: {"ssn": 1}."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    cheap_step: CheapStep | None = None
    cache_reason: str = ""
    """Why it was not a hit, in short and without anything of the prompt."""
    cache_entry: str = ""
    """The entry that answered it."""
    cache_match: CacheMatch | None = None
    """The entry that answered it by meaning, or would have."""
    escalation_saved_nusd: int = 0
    """What the strong model would likely have cost more, where a cheap one's answer was good enough."""
    wasted_nusd: int = 0
    """Of the cost: for answers that another was used in place of."""
    reason: str = ""
    """Why the deployment that answered was on the route."""
    tried: tuple[tuple[str, str], ...] = ()
    """The deployments that were asked, in order, each with its outcome."""
    refusal: Refusal | None = None
    """The budget whose refusal ended it."""
    exchange: Exchange | None = None
    """Its texts, where they are to be kept."""


class RequestStore(Protocol):
    """The part of a store that keeps requests on record."""

    def record(self, record: RequestRecord) -> Awaitable[None]:
        """Done whether or not it is waited for; everything that is read later, in this process, knows it."""
        ...

    async def attempts_of(self, request_or_trace_id: str) -> tuple[Mapping[str, object], ...]:
        """The attempts of one request, oldest first, as plain columns, for the trail."""
        ...

    async def requests_of(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        """The recorded requests of one trace, oldest first, as plain columns."""
        ...
