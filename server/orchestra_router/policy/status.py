"""What each provider and model is worth right now, and what to do where something is wrong."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestra_router.config import Config
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.policy.health import Block, HealthView
from orchestra_router.pricing import Pricing
from orchestra_router.store.base import ReportRow, Store
from orchestra_router.types import ListedModel, Probe

RETIRING_DAYS = 60
"""A model that ends within this many days is worth a warning."""

ProviderState = Literal["ready", "no_key", "cooling", "disabled", "unreachable"]
ModelState = Literal["ok", "unavailable", "cooling", "retired", "retiring"]
"""Unavailable: its provider is, whose state says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    id: str
    """The provider's own id."""
    name: str
    state: ModelState
    detail: str = ""
    replacement: str = ""
    retires: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    name: str
    title: str
    state: ProviderState
    detail: str = ""
    fix: str = ""
    models: tuple[ModelStatus, ...] = ()
    attempts: int = 0
    """Today."""
    failed: int = 0
    spent_nusd: int = 0


@dataclass(frozen=True, slots=True)
class StatusReport:
    providers: tuple[ProviderStatus, ...]
    notes: tuple[str, ...]


async def status_report(
    config: Config,
    store: Store,
    view: HealthView,
    *,
    day: str,
    probes: Mapping[str, Probe],
    local: Mapping[str, Sequence[str]],
    pricing: Pricing,
    only: str | None,
) -> StatusReport:
    """Every provider of the catalog, or `only` one, with what happened there on `day`."""
    rows = {row.group: row for row in await store.report(first_day=day, last_day=day, group_by="provider")}
    providers = tuple(
        provider_status(provider, config, view, probe=probes.get(name), local=local.get(name), today=rows.get(name))
        for name, provider in config.catalog.providers.items()
        if only in (None, name)
    )
    return StatusReport(providers, pricing.notes(now_ms=view.now_ms))


def provider_status(
    provider: Provider,
    config: Config,
    view: HealthView,
    *,
    probe: Probe | None = None,
    local: Sequence[str] | None = None,
    today: ReportRow | None = None,
) -> ProviderStatus:
    """One provider, by what a `probe` found, the models a `local` server lists, and what happened `today`."""
    state, detail, fix = _state(provider, config, view, probe, local)
    listed = {model.id: model for model in probe.models} if probe is not None else {}
    fingerprint = config.keys.fingerprint(provider.name)
    deployments = (
        [Deployment(provider, Model(name=model), Offer(id=model)) for model in local or ()]
        if provider.local
        else config.catalog.deployments_at(provider.name)
    )
    today_ms = view.now_ms
    return ProviderStatus(
        name=provider.name,
        title=provider.title or provider.name,
        state=state,
        detail=detail,
        fix=fix,
        models=tuple(
            _model(
                deployment,
                view.block(deployment, fingerprint=fingerprint),
                listed,
                config,
                today_ms,
                usual="ok" if state == "ready" else "unavailable",
            )
            for deployment in deployments
        ),
        attempts=today.attempts if today is not None else 0,
        failed=today.failed if today is not None else 0,
        spent_nusd=today.spent_nusd if today is not None else 0,
    )


def _state(
    provider: Provider, config: Config, view: HealthView, probe: Probe | None, local: Sequence[str] | None
) -> tuple[ProviderState, str, str]:
    """The provider's state, what it means, and what to do about it."""
    name = provider.name
    if not provider.enabled:
        return "disabled", "switched off in the configuration", f"set enabled = true under [providers.{name}]"
    if provider.local and local is None:
        return "unreachable", f"no server answers at {provider.base_url}", "start it, then ask again"
    if provider.key_env and name not in config.keys:
        return _without_key(provider, config)
    if probe is not None and probe.error:
        return "unreachable", probe.message, _FIXES.get(probe.error, "try again later")
    # A deployment that cannot exist stands for the provider and its key alone.
    nothing = Deployment(provider, Model(), Offer(id=""))
    block = view.block(nothing, fingerprint=config.keys.fingerprint(name))
    if block is not None:
        return "cooling", block.reason, _FIXES.get(block.cause, "nothing: it is asked again when the time is up")
    return "ready", "", ""


def _without_key(provider: Provider, config: Config) -> tuple[ProviderState, str, str]:
    if variable := config.keys.placeholder(provider.name):
        return "no_key", f"{variable} holds no key", f"replace the placeholder in {variable} by your key"
    variables = " or ".join(provider.key_env)
    return "no_key", f"{variables} is not set", f"set {variables} in this server's environment"


_FIXES: Mapping[str, str] = {
    "auth_failed": "check the key; after mending it, restart or ask with probe=true",
    "permission_refused": "check what this key may call at the provider",
    "out_of_money": "add credit at the provider, then ask with probe=true",
}


def _model(
    deployment: Deployment,
    block: Block | None,
    listed: Mapping[str, ListedModel],
    config: Config,
    now_ms: int,
    *,
    usual: ModelState,
) -> ModelStatus:
    offer, model = deployment.offer, deployment.model
    seen = listed.get(offer.id)
    retires = (seen.retires if seen is not None else "") or (model.retires.isoformat() if model.retires else "")
    replacement = ""
    state = usual
    detail = ""
    if (block is not None and block.cause == "model_gone") or (seen is not None and seen.retired):
        state, detail = "retired", "not served any more; taken out of rotation"
    elif block is not None:
        state, detail = "cooling", block.reason
    elif retires and _days_until(retires, now_ms) <= RETIRING_DAYS:
        state, detail = "retiring", f"ends on {retires}"
    if state in ("retired", "retiring"):
        replacement = (seen.replacement if seen is not None else "") or config.catalog.replacement(deployment)
    return ModelStatus(
        id=offer.id, name=model.name, state=state, detail=detail, replacement=replacement, retires=retires
    )


def _days_until(iso_date: str, now_ms: int) -> int:
    today = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).date()
    return (dt.date.fromisoformat(iso_date[:10]) - today).days
