"""Where everything is asked: each request, plan and report, by whoever may. `stages.py` is the path between.

check access -> the stages -> record -> answer
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
from orchestra_router.attempts import Attempts
from orchestra_router.batches import Batch, complete_all
from orchestra_router.call import Call
from orchestra_router.clock import Clock, SystemClock
from orchestra_router.config import WEBHOOK, Config, environ_of, load
from orchestra_router.deployments import Plan
from orchestra_router.embedding.base import EmbedderSource
from orchestra_router.embedding.local import LazyEmbedder
from orchestra_router.endpoint_embedder import EndpointEmbedder
from orchestra_router.errors import InvalidRequest, RouterError
from orchestra_router.inventory import Inventory
from orchestra_router.keywords import Asked, Asking, request_of, requests_of
from orchestra_router.observe import Finished, Observers, log_attempt, log_request
from orchestra_router.observe import context as trace_context
from orchestra_router.planning import Planner
from orchestra_router.policy import budget, key_limits, names, retention
from orchestra_router.policy.access import Access, Caller, Verb, admitted
from orchestra_router.policy.admission import Admission
from orchestra_router.policy.audit import configured
from orchestra_router.policy.cache.stage import Cache
from orchestra_router.policy.costs import CostReport, cost_report
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.health import Health
from orchestra_router.policy.keyring import Keyring
from orchestra_router.policy.learning import Learned, Learning
from orchestra_router.policy.ledger import Ledger
from orchestra_router.policy.prefixes import Prefixes
from orchestra_router.policy.progress import OnProgress, OnText
from orchestra_router.policy.purse import Purse
from orchestra_router.policy.records import Records
from orchestra_router.policy.redactor import redactor
from orchestra_router.policy.request_log import RequestLog
from orchestra_router.policy.rules.all_rules import rules_for
from orchestra_router.policy.status import StatusReport, status_report
from orchestra_router.policy.trails import Trail, trails
from orchestra_router.policy.views import Views
from orchestra_router.policy.webhook import Webhook
from orchestra_router.pricing import Pricing
from orchestra_router.stages import Stages
from orchestra_router.store.base import Store
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.streams import AnswerStream
from orchestra_router.telemetry import sending
from orchestra_router.transport import Transport
from orchestra_router.types import Completion, CompletionRequest, Probe, changed
from orchestra_router.underway import Request, Underway


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
        self._underway = Underway(clock)
        self._webhook = self._delivering() if settings.alert_webhook else None
        self._records = Records(store)
        own = {kind: own.pattern for kind, own in settings.guard_patterns.items()}
        self._request_log = RequestLog(settings, config.secrets(), own)
        prefixes = Prefixes(clock)
        attempts = Attempts(
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
        self._stages = Stages(
            config,
            clock,
            self._guardrails,
            self.embedder,
            self.cache,
            Planner(config, self._pricing, self._inventory, self._ledger, self._health, self._learning, prefixes),
            Answers(attempts),
            self._pricing,
            self.observers,
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
            RouterError: the router is closed, or was closed meanwhile.
        """
        with Request(self._underway):
            caller = await self._access.allowed(caller, "complete")
            request = request_of("complete", asked, asking, max_tokens=self.config.settings.max_tokens)
            call = self._stages.begin(request, caller, on_progress, on_text, purse or Purse(request.max_cost_nusd))
            outcome = "cancelled"
            completion: Completion | None = None
            try:
                completion = await self._stages.answer(call)
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
                latency_ms = round((self._clock.monotonic() - call.started) * 1000)
                record = ending.record(call, outcome, completion, period=period, latency_ms=latency_ms)
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
        trace_id = trace_context.trace_of(requests[0].trace_id, trace_context.current())
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
        return await self._stages.plan(admitted(request, caller))

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
        """Close it, once the requests under way have ended or the setting `close_grace_s` is over."""
        await self._underway.aclose(grace_s=self.config.settings.close_grace_s)
        if self._webhook is not None:
            await self._webhook.aclose()
        await self.cache.aclose()
        await self._transport.aclose()
        await self._ledger.aclose()
        await self._records.aclose()
        await self._learning.aclose()
        await self.store.close()

    def start(self) -> None:
        """Begin what goes on in the background until `aclose`."""
        if self._webhook is not None:
            self._webhook.start()

    def _finished(self, call: Call, record: RequestRecord) -> Finished:
        scrub = self._scrub if self.config.settings.telemetry_content else None
        return ending.finished(call, record, ended=self._clock.monotonic(), scrub=scrub)

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
