"""The path of one request, top to bottom.

check access -> guard the prompt -> look in the cache -> plan the route -> for each attempt: hold money, call,
settle -> check the answer -> store in the cache -> record -> answer
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import anyio

from orchestra_router import ending, ids
from orchestra_router.answers import Answers
from orchestra_router.attempts import Attempts, Call
from orchestra_router.batches import Batch, complete_all
from orchestra_router.clock import Clock, SystemClock
from orchestra_router.config import WEBHOOK, Config, environ_of, load
from orchestra_router.deployments import Plan
from orchestra_router.embedding.base import EmbedderSource, Payer
from orchestra_router.embedding.local import LazyEmbedder
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.endpoint_embedder import EndpointEmbedder
from orchestra_router.errors import BudgetExceeded, CacheMiss, InvalidRequest, RouterError
from orchestra_router.gate import Gate
from orchestra_router.inventory import Inventory
from orchestra_router.keywords import Asked, Asking, request_of, requests_of
from orchestra_router.observe import Finished, Observers, log_attempt, log_request
from orchestra_router.observe import context as trace_context
from orchestra_router.observe.records import StageName
from orchestra_router.once import Once
from orchestra_router.planning import Planner
from orchestra_router.policy import (
    affording,
    budget,
    key_limits,
    names,
    retention,
    tasks,
    user_rules,
)
from orchestra_router.policy.access import Access, Caller, Verb, admitted
from orchestra_router.policy.admission import Admission
from orchestra_router.policy.audit import configured
from orchestra_router.policy.cache.stage import Cache
from orchestra_router.policy.costs import CostReport, cost_report
from orchestra_router.policy.flights import Flights
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.health import Health
from orchestra_router.policy.keyring import Keyring
from orchestra_router.policy.learning import Learned, Learning
from orchestra_router.policy.ledger import Ledger
from orchestra_router.policy.prefixes import Beginnings, Prefixes
from orchestra_router.policy.progress import OnProgress, OnText
from orchestra_router.policy.purse import Purse
from orchestra_router.policy.records import Records
from orchestra_router.policy.redactor import redactor
from orchestra_router.policy.request_log import RequestLog
from orchestra_router.policy.rules.all_rules import rules_for
from orchestra_router.policy.status import StatusReport, status_report
from orchestra_router.policy.trails import Trail, trails
from orchestra_router.policy.views import Views
from orchestra_router.policy.wanted import check_names
from orchestra_router.policy.webhook import Webhook
from orchestra_router.pricing import Pricing
from orchestra_router.store.base import Store
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.streams import AnswerStream, hear_out
from orchestra_router.telemetry import sending
from orchestra_router.transport import Transport
from orchestra_router.types import Completion, CompletionRequest, Message, Probe, Text, changed

_ANY = CompletionRequest(messages=(Message("user", (Text("How are you?"),)),))


class Router:
    """Everything one process needs to answer requests. Made by `open_router`."""

    def __init__(
        self, config: Config, store: Store, *, clock: Clock, jitter: Callable[[], float] = random.random
    ) -> None:
        settings = config.settings
        self.config = config
        self.store = store
        self.views = Views(store, settings, clock)
        # Most processes write no line of what went well.
        self.observers = Observers([log_attempt], [log_request] if settings.log_level in {"DEBUG", "INFO"} else [])
        self._scrub = redactor(config)
        self._clock = clock
        self._pricing = Pricing.of(settings, checked=config.catalog.checked)
        self._transport = Transport(clock, private_hosts=config.private_hosts, keep_s=settings.warm_connections_s)
        self._inventory = Inventory(config, self._transport, clock)
        self._access = Access(store, clock, user=settings.user, session=settings.session, own_secret=config.access_key)
        self.keyring = Keyring(store, self._access, clock, config)
        self._guardrails = Guardrails(
            rules_for(settings, keys=config.secrets()),
            clock=clock,
            of_key=lambda guard: rules_for(key_limits.guarded(settings, guard), keys=config.secrets()),
        )
        self._gate = Gate(self._guardrails, settings)
        self._flights = Flights()
        self._health = Health(store, config, clock)
        self._learning = Learning(store, settings, clock)
        self._ledger = Ledger(store, self._pricing, settings, clock)
        admission = Admission(self._health, config, clock)
        self.embedder: EmbedderSource = (
            EndpointEmbedder(config, self._transport, self._ledger, self._pricing, self._health, admission, clock)
            if "/" in settings.embedder
            else LazyEmbedder.of(settings)
        )
        self.cache = Cache(store, settings, config.catalog, self.embedder)
        self._webhook = self._delivering() if settings.alert_webhook else None
        self._records = Records(store)
        own = {kind: own.pattern for kind, own in settings.guard_patterns.items()}
        self._request_log = RequestLog(settings, config.secrets(), own)
        prefixes = Prefixes(clock)
        self._planner = Planner(
            config, self._pricing, self._inventory, self._ledger, self._health, self._learning, prefixes
        )
        self._tells_tasks = Once(lambda: tasks.classify(_ANY, config.catalog.keywords))
        self._questions = Once(self.cache.warm)
        self._answers = Answers(
            Attempts(
                config,
                clock,
                self._transport,
                self._inventory,
                self._ledger,
                self._health,
                admission,
                self._guardrails,
                prefixes,
                self.observers,
                jitter,
            )
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: Config | None = None,
        *,
        home: str | Path | None = None,
        file: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> AsyncGenerator["Router"]:
        """A router as the `orchestra` command would open it: `async with Router.open() as router: ...`.

        `home` is the folder of the database, `file` the `orchestra.toml`, `environ` stands in for the process' own
        environment, which holds the keys, and `settings` count more than both: `{"budget_day_usd": 5}`. With `config`
        there is nothing more to say.

        Raises:
            ConfigError: the configuration cannot be used; the message lists every problem with its fix.
            StoreError: the database cannot be used; the message names the file and the way out.
        """
        if config is None:
            given = {"home": home} if home is not None else {}
            config = load(environ_of({**(settings or {}), **given}, environ), path=Path(file) if file else None)
        async with open_router(config) as router:
            yield router

    async def authenticate(self, secret: str) -> Caller:
        """Whose access key `secret` is. Raises: AccessDenied, alike for unknown, expired and revoked ones."""
        return await self._access.authenticate(secret)

    async def own_caller(self) -> Caller:
        """Whoever started this process: the admin, or whom `ORCHESTRA_KEY` names. Raises: AccessDenied: it names nobody."""
        return await self._access.own()

    async def allowed(self, verb: Verb, *, caller: Caller | None = None) -> Caller:
        """The caller, who may do `verb`. None is whoever started this process, here as everywhere below.

        Raises:
            AccessDenied: he may not.
        """
        return await self._access.allowed(caller, verb)

    async def complete(
        self,
        asked: Asked = None,
        /,
        *,
        caller: Caller | None = None,
        on_progress: OnProgress | None = None,
        on_text: OnText | None = None,
        purse: Purse | None = None,
        **asking: Unpack[Asking],
    ) -> Completion:
        """Answer one request, from the cache or from the first deployment that can.

        `asked` is a prompt, or a whole request; keywords say the rest. With `on_progress` the answer is streamed from the
        provider, and told of while it grows. `on_text` hears all of its text, piece by piece as it comes, and before this
        returns; such an answer is not cached. `purse` pays for several requests together.

        Raises:
            AccessDenied: the caller may not ask, or not this.
            KeyLimitReached: his access key has asked as much as it may, for now.
            InvalidRequest: it cannot be served as it is.
            GuardrailBlocked: the prompt or the answer was refused.
            CacheMiss: only a cached answer was wanted, and there is none.
            BudgetExceeded: a budget or the request's own cap cannot pay for the worst case.
            NoRoute: nothing configured can serve it.
            AllAttemptsFailed: every deployment on the route failed.
            DeadlineExceeded: its time ran out first.
            StoreError: the ledger cannot be written, so nothing may be spent.
        """
        caller = await self._access.allowed(caller, "complete")
        request = request_of("complete", asked, asking, max_tokens=self.config.settings.max_tokens)
        call = self._begin(admitted(request, caller), on_progress, on_text, purse or Purse(request.max_cost_nusd))
        outcome = "cancelled"
        completion: Completion | None = None
        try:
            completion = await self._answer(call)
        except RouterError as error:
            outcome, error.attempts = error.code, tuple(call.attempts)
            raise
        except Exception:
            outcome = "internal"
            raise
        else:
            outcome = "ok"
            return completion
        finally:
            # Nothing in here is cut short by a caller who leaves.
            period = budget.period_at(call.started_ms, self.config.settings.timezone)
            record = ending.record(call, outcome, completion, period=period, latency_ms=self._elapsed_ms(call))
            try:
                if self._request_log.is_kept:
                    record = replace(record, exchange=await self._request_log.exchange(call.sent, call.answer))
            finally:  # a task can be cancelled past any shield
                await self._records.write(record)
                if self.observers.requests:
                    self.observers.request(self._finished(call, record))

    async def batch(
        self,
        asked: Sequence[str] | Sequence[CompletionRequest],
        /,
        *,
        request_id: str = "",
        caller: Caller | None = None,
        on_progress: OnProgress | None = None,
        **asking: Unpack[Asking],
    ) -> Batch:
        """Answer many prompts, `batch_concurrency` at a time; `max_cost_usd` is for all of them together.

        Each answer or failure stands in its prompt's place, and the same prompt twice is asked once. Requests must differ
        in their messages only.

        Raises:
            InvalidRequest: one of them cannot be served as it is; nothing was asked.
        """
        requests = requests_of("batch", asked, asking, max_tokens=self.config.settings.max_tokens)
        trace_id = trace_context.trace_of(requests[0].trace_id)
        requests = tuple(changed(request, trace_id=trace_id) for request in requests)
        return await complete_all(
            self, requests, request_id=request_id or ids.drawn(), caller=caller, on_progress=on_progress
        )

    def stream(self, asked: Asked = None, /, *, caller: Caller | None = None, **asking: Unpack[Asking]) -> AnswerStream:
        """The same answer as it grows: `Delta` after `Delta`, then the `Completion`. Raises as `complete` does.

        async with router.stream("Why is the sky blue?") as pieces:
            async for piece in pieces: ...
        """
        request = request_of("stream", asked, asking, max_tokens=self.config.settings.max_tokens)
        return AnswerStream(lambda on_text: self.complete(request, caller=caller, on_text=on_text))

    async def plan(self, asked: Asked = None, /, *, caller: Caller | None = None, **asking: Unpack[Asking]) -> Plan:
        """The route a request would take, without spending anything. Raises as `complete` does before a call."""
        caller = await self._access.allowed(caller, "plan")
        request = request_of("plan", asked, asking, max_tokens=self.config.settings.max_tokens)
        guarded = await self._gate.prompt(admitted(request, caller))
        check_names(guarded.request, self.config.catalog)
        request, task_reason = await self._with_task(
            guarded.request, self._vector(guarded.request, Payer(request.scope))
        )
        request, rule = user_rules.with_rule(request, self.config, now_ms=self._clock.now_ms())
        begun = Beginnings(request)
        return await self._planner.plan(begun, task_reason, rule, search_is_implied=not guarded.request.web_search)

    async def warm(self) -> None:
        """Connect to whoever is asked first at each task, if the settings want that. Nothing is sent."""
        if not self.config.settings.warm_connections_s:
            return
        urls: set[str] = set()
        for task in self.config.catalog.tasks:
            with suppress(RouterError):
                plan = await self.plan("Hello.", task=task)
                urls.add(plan.route[0].deployment.provider.base_url)
        await self._transport.warm(urls)

    async def learned(self, *, caller: Caller | None = None) -> Learned:
        """What this installation has seen of its models, which decides between equals."""
        await self._access.allowed(caller, "learned")
        return await self._learning.view()

    async def forget_learned(self, task: str | None = None, *, caller: Caller | None = None) -> int:
        """Forget that, for one task or for all. Returns how many attempts were behind it.

        Raises:
            InvalidRequest: nobody knows `task`.
            GuardrailBlocked: it is no name at all.
        """
        await self._access.allowed(caller, "forget_learned")
        if task is not None and task not in self.config.catalog.tasks:
            self._guardrails.check_name(task)
            raise InvalidRequest(names.unknown("task", task, self.config.catalog.tasks))
        return await self._learning.forget(task)

    async def provider_status(
        self, provider: str | None = None, *, probe: bool = False, caller: Caller | None = None
    ) -> StatusReport:
        """What can be called now. `probe` asks each configured provider's free list first.

        Raises:
            InvalidRequest: nobody knows `provider`.
            GuardrailBlocked: it is no name at all.
        """
        await self._access.allowed(caller, "probe" if probe else "status")
        if provider is not None and provider not in self.config.catalog.providers:
            self._guardrails.check_name(provider)
            raise InvalidRequest(names.unknown("provider", provider, self.config.catalog.providers))
        probes: Mapping[str, Probe] = await self._inventory.probe(provider) if probe else {}
        await self._health.probed(probes)
        report = await status_report(
            self.config,
            self.store,
            await self._health.view(),
            day=budget.period_at(self._clock.now_ms(), self.config.settings.timezone).day,
            probes=probes,
            local=await self._inventory.local(),
            pricing=self._pricing,
            only=provider,
        )
        return replace(report, notes=(*report.notes, *self.cache.notes()), embedder=self.embedder.state().told)

    async def cost_report(
        self,
        *,
        period: str | None = None,
        first_day: str | None = None,
        last_day: str | None = None,
        group_by: str | None = None,
        caller: Caller | None = None,
    ) -> CostReport:
        """What was spent in a calendar period, or from `first_day` to `last_day` (`policy.costs` says which there are).

        Whoever may not see everybody's sees his own key's. Money that a process which died had set aside is taken for spent first.
        """
        caller = await self._access.allowed(caller, "costs_own")
        await self._ledger.reclaim()
        await self._records.catch_up()
        return await cost_report(
            self.store,
            self.config.settings,
            period=period,
            first_day=first_day,
            last_day=last_day,
            group_by=group_by,
            scope=caller.scope,
            only=caller.only("costs_all"),
            now_ms=self._clock.now_ms(),
        )

    async def trails(self, request_or_trace_id: str, *, caller: Caller | None = None) -> tuple[Trail, ...]:
        """What became of a request, or of all of one trace, as far as it is on record; none where nobody knows it."""
        caller = await self._access.allowed(caller, "requests_own")
        await self._records.catch_up()
        return await trails(self.store, request_or_trace_id, None if caller.may("requests_all") else caller.scope)

    async def aclose(self) -> None:
        if self._webhook is not None:
            await self._webhook.aclose()
        await self.cache.aclose()
        await self._transport.aclose()
        await self._ledger.aclose()
        await self._records.aclose()
        await self.store.close()

    def start(self) -> None:
        """Begin what goes on in the background until `aclose`."""
        if self._webhook is not None:
            self._webhook.start()

    # --- the stages ------------------------------------------------------------------------------------------

    def _begin(
        self, request: CompletionRequest, on_progress: OnProgress | None, on_text: OnText | None, purse: Purse
    ) -> Call:
        parent, trace_id = trace_context.current(), trace_context.trace_of(request.trace_id)
        for name in (request.trace_id, request.request_id):
            self._guardrails.check_given_id(name)
        return Call(
            request_id=request.request_id or ids.drawn(),
            request=changed(request, trace_id=trace_id),
            parent=parent if parent and parent.trace_id == trace_id else None,
            started_ms=self._clock.now_ms(),
            started=self._clock.monotonic(),
            deadline=self._clock.monotonic() + self.config.settings.deadline_s,
            on_progress=on_progress,
            on_text=on_text,
            purse=purse,
        )

    async def _answer(self, call: Call) -> Completion:
        # Until it is checked nothing of it is recorded, and no task that nobody knows.
        self._enter(call, "guard")
        whole, call.request = call.request, changed(call.request, task=None, metadata={})
        guarded = await self._gate.prompt(whole)
        call.sent, call.found = guarded.request, dict(guarded.found)
        call.request = changed(guarded.request, task=None)
        self._enter(call, "task")
        check_names(guarded.request, self.config.catalog)
        vector = self._vector(guarded.request, Payer(call.request.scope, call.purse, call.deadline))
        call.request, task_reason = await self._with_task(guarded.request, vector)
        call.request, rule = user_rules.with_rule(call.request, self.config, now_ms=self._clock.now_ms())

        self._enter(call, "cache")
        if not self._questions.is_done:
            await self._questions.done()
        asked = self.cache.question(call.request, vector, streamed=call.on_text is not None)
        if entry_id := call.request.wrong_cache_entry:
            call.note(await self.cache.wrong(entry_id, asked, now_ms=self._clock.now_ms()))
        # Who may have to wait for money keeps nobody waiting who need not.
        flight = None if call.purse.makes_wait else asked.key
        async with self._flights.turn(flight, seconds=call.deadline - self._clock.monotonic()):
            look = await self.cache.look(asked, call.request, now_ms=self._clock.now_ms())
            call.look = key_limits.permitted(look, call.request.scope.limits, self.config.catalog)
            if call.look.hit is not None:
                call.written = call.look.hit.cached.answer
                return ending.cached(call.look.hit, call, guarded, latency_ms=self._elapsed_ms(call))
            if call.request.cache == "only":
                raise CacheMiss(_not_cached(call.look.short_reason))

            self._enter(call, "plan")
            search_is_implied = not guarded.request.web_search
            plan = await self._planner.plan(call.beginnings, task_reason, rule, search_is_implied=search_is_implied)
            self._planner.carried_out(plan)
            call.note(*plan.notes)
            if plan.without_search:
                # Good enough for now, and not to be served once somebody can search.
                call.request, asked = changed(call.request, web_search=False), replace(asked, key=None)
            self._enter(call, "attempts")
            try:
                answered = await self._answers.good_enough(plan, call, guarded)
            except BudgetExceeded as error:
                call.refusal = error.refusal
                affording.add_what_fits(error, plan.route, call.request, self._pricing, at_ms=self._clock.now_ms())
                raise
            # Outside the reservation: an answer we refuse to hand over was still paid for.
            self._enter(call, "check")
            written = ending.signed(answered.candidate, await self._gate.answer(answered.answer, call.request.scope))
            call.written = written.answer
            self._enter(call, "keep")
            # What will not do is asked again next time.
            asked = replace(asked, key=None) if call.flaw else asked
            self.cache.keep(asked, written, call.request, cost_nusd=call.cost_nusd, now_ms=self._clock.now_ms())
        completion = ending.completion(
            written, call, guarded, number=answered.number, latency_ms=self._elapsed_ms(call)
        )
        await hear_out(call, completion.answer.text, number=answered.number)
        return completion

    def _vector(self, request: CompletionRequest, payer: Payer) -> PromptVector:
        return PromptVector(self.embedder, tasks.asked(request), payer)

    async def _with_task(self, request: CompletionRequest, vector: PromptVector) -> tuple[CompletionRequest, str]:
        if request.task is None and not self._tells_tasks.is_done:
            await self._tells_tasks.done()
        # The classifier reads the vectors of the local embedder only, so another one is not asked, nor paid.
        local = self.config.settings.embedder == "local"
        request, reason = await tasks.with_task(request, self.config.catalog, vector if local else None)
        key_limits.check_task(request.scope.limits, request.task or "", reason)
        return request, reason

    def _enter(self, call: Call, stage: StageName) -> None:
        if self.observers.requests:  # else nobody wants to know
            call.stages.append((stage, self._clock.monotonic()))

    def _finished(self, call: Call, record: RequestRecord) -> Finished:
        scrub = self._scrub if self.config.settings.telemetry_content else None
        return ending.finished(call, record, ended=self._clock.monotonic(), scrub=scrub)

    def _elapsed_ms(self, call: Call) -> int:
        return round((self._clock.monotonic() - call.started) * 1000)

    def _delivering(self) -> Webhook:
        url, secret = self.config.settings.alert_webhook, self.config.keys.get(WEBHOOK)
        webhook = Webhook(self.store, self._transport, self._clock, url=url, secret=secret)
        self._ledger.on_alert = self._health.on_alert = webhook.wake
        return webhook


@asynccontextmanager
async def open_router(
    config: Config, *, clock: Clock | None = None, jitter: Callable[[], float] = random.random
) -> AsyncGenerator[Router]:
    """A router over the store in `config.settings.home`, closed on leaving. `jitter`, in [0, 1), spreads retries.

    Raises:
        StoreError: the database cannot be used; the message names the file and the way out.
    """
    clock = clock or SystemClock()
    store = await SqliteStore.open(config.settings.database, clock=clock)
    router = Router(config, store, clock=clock, jitter=jitter)
    telemetry = None
    try:
        if config.settings.telemetry_endpoint:
            telemetry = sending(config, router.observers)
        await store.reclaim(now_ms=clock.now_ms())
        await store.drop_cached(expired_before_ms=clock.now_ms())
        await store.audit(configured(config, at_ms=clock.now_ms()), if_new=True)
        router.start()
        async with _in_background(retention.keep_at_it(store, config.settings, clock)):
            yield router
    finally:
        with anyio.CancelScope(shield=True):
            await router.aclose()
            if telemetry is not None:
                await telemetry.aclose()


def _not_cached(reason: str) -> str:
    return (
        f'Nothing in the cache answers this ({reason}). Nothing was paid, for `cache` is "only": leave it out to ask.'
    )


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """`work` beside the body, and cancelled with its end. No task group: that would wrap the body's errors."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task})
