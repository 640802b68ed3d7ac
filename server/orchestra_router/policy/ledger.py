"""Money around one attempt: the worst case is set aside before it is sent, and what it came to is written after.

Leaving `Ledger.reserve`, by any exit, ends the hold. Nothing cuts that short: a cancelled caller may lose the answer,
but what the answer cost is never lost. Nobody waits for that to be written, though: it is written within 20 ms, and
before any hold that there is not enough money for otherwise. What the database does not take is kept, and written
before the next hold; and should the process end first, the hold is there, and counts at its worst case.
"""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from orchestra_router import ids
from orchestra_router.clock import Clock
from orchestra_router.config import Settings
from orchestra_router.deployments import Candidate, Plan
from orchestra_router.errors import BudgetExceeded, KeyLimitReached, ProviderError, RouterError, StoreError
from orchestra_router.observe import logger
from orchestra_router.policy import affording, budget, key_limits
from orchestra_router.policy.alerts import Watching
from orchestra_router.policy.budget import Budget
from orchestra_router.pricing import Cost, Pricing
from orchestra_router.store.alert_records import Alert
from orchestra_router.store.health_records import SharedAllowance
from orchestra_router.store.key_records import Throttled
from orchestra_router.store.ledger_records import AttemptState, Hold, LedgerStore, Limit, Period, Settled, Settlement
from orchestra_router.types import Answer, Attempt, CompletionRequest, CostSource, Limits, Scope, Usage

T = TypeVar("T")

HOLD_GRACE_MS = 60_000
"""A hold outlives its request's deadline by this much, for settling; after that nobody will end it any more."""
RECLAIM_EVERY_S = 1.0
"""How often calls that wait for money in flight look whether its process has died."""
MOST_OVERRUN = 10
"""Times its hold that an attempt may come to. Vendors' own tokens and tiers pass a bound by a fraction, not by this."""
SMALL_NUSD = 10_000_000
"""A hold below a cent is taken for one here, so that a free model which does cost something is believed."""
MOST_UNWRITTEN = 1_000
"""Settlements kept in memory; past that the oldest is left to its hold's expiry, which counts the worst case."""


@dataclass(slots=True, kw_only=True)
class Reservation:
    """One hold, and the outcome of the attempt it is for. Until something better is known, that is "cancelled"."""

    hold: Hold
    candidate: Candidate
    started: float
    waited_ms: int
    outcome: str = "cancelled"
    status: int | None = None
    usage: Usage | None = None
    reported_nusd: int | None = None
    owed: bool = False
    """The attempt may have cost something: it was sent, and nothing says that it is free."""
    provider_request_id: str = ""
    answered_as: str = ""
    """The model that the provider says it was."""
    first_token_ms: int | None = None
    ended: float = 0.0
    """On the clock's monotonic scale, as is `started`."""
    allowances: tuple[SharedAllowance, ...] = ()
    """What the provider said is nearly used up of its rate limits."""
    attempt: Attempt | None = None
    """The finished attempt, once the reservation has been left."""

    def put_off(self, *, now_ms: int, timezone: str) -> None:
        """Begin later than was meant, be it on another day."""
        waited_ms = max(0, now_ms - self.hold.created_ms)
        self.waited_ms += waited_ms
        self.hold = replace(self.hold, created_ms=now_ms, period=budget.period_at(now_ms, timezone))

    def sending(self) -> None:
        """From here on the attempt may cost money, whatever becomes of it."""
        self.owed = True

    def answered(self, answer: Answer) -> None:
        self.outcome, self.status = "ok", 200
        self.usage, self.reported_nusd = answer.usage, answer.cost_nusd
        self.provider_request_id, self.answered_as = answer.provider_request_id, answer.model

    def failed(self, error: ProviderError) -> None:
        self.outcome, self.status = error.code, error.status
        self.usage, self.reported_nusd = error.usage, error.cost_nusd
        # An error inside a success frees nothing: what came before it may have been billed.
        self.owed = error.money == "uncertain" or error.in_answer


class Ledger:
    def __init__(self, store: LedgerStore, pricing: Pricing, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._pricing = pricing
        self._settings = settings
        self._clock = clock
        self._watching = Watching(settings, pricing)
        # The same for call after call.
        self._limits = lru_cache(maxsize=500)(self._limits_of)
        self._downgrading = lru_cache(maxsize=500)(self._downgrading_of)
        self.on_alert: Callable[[], None] = _nothing
        """Called once an alert is in the outbox."""
        self._beside: dict[str, int] = {}
        """By request, what its attempts that are under way hold: they all count against its cap."""
        self._reclaimed = -math.inf
        """On the clock's monotonic scale."""
        self._underway: set[asyncio.Future[Settled]] = set()
        self._unwritten: dict[str, Settlement] = {}
        """By attempt, oldest first."""

    async def written(self) -> None:
        """Returns once what every attempt so far cost is written, or is known not to be."""
        while self._underway:
            await asyncio.wait(self._underway)

    async def aclose(self) -> None:
        """Write what could not be written before; to be called before the store is closed."""
        await self.written()
        try:
            await _uncut(self._catch_up())
        except StoreError as error:
            logger.error(
                "%d attempt(s) count at their worst case: what they cost cannot be written. %s",
                len(self._unwritten),
                error,
            )

    async def reclaim(self) -> int:
        """Take holds that nobody will end any more for spent. Returns how many.

        Raises:
            StoreError: the ledger cannot be written.
        """
        await _uncut(self._catch_up())
        return await self._store.reclaim(now_ms=self._clock.now_ms(), keep=tuple(self._unwritten))

    async def within_budgets(self, plan: Plan, request: CompletionRequest) -> Plan:
        """`plan`, with its cheapest candidates first where a budget says so.

        Raises:
            StoreError: the ledger cannot be read.
        """
        period = budget.period_at(self._clock.now_ms(), self._settings.timezone)
        scope = request.scope
        downgrading = self._downgrading(scope.access_key, scope.user, scope.limits, request.task or "", period)
        spent = {each: await self._store.spent(each.holder, each.period) for each in downgrading}
        return affording.downgraded(plan, request, spent)

    def reserve(
        self,
        candidate: Candidate,
        request: CompletionRequest,
        *,
        request_id: str,
        number: int,
        spent_nusd: int,
        seconds_left: float,
        waited_s: float,
    ) -> AbstractAsyncContextManager[Reservation]:
        """Hold `candidate`'s worst case for attempt `number` of a request that has spent `spent_nusd` so far.

        Raises, here or on entering:
            BudgetExceeded: a budget cannot pay for it, or the request's own cap cannot.
            KeyLimitReached: its access key has asked as much as it may, for now.
            AccessDenied: its access key has been revoked meanwhile.
            StoreError: the ledger cannot be written, so nothing is sent.
        """
        if request.max_cost_nusd is not None:
            beside_nusd = self._beside.get(request_id, 0)
            affording.check_cap(candidate, left_nusd=request.max_cost_nusd - spent_nusd - beside_nusd)
        reservation = Reservation(
            hold=self._hold(candidate, request, request_id=request_id, number=number, seconds_left=seconds_left),
            candidate=candidate,
            started=self._clock.monotonic(),
            waited_ms=round(waited_s * 1000),
        )
        return _Reserving(self, reservation, seconds_left)

    async def begin(self, reservation: Reservation, *, seconds_left: float) -> None:
        """Hold the money. Raises as `reserve` does, and then there is nothing to end."""
        hold = reservation.hold
        self._beside[hold.request_id] = self._beside.get(hold.request_id, 0) + hold.amount_nusd
        try:
            await self._begin(reservation, seconds_left=seconds_left)
        except BaseException:
            self._no_longer_beside(hold)
            raise
        self._pricing.warm_up()

    async def end(self, reservation: Reservation, error: BaseException | None) -> None:
        """End the hold of an attempt that came to what is in `reservation`, or to `error`."""
        match error:
            case ProviderError():
                reservation.failed(error)
            case RouterError():
                reservation.outcome = error.code
            case Exception():
                reservation.outcome = "internal"
            case _:  # it went well, or was cancelled
                pass
        try:
            if not self._pricing.is_warm and (reservation.usage is not None or self._reported(reservation)):
                # The first time it imports the price list, and so not on the event loop.
                await _uncut(anyio.to_thread.run_sync(self._priced, reservation, None))
        finally:
            self._settle(reservation)
            self._no_longer_beside(reservation.hold)

    def _no_longer_beside(self, hold: Hold) -> None:
        left_nusd = self._beside.get(hold.request_id, 0) - hold.amount_nusd
        if left_nusd:
            self._beside[hold.request_id] = left_nusd
        else:  # of several that are free, the first takes it away
            self._beside.pop(hold.request_id, None)

    def _hold(
        self, candidate: Candidate, request: CompletionRequest, *, request_id: str, number: int, seconds_left: float
    ) -> Hold:
        now_ms = self._clock.now_ms()
        deployment = candidate.deployment
        return Hold(
            attempt_id=ids.drawn(),
            request_id=request_id,
            trace_id=request.trace_id,
            number=number,
            scope=request.scope,
            period=budget.period_at(now_ms, self._settings.timezone),
            task=request.task or "",
            provider=deployment.provider.name,
            model=deployment.model.name,
            offer_id=deployment.offer.id,
            amount_nusd=candidate.worst_nusd,
            created_ms=now_ms,
            expires_ms=now_ms + round(seconds_left * 1000) + HOLD_GRACE_MS,
            likely_tokens=candidate.likely_input + candidate.likely_output,
            approved_nusd=request.approval.nusd if request.approval else 0,
            approved_by=request.approval.by if request.approval else "",
        )

    async def _begin(self, reservation: Reservation, *, seconds_left: float) -> None:
        """Hold the money, waiting a little where only calls in flight are in the way: most cost less than they hold."""
        pauses = _pauses(min(seconds_left, budget.IN_FLIGHT_S))
        while True:
            try:
                await self._write_hold(reservation.hold)
            except asyncio.CancelledError:
                # A caller who leaves at this very moment must not leave a hold behind that nobody ends.
                self._settle(reservation)
                raise
            except (BudgetExceeded, KeyLimitReached) as error:
                pause = next(pauses, None) if error.in_flight else None
                if pause is None:
                    raise
                await self._reclaim_now_and_then()
                await self._clock.sleep(pause)
                reservation.put_off(now_ms=self._clock.now_ms(), timezone=self._settings.timezone)
            else:
                reservation.started = self._clock.monotonic()
                return

    async def _reclaim_now_and_then(self) -> None:
        """What a dead process holds is not in flight any more, and waiting for it would be in vain."""
        now = self._clock.monotonic()
        if now - self._reclaimed >= RECLAIM_EVERY_S:
            self._reclaimed = now
            await self.reclaim()

    async def _write_hold(self, hold: Hold) -> None:
        # Nothing more is spent while it cannot be written down.
        await self._catch_up()
        scope = hold.scope
        limits = self._limits(scope.access_key, scope.user, scope.limits, hold.task, hold.period)
        denied = await self._store.hold(hold, limits)
        if isinstance(denied, Throttled):
            raise key_limits.reached(denied, hold)
        if denied is not None:
            raise budget.exceeded(
                denied, needed_nusd=hold.amount_nusd, now_ms=hold.created_ms, timezone=self._settings.timezone
            )

    def _limits_of(self, access_key: str, user: str, own: Limits, task: str, period: Period) -> tuple[Limit, ...]:
        return budget.limits(Scope(access_key, user, limits=own), task, period, self._settings)

    def _downgrading_of(self, access_key: str, user: str, own: Limits, task: str, period: Period) -> tuple[Budget, ...]:
        applying = budget.applying(Scope(access_key, user, limits=own), task, period, self._settings)
        return affording.downgrading(applying)

    def _settle(self, reservation: Reservation) -> None:
        hold = reservation.hold
        state, cost = self._came_to(reservation)
        reservation.ended = self._clock.monotonic()
        latency_ms = round((reservation.ended - reservation.started) * 1000)
        settlement = Settlement(
            attempt_id=hold.attempt_id,
            state=state,
            cost_nusd=cost.nusd,
            cost_source=cost.source,
            is_overrun=_is_overrun(hold, cost, reservation.usage),
            reported_nusd=reservation.reported_nusd,
            computed_nusd=self._computed_nusd(reservation) if cost.source == "provider" else None,
            usage=reservation.usage,
            outcome=reservation.outcome,
            status=reservation.status,
            latency_ms=latency_ms,
            first_token_ms=reservation.first_token_ms,
            waited_ms=reservation.waited_ms,
            provider_request_id=reservation.provider_request_id,
            finished_ms=self._clock.now_ms(),
            watches=self._watching.watches(hold),
            sightings=self._watching.sightings(hold, reservation.candidate.deployment, reservation.answered_as),
            allowances=reservation.allowances,
        )
        reservation.attempt = Attempt(
            attempt_id=hold.attempt_id,
            request_id=hold.request_id,
            trace_id=hold.trace_id,
            number=hold.number,
            deployment=reservation.candidate.deployment.key,
            provider=hold.provider,
            model=hold.model,
            outcome=reservation.outcome,
            status=reservation.status,
            cost_nusd=cost.nusd,
            cost_source=cost.source,
            latency_ms=latency_ms,
            waited_ms=reservation.waited_ms,
            first_token_ms=reservation.first_token_ms,
            usage=reservation.usage,
            answered_as=reservation.answered_as,
        )
        self._write(settlement)

    def _write(self, settlement: Settlement) -> asyncio.Future[Settled]:
        writing = asyncio.ensure_future(self._store.settle(settlement))
        self._underway.add(writing)
        writing.add_done_callback(partial(self._written, settlement))
        return writing

    def _written(self, settlement: Settlement, writing: asyncio.Future[Settled]) -> None:
        self._underway.discard(writing)
        error = writing.exception()
        if isinstance(error, StoreError):
            # The answer goes out all the same, for its cost is not lost: it is kept for the next hold, which writes it
            # first or is refused. Until then the file counts the hold, the worst case.
            if len(self._unwritten) >= MOST_UNWRITTEN:
                del self._unwritten[next(iter(self._unwritten))]
            self._unwritten[settlement.attempt_id] = settlement
            logger.error(
                "what attempt %s cost is written later, and until then it is held: %s", settlement.attempt_id, error
            )
        elif error is not None:
            logger.error("what attempt %s cost is not written, for it cannot be", settlement.attempt_id, exc_info=error)
        else:
            settled = writing.result()
            if settled.unwatched:
                logger.error("whether there is something to alert about could not be checked: %s", settled.unwatched)
            self._tell(settled.alerts)

    async def _catch_up(self) -> None:
        while self._unwritten:
            waiting, self._unwritten = self._unwritten, {}
            # Together, for each may wait for others. Whoever waits here may leave; the writes stay.
            writing = [self._write(settlement) for settlement in waiting.values()]
            await asyncio.wait(writing)
            for written in writing:
                written.result()

    def _came_to(self, reservation: Reservation) -> tuple[AttemptState, Cost]:
        """What the attempt cost: known, surely nothing, or unknown and so counted at the worst case."""
        if reservation.usage is not None or self._reported(reservation):
            cost = self._priced(reservation, reservation.reported_nusd)
            if cost.nusd <= MOST_OVERRUN * max(reservation.hold.amount_nusd, SMALL_NUSD):
                return "settled", cost
            logger.warning(
                "%s says that attempt %s came to $%.2f, where $%.4f is the most it can: not believed",
                reservation.candidate.deployment.provider.name,
                reservation.hold.attempt_id,
                cost.nusd / 1e9,
                reservation.hold.amount_nusd / 1e9,
            )
            # Else the report would add up the same nonsense.
            reservation.usage = None
            return "uncertain", _cost(reservation.hold.amount_nusd, "estimate")
        if not reservation.owed:
            return "released", _cost(0, "none")
        if reservation.candidate.worst_nusd == 0:
            return "settled", _cost(0, "free")
        return "uncertain", _cost(reservation.hold.amount_nusd, "estimate")

    def _reported(self, reservation: Reservation) -> bool:
        """Whether the provider's own figure alone, without usage, says what the attempt cost."""
        return bool(reservation.reported_nusd) and reservation.candidate.deployment.provider.reports_cost

    def _computed_nusd(self, reservation: Reservation) -> int | None:
        """What our prices say of an attempt that its provider put a price on; None where they say nothing."""
        if reservation.usage is None:
            return None
        cost = self._priced(reservation, None)
        return None if cost.source == "unpriced" else cost.nusd

    def _priced(self, reservation: Reservation, reported_nusd: int | None) -> Cost:
        return self._pricing.cost(
            reservation.candidate.deployment,
            reservation.usage or Usage(),
            at_ms=reservation.hold.created_ms,
            reported_nusd=reported_nusd,
        )

    def _tell(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            self._watching.told(alert)
            logger.warning("%s", alert.text)
        if alerts:
            self.on_alert()


class _Reserving:
    """The money of one attempt: held on entering, and ended on leaving, by any exit."""

    __slots__ = ("_ledger", "_reservation", "_seconds_left")

    def __init__(self, ledger: Ledger, reservation: Reservation, seconds_left: float) -> None:
        self._ledger = ledger
        self._reservation = reservation
        self._seconds_left = seconds_left

    async def __aenter__(self) -> Reservation:
        await self._ledger.begin(self._reservation, seconds_left=self._seconds_left)
        return self._reservation

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._ledger.end(self._reservation, error)


def _nothing() -> None:
    pass


def _pauses(seconds: float) -> Iterator[float]:
    """Seconds to wait between tries, `seconds` in all: short at first, never the same for many at once."""
    left, pause = seconds, 0.02
    while left > 0:
        jittered = min(left, pause * (0.5 + random.random()))  # noqa: S311 - spreads tries; nothing secret
        left -= jittered
        yield jittered
        pause = min(0.5, pause * 1.6)


async def _uncut(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, or raises. Cancelled meanwhile, be it past anyio's shield, it still waits for its end.

    Raises:
        CancelledError: once `work` has ended.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        raise cancelled from failure
    raise cancelled


def _is_overrun(hold: Hold, cost: Cost, usage: Usage | None) -> bool:
    """Whether a budget, or the tokens that an access key may use a minute, bear more than `hold` says."""
    if cost.nusd > hold.amount_nusd:
        return True
    if usage is None or hold.scope.limits.tokens_per_minute is None:
        return False
    return usage.input_total + usage.output_total > hold.likely_tokens


def _cost(nusd: int, source: CostSource) -> Cost:
    return Cost(nusd=nusd, source=source)
