"""Which deployments are asked, in which order, and why: a pure function of the request, the catalog, health and what
was learned.

    what the caller pinned -> the task's own route -> the hierarchy, each by its model for the task

The strategy (strategies.py) then orders what can be used. Every deployment that could have been asked and is not gets its reason in the plan.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from orchestra_router.config import Catalog, Config
from orchestra_router.deployments import Candidate, Deployment, Exclusion, Model, Offer, Plan, Provider, Turn
from orchestra_router.errors import BudgetExceeded, InvalidRequest, NoRoute, ProviderError, RateLimited, UnknownModel
from orchestra_router.policy import estimate, headroom, key_limits, names, rotation, strategies
from orchestra_router.policy.estimate import Size
from orchestra_router.policy.guardrails import is_id
from orchestra_router.policy.headroom import SHORT_WAIT_S, Need
from orchestra_router.policy.health import Block, HealthView
from orchestra_router.policy.learning import Learned
from orchestra_router.policy.retry import PATIENCE_S
from orchestra_router.policy.tasks import DEFAULT_TASK
from orchestra_router.pricing import Pricing
from orchestra_router.providers.params import fit
from orchestra_router.routing_rules import Rule, meant, selected
from orchestra_router.types import CompletionRequest, Strategy, Text, usd

COMPARE_ALL: frozenset[Strategy] = frozenset({"cheapest", "escalate"})
"""Strategies that compare all models a provider is asked for, whatever the task."""
SHORT_TOKENS, LONG_TOKENS = 200, 2_000
READ_CHARACTERS = 400
"""Of a prompt's beginning, to tell its script."""
LAST_LATIN = "\u024f"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deployment somebody or something asks for, before anyone looks whether it can be used."""

    deployment: Deployment
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything a plan depends on besides the request."""

    config: Config
    pricing: Pricing
    health: HealthView
    local: Mapping[str, Sequence[str]]
    """Local server -> the models it lists; a server that does not answer is missing."""
    learned: Learned = field(default_factory=Learned)
    turns: Mapping[Turn, int] = field(default_factory=dict[Turn, int])
    """How many turns were given to each set of providers, for strategies that go by turns."""
    cached_tokens: Callable[[Deployment], int] = lambda _: 0
    """How many of the request's tokens a deployment will probably read at its cached rate."""

    @property
    def today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self.health.now_ms / 1000, dt.UTC).date()


def plan(
    request: CompletionRequest,
    around: Surroundings,
    *,
    task_reason: str,
    search_is_implied: bool = False,
    rule: Rule | None = None,
) -> Plan:
    """The route for `request`, whose task is known, and why it is that task. `rule` is the user's own for it.

    `search_is_implied` says that the task, not the caller, wants the web searched: then an answer without is better
    than none.

    Raises:
        InvalidRequest: it names a provider, task or model that nobody knows.
        BudgetExceeded: its own cost cap is below the cheapest candidate's worst case.
        NoRoute: nothing that is configured can serve it; the message says what to set or start.
    """
    found = _survey(request, around, rule)
    without_search = not found.candidates and search_is_implied
    if without_search:
        offline = _survey(replace(request, web_search=False), around, rule)
        without_search = bool(offline.candidates)
        if without_search:
            offline.excluded += [item for item in found.excluded if item not in offline.excluded]
            offline.notes.append(
                f"Nobody could search the web, so this is from the model's memory. {_to_search(around)}"
            )
            found = offline
    if not found.candidates:
        raise _no_route(request, found, around)
    task = request.task or DEFAULT_TASK
    strategy = request.strategy or around.config.settings.strategy
    if _order_is_named(request) and strategy != "task":
        if request.strategy is not None:
            found.notes.append(f"The strategy {strategy} was not used: the caller named what is asked, in which order.")
        strategy = "task"
    kind = _prompt_kind(request, found.size)
    candidates = _affordable(found.candidates, found.excluded, request)
    ordered = strategies.Ordered(candidates)
    if request.fallback_providers is None:
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

    size: Size
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    excluded: list[Exclusion] = field(default_factory=list[Exclusion])
    blocks: list[Block] = field(default_factory=list[Block])
    notes: list[str] = field(default_factory=list[str])


def _survey(request: CompletionRequest, around: Surroundings, rule: Rule | None) -> _Found:
    task = request.task or DEFAULT_TASK
    found = _Found(estimate.measure(request))
    blocked: list[tuple[Candidate, Block]] = []
    is_plain = _is_plain(request)
    everything = _wanted(request, task, around, found.notes)
    forbids = _allow_all
    if rule is not None:
        everything = _with_ruled(everything, rule, request, task, around)
        forbids = _forbidding(rule, around.config.catalog)
    limited = partial(key_limits.forbidden, request.scope.limits)
    for wanted in _once(everything):
        obstacle = (
            limited(wanted.deployment)
            or forbids(wanted.deployment)
            or _obstacle(wanted.deployment, request, found.size, around, is_plain=is_plain)
        )
        if obstacle is not None:
            found.excluded.append(Exclusion(wanted.deployment.key, obstacle))
            continue
        candidate = _candidate(wanted, request, found.size, around)
        need = Need(candidate.likely_input, candidate.likely_output)
        ring = rotation.keyring(wanted.deployment, around.config.keys, around.health, need=need)
        candidate, block = _with_keys(candidate, ring.fingerprints), ring.block
        if block is not None and block.cause == headroom.CAUSE and _within(block, SHORT_WAIT_S, around):
            candidate, block = replace(candidate, not_before_ms=block.until_ms or 0), None
        if block is not None:
            blocked.append((candidate, block))
            if not found.candidates:
                found.notes.append(f"{wanted.deployment.key} was passed over: {block.reason}.")
        elif (row := around.health.half_open(wanted.deployment, fingerprint=candidate.fingerprint)) is not None:
            found.candidates.append(replace(candidate, health=f"tried again after: {row.cause}"))
        elif ring.set_aside:
            found.candidates.append(replace(candidate, health=f"ok; {ring.set_aside}"))
        else:
            found.candidates.append(candidate)
    if not found.candidates and (probe := _least_bad(blocked, around)) is not None:
        found.candidates.append(probe)
        blocked = [pair for pair in blocked if pair[0].deployment != probe.deployment]
    found.excluded += [Exclusion(candidate.deployment.key, block.reason) for candidate, block in blocked]
    found.blocks = [block for _, block in blocked]
    return found


def _is_plain(request: CompletionRequest) -> bool:
    """Whether it holds nothing but texts, and wants nothing that a model may be unable to do."""
    wants = request.tools or request.response_schema is not None or request.web_search or request.strict_params
    return not wants and all(isinstance(part, Text) for message in request.messages for part in message.parts)


def _order_is_named(request: CompletionRequest) -> bool:
    return request.model is not None or request.fallback_providers is not None


def _prompt_kind(request: CompletionRequest, size: Size) -> str:
    """The prompt's length, and whether its script is Latin: what makes prompts of one task easier or harder."""
    length = "short" if size.likely_input < SHORT_TOKENS else "medium" if size.likely_input < LONG_TOKENS else "long"
    asked = next((message.text for message in reversed(request.messages) if message.role == "user"), "")
    beginning = asked[:READ_CHARACTERS]
    foreign = 0 if beginning.isascii() else sum(character > LAST_LATIN for character in beginning)
    return f"{length}, not Latin" if 2 * foreign > len(beginning) else length


# --- what is asked for ---------------------------------------------------------------------------------------


def _wanted(request: CompletionRequest, task: str, around: Surroundings, notes: list[str]) -> Iterator[Wanted]:
    catalog = around.config.catalog
    first = _provider(request.provider, catalog) if request.provider is not None else None
    fallbacks = [_provider(name, catalog) for name in request.fallback_providers or ()]
    if request.model is not None:
        yield from _pinned_model(request.model, first, around, notes)
    elif first is not None:
        yield from _models_for_task(first, task, around, "named by the caller")
    else:
        for place, step in enumerate(catalog.tasks[task].route):
            deployment = catalog.deployment(step.model, step.provider)
            yield Wanted(deployment, f"{'first choice' if place == 0 else 'fallback'} for {task}")
    for provider in fallbacks:
        same = catalog.find(request.model, provider.name, today=around.today) if request.model is not None else None
        if same is not None:
            yield Wanted(same.deployments[0], "named as fallback")
        else:
            yield from _models_for_task(provider, task, around, "named as fallback; its model for the task")
    if request.model is None and request.fallback_providers is None:
        yield from _all_the_rest(first, request.strategy or around.config.settings.strategy, task, around)


def _all_the_rest(first: Provider | None, strategy: Strategy, task: str, around: Surroundings) -> Iterator[Wanted]:
    """Down the hierarchy, unless only `first` may be asked; then what only some strategies look at."""
    catalog = around.config.catalog
    asked = [catalog.providers[name] for name in catalog.hierarchy] if first is None else [first]
    for provider in asked if first is None else ():
        yield from _models_for_task(provider, task, around, "next in the hierarchy")
    for provider in asked if strategy in COMPARE_ALL else ():
        for name in dict.fromkeys(provider.models.values()):
            yield Wanted(catalog.deployment(name, provider.name), "not the task's own")


def check_names(request: CompletionRequest, catalog: Catalog) -> None:
    """Refuse what nobody knows before anything else happens, the cache included.

    Raises:
        InvalidRequest: the request names a provider or model that cannot be asked.
    """
    for name in (request.provider, *(request.fallback_providers or ())):
        if name is not None:
            _provider(name, catalog)
    if request.model is None:
        return
    if not is_id(request.model):
        raise InvalidRequest("`model` is not the name of a model: letters, digits and . _ : / @ + - only.")
    if request.provider is None and catalog.find(request.model) is None:
        raise UnknownModel(
            f"Nobody here knows a model{names.repeated(request.model)}. {names.meant(request.model, catalog.models)}"
            " To pass an id through as it is, name its provider too."
        )


def _pinned_model(text: str, provider: Provider | None, around: Surroundings, notes: list[str]) -> Iterator[Wanted]:
    """The deployments of the model the caller named, at the provider named or wherever it is served."""
    catalog = around.config.catalog
    found = catalog.find(text, provider.name if provider is not None else None, today=around.today)
    if found is not None:
        if found.note:
            notes.append(found.note)
        replaced = bool(found.note) and found.model.retires is None
        reason = f"stands in for {text}, which the caller named" if replaced else "the model named by the caller"
        for deployment in found.deployments:
            yield Wanted(deployment, reason)
    elif provider is not None:
        elsewhere = catalog.find(text, today=around.today)
        hint = f" ({' and '.join(d.provider.name for d in elsewhere.deployments)} would know it)" if elsewhere else ""
        notes.append(f"The catalog has no {text} at {provider.name}{hint}, so the id is passed on as it is.")
        yield Wanted(Deployment(provider, Model(name=text), Offer(id=text)), "model id passed through")


def _models_for_task(provider: Provider, task: str, around: Surroundings, reason: str) -> Iterator[Wanted]:
    name = provider.models.get(task) or provider.models.get("default")
    if name is not None:
        yield Wanted(around.config.catalog.deployment(name, provider.name), reason)
    elif provider.local:
        for model in around.local.get(provider.name, ("(none loaded)",))[:1]:
            yield Wanted(Deployment(provider, Model(name=model), Offer(id=model)), reason)


def _provider(name: str, catalog: Catalog) -> Provider:
    wanted = name.strip().lower()
    for known, provider in catalog.providers.items():
        # "google" is what people call Gemini's provider.
        if wanted == known.lower() or (len(wanted) > len("ai") and wanted in provider.title.lower().split()):
            return provider
    raise InvalidRequest(names.unknown("provider", name, catalog.providers))


def _once(wanted: Iterable[Wanted]) -> Iterator[Wanted]:
    seen: set[str] = set()
    for item in wanted:
        if item.deployment.key not in seen:
            seen.add(item.deployment.key)
            yield item


# --- what the user's own rule wants --------------------------------------------------------------------------


def _with_ruled(
    wanted: Iterable[Wanted], rule: Rule, request: CompletionRequest, task: str, around: Surroundings
) -> Iterator[Wanted]:
    """`wanted`, with what `rule` prefers before it and what it requires behind it, unless the caller named the order."""
    open_to_rules = not _order_is_named(request) and request.provider is None
    if open_to_rules:
        yield from _named_by_rule(rule.prefer, task, around, f"preferred by the rule {rule.name!r}")
    yield from wanted
    if open_to_rules:
        yield from _named_by_rule(rule.require, task, around, f"required by the rule {rule.name!r}")


def _named_by_rule(names: Iterable[str], task: str, around: Surroundings, reason: str) -> Iterator[Wanted]:
    catalog = around.config.catalog
    for name in names:
        if name in catalog.providers:
            yield from _models_for_task(catalog.providers[name], task, around, reason)
        else:
            yield from (Wanted(deployment, reason) for deployment in meant(name, catalog))


def _forbidding(rule: Rule, catalog: Catalog) -> Callable[[Deployment], str | None]:
    """What `rule` has against a deployment; None where it has nothing."""
    required, excluded = selected(rule.require, catalog), selected(rule.exclude, catalog)

    def forbids(deployment: Deployment) -> str | None:
        if deployment in excluded:
            return f"excluded by the rule {rule.name!r}"
        if rule.require and deployment not in required:
            return f"not among what the rule {rule.name!r} requires"
        return None

    return forbids


def _allow_all(_: Deployment) -> None:
    return None


def _as_ruled(
    ordered: strategies.Ordered, rule: Rule, strategy: Strategy, request: CompletionRequest, catalog: Catalog
) -> strategies.Ordered:
    """What the rule prefers comes first whatever the strategy says; an escalation keeps its steps."""
    route = ordered.route
    if rule.prefer and strategy != "escalate" and not _order_is_named(request):
        preferred = selected(rule.prefer, catalog)
        route = tuple(sorted(route, key=lambda candidate: candidate.deployment not in preferred))
    route = tuple(
        replace(c, reason=f"{c.reason}; rule {rule.name!r}") if rule.name not in c.reason else c for c in route
    )
    return replace(ordered, route=route)


# --- what can be used ----------------------------------------------------------------------------------------


def _obstacle(
    deployment: Deployment, request: CompletionRequest, size: Size, around: Surroundings, *, is_plain: bool
) -> str | None:
    """Why `deployment` cannot serve `request` at all; None when it can. Any model takes one that `is_plain`."""
    return (
        _unreachable(deployment.provider, around)
        or _retired(deployment, around)
        or _incapable(deployment, request, size, is_plain=is_plain)
        or _unpriced(deployment, around)
    )


def _unreachable(provider: Provider, around: Surroundings) -> str | None:
    if not provider.enabled:
        return "switched off in the configuration"
    if provider.local and provider.name not in around.local:
        return f"no server answers at {provider.base_url}"
    if provider.key_env and provider.name not in around.config.keys:
        return f"no key: set {provider.key_env[0]}"
    return None


def _retired(deployment: Deployment, around: Surroundings) -> str | None:
    last = deployment.model.retires
    if last is None or around.today < last:
        return None
    replacement = around.config.catalog.replacement(deployment)
    return f"retired on {last}{f'; use {replacement} instead' if replacement else ''}"


def _incapable(deployment: Deployment, request: CompletionRequest, size: Size, *, is_plain: bool) -> str | None:
    if size.likely_input > deployment.context_tokens:
        return f"a prompt of about {size.likely_input:,} tokens does not fit its {deployment.context_tokens:,}"
    if is_plain:
        return None
    try:
        fit(deployment, request)
    except InvalidRequest as refusal:
        return str(refusal)
    return None


def _unpriced(deployment: Deployment, around: Surroundings) -> str | None:
    if around.config.settings.allow_unpriced or around.pricing.is_priced(deployment):
        return None
    return "its price is unknown: add it under [models] in orchestra.toml, or set allow_unpriced = true"


def _candidate(wanted: Wanted, request: CompletionRequest, size: Size, around: Surroundings) -> Candidate:
    deployment = wanted.deployment
    task = request.task or DEFAULT_TASK
    typical = around.learned.typical(deployment, task)
    likely_output = size.likely_output if typical.mean_output_tokens is None else typical.mean_output_tokens
    return Candidate(
        deployment=deployment,
        reason=wanted.reason,
        keys=around.config.keys.fingerprints(deployment.provider.name),
        worst_nusd=around.pricing.worst_case_nusd(
            deployment,
            input_tokens=size.most_input,
            output_tokens=min(request.max_tokens, deployment.max_output_tokens),
            searches=size.most_searches,
            at_ms=around.health.now_ms,
        ),
        expected_nusd=around.pricing.expected_nusd(
            deployment,
            input_tokens=size.likely_input,
            output_tokens=min(likely_output, request.max_tokens, deployment.max_output_tokens),
            searches=1 if request.web_search else 0,
            cached_tokens=min(around.cached_tokens(deployment), size.likely_input),
            at_ms=around.health.now_ms,
        ),
        likely_input=size.likely_input,
        likely_output=min(likely_output, request.max_tokens, deployment.max_output_tokens),
        expected_ms=typical.median_ms,
        slow_ms=typical.slow_ms,
        success=around.learned.of(deployment, task).success,
    )


def _with_keys(candidate: Candidate, keys: tuple[str, ...]) -> Candidate:
    return candidate if candidate.keys == keys else replace(candidate, keys=keys)


def _affordable(
    candidates: list[Candidate], excluded: list[Exclusion], request: CompletionRequest
) -> tuple[Candidate, ...]:
    """`candidates` whose worst case the request's own cap can pay for."""
    cap = request.max_cost_nusd
    if cap is None:
        return tuple(candidates)
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
        return replace(candidate, health=block.reason, is_probe=True, not_before_ms=block.until_ms or 0)
    failing = [pair for pair in blocked if pair[1].until_ms is not None and pair not in limits]
    if not failing:
        return None
    candidate, block = min(failing, key=lambda pair: (pair[1].state == "probing", pair[1].until_ms or 0))
    reason = f"{candidate.reason}; everything is cooling, so this is a probe"
    return replace(candidate, reason=reason, health=block.reason, is_probe=True)


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


# --- when nothing can ----------------------------------------------------------------------------------------


def _no_route(request: CompletionRequest, found: _Found, around: Surroundings) -> NoRoute:
    config = around.config
    due = [block.until_ms for block in found.blocks if block.until_ms is not None]
    retry_after_s = max(0.0, (min(due) - around.health.now_ms) / 1000) if due else None
    reasons = "; ".join(f"{item.deployment}: {item.reason}" for item in found.excluded)
    usable = [p for p in config.catalog.providers.values() if p.key_env and p.name in config.keys]
    if not usable and not around.local and request.provider is None and request.model is None:
        variables = ", ".join(
            config.catalog.providers[name].key_env[0]
            for name in config.catalog.hierarchy
            if config.catalog.providers[name].key_env
        )
        local = next((p for p in config.catalog.providers.values() if p.local and p.enabled), None)
        where = f", or start a local server ({local.title or local.name} at {local.base_url})" if local else ""
        return NoRoute(f"No provider is configured. Set one of {variables} in this server's environment{where}.")
    replacement = next((block.replacement for block in found.blocks if block.replacement), "")
    advice = [f"Use {replacement} instead."] if replacement else []
    if request.web_search and request.model is None and request.provider is None and not found.blocks:
        advice.append(_to_search(around))
    # That somebody was passed over stands among the reasons already.
    told = [note for note in found.notes if "passed over" not in note]
    sentences = ["Nothing can serve this request.", f"{reasons or 'No deployment matches it'}.", *told, *advice]
    return NoRoute(" ".join(sentence for sentence in sentences if sentence), retry_after_s=retry_after_s)


def _to_search(around: Surroundings) -> str:
    """How to get somebody who searches the web; "" where everybody who can has a key."""
    providers = (around.config.catalog.providers[name] for name in around.config.catalog.hierarchy)
    missing = [
        provider.key_env[0]
        for provider in providers
        if provider.search_style != "none" and provider.key_env and provider.name not in around.config.keys
    ]
    return f"To have the web searched, set one of {', '.join(missing)}." if missing else ""
