"""What money that runs short still pays for: the cheapest model first, and which call would fit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestra_router.deployments import Candidate, Plan
from orchestra_router.errors import BudgetExceeded
from orchestra_router.policy import estimate
from orchestra_router.policy.budget import Budget, dollars
from orchestra_router.pricing import Pricing
from orchestra_router.store.ledger_records import Spent
from orchestra_router.types import CompletionRequest, changed

LEAST_TOKENS = 16
"""An answer shorter than this is not worth suggesting."""


def downgrading(budgets: Sequence[Budget]) -> tuple[Budget, ...]:
    return tuple(budget for budget in budgets if "downgrade" in budget.at.values())


def downgraded(plan: Plan, request: CompletionRequest, spent: Mapping[Budget, Spent]) -> Plan:
    """`plan` with its cheapest candidates first, if a budget has come to where it says so or cannot pay for the first.

    A model that the caller named stays the one that is asked. In an escalation there is no strong step then, and nobody
    as dear as it is asked in its place.
    """
    if request.model is not None:
        return plan
    needed_nusd = plan.route[0].worst_nusd
    cause = next((budget for budget, so_far in spent.items() if _is_short(budget, so_far, needed_nusd)), None)
    if cause is None:
        return plan
    strong_nusd = min((c.expected_nusd for c in plan.route if c.step == "strong"), default=math.inf)
    within = [candidate for candidate in plan.route if candidate.expected_nusd < strong_nusd]
    route = sorted(within or plan.route, key=lambda candidate: (candidate.expected_nusd, candidate.worst_nusd))
    why = f"the {cause.name} runs short, so the cheapest is asked first"
    first = changed(route[0], reason=f"{route[0].reason}; {why}")
    return replace(plan, route=(first, *route[1:]), notes=(*plan.notes, f"{why[0].upper()}{why[1:]}."))


def _is_short(budget: Budget, spent: Spent, needed_nusd: int) -> bool:
    used_nusd = spent.spent_nusd + spent.held_nusd
    start_nusd = min(budget.part(percent) for percent, action in budget.at.items() if action == "downgrade")
    limit = budget.limit
    return used_nusd >= start_nusd or (limit is not None and used_nusd + needed_nusd > limit.limit_nusd)


def check_cap(candidate: Candidate, *, left_nusd: int) -> None:
    """Raises: BudgetExceeded: `candidate` may cost more than is left of the request's own cap."""
    if candidate.worst_nusd and candidate.worst_nusd > left_nusd:
        error = BudgetExceeded(
            "What the attempts so far have cost leaves too little of max_cost_usd for another. Raise it to go on."
        )
        error.left_nusd = left_nusd
        raise error


def cheaper(route: Sequence[Candidate], error: BudgetExceeded, request: CompletionRequest) -> list[Candidate]:
    """What can still be paid for of `route`, whose first was refused with `error`.

    A model that the caller named stays the one that is asked.
    """
    first, *rest = route
    left_nusd = max(0, error.left_nusd or 0)
    return [
        candidate
        for candidate in rest
        if candidate.worst_nusd <= left_nusd
        and (request.model is None or candidate.deployment.model == first.deployment.model)
    ]


def add_what_fits(
    error: BudgetExceeded, route: Sequence[Candidate], request: CompletionRequest, pricing: Pricing, *, at_ms: int
) -> None:
    """Say in `error` which call on `route` the money that is left would pay for, if it says how much is left."""
    if error.left_nusd is None:
        return
    left_nusd = max(0, error.left_nusd)
    fits = [(_most_tokens(candidate, request, left_nusd, pricing, at_ms=at_ms), candidate) for candidate in route]
    # The longest answer; of equals the one that is asked first.
    tokens, candidate = max(fits, key=lambda fit: fit[0])
    if tokens >= LEAST_TOKENS:
        deployment = candidate.deployment
        what = (
            f"would pay for a call to {deployment.model.name} at {deployment.provider.name} with max_tokens {tokens:,}."
        )
    else:
        what = "pays for no call to anybody on this route."
    error.args = (f"{error} The {dollars(left_nusd)} that is left {what}",)


def _most_tokens(
    candidate: Candidate, request: CompletionRequest, left_nusd: int, pricing: Pricing, *, at_ms: int
) -> int:
    """The largest max_tokens, up to the request's own, whose worst case at `candidate` is within `left_nusd`; 0: none."""
    size = estimate.measure(request)

    def fits(tokens: int) -> bool:
        worst_nusd = pricing.worst_case_nusd(
            candidate.deployment,
            input_tokens=size.most_input,
            output_tokens=tokens,
            searches=size.most_searches,
            at_ms=at_ms,
        )
        return worst_nusd <= left_nusd

    least, most = 0, min(request.max_tokens, candidate.deployment.max_output_tokens)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return least
