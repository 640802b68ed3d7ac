"""How candidates are ordered. Each strategy is a function of the candidates and of what stands around them.

    task      the task's own route, then the hierarchy
    weighted  providers take turns, in the shares of the catalog's weights
    cheapest  the least expected cost, of models good enough for the task
    fastest   the least time that answers took here, of models good enough for the task
    escalate  a cheap model first; a stronger one, several times dearer, when its answer will not do

Candidates come in the order of `task`, which also breaks every tie.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from orchestra_router.catalog import Task
from orchestra_router.deployments import Candidate, Turn
from orchestra_router.policy.learning import LEAST_ANSWERS, Learned
from orchestra_router.types import Strategy, changed, usd

LEAST_PRICE_RATIO = 4.0
"""Across a smaller gap trying the cheap model first earns nothing, even with a good check."""
GOOD_SUCCESS = 0.9
FAIR_SUCCESS = 0.7
SLOW_FACTOR = 2.0
"""An equal that takes this many times as long as the fastest comes after it."""
DEAR_FACTOR = 1.25
EXPLORE_EVERY = 4
"""Under `fastest`, one request in this many goes to a deployment whose speed is not known yet."""
MOST_TURN_SETS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What a strategy may look at besides the candidates."""

    task: Task
    prompt_kind: str
    learned: Learned
    weights: Mapping[str, int]
    turns: Mapping[Turn, int]
    """How many turns this process has given to each set of providers."""


@dataclass(frozen=True, slots=True)
class Ordered:
    route: Sequence[Candidate]
    notes: tuple[str, ...] = ()
    turn: Turn | None = None


class Turns:
    """Whose turn it is, in this process: others have turns of their own, and a new start begins with the first."""

    def __init__(self) -> None:
        self.given: dict[Turn, int] = {}

    def take(self, turn: Turn | None) -> None:
        """Count the turn that a plan took. To be called before anything else can plan."""
        if turn is None:
            return
        if turn not in self.given and len(self.given) >= MOST_TURN_SETS:
            del self.given[next(iter(self.given))]
        self.given[turn] = self.given.get(turn, 0) + 1


def ordered(strategy: Strategy, candidates: Sequence[Candidate], around: Around) -> Ordered:
    """`candidates`, at least one, in the order that `strategy` asks them."""
    return _STRATEGIES[strategy](candidates, around)


# --- task ----------------------------------------------------------------------------------------------------


def task_order(candidates: Sequence[Candidate], around: Around) -> Ordered:
    """The order as it is; where one model is served at several providers, the better of them takes the first place."""
    places: dict[str, list[int]] = {}
    for place, candidate in enumerate(candidates):
        places.setdefault(candidate.deployment.model.name, []).append(place)
    route = list(candidates)
    for taken in places.values():
        if len(taken) > 1:
            equals = among_equals([candidates[place] for place in taken], around)
            for place, candidate in zip(taken, equals, strict=True):
                route[place] = candidate
    return Ordered(tuple(route))


def among_equals(candidates: Sequence[Candidate], around: Around) -> list[Candidate]:
    """Candidates that nothing else tells apart: those that failed often here, are slow or dear come last.

    Only clear differences count, and only once enough was seen; an unknown one is taken for good.
    """
    if len(candidates) == 1:
        return [*candidates]
    seen = [around.learned.of(candidate.deployment, around.task.name) for candidate in candidates]
    times = [s.median_ms for s in seen if s.median_ms is not None and s.answered >= LEAST_ANSWERS]
    costs = [s.mean_cost_nusd for s in seen if s.mean_cost_nusd is not None and s.answered >= LEAST_ANSWERS]
    least_ms, least_nusd = min(times, default=0), min(costs, default=0)

    def rank(place: int) -> tuple[int, bool, bool, int]:
        mine = seen[place]
        known = mine.answered >= LEAST_ANSWERS
        slow = known and (mine.median_ms or 0) > SLOW_FACTOR * least_ms
        dear = known and (mine.mean_cost_nusd or 0) > DEAR_FACTOR * least_nusd
        return _failing(mine.success), slow, dear, place

    order = sorted(range(len(candidates)), key=rank)
    moved = {place for new, place in enumerate(order) if place > new}
    return [
        _because(candidates[p], "before an equal that did worse here") if p in moved else candidates[p] for p in order
    ]


def _failing(success: float | None) -> int:
    if success is None or success >= GOOD_SUCCESS:
        return 0
    return 1 if success >= FAIR_SUCCESS else 2


# --- weighted ------------------------------------------------------------------------------------------------


def weighted(candidates: Sequence[Candidate], around: Around) -> Ordered:
    """Smooth weighted round robin over the providers; what has no weight comes after, in the order of `task`.

    Exact over any window of one period, for a stable set of providers. Those behind the first take turns among
    themselves, so that what a failing provider cannot serve goes to the others in their own proportion.
    """
    firsts: dict[str, Candidate] = {}
    for candidate in candidates:
        firsts.setdefault(candidate.deployment.provider.name, candidate)
    shares = {name: weight for name in firsts if (weight := around.weights.get(name, 0)) > 0}
    if not shares:
        return Ordered(tuple(candidates), ("None of the providers has a weight, so they are asked as for `task`.",))
    turn = tuple(sorted(shares.items()))
    names = _turn_order(turn, around.turns.get(turn, 0))
    total = sum(shares.values())
    picked = [_because(firsts[name], f"its turn, {shares[name]} in {total}") for name in names[:1]]
    picked += [firsts[name] for name in names[1:]]
    chosen = {candidate.deployment.key for candidate in picked}
    rest = [candidate for candidate in candidates if candidate.deployment.key not in chosen]
    return Ordered((*picked, *rest), turn=turn)


def _turn_order(shares: Turn, turns: int) -> list[str]:
    """Everybody in `shares`, beginning with the one whose turn it is after `turns` of them."""
    left = list(shares)
    order: list[str] = []
    while left:
        period = smooth_period(tuple(weight for _, weight in left))
        rounds, place = divmod(turns, len(period))
        chosen = period[place]
        # How often this one was chosen before is the others' turn, should it fail.
        turns = rounds * period.count(chosen) + period[:place].count(chosen)
        order.append(left.pop(chosen)[0])
    return order


@lru_cache(maxsize=1024)
def smooth_period(weights: tuple[int, ...]) -> tuple[int, ...]:
    """One period of smooth weighted round robin: each place in `weights` as often as its share, evenly spread."""
    divisor = math.gcd(*weights)
    shares = [weight // divisor for weight in weights]
    total = sum(shares)
    credit = [0] * len(shares)
    period: list[int] = []
    for _ in range(total):
        credit = [have + share for have, share in zip(credit, shares, strict=True)]
        chosen = max(range(len(credit)), key=lambda place: (credit[place], -place))
        credit[chosen] -= total
        period.append(chosen)
    return tuple(period)


# --- cheapest and fastest ------------------------------------------------------------------------------------


def cheapest(candidates: Sequence[Candidate], around: Around) -> Ordered:
    """By expected cost. Models that are too weak for the task come last: a poor answer is better than none."""
    good, weak = _parted(candidates, around)
    by_cost: dict[int, list[Candidate]] = {}
    for candidate in good:
        by_cost.setdefault(candidate.expected_nusd, []).append(candidate)
    route: list[Candidate] = []
    for cost, equals in sorted(by_cost.items(), key=lambda item: item[0]):
        route += [_because(candidate, f"${usd(cost):.6f} expected") for candidate in among_equals(equals, around)]
    return Ordered((*route, *weak))


def fastest(candidates: Sequence[Candidate], around: Around) -> Ordered:
    """By the median time of answers here. Now and then, in turns, one of unknown speed comes first, to be known."""
    good, weak = _parted(candidates, around)
    known = [candidate for candidate in good if candidate.expected_ms is not None]
    # One that was tried and never answered has had its chance; it is looked at again when that is forgotten.
    unknown = [c for c in good if c.expected_ms is None and around.learned.attempts(c.deployment) < LEAST_ANSWERS]
    hopeless = [candidate for candidate in good if candidate not in known and candidate not in unknown]
    by_time = sorted(known, key=lambda candidate: candidate.expected_ms or 0)
    by_time = [_because(candidate, f"answers in about {candidate.expected_ms} ms here") for candidate in by_time]
    if not unknown:
        return Ordered((*by_time, *hopeless, *weak))
    turn = tuple((candidate.deployment.key, 1) for candidate in unknown)
    rounds, place = divmod(around.turns.get(turn, 0), EXPLORE_EVERY if known else 1)
    first = rounds % len(unknown)
    in_turn = [_because(candidate, "its speed is not known here yet") for candidate in unknown]
    in_turn = in_turn[first:] + in_turn[:first]
    if place == 0:
        return Ordered((in_turn[0], *by_time, *in_turn[1:], *hopeless, *weak), turn=turn)
    return Ordered((*by_time, *in_turn, *hopeless, *weak), turn=turn)


def _parted(candidates: Sequence[Candidate], around: Around) -> tuple[list[Candidate], list[Candidate]]:
    """Those strong enough for the task, and the others."""
    least = around.task.good_enough
    good = [candidate for candidate in candidates if candidate.deployment.model.strength >= least]
    weak = [
        _because(candidate, f"weaker than {around.task.name} needs")
        for candidate in candidates
        if candidate.deployment.model.strength < least
    ]
    return good, weak


# --- escalate ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """A cheap candidate and the stronger one behind it, or why there is no such pair (`missing`)."""

    cheap: Candidate | None = None
    strong: Candidate | None = None
    missing: str = ""


def escalate(candidates: Sequence[Candidate], around: Around) -> Ordered:
    """The cheap step (`step="cheap"`), the strong one (`step="strong"`), then whoever answers when both fail.

    Where cheap answers have too often not been good enough here, the strong one is asked at once.
    """
    pair = escalation_pair(candidates, around)
    if pair.cheap is None or pair.strong is None:
        order = task_order(candidates, around)
        return replace(order, notes=(f"Nothing to escalate to: {pair.missing}.",))
    both = {pair.cheap.deployment.key, pair.strong.deployment.key}
    rest = [candidate for candidate in candidates if candidate.deployment.key not in both]
    ratio = pair.strong.expected_nusd / pair.cheap.expected_nusd if pair.cheap.expected_nusd else math.inf
    rate = around.learned.escalation_rate(pair.cheap.deployment, around.task.name, around.prompt_kind)
    if rate is not None and rate > 1 - 1 / ratio:
        note = (
            f"{pair.cheap.deployment.key} is not tried first: {rate:.0%} of its answers to such prompts were not good"
            " enough here, so that it would cost more than it saves."
        )
        return Ordered((changed(pair.strong, step="strong"), *rest, pair.cheap), (note,))
    times = "free" if math.isinf(ratio) else f"{ratio:.0f} times cheaper"
    cheap = changed(_because(pair.cheap, f"tried first: {times}"), step="cheap")
    strong = changed(_because(pair.strong, "takes over what the cheap model cannot do"), step="strong")
    return Ordered((cheap, strong, *rest))


def escalation_pair(candidates: Sequence[Candidate], around: Around) -> Pair:
    """The cheapest model worth a try, and the first in the order of `task` that is stronger and clearly dearer."""
    worth = [c for c in candidates if c.deployment.model.strength >= around.task.worth_a_try]
    if not worth:
        return Pair(missing=f"no model is strong enough to try {around.task.name} with")
    least = min(candidate.expected_nusd for candidate in worth)
    cheap = among_equals([candidate for candidate in worth if candidate.expected_nusd == least], around)[0]
    stronger = [c for c in candidates if c.deployment.model.strength > cheap.deployment.model.strength]
    dearer = [c for c in stronger if c.expected_nusd >= LEAST_PRICE_RATIO * max(1, least)]
    good = [c for c in dearer if c.deployment.model.strength >= around.task.good_enough]
    if not good:
        return Pair(missing=f"no stronger model costs {LEAST_PRICE_RATIO:.0f} times as much as {cheap.deployment.key}")
    return Pair(cheap, good[0])


def _because(candidate: Candidate, why: str) -> Candidate:
    return changed(candidate, reason=f"{candidate.reason}; {why}")


_STRATEGIES: Mapping[Strategy, Callable[[Sequence[Candidate], Around], Ordered]] = {
    "task": task_order,
    "weighted": weighted,
    "cheapest": cheapest,
    "fastest": fastest,
    "escalate": escalate,
}
