"""Money around one attempt: the worst case is set aside before it is sent, and what it came to is written after.

Leaving `Ledger.reserve`, by any exit, ends the hold. That is shielded: a cancelled caller may lose the answer,
but what the answer cost is never lost.
"""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from orchestra_router.clock import Clock
from orchestra_router.config import Settings
from orchestra_router.errors import BudgetExceeded, ProviderError
from orchestra_router.observe import logger
from orchestra_router.policy import budget
from orchestra_router.pricing import Cost, Pricing
from orchestra_router.store.base import AttemptState, Hold, Settlement, Store
from orchestra_router.types import Answer, Attempt, Candidate, CompletionRequest, CostSource, Usage

HOLD_GRACE_MS = 60_000
"""A hold outlives its request's deadline by this much, for settling; after that its process is taken for dead."""


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
    first_token_ms: int | None = None
    attempt: Attempt | None = None
    """The finished attempt, once the reservation has been left."""

    def sending(self) -> None:
        """From here on the attempt may cost money, whatever becomes of it."""
        self.owed = True

    def answered(self, answer: Answer) -> None:
        self.outcome, self.status = "ok", 200
        self.usage, self.reported_nusd = answer.usage, answer.cost_nusd
        self.provider_request_id = answer.provider_request_id

    def failed(self, error: ProviderError) -> None:
        self.outcome, self.status = error.code, error.status
        self.usage, self.reported_nusd = error.usage, error.cost_nusd
        self.owed = error.money == "uncertain"


class Ledger:
    def __init__(self, store: Store, pricing: Pricing, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._pricing = pricing
        self._settings = settings
        self._clock = clock

    @asynccontextmanager
    async def reserve(
        self,
        candidate: Candidate,
        request: CompletionRequest,
        *,
        request_id: str,
        number: int,
        spent_nusd: int,
        seconds_left: float,
        waited_s: float,
    ) -> AsyncGenerator[Reservation]:
        """Hold `candidate`'s worst case for attempt `number` of a request that has spent `spent_nusd` so far.

        Raises:
            BudgetExceeded: a budget cannot pay for it, or the request's own cap cannot.
            StoreError: the ledger cannot be written, so nothing is sent.
        """
        cap = request.max_cost_nusd
        if cap is not None and spent_nusd + candidate.worst_nusd > cap:
            raise BudgetExceeded(
                "What the attempts so far have cost leaves too little of max_cost_usd for another. Raise it to go on."
            )
        hold = self._hold(candidate, request, request_id=request_id, number=number, seconds_left=seconds_left)
        reservation = Reservation(
            hold=hold, candidate=candidate, started=self._clock.monotonic(), waited_ms=round(waited_s * 1000)
        )
        with anyio.CancelScope(shield=True):
            # A caller who leaves at this very moment must not leave a hold behind that nobody ends.
            await self._write_hold(hold)
        self._pricing.warm_up()
        try:
            yield reservation
        except ProviderError as error:
            reservation.failed(error)
            raise
        finally:
            with anyio.CancelScope(shield=True):
                reservation.attempt = await self._settle(reservation)

    def _hold(
        self, candidate: Candidate, request: CompletionRequest, *, request_id: str, number: int, seconds_left: float
    ) -> Hold:
        now_ms = self._clock.now_ms()
        deployment = candidate.deployment
        return Hold(
            attempt_id=secrets.token_hex(8),
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
        )

    async def _write_hold(self, hold: Hold) -> None:
        limits = budget.limits(hold.scope, hold.period, self._settings)
        if (denied := await self._store.hold(hold, limits)) is not None:
            raise budget.exceeded(
                denied, needed_nusd=hold.amount_nusd, now_ms=hold.created_ms, timezone=self._settings.timezone
            )

    async def _settle(self, reservation: Reservation) -> Attempt:
        hold = reservation.hold
        state, cost = await self._came_to(reservation)
        latency_ms = round((self._clock.monotonic() - reservation.started) * 1000)
        await self._store.settle(
            Settlement(
                attempt_id=hold.attempt_id,
                state=state,
                cost_nusd=cost.nusd,
                cost_source=cost.source,
                reported_nusd=reservation.reported_nusd,
                usage=reservation.usage,
                outcome=reservation.outcome,
                status=reservation.status,
                latency_ms=latency_ms,
                first_token_ms=reservation.first_token_ms,
                waited_ms=reservation.waited_ms,
                provider_request_id=reservation.provider_request_id,
                finished_ms=self._clock.now_ms(),
            )
        )
        await self._alert(hold)
        return Attempt(
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
        )

    async def _came_to(self, reservation: Reservation) -> tuple[AttemptState, Cost]:
        """What the attempt cost: known, surely nothing, or unknown and so counted at the worst case."""
        if reservation.usage is not None or reservation.reported_nusd is not None:
            # Off the event loop: the first price imports the price list.
            cost = await anyio.to_thread.run_sync(
                lambda: self._pricing.cost(
                    reservation.candidate.deployment,
                    reservation.usage or Usage(),
                    at_ms=reservation.hold.created_ms,
                    reported_nusd=reservation.reported_nusd,
                )
            )
            return "settled", cost
        if not reservation.owed:
            return "released", _cost(0, "none")
        if reservation.candidate.worst_nusd == 0:
            return "settled", _cost(0, "free")
        return "uncertain", _cost(reservation.hold.amount_nusd, "estimate")

    async def _alert(self, hold: Hold) -> None:
        """Say it once, over all processes, when the day's spend has passed the alert threshold."""
        threshold = budget.alert_nusd(self._settings)
        if threshold is None:
            return
        spent = await self._store.spent("global", hold.period.day)
        if spent.spent_nusd >= threshold and await self._store.alert_once(
            "global", hold.period.day, threshold, now_ms=self._clock.now_ms()
        ):
            logger.warning("spend of %s has passed the alert threshold of $%.2f", hold.period.day, threshold / 1e9)


def _cost(nusd: int, source: CostSource) -> Cost:
    return Cost(nusd=nusd, source=source)
