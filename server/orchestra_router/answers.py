"""From a plan to an answer that will do.

    the first deployment that answers -> is the answer good enough? -> once more, one step up

One step, however the second answer turns out: whoever asks for the impossible pays for two answers, not for a ladder.
"""

from dataclasses import replace

import anyio.to_thread

from orchestra_router.attempts import Answered, Attempts
from orchestra_router.call import Call
from orchestra_router.deployments import Candidate, Plan
from orchestra_router.errors import InvalidAnswer, RouterError
from orchestra_router.policy import escalation
from orchestra_router.policy.budget import dollars
from orchestra_router.policy.escalation import Flaw
from orchestra_router.policy.guardrails import Guarded
from orchestra_router.store.request_records import CheapStep
from orchestra_router.types import Answer


class Answers:
    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    async def good_enough(self, plan: Plan, call: Call, guarded: Guarded) -> Answered:
        """An answer; what is wrong with it, if nothing better could be had, is `call.flaw`.

        Raises:
            RouterError: nobody answered, or the only answer is empty.
        """
        answered = await self._attempts.first_success(plan.route, call, guarded)
        candidate, answer = answered.candidate, answered.answer
        flaw = await _flaw(candidate, answer, call, guarded)
        _count_cheap_step(plan, candidate, call, flaw)
        if flaw is None:
            return answered
        said = f"{candidate.deployment.key} answered, but {flaw.detail} ({flaw.name})"
        others = escalation.one_step_up(plan.route, candidate)
        if not others or not self._attempts.may_go_on(call):
            _keep(flaw, call, f"{said}; nobody else could be asked.")
            return answered
        try:
            better = await self._attempts.first_success(others, call, guarded)
        except RouterError as error:
            if flaw.name == "empty" or call.heard:
                raise
            _keep(flaw, call, f"{said}; there is no better answer, for: {error}")
            return answered
        _reject(answered.number, flaw, call)
        cost = _cost(answered.number, call)
        call.note(f"{said}, so {better.candidate.deployment.key} was asked. The rejected answer cost {cost}.")
        second = await _flaw(replace(better.candidate, step=candidate.step), better.answer, call, guarded)
        if second is not None:
            _keep(second, call, f"This answer is no better: {second.detail} ({second.name}).")
        return better


async def _flaw(candidate: Candidate, answer: Answer, call: Call, guarded: Guarded) -> Flaw | None:
    """What is wrong with `answer`, as the caller will see it: with everything checked for a cheap step, else what the
    caller asked to be checked.
    """
    check = escalation.flaw if candidate.step == "cheap" else escalation.not_accepted
    if check is escalation.not_accepted and call.request.accept is None:
        return None
    try:
        # Off the event loop: patterns and parsers may take a while.
        return await anyio.to_thread.run_sync(check, guarded.restore(answer), call.request)
    except TimeoutError:
        call.note("Whether the answer matches `accept` is not known: the pattern takes too long on it.")
        return None


def _keep(flaw: Flaw, call: Call, note: str) -> None:
    call.flaw = flaw.name
    call.note(note)


def _reject(number: int, flaw: Flaw, call: Call) -> None:
    call.attempts = [
        replace(attempt, rejected=flaw.name) if attempt.number == number else attempt for attempt in call.attempts
    ]


def _cost(number: int, call: Call) -> str:
    return dollars(sum(attempt.cost_nusd for attempt in call.attempts if attempt.number == number))


def _count_cheap_step(plan: Plan, answered: Candidate, call: Call, flaw: Flaw | None) -> None:
    """Note how the plan's cheap step fared, if it answered at all, be it with nothing."""
    cheap = plan.route[0]
    if cheap.step != "cheap":
        return
    said_nothing = answered is not cheap and any(
        attempt.outcome == InvalidAnswer.code and attempt.deployment == cheap.deployment.key
        for attempt in call.attempts
    )
    if answered is not cheap and not said_nothing:
        return
    call.cheap_step = CheapStep(
        prompt_kind=plan.prompt_kind,
        provider=cheap.deployment.provider.name,
        model=cheap.deployment.model.name,
        escalated=flaw is not None or said_nothing,
    )
    strong = next((candidate for candidate in plan.route if candidate.step == "strong"), None)
    if strong is not None and not call.cheap_step.escalated:
        call.escalation_saved_nusd = strong.expected_nusd - call.attempts_nusd
