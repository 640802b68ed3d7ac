"""What an argument's value may become, while a person types it: names that begin so, then contain it, then look alike."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mcp.server.context import ServerRequestContext
from mcp.types import CompleteRequestParams, Completion, PromptReference, ResourceTemplateReference

from orchestra_router.errors import RouterError
from orchestra_router.types import UNLIMITED, Limits
from orchestra_tools import prompts, resources
from orchestra_tools.service import Service

if TYPE_CHECKING:  # it loads the catalog
    from orchestra_router.catalog import Catalog
    from orchestra_router.config import Config
    from orchestra_router.deployments import Deployment

MOST = 100
"""As many as the protocol lets one answer hold."""
ALIKE = 0.6
"""Of difflib's 0 to 1: how much a name looks like what was typed."""
DAYS = 400
DAY_MS = 86_400_000

Chosen = Mapping[str, str]


class UnknownReference(Exception):
    """No such prompt, template or argument. The message says which there are."""


async def completed(ctx: ServerRequestContext[Service, Any], params: CompleteRequestParams) -> Completion:
    """Values for the argument that is being typed, given what was chosen for the others: none that the caller may not use.

    Raises:
        UnknownReference: there is nothing to complete.
    """
    argument, typed = params.argument.name, params.argument.value
    chosen = (params.context.arguments if params.context is not None else None) or {}
    known = _arguments(params.ref)
    if argument not in known:
        raise UnknownReference(f"It has no such argument. It takes {', '.join(known) or 'none'}.")
    service = ctx.lifespan_context
    try:
        values = _values(argument, typed, chosen, service, await _limits(ctx, service))
    except RouterError:
        values = []  # whoever calls a tool is told
    return Completion(values=values[:MOST], total=len(values), has_more=len(values) > MOST)


async def _limits(ctx: ServerRequestContext[Service, Any], service: Service) -> Limits:
    if ctx.request is None and not service.config.access_key:
        return UNLIMITED  # who started the process; the router need not be open for that
    return (await service.caller(ctx)).limits


def _arguments(reference: PromptReference | ResourceTemplateReference) -> Sequence[str]:
    if isinstance(reference, PromptReference):
        if (common := prompts.BY_NAME.get(reference.name)) is None:
            raise UnknownReference(f"There is no such prompt. There are: {', '.join(prompts.BY_NAME)}.")
        return [one.name for one in common.arguments]
    if (part := resources.PARTS.get(reference.uri)) is None:
        raise UnknownReference(f"There is no such template. There are: {', '.join(resources.PARTS)}.")
    return [part]


def _values(argument: str, typed: str, chosen: Chosen, service: Service, limits: Limits) -> list[str]:
    if argument == "models":
        # Several, of which the last is being typed.
        before, comma, last = typed.rpartition(",")
        taken = {name.strip() for name in before.split(",")}
        lead = f"{before}{comma} " if comma else ""
        models = _values("model", last.strip(), chosen, service, limits)
        return [lead + name for name in models if name not in taken]
    if argument == "day":
        return [day for day in _days(service) if day.startswith(typed.strip().lower())]
    source = _SOURCES.get(argument)
    return [] if source is None else ranked(typed, source(service.config, chosen, limits))


def _models(config: "Config", chosen: Chosen, limits: Limits) -> Iterable[str]:
    """Those of the chosen provider; else of all, what can be asked with the keys there are first."""
    catalog = config.catalog
    if (provider := chosen.get("provider", "").strip().lower()) in catalog.providers:
        return [one.model.name for one in _permitted(limits, catalog.deployments_at(provider))]
    known: Iterable[str] = catalog.models
    if limits is not UNLIMITED:
        deployments = (one for provider in catalog.providers for one in catalog.deployments_at(provider))
        permitted = {one.model.name for one in _permitted(limits, deployments)}
        known = [name for name in catalog.models if name in permitted]
    usable = [name for name in known if _is_usable(catalog, name, config)]
    return dict.fromkeys((*usable, *known))


def _permitted(limits: Limits, deployments: Iterable["Deployment"]) -> Iterable["Deployment"]:
    if limits is UNLIMITED:
        return deployments
    from orchestra_router.policy.key_limits import forbidden  # noqa: PLC0415 - it loads the store; for keys alone

    return [one for one in deployments if forbidden(limits, one) is None]


def _is_usable(catalog: "Catalog", model: str, config: "Config") -> bool:
    providers = (catalog.providers[name] for name in catalog.models[model].at if name in catalog.providers)
    return any(one.enabled and (not one.key_env or one.name in config.keys) for one in providers)


def _providers(config: "Config", chosen: Chosen, limits: Limits) -> Iterable[str]:
    """Those that serve the chosen model; else all, in the order they are asked."""
    catalog = config.catalog
    found = catalog.find(chosen["model"]) if chosen.get("model", "").strip() else None
    if found is not None:
        return [one.provider.name for one in _permitted(limits, found.deployments)]
    ordered = dict.fromkeys((*catalog.hierarchy, *catalog.providers))
    if not limits.providers:
        return ordered
    from orchestra_router.policy.key_limits import may_ask  # noqa: PLC0415 - as above

    return [name for name in ordered if may_ask(limits, name)]


def _tasks(config: "Config", _: Chosen, limits: Limits) -> Iterable[str]:
    if not limits.tasks:
        return config.catalog.tasks
    from orchestra_router.policy.key_limits import may_ask_about  # noqa: PLC0415 - as above

    return [task for task in config.catalog.tasks if may_ask_about(limits, task)]


_SOURCES: Mapping[str, Callable[["Config", Chosen, Limits], Iterable[str]]] = {
    "model": _models,
    "provider": _providers,
    "task": _tasks,
}


def _days(service: Service) -> list[str]:
    from orchestra_router.policy.budget import period_at  # noqa: PLC0415 - for days alone

    now_ms, timezone = service.clock.now_ms(), service.config.settings.timezone
    today = dt.date.fromisoformat(period_at(now_ms, timezone).day)
    return [*resources.NAMED_DAYS, *((today - dt.timedelta(days=back)).isoformat() for back in range(DAYS))]


def ranked(typed: str, names: Iterable[str]) -> list[str]:
    """Of `names`, in their order, those that begin with `typed`, then those that contain it, then those alike."""
    wanted = typed.strip().lower()
    by_lower = {name.lower(): name for name in names}
    beginning = [name for name in by_lower if name.startswith(wanted)]
    containing = [name for name in by_lower if wanted in name and name not in beginning]
    alike = [] if beginning or containing else get_close_matches(wanted, by_lower, n=MOST, cutoff=ALIKE)
    return [by_lower[name] for name in (*beginning, *containing, *alike)]
