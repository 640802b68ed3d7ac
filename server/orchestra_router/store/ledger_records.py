"""What is set aside for attempts, and how they end.

The ledger is the attempt table. A row is written before dispatch with the worst case (`hold`) and becomes

    held ──> settled      the cost is known
         ──> released     nothing is owed
         ──> uncertain    dispatched, outcome unknown: counts at the estimate until the truth is known
    uncertain ──> settled, released    the truth came late

Every other change of state is ignored, so settling twice changes nothing.
"""

from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestra_router.store.alert_records import Alert, Seen, Watch
from orchestra_router.store.health_records import SharedAllowance
from orchestra_router.store.key_records import Throttled
from orchestra_router.types import CostSource, Scope, Usage

EMBEDDING = "embedding-"
"""How the request id of an attempt begins that embedded a prompt. Such an attempt is no request."""
AttemptState = Literal["held", "settled", "released", "uncertain"]


@dataclass(frozen=True, slots=True)
class Period:
    """The calendar day ("2026-11-23") and month ("2026-11") that an attempt is charged to."""

    day: str
    month: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget: what `holder` ("global", "key:<id>", "user:<id>", "task:<name>") may spend in `period`, a day or a
    month.
    """

    holder: str
    period: str
    limit_nusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Money set aside for one attempt, before it is sent."""

    attempt_id: str
    request_id: str
    trace_id: str
    number: int
    """1 for the first attempt of its request."""
    scope: Scope
    period: Period
    task: str
    provider: str
    model: str
    """Our name of the model; the provider's own id is `offer_id`."""
    offer_id: str
    amount_nusd: int
    created_ms: int
    expires_ms: int
    """When nobody has settled it by then, nobody will."""
    likely_tokens: int = 0
    """What it will probably take, prompt and answer together."""
    approved_nusd: int = 0
    """What a person lets this request go over its budgets, all its attempts together."""
    approved_by: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """The budget that could not pay: `spent` is settled and uncertain money, `held` what is in flight."""

    limit: Limit
    spent_nusd: int
    held_nusd: int
    left_nusd: int
    """The most that every budget could still pay; below 0 where one has been passed."""
    in_flight: bool = False
    """Without what is held, every budget could pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How one attempt ended. For `released` the cost is 0; for `uncertain` it is the estimate that counts."""

    attempt_id: str
    state: AttemptState
    cost_nusd: int
    cost_source: CostSource
    is_overrun: bool = False
    """It took more money or tokens than its hold says: until it is written, others find more left than there is."""
    reported_nusd: int | None = None
    """What the provider said it costs, kept beside ours."""
    computed_nusd: int | None = None
    """What our prices say it costs, where the provider's own figure counts."""
    usage: Usage | None = None
    outcome: str = "ok"
    """"ok", or the code of the error."""
    status: int | None = None
    latency_ms: int = 0
    first_token_ms: int | None = None
    waited_ms: int = 0
    """Slept before this attempt (backoff, Retry-After)."""
    provider_request_id: str = ""
    finished_ms: int = 0
    allowances: tuple[SharedAllowance, ...] = ()
    """What the answer's headers said is nearly used up."""
    watches: tuple[Watch, ...] = ()
    sightings: tuple[Seen, ...] = ()
    """Looked at in the same transaction, for the sums and the time are right then."""


@dataclass(frozen=True, slots=True)
class Settled:
    changed: bool
    """False: it had ended before, or is not known, so nothing was written."""
    alerts: tuple[Alert, ...] = ()
    """What the caller, and nobody else, is to tell of."""
    unwatched: str = ""
    """Why no alerts could be raised; "" where that went well."""


@dataclass(frozen=True, slots=True)
class Spent:
    spent_nusd: int
    held_nusd: int


class LedgerStore(Protocol):
    """The ledger's part of a store."""

    async def hold(self, hold: Hold, limits: Sequence[Limit]) -> Denied | Throttled | None:
        """Set `hold` aside if every limit can pay for it and its access key may, else say what is in the way.

        Check and write are atomic. Whoever is cancelled meanwhile has to end it, for it may have been set aside.
        """
        ...

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        """End a hold, and raise what alerts follow from that; done whether or not it is waited for.

        Of the holds that this process asks for later, none is granted or denied because it is not written yet.
        """
        ...

    async def reclaim(self, *, now_ms: int, keep: Collection[str] = ()) -> int:
        """Turn the holds of dead processes, and expired ones, into `uncertain`; returns how many.

        Those of the attempts in `keep` stay: how they ended is known and only not written yet.
        """
        ...

    async def spent(self, holder: str, period: str) -> Spent: ...
