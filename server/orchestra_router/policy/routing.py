"""Which deployments are asked, in which order, and why: a pure function of the request, the catalog, health and what
was learned.

The survey (survey.py) says who can be asked, and the strategy (strategies.py) orders them. Every deployment that could have been asked and is not gets its reason in the plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestra_router.config import Catalog
from orchestra_router.deployments import Candidate, Exclusion, Plan
from orchestra_router.errors import BudgetExceeded, ProviderError, RateLimited
from orchestra_router.policy import estimate, headroom, rotation, strategies
from orchestra_router.policy.estimate import Size
from orchestra_router.policy.headroom import SHORT_WAIT_S, Need
from orchestra_router.policy.health import Block
from orchestra_router.policy.no_route import no_route, to_search
from orchestra_router.policy.retry import PATIENCE_S
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.policy.survey import Entry, Route, Sized, Survey, Surveys
from orchestra_router.policy.tasks import DEFAULT_TASK, asked
from orchestra_router.policy.wanted import order_is_named
from orchestra_router.routing_rules import Rule, selected
from orchestra_router.types import CompletionRequest, Strategy, changed, usd

SHORT_TOKENS, LONG_TOKENS = 200, 2_000
READ_CHARACTERS = 400
"""Of a prompt's beginning, to tell its script."""
LAST_LATIN = "\u024f"


def plan(
    request: CompletionRequest,
    around: Surroundings,
    *,
    task_reason: str,
    search_is_implied: bool = False,
    rule: Rule | None = None,
    surveys: Surveys | None = None,
) -> Plan:
    """The route for `request`, whose task is known, and why it is that task. `rule` is the user's own for it.

    `search_is_implied` says that the task, not the caller, wants the web searched: then an answer without is better
    than none. `surveys` are those of the plans before, which make this one cheaper and no different.

    Raises:
        InvalidRequest: it names a provider, task or model that nobody knows.
        BudgetExceeded: its own cost cap is below the cheapest candidate's worst case.
        NoRoute: nothing that is configured can serve it; the message says what to set or start.
    """
    survey = (surveys or Surveys()).of(request, around, rule)
    found = _find(request, around, survey)
    without_search = not found.candidates and search_is_implied
    if without_search:
        offline = _find(changed(request, web_search=False), around, survey)
        without_search = bool(offline.candidates)
        if without_search:
            offline.excluded += [item for item in found.excluded if item not in offline.excluded]
            offline.notes.append(
                f"Nobody could search the web, so this is from the model's memory. {to_search(around)}"
            )
            found = offline
    if not found.candidates:
        raise no_route(request, around, excluded=found.excluded, blocks=found.blocks, notes=found.notes)
    task = request.task or DEFAULT_TASK
    strategy = request.strategy or around.config.settings.strategy
    if order_is_named(request) and strategy != "task":
        if request.strategy is not None:
            found.notes.append(f"The strategy {strategy} was not used: the caller named what is asked, in which order.")
        strategy = "task"
    kind = _prompt_kind(request, found.sized.size)
    candidates = _affordable(found.candidates, found.excluded, request)
    if request.fallback_providers is not None:
        ordered = strategies.Ordered(candidates)
    elif strategy == "task" and found.all_are_well and len(candidates) == len(survey.in_task_order):
        ordered = strategies.Ordered(Route(survey.in_task_order, found.sized))
    else:
        standing = strategies.Around(
            task=around.config.catalog.tasks[task],
            prompt_kind=kind,
            learned=around.learned,
            weights=around.config.catalog.weights,
            turns=around.turns,
        )
        ordered = strategies.ordered(strategy, candidates, standing)
    if rule is not None:
        ordered = _as_ruled(ordered, rule, strategy, request, around.config.catalog)
    return Plan(
        task=task,
        task_reason=task_reason,
        strategy=strategy,
        route=ordered.route,
        excluded=tuple(found.excluded),
        notes=(*found.notes, *ordered.notes),
        at_ms=around.health.now_ms,
        prompt_kind=kind,
        rule=rule.name if rule is not None else "",
        turn=ordered.turn,
        without_search=without_search,
    )


@dataclass(slots=True)
class _Found:
    """What can be asked, in the order of `task`, and what cannot."""

    sized: Sized
    excluded: list[Exclusion]
    notes: list[str]
    candidates: Sequence[Candidate] = ()
    all_are_well: bool = False
    """All of `candidates` can be asked as usual."""
    blocks: list[Block] = field(default_factory=list[Block])


def _find(request: CompletionRequest, around: Surroundings, survey: Survey) -> _Found:
    size = estimate.measure(request)
    entries, excluded = survey.sorted_out(request, size, is_plain=_is_plain(request))
    count = around.cached_tokens
    cached_tokens = {} if count is None else {each.deployment.key: count(each.deployment) for each in entries}
    found = _Found(Sized(request, size, cached_tokens), excluded, [*survey.notes])
    found.candidates = Route([entry.unsized for entry in entries], found.sized)
    _look_at_health(entries, found, around)
    return found


def _look_at_health(entries: Sequence[Entry], found: _Found, around: Surroundings) -> None:
    """Leave in `found` those that can be asked now; when nobody can, one that is tried all the same."""
    if around.health.knows_nothing:
        found.all_are_well = True
        return
    known = [each for each in (around.health.unwell(), around.health.allowances) if each]
    otherwise: dict[int, Candidate | tuple[Candidate, Block]] = {}
    for place, entry in enumerate(entries) if known else ():
        if entry.is_among(*known):
            candidate = found.candidates[place]
            now = _at_present(candidate, around)
            if now is not candidate:
                otherwise[place] = now
    found.all_are_well = not otherwise
    if otherwise:
        _part(entries, otherwise, found, around)


def _part(
    entries: Sequence[Entry],
    otherwise: Mapping[int, Candidate | tuple[Candidate, Block]],
    found: _Found,
    around: Surroundings,
) -> None:
    """Part those that can be asked, some of them `otherwise` than usual, from those that cannot."""
    able: list[Candidate] = []
    blocked: list[tuple[Candidate, Block]] = []
    for place, entry in enumerate(entries):
        now = otherwise.get(place) or found.candidates[place]
        if isinstance(now, Candidate):
            able.append(now)
        else:
            blocked.append(now)
            if not able:
                found.notes.append(f"{entry.deployment.key} was passed over: {now[1].reason}.")
    if not able and (probe := _least_bad(blocked, around)) is not None:
        able = [probe]
        blocked = [pair for pair in blocked if pair[0].deployment != probe.deployment]
    found.candidates = able
    found.excluded += [Exclusion(candidate.deployment.key, block.reason) for candidate, block in blocked]
    found.blocks = [block for _, block in blocked]


def _at_present(candidate: Candidate, around: Surroundings) -> Candidate | tuple[Candidate, Block]:
    """`candidate` with the keys that it can be asked with now; or with what is in the way."""
    deployment = candidate.deployment
    need = Need(candidate.likely_input, candidate.likely_output)
    ring = rotation.keyring(deployment, around.config.keys, around.health, need=need)
    candidate, block = _with_keys(candidate, ring.fingerprints), ring.block
    if block is not None and block.cause == headroom.CAUSE and _within(block, SHORT_WAIT_S, around):
        candidate, block = changed(candidate, not_before_ms=block.until_ms or 0), None
    if block is not None:
        return candidate, block
    if (row := around.health.half_open(deployment, fingerprint=candidate.fingerprint)) is not None:
        return changed(candidate, health=f"tried again after: {row.cause}")
    return changed(candidate, health=f"ok; {ring.set_aside}") if ring.set_aside else candidate


def _is_plain(request: CompletionRequest) -> bool:
    """Whether it holds nothing but texts, and wants nothing that a model may be unable to do."""
    if request.tools or request.response_schema is not None or request.web_search or request.strict_params:
        return False
    return all(message.is_text for message in request.messages)


def _prompt_kind(request: CompletionRequest, size: Size) -> str:
    """The prompt's length, and whether its script is Latin: what makes prompts of one task easier or harder."""
    length = "short" if size.likely_input < SHORT_TOKENS else "medium" if size.likely_input < LONG_TOKENS else "long"
    beginning = asked(request)[:READ_CHARACTERS]
    foreign = 0 if beginning.isascii() else sum(character > LAST_LATIN for character in beginning)
    return f"{length}, not Latin" if 2 * foreign > len(beginning) else length


def _as_ruled(
    ordered: strategies.Ordered, rule: Rule, strategy: Strategy, request: CompletionRequest, catalog: Catalog
) -> strategies.Ordered:
    """What the rule prefers comes first whatever the strategy says; an escalation keeps its steps."""
    route = ordered.route
    if rule.prefer and strategy != "escalate" and not order_is_named(request):
        preferred = selected(rule.prefer, catalog)
        route = tuple(sorted(route, key=lambda candidate: candidate.deployment not in preferred))
    route = tuple(
        changed(c, reason=f"{c.reason}; rule {rule.name!r}") if rule.name not in c.reason else c for c in route
    )
    return replace(ordered, route=route)


def _with_keys(candidate: Candidate, keys: tuple[str, ...]) -> Candidate:
    return candidate if candidate.keys == keys else changed(candidate, keys=keys)


def _affordable(
    candidates: Sequence[Candidate], excluded: list[Exclusion], request: CompletionRequest
) -> Sequence[Candidate]:
    """`candidates` whose worst case the request's own cap can pay for."""
    cap = request.max_cost_nusd
    if cap is None:
        return candidates
    dear = [candidate for candidate in candidates if candidate.worst_nusd > cap]
    excluded += [
        Exclusion(c.deployment.key, f"may cost ${usd(c.worst_nusd):.6f}, over this call's cap of ${usd(cap):.6f}")
        for c in dear
    ]
    if len(dear) == len(candidates):
        least = min(candidate.worst_nusd for candidate in dear)
        raise BudgetExceeded(
            f"max_cost_usd is {usd(cap):.6f}, but the cheapest candidate may cost up to {usd(least):.6f}."
            " Raise it, or lower max_tokens."
        )
    return tuple(candidate for candidate in candidates if candidate.worst_nusd <= cap)


def _least_bad(blocked: Sequence[tuple[Candidate, Block]], around: Surroundings) -> Candidate | None:
    """When everything is set aside: whose limit ends soon is waited for; else what is due first gets one try.

    One that told us to wait for longer is left in peace.
    """
    limits = [pair for pair in blocked if pair[1].cause in {RateLimited.code, headroom.CAUSE}]
    if soon := [pair for pair in limits if _within(pair[1], PATIENCE_S, around)]:
        candidate, block = min(soon, key=lambda pair: pair[1].until_ms or 0)
        return changed(candidate, health=block.reason, is_probe=True, not_before_ms=block.until_ms or 0)
    failing = [pair for pair in blocked if pair[1].until_ms is not None and pair not in limits]
    if not failing:
        return None
    candidate, block = min(failing, key=lambda pair: (pair[1].state == "probing", pair[1].until_ms or 0))
    reason = f"{candidate.reason}; everything is cooling, so this is a probe"
    return changed(candidate, reason=reason, health=block.reason, is_probe=True)


def _within(block: Block, seconds: float, around: Surroundings) -> bool:
    return block.until_ms is not None and block.until_ms - around.health.now_ms <= seconds * 1000


def after(error: ProviderError, route: Sequence[Candidate]) -> list[Candidate]:
    """What is left of `route` once its first deployment has failed with `error`."""
    first, *rest = route
    if error.falls_back == "larger_context":
        return [c for c in rest if c.deployment.context_tokens > first.deployment.context_tokens]
    if error.cools == "provider":
        return [c for c in rest if c.deployment.provider.name != first.deployment.provider.name]
    if error.cools == "key":
        return [left for c in route if (left := rotation.without_key(c, first)) is not None]
    return [] if error.falls_back == "no" else rest
