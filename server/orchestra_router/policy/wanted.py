"""Which deployments a request asks for, in which order, before anyone looks whether they can be used.

    what the caller pinned -> the task's own route -> the hierarchy, each by its model for the task

A rule of the user's own has what it prefers before all that, and what it requires behind it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from orchestra_router.config import Catalog
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.errors import InvalidRequest, UnknownModel
from orchestra_router.policy import names
from orchestra_router.policy.guardrails import is_id
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.policy.tasks import DEFAULT_TASK
from orchestra_router.routing_rules import Rule, meant, selected
from orchestra_router.types import CompletionRequest, Strategy

COMPARE_ALL: frozenset[Strategy] = frozenset({"cheapest", "escalate"})
"""Strategies that compare all models a provider is asked for, whatever the task."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A deployment somebody or something asks for."""

    deployment: Deployment
    reason: str


def wanted(request: CompletionRequest, around: Surroundings, rule: Rule | None, notes: list[str]) -> Iterator[Wanted]:
    """Everything that `request` asks for, each deployment once; what the caller should know of it goes into `notes`.

    Raises:
        InvalidRequest: it names a provider that nobody knows.
    """
    task = request.task or DEFAULT_TASK
    everything = _asked_for(request, task, around, notes)
    if rule is not None:
        everything = _with_ruled(everything, rule, request, task, around)
    return _once(everything)


def order_is_named(request: CompletionRequest) -> bool:
    return request.model is not None or request.fallback_providers is not None


def compares_all(request: CompletionRequest, around: Surroundings) -> bool:
    return (request.strategy or around.config.settings.strategy) in COMPARE_ALL


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


def _asked_for(request: CompletionRequest, task: str, around: Surroundings, notes: list[str]) -> Iterator[Wanted]:
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
        yield from _all_the_rest(first, task, around, everything=compares_all(request, around))


def _all_the_rest(first: Provider | None, task: str, around: Surroundings, *, everything: bool) -> Iterator[Wanted]:
    """Down the hierarchy, unless only `first` may be asked; then what only some strategies look at."""
    catalog = around.config.catalog
    asked = [catalog.providers[name] for name in catalog.hierarchy] if first is None else [first]
    for provider in asked if first is None else ():
        yield from _models_for_task(provider, task, around, "next in the hierarchy")
    for provider in asked if everything else ():
        for name in dict.fromkeys(provider.models.values()):
            yield Wanted(catalog.deployment(name, provider.name), "not the task's own")


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
    open_to_rules = not order_is_named(request) and request.provider is None
    if open_to_rules:
        yield from _named_by_rule(rule.prefer, task, around, f"preferred by the rule {rule.name!r}")
    yield from wanted
    if open_to_rules:
        yield from _named_by_rule(rule.require, task, around, f"required by the rule {rule.name!r}")


def _named_by_rule(named: Iterable[str], task: str, around: Surroundings, reason: str) -> Iterator[Wanted]:
    catalog = around.config.catalog
    for name in named:
        if name in catalog.providers:
            yield from _models_for_task(catalog.providers[name], task, around, reason)
        else:
            yield from (Wanted(deployment, reason) for deployment in meant(name, catalog))


def forbidding(rule: Rule, catalog: Catalog) -> Callable[[Deployment], str | None]:
    """What `rule` has against a deployment; None where it has nothing."""
    required, excluded = selected(rule.require, catalog), selected(rule.exclude, catalog)

    def forbids(deployment: Deployment) -> str | None:
        if deployment in excluded:
            return f"excluded by the rule {rule.name!r}"
        if rule.require and deployment not in required:
            return f"not among what the rule {rule.name!r} requires"
        return None

    return forbids
