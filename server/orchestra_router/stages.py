"""The path of one request, top to bottom.

guard the prompt -> tell its task -> look in the cache -> plan the route -> for each attempt: hold money, call, settle
-> check the answer -> store in the cache
"""

from dataclasses import replace

from orchestra_router import ending, ids
from orchestra_router.answers import Answers
from orchestra_router.call import Call
from orchestra_router.clock import Clock
from orchestra_router.config import Config
from orchestra_router.deployments import Plan
from orchestra_router.embedding.base import EmbedderSource, Payer
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.errors import BudgetExceeded, CacheMiss
from orchestra_router.gate import Gate
from orchestra_router.observe import Observers
from orchestra_router.observe import context as trace_context
from orchestra_router.observe.records import StageName
from orchestra_router.once import Once
from orchestra_router.planning import Planner
from orchestra_router.policy import affording, key_limits, tasks, user_rules
from orchestra_router.policy.access import Caller, admitted
from orchestra_router.policy.cache.stage import Cache
from orchestra_router.policy.flights import Flights
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.prefixes import Beginnings
from orchestra_router.policy.progress import OnProgress, OnText
from orchestra_router.policy.purse import Purse
from orchestra_router.policy.wanted import check_names
from orchestra_router.pricing import Pricing
from orchestra_router.streams import hear_out
from orchestra_router.types import Completion, CompletionRequest, Message, Text, changed

_ANY = CompletionRequest(messages=(Message("user", (Text("How are you?"),)),))


class Stages:
    def __init__(
        self,
        config: Config,
        clock: Clock,
        guardrails: Guardrails,
        embedder: EmbedderSource,
        cache: Cache,
        planner: Planner,
        answers: Answers,
        pricing: Pricing,
        observers: Observers,
    ) -> None:
        self._config = config
        self._clock = clock
        self._guardrails = guardrails
        self._gate = Gate(guardrails, config.settings)
        self._embedder = embedder
        self._tells_tasks = Once(lambda: tasks.classify(_ANY, config.catalog.keywords))
        self._cache = cache
        self._questions = Once(cache.warm)
        self._flights = Flights()
        self._planner = planner
        self._answers = answers
        self._pricing = pricing
        self._observers = observers

    def begin(
        self,
        request: CompletionRequest,
        caller: Caller,
        on_progress: OnProgress | None,
        on_text: OnText | None,
        purse: Purse,
    ) -> Call:
        parent = trace_context.current()
        trace_id = trace_context.trace_of(request.trace_id, parent)
        started = self._clock.monotonic()
        for name in (request.trace_id, request.request_id):
            self._guardrails.check_given_id(name)
        return Call(
            request_id=request.request_id or ids.drawn(),
            request=admitted(request, caller, trace_id=trace_id),
            parent=parent if parent and parent.trace_id == trace_id else None,
            started_ms=self._clock.now_ms(),
            started=started,
            deadline=started + self._config.settings.deadline_s,
            on_progress=on_progress,
            on_text=on_text,
            purse=purse,
        )

    async def answer(self, call: Call) -> Completion:
        """Raises: as `Router.complete` does, but for what access says."""
        # Until it is checked nothing of it is recorded, and no task that nobody knows.
        self._enter(call, "guard")
        whole, call.request = call.request, _unchecked(call.request)
        guarded = await self._gate.prompt(whole)
        call.sent, call.found = guarded.request, dict(guarded.found)
        call.request = _without_task(guarded.request)
        self._enter(call, "task")
        check_names(guarded.request, self._config.catalog)
        vector = self._vector(guarded.request, Payer(call.request.scope, call.purse, call.deadline, call.vectors))
        call.request, _ = await self._with_task(guarded.request, vector)
        call.request, rule = user_rules.with_rule(call.request, self._config, now_ms=self._clock.now_ms())

        self._enter(call, "cache")
        if not self._questions.is_done:
            await self._questions.done()
        asked = self._cache.question(call.request, vector, streamed=call.on_text is not None)
        if entry_id := call.request.wrong_cache_entry:
            call.note(await self._cache.wrong(entry_id, asked, now_ms=self._clock.now_ms()))
        # Who may have to wait for money keeps nobody waiting who need not.
        flight = None if call.purse.makes_wait else asked.key
        async with self._flights.turn(flight, seconds=call.deadline - self._clock.monotonic()):
            look = await self._cache.look(asked, call.request, now_ms=self._clock.now_ms())
            call.look = key_limits.permitted(look, call.request.scope.limits, self._config.catalog)
            if call.look.hit is not None:
                call.written = call.look.hit.cached.answer
                return ending.cached(call.look.hit, call, guarded, latency_ms=self._elapsed_ms(call))
            if call.request.cache == "only":
                raise CacheMiss(_not_cached(call.look.short_reason))

            self._enter(call, "plan")
            search_is_implied = not guarded.request.web_search
            # Nobody is shown this plan, so nobody has to be told how its task was found.
            plan = await self._planner.plan(call.beginnings, "", rule, search_is_implied=search_is_implied)
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
            self._cache.keep(asked, written, call.request, cost_nusd=call.attempts_nusd, now_ms=self._clock.now_ms())
        completion = ending.completion(
            written, call, guarded, number=answered.number, latency_ms=self._elapsed_ms(call)
        )
        await hear_out(call, completion.answer.text, number=answered.number)
        return completion

    async def plan(self, request: CompletionRequest) -> Plan:
        """The route that `request` would take; nothing is spent."""
        guarded = await self._gate.prompt(request)
        check_names(guarded.request, self._config.catalog)
        vector = self._vector(guarded.request, Payer(request.scope))
        request, found = await self._with_task(guarded.request, vector)
        request, rule = user_rules.with_rule(request, self._config, now_ms=self._clock.now_ms())
        begun = Beginnings(request)
        return await self._planner.plan(begun, found.reason, rule, search_is_implied=not guarded.request.web_search)

    def _vector(self, request: CompletionRequest, payer: Payer) -> PromptVector:
        return PromptVector(self._embedder, tasks.asked(request), payer)

    async def _with_task(
        self, request: CompletionRequest, vector: PromptVector
    ) -> tuple[CompletionRequest, tasks.Classification]:
        if request.task is None and not self._tells_tasks.is_done:
            await self._tells_tasks.done()
        # The classifier reads the vectors of the local embedder only, so another one is not asked, nor paid.
        local = self._config.settings.embedder == "local"
        request, found = await tasks.with_task(request, self._config.catalog, vector if local else None)
        key_limits.check_task(request.scope.limits, found)
        return request, found

    def _enter(self, call: Call, stage: StageName) -> None:
        if self._observers.requests:  # else nobody wants to know
            call.stages.append((stage, self._clock.monotonic()))

    def _elapsed_ms(self, call: Call) -> int:
        return round((self._clock.monotonic() - call.started) * 1000)


def _unchecked(request: CompletionRequest) -> CompletionRequest:
    """`request` without what its caller may have written into it that is put on record."""
    return changed(request, task=None, metadata={}) if request.metadata else _without_task(request)


def _without_task(request: CompletionRequest) -> CompletionRequest:
    return request if request.task is None else changed(request, task=None)


def _not_cached(reason: str) -> str:
    return (
        f'Nothing in the cache answers this ({reason}). Nothing was paid, for `cache` is "only": leave it out to ask.'
    )
