"""What each provider and model is worth right now, and what to do where something is wrong."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestra_router.config import Config
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.policy import rotation
from orchestra_router.policy.breaker import State
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.rotation import Keyring
from orchestra_router.pricing import Pricing
from orchestra_router.store.health_records import HealthStore, Traffic
from orchestra_router.types import Allowance, ListedModel, Probe

RETIRING_DAYS = 60
"""A model that ends within this many days is worth a warning."""

WEEK_MS = 7 * 86_400_000
WRONG_CLOCK_MS = 120_000

ProviderState = Literal["ready", "no_key", "cooling", "disabled", "unreachable"]
ModelState = Literal["ok", "unavailable", "cooling", "retired", "retiring"]
"""Unavailable: its provider is, whose state says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How it went: today, and in the last `WEEK_MS`. Failures are those the provider is to blame for."""

    attempts_today: int = 0
    failed_today: int = 0
    spent_today_nusd: int = 0
    attempts: int = 0
    """Answered or failed."""
    success: float | None = None
    """The share that answered; None: nothing was asked."""
    median_ms: int | None = None
    slow_ms: int | None = None
    """19 of 20 answers came within it."""
    last_error: str = ""
    last_error_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    id: str
    """The provider's own id."""
    name: str
    state: ModelState
    detail: str = ""
    replacement: str = ""
    retires: str = ""
    breaker: State = "closed"
    until_ms: int | None = None
    """When an open breaker lets somebody try."""
    left: tuple[Allowance, ...] = ()
    """Of its rate limits, by what it said itself a moment ago."""
    use: Use = field(default_factory=Use)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    name: str
    title: str
    state: ProviderState
    detail: str = ""
    fix: str = ""
    models: tuple[ModelStatus, ...] = ()
    breaker: State = "closed"
    until_ms: int | None = None
    use: Use = field(default_factory=Use)


@dataclass(frozen=True, slots=True)
class StatusReport:
    providers: tuple[ProviderStatus, ...]
    notes: tuple[str, ...]
    embedder: str = ""
    """What compares prompts by meaning, and where it is from; or why nothing does."""


async def status_report(
    config: Config,
    store: HealthStore,
    view: HealthView,
    *,
    day: str,
    probes: Mapping[str, Probe],
    local: Mapping[str, Sequence[str]],
    pricing: Pricing,
    only: str | None,
) -> StatusReport:
    """Every provider of the catalog, or `only` one, with what happened there on `day` and in the week before."""
    traffic = await store.traffic(day=day, since_ms=max(0, view.now_ms - WEEK_MS))
    providers = tuple(
        provider_status(
            provider,
            config,
            view,
            probe=probes.get(name),
            local=local.get(name),
            traffic=[one for one in traffic if one.provider == name],
        )
        for name, provider in config.catalog.providers.items()
        if only in (None, name)
    )
    return StatusReport(providers, (*pricing.notes(now_ms=view.now_ms), *_about_the_clock(probes)))


def _about_the_clock(probes: Mapping[str, Probe]) -> Sequence[str]:
    """A clock that is wrong, as most of those asked see it: one of them may be wrong itself."""
    off = sorted((probe.clock_off_ms for probe in probes.values() if not probe.error), key=abs)
    if not off or abs(off[len(off) // 2]) < WRONG_CLOCK_MS:
        return ()
    minutes = round(off[len(off) // 2] / 60_000)
    way = "ahead of" if minutes > 0 else "behind"
    return (
        f"This machine's clock is {abs(minutes):,} min {way} the providers': set it, for budgets and retries go by it.",
    )


def provider_status(
    provider: Provider,
    config: Config,
    view: HealthView,
    *,
    probe: Probe | None = None,
    local: Sequence[str] | None = None,
    traffic: Sequence[Traffic] = (),
) -> ProviderStatus:
    """One provider, by what a `probe` found, the models a `local` server lists, and the `traffic` there."""
    state, detail, fix = _state(provider, config, view, probe, local)
    listed = {model.id: model for model in probe.models} if probe is not None else {}
    deployments = (
        [Deployment(provider, Model(name=model), Offer(id=model)) for model in local or ()]
        if provider.local
        else config.catalog.deployments_at(provider.name)
    )
    breaker, until_ms = _breaker(_of(provider), view, rotation.keyring(_of(provider), config.keys, view))
    return ProviderStatus(
        name=provider.name,
        title=provider.title or provider.name,
        state=state,
        detail=detail,
        fix=fix,
        models=tuple(
            _model(
                deployment,
                view,
                listed,
                config,
                [one for one in traffic if one.offer_id == deployment.offer.id],
                usual="ok" if state == "ready" else "unavailable",
            )
            for deployment in deployments
        ),
        breaker=breaker,
        until_ms=until_ms,
        use=use_of(traffic),
    )


def use_of(traffic: Sequence[Traffic]) -> Use:
    """All of `traffic` together."""
    answered, failed = sum(one.answered for one in traffic), sum(one.failed for one in traffic)
    latencies = sorted(latency for one in traffic for latency in one.latencies_ms)
    last = max((one for one in traffic if one.last_error), key=lambda one: one.last_error_ms or 0, default=None)
    return Use(
        attempts_today=sum(one.attempts_today for one in traffic),
        failed_today=sum(one.failed_today for one in traffic),
        spent_today_nusd=sum(one.spent_today_nusd for one in traffic),
        attempts=answered + failed,
        success=answered / (answered + failed) if answered + failed else None,
        median_ms=_within(latencies, 0.5),
        slow_ms=_within(latencies, 0.95),
        last_error=last.last_error if last is not None else "",
        last_error_ms=last.last_error_ms if last is not None else None,
    )


def _within(latencies: Sequence[int], share: float) -> int | None:
    """The latency that `share` of `latencies`, which are in order, do not pass."""
    return latencies[max(0, math.ceil(share * len(latencies)) - 1)] if latencies else None


def _breaker(deployment: Deployment, view: HealthView, ring: Keyring) -> tuple[State, int | None]:
    if ring.block is not None:
        return ring.block.state, ring.block.until_ms
    return ("half_open" if view.half_open(deployment, fingerprint=ring.fingerprints[0]) else "closed"), None


def _of(provider: Provider) -> Deployment:
    """A deployment that cannot exist: it stands for the provider and its keys alone."""
    return Deployment(provider, Model(), Offer(id=""))


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
    ring = rotation.keyring(_of(provider), config.keys, view)
    if ring.block is not None:
        return "cooling", ring.block.reason, _FIXES.get(ring.block.cause, _NOTHING)
    if probe is not None and probe.refused:
        return "ready", "; ".join(probe.refused), _FIXES["auth_failed"]
    return "ready", ring.set_aside, _FIXES.get(ring.cause, _NOTHING) if ring.set_aside else ""


def _without_key(provider: Provider, config: Config) -> tuple[ProviderState, str, str]:
    if variable := config.keys.placeholder(provider.name):
        return "no_key", f"{variable} holds no key", f"replace the placeholder in {variable} by your key"
    variables = " or ".join(provider.key_env)
    return "no_key", f"{variables} is not set", f"set {variables} in this server's environment"


_NOTHING = "nothing: it is asked again when the time is up"
_FIXES: Mapping[str, str] = {
    "auth_failed": "check the key; after mending it, restart or ask with probe=true",
    "permission_refused": "check what this key may call at the provider",
    "out_of_money": "add credit at the provider, then ask with probe=true",
}


def _model(
    deployment: Deployment,
    view: HealthView,
    listed: Mapping[str, ListedModel],
    config: Config,
    traffic: Sequence[Traffic],
    *,
    usual: ModelState,
) -> ModelStatus:
    offer, model = deployment.offer, deployment.model
    ring = rotation.keyring(deployment, config.keys, view)
    block = ring.block
    breaker, until_ms = _breaker(deployment, view, ring)
    seen = listed.get(offer.id)
    retires = (seen.retires if seen is not None else "") or (model.retires.isoformat() if model.retires else "")
    replacement = ""
    state = usual
    detail = ""
    if (block is not None and block.cause == "model_gone") or (seen is not None and seen.retired):
        state, detail = "retired", "not served any more; taken out of rotation"
    elif block is not None:
        state, detail = "cooling", block.reason
    elif retires and _days_until(retires, view.now_ms) <= RETIRING_DAYS:
        state, detail = "retiring", f"ends on {retires}"
    if state in ("retired", "retiring"):
        replacement = (seen.replacement if seen is not None else "") or config.catalog.replacement(deployment)
    return ModelStatus(
        id=offer.id,
        name=model.name,
        state=state,
        detail=detail,
        replacement=replacement,
        retires=retires,
        breaker=breaker,
        until_ms=until_ms,
        left=view.left(deployment, fingerprint=ring.fingerprints[0]),
        use=use_of(traffic),
    )


def _days_until(iso_date: str, now_ms: int) -> int:
    today = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC).date()
    return (dt.date.fromisoformat(iso_date[:10]) - today).days
