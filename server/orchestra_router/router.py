"""The path of one request, top to bottom.

check access -> guard the prompt -> look in the cache -> plan the route -> for each attempt: hold money, call,
settle -> check the answer -> store in the cache -> record -> answer
"""

import random
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from orchestra_router.clock import Clock, SystemClock
from orchestra_router.config import PORTKEY, Config
from orchestra_router.errors import (
    AllAttemptsFailed,
    BadRequest,
    DeadlineExceeded,
    InvalidRequest,
    ModelGone,
    ProviderError,
    RouterError,
)
from orchestra_router.inventory import Inventory
from orchestra_router.observe import Observers, log_attempt
from orchestra_router.policy import budget, estimate, guardrails, routing, tasks
from orchestra_router.policy.access import Access
from orchestra_router.policy.cache import Cached, ExactCache, Hit
from orchestra_router.policy.costs import CostReport, cost_report
from orchestra_router.policy.flights import Flights
from orchestra_router.policy.guardrails import Guarded, Guardrails
from orchestra_router.policy.health import Health
from orchestra_router.policy.ledger import Ledger, Reservation
from orchestra_router.policy.progress import Growth, OnProgress
from orchestra_router.policy.retry import decide
from orchestra_router.policy.status import StatusReport, status_report
from orchestra_router.pricing import Pricing
from orchestra_router.providers import registry
from orchestra_router.providers.base import Adapter
from orchestra_router.store.base import GroupBy, RequestRecord, Store
from orchestra_router.store.db import SqliteStore
from orchestra_router.transport import StreamTimeouts, Transport
from orchestra_router.types import (
    Answer,
    Attempt,
    CacheStatus,
    Candidate,
    Completion,
    CompletionRequest,
    Plan,
    Probe,
    WireRequest,
)


@dataclass(slots=True, kw_only=True)
class _Call:
    """One request under way: its identity, its deadline, and what it has come to so far."""

    request_id: str
    request: CompletionRequest
    started_ms: int
    deadline: float
    """On the clock's monotonic scale, in seconds."""
    on_progress: OnProgress | None
    cache: CacheStatus = "DISABLED"
    found: dict[str, int] = field(default_factory=dict[str, int])
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    notes: list[str] = field(default_factory=list[str])

    @property
    def cost_nusd(self) -> int:
        return sum(attempt.cost_nusd for attempt in self.attempts)


class Router:
    """Everything one process needs to answer requests. Made by `open_router`."""

    def __init__(self, config: Config, store: Store, *, clock: Clock) -> None:
        settings = config.settings
        self.config = config
        self.store = store
        self.observers = Observers([log_attempt])
        self._clock = clock
        self._pricing = Pricing.of(settings, checked=config.catalog.checked)
        self._transport = Transport(clock)
        self._inventory = Inventory(config, self._transport, clock)
        self._access = Access()
        self._guardrails = Guardrails(
            guardrails.given_rules(ssn=settings.guard_ssn, credit_card=settings.guard_credit_card)
        )
        self._cache = ExactCache(
            store, enabled=settings.cache != "off", ttl_s=settings.cache_ttl_s, scope=frozenset(settings.cache_scope)
        )
        self._flights = Flights()
        self._health = Health(store, config, clock)
        self._ledger = Ledger(store, self._pricing, settings, clock)

    async def complete(self, request: CompletionRequest, *, on_progress: OnProgress | None = None) -> Completion:
        """Answer one request, from the cache or from the first deployment that can.

        With `on_progress` the answer is streamed from the provider, and told of while it grows.

        Raises:
            InvalidRequest: it cannot be served as it is.
            GuardrailBlocked: the prompt or the answer was refused.
            BudgetExceeded: a budget or the request's own cap cannot pay for the worst case.
            NoRoute: nothing configured can serve it.
            AllAttemptsFailed: every deployment on the route failed.
            DeadlineExceeded: its time ran out first.
            StoreError: the ledger cannot be written, so nothing may be spent.
        """
        call = self._begin(request, on_progress)
        outcome = "cancelled"
        completion: Completion | None = None
        try:
            completion = await self._answer(call)
        except RouterError as error:
            outcome = error.code
            raise
        else:
            outcome = "ok"
            return completion
        finally:
            with anyio.CancelScope(shield=True):
                await self._record(call, outcome, completion)

    async def plan(self, request: CompletionRequest) -> Plan:
        """The route `request` would take, without spending anything. Raises as `complete` does before a call."""
        self._check_size(request)
        guarded = self._guardrails.check_prompt(self._access.admit(request))
        request, task_reason = tasks.with_task(guarded.request, self.config.catalog)
        return await self._plan(request, task_reason)

    async def provider_status(self, provider: str | None = None, *, probe: bool = False) -> StatusReport:
        """What can be called now. `probe` asks each configured provider's free list first.

        Raises:
            InvalidRequest: nobody knows `provider`.
        """
        if provider is not None and provider not in self.config.catalog.providers:
            raise InvalidRequest(routing.unknown("provider", provider, self.config.catalog.providers))
        probes: Mapping[str, Probe] = await self._inventory.probe(provider) if probe else {}
        await self._health.probed(probes)
        return await status_report(
            self.config,
            self.store,
            await self._health.view(),
            day=budget.period_at(self._clock.now_ms(), self.config.settings.timezone).day,
            probes=probes,
            local=await self._inventory.local(),
            pricing=self._pricing,
            only=provider,
        )

    async def cost_report(self, *, period: str = "day", group_by: GroupBy | None = None) -> CostReport:
        """What was spent in the current calendar `period` ("day", "week", "month" or "all").

        Money that a process which died had set aside is taken for spent first.
        """
        await self.store.reclaim(now_ms=self._clock.now_ms())
        return await cost_report(
            self.store, self.config.settings, period=period, group_by=group_by, now_ms=self._clock.now_ms()
        )

    async def aclose(self) -> None:
        await self._transport.aclose()
        await self.store.close()

    # --- the stages ------------------------------------------------------------------------------------------

    def _begin(self, request: CompletionRequest, on_progress: OnProgress | None) -> _Call:
        request = self._access.admit(request)
        return _Call(
            request_id=request.request_id or secrets.token_hex(8),
            request=replace(request, trace_id=request.trace_id or secrets.token_hex(16)),
            started_ms=self._clock.now_ms(),
            deadline=self._clock.monotonic() + self.config.settings.deadline_s,
            on_progress=on_progress,
        )

    async def _answer(self, call: _Call) -> Completion:
        self._check_size(call.request)
        guarded = self._guardrails.check_prompt(call.request)
        call.found = dict(guarded.found)
        call.request, task_reason = tasks.with_task(guarded.request, self.config.catalog)

        key = self._cache.key(call.request)
        async with self._flights.turn(key):
            if (hit := await self._cache.lookup(key, call.request, now_ms=self._clock.now_ms())) is not None:
                return self._from_cache(hit, call, guarded)
            call.cache = "DISABLED" if key is None else "REFRESH" if call.request.cache == "refresh" else "MISS"

            plan = await self._plan(call.request, task_reason)
            call.notes += plan.notes
            candidate, answer = await self._first_success(plan, call, guarded)
            # Outside the reservation: an answer we refuse to hand over was still paid for.
            written = _signed(candidate, self._guardrails.check_answer(answer))
            await self._cache.keep(key, written, call.request, cost_nusd=call.cost_nusd, now_ms=self._clock.now_ms())
        return self._completion(written, call, guarded)

    def _check_size(self, request: CompletionRequest) -> None:
        size, most = estimate.prompt_bytes(request), self.config.settings.max_prompt_bytes
        if size > most:
            raise InvalidRequest(
                f"The prompt has {size:,} bytes; at most {most:,} are accepted. Shorten it, or raise max_prompt_bytes."
            )

    async def _plan(self, request: CompletionRequest, task_reason: str) -> Plan:
        around = routing.Surroundings(
            config=self.config,
            pricing=self._pricing,
            health=await self._health.view(),
            local=await self._inventory.local(),
        )
        return routing.plan(request, around, task_reason=task_reason)

    async def _first_success(self, plan: Plan, call: _Call, guarded: Guarded) -> tuple[Candidate, Answer]:
        """Down the route, each deployment again while that makes sense, under one deadline and one attempt budget."""
        settings = self.config.settings
        max_retries = settings.max_retries if call.request.max_retries is None else call.request.max_retries
        failures: list[ProviderError] = []
        route = list(plan.route)
        tries = 0
        waited_s = 0.0
        while route:
            tries += 1
            try:
                return route[0], await self._attempt(route[0], call, guarded, waited_s=waited_s)
            except ProviderError as error:
                failures.append(error)
                rest = routing.after(error, route)
                verdict = decide(
                    error,
                    tries=tries,
                    max_retries=max_retries,
                    attempts_left=settings.max_attempts - len(call.attempts),
                    seconds_left=call.deadline - self._clock.monotonic(),
                    has_next=bool(rest),
                    jitter=random.random(),  # noqa: S311 - spreads retries; nothing secret
                )
            waited_s = verdict.wait_s
            if verdict.step == "again":
                await self._clock.sleep(verdict.wait_s)
            else:
                route = rest if verdict.step == "next" else []
                tries = 0
        raise _all_failed(failures) from failures[-1]

    async def _attempt(self, candidate: Candidate, call: _Call, guarded: Guarded, *, waited_s: float) -> Answer:
        """One call to one deployment, inside its reservation."""
        seconds_left = call.deadline - self._clock.monotonic()
        if seconds_left <= 0:
            raise DeadlineExceeded(f"This request's {self.config.settings.deadline_s:.0f} s are over.")
        deployment = candidate.deployment
        adapter, wire = registry.build_request(
            deployment,
            call.request,
            api_key=self.config.keys.get(deployment.provider.name),
            portkey_key=self.config.keys.get(PORTKEY),
            stream=call.on_progress is not None,
        )
        reservation = None
        try:
            async with self._ledger.reserve(
                candidate,
                call.request,
                request_id=call.request_id,
                number=len(call.attempts) + 1,
                spent_nusd=call.cost_nusd,
                seconds_left=seconds_left,
                waited_s=waited_s,
            ) as reservation:
                try:
                    answer = await self._ask(adapter, wire, candidate, call, guarded, reservation)
                except BadRequest as error:
                    raise await self._inventory.second_look(error, deployment, call.request) from None
                reservation.answered(answer)
        except ProviderError as error:
            error.deployment = deployment.key
            if isinstance(error, ModelGone):
                error.replacement = self.config.catalog.replacement(deployment)
            await self._health.failed(deployment, error)
            raise
        finally:
            if reservation is not None and reservation.attempt is not None:
                call.attempts.append(reservation.attempt)
                self.observers.attempt(reservation.attempt)
        await self._health.succeeded(deployment)
        call.notes += [note for note in _notes_on(wire, answer) if note not in call.notes]
        return answer

    async def _ask(
        self,
        adapter: Adapter,
        wire: WireRequest,
        candidate: Candidate,
        call: _Call,
        guarded: Guarded,
        reservation: Reservation,
    ) -> Answer:
        settings = self.config.settings
        seconds_left = call.deadline - self._clock.monotonic()
        timeout_s = min(settings.request_timeout_s, seconds_left)
        if call.on_progress is not None:
            await call.on_progress(f"asking {candidate.deployment.key} (attempt {reservation.hold.number})")
        reservation.sending()
        if call.on_progress is None:
            return await self._transport.ask(adapter, wire, timeout_s=timeout_s)
        growth = Growth(call.on_progress, self._guardrails, guarded, self._clock)
        try:
            return await self._transport.ask_streaming(
                adapter,
                wire,
                timeouts=StreamTimeouts(
                    first_s=timeout_s, idle_s=min(settings.stream_idle_timeout_s, seconds_left), total_s=seconds_left
                ),
                on_text=growth.add,
            )
        finally:
            if growth.started is not None:
                reservation.first_token_ms = round((growth.started - reservation.started) * 1000)

    async def _record(self, call: _Call, outcome: str, completion: Completion | None) -> None:
        request = call.request
        now_ms = self._clock.now_ms()
        await self.store.record(
            RequestRecord(
                request_id=call.request_id,
                trace_id=request.trace_id,
                scope=request.scope,
                period=budget.period_at(call.started_ms, self.config.settings.timezone),
                task=request.task or "",
                outcome=outcome,
                cache=call.cache,
                provider=completion.provider if completion is not None else "",
                model=completion.model if completion is not None else "",
                cost_nusd=call.cost_nusd,
                saved_nusd=completion.saved_nusd if completion is not None else 0,
                attempts=len(call.attempts),
                created_ms=call.started_ms,
                latency_ms=now_ms - call.started_ms,
                redactions=call.found,
                metadata=request.metadata,
            )
        )

    # --- the answer ------------------------------------------------------------------------------------------

    def _completion(self, written: Cached, call: _Call, guarded: Guarded) -> Completion:
        last = call.attempts[-1]
        unknown = sum(attempt.cost_nusd for attempt in call.attempts if attempt.cost_source == "estimate")
        if unknown and last.cost_source != "estimate":
            call.notes.append(
                f"{budget.dollars(unknown)} of the cost is for attempts that failed after they were sent: nobody knows"
                " what they cost, so their worst case counts."
            )
        return Completion(
            request_id=call.request_id,
            trace_id=call.request.trace_id,
            answer=guarded.restore(written.answer),
            task=call.request.task or "",
            provider=written.provider,
            model=written.model,
            reason=written.reason,
            cost_nusd=call.cost_nusd,
            cost_source=last.cost_source,
            cache=call.cache,
            attempts=tuple(call.attempts),
            notes=tuple(call.notes),
            redactions=call.found,
            latency_ms=self._clock.now_ms() - call.started_ms,
        )

    def _from_cache(self, hit: Hit, call: _Call, guarded: Guarded) -> Completion:
        call.cache = "HIT"
        written = hit.cached
        return Completion(
            request_id=call.request_id,
            trace_id=call.request.trace_id,
            answer=guarded.restore(written.answer),
            task=call.request.task or "",
            provider=written.provider,
            model=written.model,
            reason=f"cached; first answered as {written.reason}",
            cost_nusd=0,
            cost_source="none",
            cache="HIT",
            cache_entry=hit.entry_id,
            cache_age_ms=hit.age_ms,
            saved_nusd=hit.saved_nusd,
            redactions=call.found,
            latency_ms=self._clock.now_ms() - call.started_ms,
        )


@asynccontextmanager
async def open_router(config: Config, *, clock: Clock | None = None) -> AsyncGenerator[Router]:
    """A router over the store in `config.settings.home`, closed on leaving.

    Raises:
        StoreError: the database cannot be used; the message names the file and the way out.
    """
    clock = clock or SystemClock()
    store = await SqliteStore.open(config.settings.database, clock=clock)
    router = Router(config, store, clock=clock)
    try:
        await store.reclaim(now_ms=clock.now_ms())
        yield router
    finally:
        with anyio.CancelScope(shield=True):
            await router.aclose()


def _signed(candidate: Candidate, answer: Answer) -> Cached:
    deployment = candidate.deployment
    return Cached(
        answer=answer, provider=deployment.provider.name, model=deployment.model.name, reason=candidate.reason
    )


def _notes_on(wire: WireRequest, answer: Answer) -> list[str]:
    notes = [*wire.notes, *answer.notes]
    if answer.usage is None and answer.cost_nusd is None:
        notes.append("The provider sent no usage, so the cost is counted at its worst case.")
    elif answer.usage is not None and answer.usage.mismatch:
        notes.append(f"The provider's token total differs from its parts by {answer.usage.mismatch}.")
    if answer.finish == "length":
        notes.append("The answer was cut at max_tokens.")
    if answer.retires:
        notes.append(f"The provider says that this model retires on {answer.retires}.")
    return notes


def _all_failed(failures: list[ProviderError]) -> AllAttemptsFailed:
    waits = [error.retry_after_s for error in failures if error.retry_after_s is not None]
    said = list(dict.fromkeys(str(error) for error in failures))
    return AllAttemptsFailed(
        f"No deployment answered. {'; '.join(said)}.", failures, retry_after_s=min(waits, default=None)
    )
