"""Carries out a plan: attempts at one deployment after the other, under one deadline and one budget of attempts.

for each attempt: hold money, call, settle, learn -> ask again, ask the next, or give up
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from orchestra_router.call import Call
from orchestra_router.clock import Clock
from orchestra_router.config import PORTKEY, Config
from orchestra_router.deployments import Candidate
from orchestra_router.errors import (
    AllAttemptsFailed,
    BadRequest,
    BudgetExceeded,
    DeadlineExceeded,
    GuardrailBlocked,
    InvalidAnswer,
    InvalidRequest,
    ModelGone,
    PassedOver,
    ProviderError,
    RouterError,
    StreamBroken,
)
from orchestra_router.hedging import race
from orchestra_router.inventory import Inventory
from orchestra_router.observe import Observers, Times
from orchestra_router.observe.context import traceparent
from orchestra_router.policy import affording, rotation, routing
from orchestra_router.policy.admission import Admission
from orchestra_router.policy.guardrails import Guarded, Guardrails
from orchestra_router.policy.health import Health
from orchestra_router.policy.ledger import Ledger, Reservation
from orchestra_router.policy.prefixes import Marks, Prefixes, prefix_key
from orchestra_router.policy.progress import Growing, Growth, Speech
from orchestra_router.policy.retry import KEPT_FOR_OTHERS, Verdict, decide
from orchestra_router.providers import registry
from orchestra_router.providers.base import Adapter
from orchestra_router.transport import StreamTimeouts, Transport
from orchestra_router.types import Answer, Attempt, CompletionRequest, WireRequest, changed

SHORTEST_S = 0.05
"""With less than this left nothing is asked: nobody could answer, and it would count at its worst case."""
SOONEST_HEDGE_S = 0.5
"""However fast its answers are, a deployment is given this long before a second one is asked too."""


class Answered(NamedTuple):
    """Who answered what, with which of the request's attempts."""

    candidate: Candidate
    answer: Answer
    number: int
    notes: Sequence[str]


class Attempts:
    def __init__(
        self,
        config: Config,
        clock: Clock,
        transport: Transport,
        inventory: Inventory,
        ledger: Ledger,
        health: Health,
        admission: Admission,
        guardrails: Guardrails,
        prefixes: Prefixes,
        observers: Observers,
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` gives numbers in [0, 1): it spreads retries."""
        self._config = config
        self._clock = clock
        self._transport = transport
        self._inventory = inventory
        self._ledger = ledger
        self._health = health
        self._admission = admission
        self._guardrails = guardrails
        self._prefixes = prefixes
        self._observers = observers
        self._jitter = jitter

    async def first_success(self, route: Sequence[Candidate], call: Call, guarded: Guarded) -> Answered:
        """Down `route`, each deployment again while that makes sense.

        Raises:
            AllAttemptsFailed: none answered.
            RouterError: a budget, the deadline or the store ended it; what had failed before is said with it.
        """
        failures: list[ProviderError] = []
        tries = 0
        waited_s = 0.0
        while route:
            tries += 1
            began_ms = self._clock.now_ms()
            try:
                return _noted(await self._fastest(route, call, guarded, waited_s=waited_s), call)
            except ProviderError as error:
                failures.append(error)
                rest = routing.after(error, route)
                verdict = self._verdict(error, route[0], call, tries=tries, rest=rest)
                if verdict.step != "again":
                    # Once for all tries: one prompt that a model stumbles over is no proof against it.
                    await self._failed(route[0], error, began_ms=began_ms)
            except (InvalidRequest, PassedOver) as refusal:
                # This deployment cannot be told it, or not now; another may.
                rest = route[1:] if isinstance(refusal, InvalidRequest) else rotation.passed_over(route)
                if not rest:
                    raise _with_history(refusal, failures) from None
                call.note(f"{route[0].deployment.key} was passed over: {refusal}")
                verdict = Verdict("next")
            except BudgetExceeded as error:
                rest = affording.cheaper(route, error, call.request)
                if not rest:
                    raise _with_history(error, failures) from None
                call.note(f"{route[0].deployment.key} was passed over: it may cost more than there is money left for.")
                verdict = Verdict("next")
            except RouterError as error:
                raise _with_history(error, failures) from None
            waited_s = verdict.wait_s
            if verdict.step == "again":
                await _tell(call, f"{failures[-1]}; asking again in {waited_s:.1f} s")
                await self._clock.sleep(waited_s)
            else:
                route = rest if verdict.step == "next" else []
                tries = 0
        raise self._all_failed(failures, guarded) from failures[-1]

    def may_go_on(self, call: Call) -> bool:
        """Whether there is an attempt and some time left."""
        return call.begun < self._config.settings.max_attempts and self._clock.monotonic() < call.deadline

    def _verdict(
        self, error: ProviderError, candidate: Candidate, call: Call, *, tries: int, rest: Sequence[Candidate]
    ) -> Verdict:
        settings = self._config.settings
        asked = call.request.max_retries
        others = len(rest)
        if candidate.step == "cheap" and isinstance(error, InvalidAnswer):
            asked = 0  # it had nothing to say, and there is somebody stronger
        if others and self._health.failed_last(candidate.deployment):
            asked = 0  # it is probably not about this request
        return decide(
            error,
            tries=tries,
            max_retries=settings.max_retries if asked is None else asked,
            attempts_left=settings.max_attempts - call.begun,
            seconds_left=call.deadline - self._clock.monotonic(),
            has_next=others > 0,
            jitter=self._jitter(),
            kept=min(others, KEPT_FOR_OTHERS),
            next_key=others > 0 and rest[0].deployment == candidate.deployment,
        )

    async def _failed(self, candidate: Candidate, error: ProviderError, *, began_ms: int) -> None:
        await self._health.failed(candidate.deployment, error, fingerprint=candidate.fingerprint, began_ms=began_ms)

    async def _fastest(self, route: Sequence[Candidate], call: Call, guarded: Guarded, *, waited_s: float) -> Answered:
        """The answer of the first of `route`, or of the first other provider if the first is slow and that is wanted."""
        first, settings = route[0], self._config.settings
        # A cheap step is tried to save money; a race would spend the strong model's too.
        if not settings.hedge or first.step == "cheap":
            return await self._attempt(first, call, guarded, waited_s=waited_s)
        # Most candidates are only made when somebody looks at them.
        others = (c for c in route if c.deployment.provider.name != first.deployment.provider.name)
        other = next(others, None)
        after_s = settings.hedge_after_s if first.slow_ms is None else max(SOONEST_HEDGE_S, first.slow_ms / 1000)
        there_is_room = call.begun + 2 <= settings.max_attempts and self._clock.monotonic() + after_s < call.deadline
        if other is None or not there_is_room:
            return await self._attempt(first, call, guarded, waited_s=waited_s)
        lost: list[ProviderError] = []
        begun_before = call.begun
        first_began_ms = self._clock.now_ms()

        async def is_slow() -> bool:
            await self._clock.sleep(after_s)
            return call.speaker is None and self._clock.monotonic() < call.deadline

        async def ask_first() -> Answered:
            try:
                return await self._attempt(first, call, guarded, waited_s=waited_s)
            except ProviderError as error:
                lost.append(error)
                raise

        async def ask_other() -> Answered:
            began_ms = self._clock.now_ms()
            try:
                return await self._attempt(other, call, guarded, waited_s=0.0)
            except ProviderError as error:
                await self._failed(other, error, began_ms=began_ms)
                raise

        winner = await race(ask_first, ask_other, is_slow=is_slow)
        for error in lost:
            await self._failed(first, error, began_ms=first_began_ms)
        raced = [a for a in call.attempts if a.number > begun_before and _was_sent(a)]
        if any(a.deployment == other.deployment.key for a in raced):
            call.note(
                f"{first.deployment.key} took longer than {after_s:.1f} s, so {other.deployment.key} was asked too."
            )
        # One that lost may have answered all the same, a moment too late.
        slower = {a.number for a in raced if a.outcome in ("ok", "cancelled")} - {winner.number}
        call.attempts = [replace(a, rejected="slower") if a.number in slower else a for a in call.attempts]
        return winner

    async def _attempt(self, candidate: Candidate, call: Call, guarded: Guarded, *, waited_s: float) -> Answered:
        """One call to one deployment, inside its reservation, and what is learned from it."""
        deployment = candidate.deployment
        try:
            async with (
                call.purse.held(candidate.worst_nusd, within_s=call.deadline - self._clock.monotonic()),
                self._admission.admitted(candidate, deadline=call.deadline),
            ):
                began_ms = self._clock.now_ms()
                answered = await self._reserved(candidate, call, guarded, waited_s=waited_s)
                await self._health.succeeded(deployment, fingerprint=candidate.fingerprint, began_ms=began_ms)
        except ProviderError as error:
            error.deployment = deployment.key
            if error.cools == "key":
                error.key_from = self._key_from(candidate)
            if isinstance(error, ModelGone):
                error.replacement = self._config.catalog.replacement(deployment)
            raise
        return answered

    async def _reserved(self, candidate: Candidate, call: Call, guarded: Guarded, *, waited_s: float) -> Answered:
        deployment = candidate.deployment
        seconds_left = call.deadline - self._clock.monotonic()
        if seconds_left < SHORTEST_S:
            raise DeadlineExceeded(f"This request's {self._config.settings.deadline_s:.0f} s are over.")
        begun = call.beginnings
        marks = self._prefixes.marks(deployment, begun)
        adapter, wire = registry.build_request(
            deployment,
            _marked(call.request, marks, prefix_key(deployment, begun)),
            api_key=self._config.keys.secret(deployment.provider.name, candidate.fingerprint),
            portkey_key=self._config.keys.get(PORTKEY),
            stream=call.streams,
        )
        reservation = None
        asked = self._clock.monotonic()
        call.begun += 1
        number = call.begun
        try:
            async with self._ledger.reserve(
                candidate,
                call.request,
                request_id=call.request_id,
                number=number,
                spent_nusd=call.cost_nusd,
                seconds_left=seconds_left,
                waited_s=waited_s,
            ) as reservation:
                try:
                    answer = await self._ask(adapter, wire, candidate, call, guarded, reservation)
                except (BadRequest, ModelGone) as error:
                    if error.in_answer:
                        raise
                    raise await self._inventory.second_look(
                        error, deployment, call.request, fingerprint=candidate.fingerprint
                    ) from None
                reservation.answered(answer)
                self._prefixes.was_read(deployment, begun, marks)
        finally:
            if call.speaker == number and not call.heard:
                call.speaker = None
            if reservation is not None and reservation.attempt is not None:
                call.pay(reservation.attempt)
                self._observers.attempt(reservation.attempt)
                call.times.append(
                    Times(
                        number=number,
                        asked=asked,
                        began=reservation.started,
                        ended=reservation.ended,
                        settled=self._clock.monotonic(),
                    )
                )
        return Answered(candidate, answer, number, _notes_on(wire, answer))

    async def _ask(
        self,
        adapter: Adapter,
        wire: WireRequest,
        candidate: Candidate,
        call: Call,
        guarded: Guarded,
        reservation: Reservation,
    ) -> Answer:
        settings = self._config.settings
        seconds_left = call.deadline - self._clock.monotonic()
        timeout_s = min(settings.request_timeout_s, seconds_left)
        if call.on_progress is not None:  # most listen to nothing
            await _tell(call, f"asking {candidate.deployment.key} (attempt {reservation.hold.number})")

        def on_head(headers: Mapping[str, str]) -> None:
            reservation.allowances = self._health.heard(
                candidate.deployment, headers, fingerprint=candidate.fingerprint
            )

        if settings.telemetry_to_providers:
            told = traceparent(call.request.trace_id, reservation.hold.attempt_id)
            wire = replace(wire, headers={**wire.headers, "traceparent": told})
        if not call.streams:
            return await self._transport.ask(
                adapter, wire, timeout_s=timeout_s, on_sending=reservation.sending, on_head=on_head
            )
        growth = self._growing(candidate, call, guarded, number=reservation.hold.number)

        async def on_text(text: str) -> None:
            if call.speaker is None:
                call.speaker = reservation.hold.number
                call.speech = growth if isinstance(growth, Speech) else None
            if call.speaker == reservation.hold.number:
                await growth.add(text)

        try:
            return await self._transport.ask_streaming(
                adapter,
                wire,
                timeouts=StreamTimeouts(
                    first_s=timeout_s, idle_s=min(settings.stream_idle_timeout_s, seconds_left), total_s=seconds_left
                ),
                on_text=on_text,
                on_sending=reservation.sending,
                on_head=on_head,
            )
        finally:
            if growth.started is not None:
                reservation.first_token_ms = round((growth.started - reservation.started) * 1000)

    def _growing(self, candidate: Candidate, call: Call, guarded: Guarded, *, number: int) -> Growing:
        # An answer that may be rejected is not handed on before it has been looked at.
        is_sure = candidate.step != "cheap" and call.request.accept is None
        if call.on_text is not None and is_sure:
            return Speech(call.on_text, self._guardrails, guarded, self._clock, number=number)
        return Growth(call.on_progress or _nobody, self._guardrails, guarded, self._clock)

    def _key_from(self, candidate: Candidate) -> str:
        """Where the key of `candidate` came from, and whether it was the last one; "" where there is but one."""
        variables = self._config.keys.variables(candidate.deployment.provider.name)
        if len(variables) < 2:
            return ""
        variable = self._config.keys.variable(candidate.deployment.provider.name, candidate.fingerprint)
        return variable if candidate.keys[1:] else f"{variable}, the last of {len(variables)} keys"

    def _all_failed(self, failures: Sequence[ProviderError], guarded: Guarded) -> AllAttemptsFailed:
        waits = [error.retry_after_s for error in failures if error.retry_after_s is not None]
        failed = AllAttemptsFailed(
            f"No deployment answered. {_said(failures)}", failures, retry_after_s=min(waits, default=None)
        )
        if isinstance(failures[-1], StreamBroken):
            failed.partial_text = self._presentable(failures[-1].partial_text, guarded)
        return failed

    def _presentable(self, partial: str, guarded: Guarded) -> str:
        """What had come of a broken answer, checked like a whole one; "" where it must not be shown."""
        try:
            stream = self._guardrails.stream(guarded)
            return stream.feed(partial) + stream.broken_off()
        except GuardrailBlocked:
            return ""


def _marked(request: CompletionRequest, marks: Marks, key: str) -> CompletionRequest:
    if marks == Marks() and not key:
        return request
    return changed(request, mark_prefix=marks.fixed, mark_turns=marks.turns, prefix_key=key)


def _noted(answered: Answered, call: Call) -> Answered:
    """`answered`, which is the answer: what another attempt would have said besides is of no interest."""
    call.note(*answered.notes)
    return answered


def _was_sent(attempt: Attempt) -> bool:
    return (attempt.outcome, attempt.cost_source) != ("cancelled", "none")


async def _nobody(_: str) -> None:
    pass


async def _tell(call: Call, message: str) -> None:
    if call.on_progress is not None:
        await call.on_progress(message)


def _said(failures: Sequence[ProviderError]) -> str:
    return f"{'; '.join(dict.fromkeys(str(error) for error in failures))}."


def _with_history(error: RouterError, failures: Sequence[ProviderError]) -> RouterError:
    """`error`, which ended the request, saying what had failed before it."""
    if failures:
        error.args = (f"{error} Before that: {_said(failures)}",)
    return error


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
