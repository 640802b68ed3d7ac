"""What the router asks of a store. SQLite is behind it; another database has to pass the same tests.

The ledger is the attempt table. A row is written before dispatch with the worst case (`hold`) and becomes

    held ──> settled      the cost is known
         ──> released     nothing is owed
         ──> uncertain    dispatched, outcome unknown: counts at the estimate until the truth is known
    uncertain ──> settled, released    the truth came late

Every other change of state is ignored, so settling twice changes nothing.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from orchestra_router.store.audit_records import AuditCheck, AuditEvent, AuditRow
from orchestra_router.store.cache_records import (
    CacheContents,
    CacheEntry,
    CacheFindings,
    CacheGroupBy,
    CacheLimits,
    CacheMatch,
    CacheQuestion,
    CacheRates,
    CacheReading,
    CacheVector,
    ShelfFindings,
    ShelfQuestion,
    ShelvedVector,
    WrongPair,
)
from orchestra_router.store.key_records import KeyStore, Throttled
from orchestra_router.store.log_records import Exchange
from orchestra_router.store.personal_records import Erased, Row
from orchestra_router.store.view_records import ViewStore
from orchestra_router.types import Allowance, CacheStatus, CostSource, Refusal, Scope, Usage

EMBEDDING = "embedding-"
"""How the request id of an attempt begins that embedded a prompt. Such an attempt is no request."""
AttemptState = Literal["held", "settled", "released", "uncertain"]
GroupBy = Literal["provider", "model", "task", "day", "hour", "user", "access_key", "session", "metadata"]
"""What a report has one row for. Of `metadata`, one field's values. Hours, sessions and metadata are read from the
records themselves, and so known for as long as those are kept; the rest stands in sums that are kept for ever."""


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


AlertKind = Literal["spend", "budget", "rate", "uncertain", "price", "model", "key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something a person should know. Raised once for each `kind`, `holder`, `period` and `threshold_nusd`."""

    kind: AlertKind
    holder: str
    """Whose money it is about; for a price, a model or a key, which one."""
    period: str
    """A day, a month or an hour ("2026-11-23T16", UTC)."""
    threshold_nusd: int
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An alert to raise once `holder` has spent `threshold_nusd` in `period`, and more than what is usual."""

    kind: AlertKind
    holder: str
    period: str
    threshold_nusd: int
    text: str
    times_usual: int = 0
    """More than so many times the median of the periods of this length since `since`. 0: that does not matter."""
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What something is at now; an alert is raised when it was something else before."""

    kind: AlertKind
    subject: str
    about: str
    """`subject`, as a sentence about it begins."""
    value: str
    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An alert that waits in the outbox, claimed by one process."""

    delivery_id: str
    alert: Alert
    tries: int
    """How often it could not be delivered before."""


@dataclass(frozen=True, slots=True)
class SharedAllowance:
    """A rate limit that is nearly used up, for every process to know. `target` is a deployment with one key."""

    target: str
    allowance: Allowance
    at_ms: int
    """When the provider said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How one attempt ended. For `released` the cost is 0; for `uncertain` it is the estimate that counts."""

    attempt_id: str
    state: AttemptState
    cost_nusd: int
    cost_source: CostSource
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
class Denied:
    """The budget that could not pay: `spent` is settled and uncertain money, `held` what is in flight."""

    limit: Limit
    spent_nusd: int
    held_nusd: int
    left_nusd: int
    """The most that every budget could still pay; below 0 where one has been passed."""
    in_flight: bool = False
    """Without what is held, every budget could pay."""


@dataclass(frozen=True, slots=True)
class Spent:
    spent_nusd: int
    held_nusd: int


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRow:
    """The attempts of one task at one deployment that took about equally long; those that failed are one row."""

    task: str
    provider: str
    model: str
    answered: int
    """1 if these did answer, 0 if they failed."""
    attempts: int
    latency_ms: int
    """Of all of them together, as are the cost and the tokens."""
    cost_nusd: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationRow:
    """How often a cheap step's answer was good enough, for one kind of prompt."""

    task: str
    prompt_kind: str
    provider: str
    model: str
    tried: int
    escalated: int


@dataclass(frozen=True, slots=True)
class LearnedRows:
    seen: tuple[SeenRow, ...] = ()
    escalations: tuple[EscalationRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRow:
    """One circuit breaker that has opened. `target` is "provider:xai", "key:xai:1a2b3c4d", "quota:xai/grok-4.7 1a2b3c4d" or "deployment:xai/grok-4.7"."""

    target: str
    cause: str
    """The code of the error that opened it."""
    since_ms: int
    """When it opened; or when it closed, if it is closed again."""
    until_ms: int | None
    """None: until `catalog` changes, or a probe finds it well again."""
    trips: int
    """How often it has opened, one time soon after the other."""
    catalog: str = ""
    replacement: str = ""
    closed: bool = False
    """It answers again, and is kept for `trips` only."""
    probe_id: str = ""
    """The one attempt that may try it now; "" where none does."""
    probe_process: str = ""
    probe_until_ms: int = 0
    """When the probe has not ended by then, another may be made."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the providers' health."""

    rows: tuple[HealthRow, ...]
    allowances: tuple[SharedAllowance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What happened lately with one model at one provider. Failures are the provider's; a caller's own do not count."""

    provider: str
    offer_id: str
    attempts_today: int
    failed_today: int
    spent_today_nusd: int
    answered: int
    """Since the beginning of the time asked for, as are `failed` and the rest."""
    failed: int
    latencies_ms: tuple[int, ...]
    """Of the latest answers, in no order."""
    last_error: str = ""
    last_error_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended, for the rolling window of a circuit breaker."""

    request_id: str
    created_ms: int
    outcome: str
    """"ok", or the code of the error."""
    status: int | None
    counted: bool
    """The provider said how many tokens it used: there was a whole answer."""


@dataclass(frozen=True, slots=True)
class Window:
    """The attempts to look at: the latest at `provider` since a time, of one `offer_id` or of every model."""

    provider: str
    offer_id: str | None
    since_ms: int


HealthChange = Callable[[Mapping[str, HealthRow], Sequence[Outcome]], Sequence[HealthRow]]
"""From the rows there are, by target, and the window's outcomes, newest first, to the rows to write. Pure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """Totals of one group, or of everything when `group` is ""."""

    group: str = ""
    requests: int = 0
    """Distinct requests that had an attempt in this group, counted where their first one is."""
    attempts: int = 0
    failed: int = 0
    answered: int = 0
    latency_ms: int = 0
    """Of the attempts that answered, together."""
    spent_nusd: int = 0
    """Settled and uncertain, adjustments included."""
    uncertain_nusd: int = 0
    uncertain: int = 0
    """Attempts whose outcome is unknown."""
    held_nusd: int = 0
    adjusted_nusd: int = 0
    """What later price fixes changed: in `spent_nusd` already."""
    compared: int = 0
    """Attempts that their provider put a price on, and ours can be held against it."""
    reported_nusd: int = 0
    """What the providers said those cost."""
    computed_nusd: int = 0
    """What our prices say they cost."""
    input_fresh: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    """Reasoning excluded."""
    reasoning: int = 0
    searches: int = 0
    calls: int = 0
    """Recorded requests, those that the cache answered or that were refused included."""
    hits: int = 0
    misses: int = 0
    saved_nusd: int = 0
    """What the hits would have cost."""
    cheap_steps: int = 0
    """Requests that a cheap model answered first, a stronger one standing by."""
    escalated: int = 0
    """Of those, where the stronger one had to be asked."""
    escalation_saved_nusd: int = 0
    """What the stronger ones would likely have cost more, where they were not asked; below 0 if they were cheaper."""
    wasted_nusd: int = 0
    """Of the spend: for answers that another was used in place of."""

    @property
    def input_total(self) -> int:
        return self.input_fresh + self.cache_read + self.cache_write

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning

    @property
    def mean_latency_ms(self) -> int:
        """Of the attempts that answered."""
        return round(self.latency_ms / self.answered) if self.answered else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedAttempt:
    """A settled attempt whose usage is known, with what it counts at now."""

    place: int
    """Grows from one to the next."""
    attempt_id: str
    day: str
    provider: str
    model: str
    offer_id: str
    created_ms: int
    reported_nusd: int | None
    usage: Usage
    cost_source: str
    """Of its first price."""
    counted_nusd: int
    """Adjustments included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedRow:
    """What the ledger has for one model of a provider on one UTC day."""

    day: str
    offer_id: str
    model: str
    cost_nusd: int
    """Adjustments included."""
    uncertain_nusd: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """What an attempt counts at from `at_ms` on, in place of `counted_nusd`, and why."""

    attempt_id: str
    counted_nusd: int
    cost_nusd: int
    cost_source: CostSource
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    requests: int
    hits: int
    misses: int
    saved_nusd: int


class Store(KeyStore, ViewStore, Protocol):
    """Every method is one transaction, safe for several tasks and several processes on one file.

    Raises everywhere: `StoreError` when the database cannot be used.
    """

    # ledger
    async def hold(self, hold: Hold, limits: Sequence[Limit]) -> Denied | Throttled | None:
        """Set `hold` aside if every limit can pay for it and its access key may, else say what is in the way.

        Check and write are atomic. Whoever is cancelled meanwhile has to end it, for it may have been set aside.
        """
        ...

    def settle(self, settlement: Settlement) -> Awaitable[Settled]:
        """End a hold, and raise what alerts follow from that; done whether or not it is waited for.

        Every hold that is asked for later, in this process, is checked after it.
        """
        ...

    async def reclaim(self, *, now_ms: int, keep: Collection[str] = ()) -> int:
        """Turn the holds of dead processes, and expired ones, into `uncertain`; returns how many.

        Those of the attempts in `keep` stay: how they ended is known and only not written yet.
        """
        ...

    async def spent(self, holder: str, period: str) -> Spent: ...

    # alerts
    async def claim(self, *, by: str, now_ms: int, until_ms: int) -> Delivery | None:
        """The next alert of the outbox that is due, for `by` alone until then; None when none is."""
        ...

    async def delivered(self, delivery_id: str, *, by: str) -> None: ...

    async def postpone(self, delivery_id: str, *, by: str, due_ms: int) -> None:
        """Give the claim back; the next try is not before `due_ms`."""
        ...

    async def next_delivery_ms(self) -> int | None: ...

    async def drop_undelivered(self, *, raised_before_ms: int) -> int:
        """Give up on what is too old to tell anybody; returns how many."""
        ...

    # cache
    async def looked_up(self, question: CacheQuestion, *, now_ms: int) -> CacheFindings:
        """What decides most looks in the cache; only live entries. Reads, and counts nothing."""
        ...

    async def on_shelf(self, question: ShelfQuestion, *, now_ms: int) -> ShelfFindings:
        """What the others need besides."""
        ...

    async def vectors(self, shelf: str, embedder: str, *, after: int) -> tuple[ShelvedVector, ...]:
        """More of what `on_shelf` found, after number `after`."""
        ...

    async def entries(self, entry_ids: Sequence[str], *, now_ms: int) -> tuple[CacheEntry, ...]:
        """Those that may still be served, in no order."""
        ...

    def keep(
        self, entry: CacheEntry, vector: CacheVector | None, *, limits: CacheLimits, now_ms: int
    ) -> Awaitable[None]:
        """Store, replacing what its key held, and make room: what has expired goes, then what was used least lately.

        Done whether or not it is waited for; every look that is taken later, in this process, finds it.
        """
        ...

    async def keep_vectors(self, vectors: Sequence[CacheVector], readings: Sequence[CacheReading] = ()) -> None:
        """Each takes the place of its entry's vector, if the entry is still there and was read, at last by `readings`."""
        ...

    async def drop_vectors(self, numbers: Sequence[int]) -> None: ...

    async def drop_cached(self, *, entry_id: str | None = None, expired_before_ms: int | None = None) -> int:
        """Delete one entry, or some that expired before a time, or (both None) some of all. Returns how many: 0 once
        there are no more.
        """
        ...

    async def cache_entry(self, entry_id: str) -> CacheEntry | None: ...

    async def cache_entries(self, *, most: int) -> tuple[CacheEntry, ...]:
        """Whoever's they are, those used last first."""
        ...

    async def cache_matches(
        self, *, entry_id: str | None = None, served: bool | None = None, most: int
    ) -> tuple[CacheMatch, ...]:
        """Newest first."""
        ...

    async def mark_wrong(self, entry_id: str, pairs: Sequence[WrongPair], *, now_ms: int) -> bool:
        """Delete the entry, and keep `pairs` so that neither prompt is answered for the other. False: it was gone."""
        ...

    async def cache_contents(self) -> CacheContents: ...

    async def cache_rates(
        self, *, first_day: str, last_day: str, group_by: CacheGroupBy | None = None
    ) -> tuple[CacheRates, ...]:
        """Of the requests that looked in the cache, over calendar days, both included."""
        ...

    # health
    async def health(self) -> Standing: ...

    async def change_health(
        self,
        targets: Sequence[str],
        change: HealthChange,
        *,
        window: Window | None = None,
        alert: Alert | None = None,
    ) -> Mapping[str, HealthRow]:
        """Read the rows of `targets`, write what `change` makes of them, and return them as they are then.

        `alert` is raised with it, if anything changes. `change` may be called again when its transaction did not come through. A claim of a process that has died is
        shown to it as none.
        """
        ...

    async def restore(self, target: str) -> None:
        """Forget it."""
        ...

    async def traffic(self, *, day: str, since_ms: int) -> tuple[Traffic, ...]:
        """Every deployment that was asked since `since_ms`; "today" is `day`, which began later."""
        ...

    # what was learned
    async def learned(self, *, first_day: str) -> LearnedRows:
        """What was seen from the calendar day `first_day` on."""
        ...

    async def forget_learned(self, *, task: str | None = None) -> int:
        """Forget what was learned, of one task or (None) of all. Returns how many attempts were behind it."""
        ...

    # records and reports
    def record(self, record: RequestRecord) -> Awaitable[None]:
        """Done whether or not it is waited for; everything that is read later, in this process, knows it."""
        ...

    async def attempts_of(self, request_or_trace_id: str) -> tuple[Mapping[str, object], ...]:
        """The attempts of one request, oldest first, as plain columns, for the trail."""
        ...

    async def requests_of(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        """The recorded requests of one trace, oldest first, as plain columns."""
        ...

    async def report(
        self,
        *,
        first_day: str,
        last_day: str,
        group_by: GroupBy | None = None,
        field: str = "",
        access_key: str | None = None,
    ) -> tuple[ReportRow, ...]:
        """Totals over calendar days, both included; one row per group, dearest first. `field` is the metadata's.

        With `access_key`, of what was asked with that one only, here as in the next two.

        A group of `hour` is the number of a quarter of an hour since 1970: all zones' hours are made of those.
        """
        ...

    async def cache_report(self, *, first_day: str, last_day: str, access_key: str | None = None) -> CacheReport: ...

    async def alerts(
        self, *, first_day: str, last_day: str, access_key: str | None = None
    ) -> tuple[Mapping[str, object], ...]: ...

    # price fixes and retention
    async def used(self, provider: str, *, first_day: str, last_day: str) -> tuple[UsedRow, ...]:
        """By UTC day and model, as providers count. From the attempts, and so as far back as those are kept."""
        ...

    async def priced_attempts(
        self, *, first_day: str, last_day: str, model: str = "", after: int = 0, most: int
    ) -> tuple[PricedAttempt, ...]:
        """At most `most` settled attempts of known usage, those after the place `after`. `model` is any of its names."""
        ...

    async def adjust(self, adjusted: Sequence[Adjustment]) -> int:
        """Let them count, in every sum and budget; returns how many. One whose attempt counts otherwise by now is not."""
        ...

    async def claim_chore(self, name: str, *, now_ms: int, until_ms: int, latest_ms: int) -> bool:
        """Whether the chore `name` is due, and now the caller's until `until_ms`. Nothing is due after `latest_ms`."""
        ...

    async def postpone_chore(self, name: str, *, due_ms: int) -> None: ...

    async def forget(self, *, attempts_before: str, requests_before: str, most: int) -> int:
        """Delete at most `most` attempts, and requests, of the days before; the sums stay. Returns how many rows."""
        ...

    # audit
    async def audit(self, event: AuditEvent, *, if_new: bool = False) -> None:
        """Add `event` to the audit trail; with `if_new` only where its kind and subject said something else last."""
        ...

    async def verify_audit(self, *, known: tuple[int, str] | None = None) -> AuditCheck:
        """Read the whole trail. `known`: the number and hash of a row that was noted elsewhere."""
        ...

    async def drop_audit(self, *, before_ms: int, now_ms: int, most: int) -> int:
        """Drop at most `most` rows of the trail that are older, from its beginning; returns how many."""
        ...

    async def audit_rows(self, *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]: ...

    # the request log
    async def exchanges(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        """What is kept of the texts of one request, or of those of one trace, oldest first."""
        ...

    async def newest_requests(self, *, user: str | None = None, most: int) -> tuple[Mapping[str, object], ...]:
        """As plain columns, newest first, with `logged_bytes`: how much is kept of the texts, None for nothing."""
        ...

    async def drop_exchanges(self, *, before_ms: int, most: int) -> int:
        """Drop at most `most` texts that are older; returns how many."""
        ...

    # one person's data
    async def export_user(self, user: str, write: Callable[[str, Row], None]) -> None:
        """`write` every row about `user` with what it is ("request", "cache entry", ...), as it was at one moment.

        On another thread.
        """
        ...

    async def erase_user(self, user: str, *, now_ms: int) -> Erased:
        """Leave nothing that names `user` or holds their words. What they cost stays, and is nobody's."""
        ...

    async def rebuild(self) -> bool:
        """Leave nothing of what was deleted in the files. False: another process was in the way."""
        ...

    async def close(self) -> None: ...
