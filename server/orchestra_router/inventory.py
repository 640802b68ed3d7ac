"""What is callable right now: which local servers are up, and what the providers' own free lists say."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime

import anyio

from orchestra_router.clock import Clock
from orchestra_router.config import PORTKEY, Config
from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import AuthFailed, BadRequest, ContextTooLong, ModelGone, PermissionRefused, ProviderError
from orchestra_router.once import Once
from orchestra_router.policy import estimate
from orchestra_router.policy.guardrails import is_id
from orchestra_router.providers import registry
from orchestra_router.transport import Transport
from orchestra_router.types import CompletionRequest, ListedModel, Probe

LOCAL_TIMEOUT_S = 1.0
LOCAL_FRESH_S = 60.0
"""A local server's list is asked for again after this long."""
PROBE_TIMEOUT_S = 10.0
SECOND_LOOK_TIMEOUT_S = 5.0
INFERRED_S = 3_600.0
"""A verdict that was inferred is looked at again after this long."""


class Inventory:
    """Asks only addresses from the configuration, only with GET, and never spends."""

    def __init__(self, config: Config, transport: Transport, clock: Clock) -> None:
        self._config = config
        self._transport = transport
        self._clock = clock
        self._local: Mapping[str, tuple[str, ...]] = {}
        self._local_seen: float | None = None
        self._adapters = Once(self._load_adapters)

    async def local(self) -> Mapping[str, tuple[str, ...]]:
        """Local server -> the models it lists. A server that does not answer is missing."""
        if not self._adapters.is_done:
            await self._adapters.done()
        now = self._clock.monotonic()
        if self._local_seen is None or now - self._local_seen > LOCAL_FRESH_S:
            servers = [p for p in self._config.catalog.providers.values() if p.local and p.enabled]
            probes = await self._probe_all(servers, timeout_s=LOCAL_TIMEOUT_S)
            self._local = {
                name: tuple(model.id for model in probe.models if is_id(model.id))
                for name, probe in probes.items()
                if not probe.error
            }
            self._local_seen = now
        return self._local

    async def probe(self, only: str | None = None) -> Mapping[str, Probe]:
        """A free look at every configured provider, or at one; all at once."""
        chosen = [
            provider
            for name, provider in self._config.catalog.providers.items()
            if only in (None, name) and self._may_answer(provider)
        ]
        return await self._probe_all(chosen, timeout_s=PROBE_TIMEOUT_S)

    def _may_answer(self, provider: Provider) -> bool:
        has_key = provider.local or not provider.key_env or provider.name in self._config.keys
        return provider.enabled and has_key

    def _load_adapters(self) -> None:
        """What speaks to those who may answer."""
        for provider in filter(self._may_answer, self._config.catalog.providers.values()):
            for wire_format in registry.formats(provider):
                registry.adapter(wire_format)

    async def second_look(
        self, error: BadRequest | ModelGone, deployment: Deployment, request: CompletionRequest, *, fingerprint: str
    ) -> ProviderError:
        """What a 400 or 404 without a telling code really means, found out for free; `error` if nothing better.

        Several vendors answer a bare 400 for a model that has ended (DeepSeek), for a wrong key (xAI), and for a
        prompt that is too long (Anthropic, Gemini, DeepSeek, xAI), and tell them apart in prose only; OpenRouter
        answers 404 when no endpoint of a living model takes the parameters.
        """
        if error.provider_code and isinstance(error, ModelGone):
            return error
        if isinstance(error, BadRequest) and 2 * estimate.measure(request).likely_input > deployment.context_tokens:
            return ContextTooLong(status=error.status)
        provider = deployment.provider
        if provider.local or not provider.models_path:
            return error
        probe = await self._look(provider, fingerprint, timeout_s=SECOND_LOOK_TIMEOUT_S)
        if probe.status in {401, provider.wrong_key_status}:
            # A list is asked for with nothing but the key, so the key is what was refused.
            return AuthFailed(status=error.status, retry_after_s=INFERRED_S)
        listed = {model.id for model in probe.models}
        if deployment.offer.id in listed:
            return PermissionRefused(status=error.status) if isinstance(error, ModelGone) else error
        if isinstance(error, ModelGone):
            # Confirmed by the list; or not contradicted by it, and then only for a while.
            return error if listed else ModelGone(status=error.status, retry_after_s=INFERRED_S)
        # Variants and aliases work without being listed, so only a model of the catalog can be missed.
        in_catalog = any(d.offer.id == deployment.offer.id for d in self._config.catalog.deployments_at(provider.name))
        return ModelGone(status=error.status, retry_after_s=INFERRED_S) if listed and in_catalog else error

    async def _probe_all(self, providers: list[Provider], *, timeout_s: float) -> dict[str, Probe]:
        """Each provider, with each of its keys."""
        found: dict[tuple[str, str], Probe] = {}

        async def look(provider: Provider, fingerprint: str) -> None:
            found[provider.name, fingerprint] = await self._look(provider, fingerprint, timeout_s=timeout_s)

        fingerprints = {provider.name: self._config.keys.fingerprints(provider.name) for provider in providers}
        async with anyio.create_task_group() as group:
            for provider in providers:
                for fingerprint in fingerprints[provider.name]:
                    group.start_soon(look, provider, fingerprint)
        return {name: _together([found[name, each] for each in all_]) for name, all_ in fingerprints.items()}

    async def _look(self, provider: Provider, fingerprint: str, *, timeout_s: float) -> Probe:
        started = self._clock.monotonic()
        models, clock_off_ms = (), 0
        try:
            if provider.probe_path:
                _, clock_off_ms = await self._get(provider, fingerprint, provider.probe_path, timeout_s=timeout_s)
            if provider.models_path:
                models, clock_off_ms = await self._get(provider, fingerprint, None, timeout_s=timeout_s)
        except ProviderError as error:
            error.deployment = provider.name
            if len(self._config.keys.of(provider.name)) > 1 and error.cools == "key":
                error.key_from = self._config.keys.variable(provider.name, fingerprint)
            return Probe(provider=provider.name, error=error.code, message=str(error), status=error.status)
        return Probe(
            provider=provider.name,
            latency_ms=round((self._clock.monotonic() - started) * 1000),
            clock_off_ms=clock_off_ms,
            models=models,
            keys=(fingerprint,),
        )

    async def _get(
        self, provider: Provider, fingerprint: str, path: str | None, *, timeout_s: float
    ) -> tuple[tuple[ListedModel, ...], int]:
        """The provider's list of models, and how far our clock is ahead; with a `path`, only whether that answers."""
        keys = self._config.keys
        adapter = registry.adapter_for(provider, provider.format, portkey_key=keys.get(PORTKEY))
        wire = adapter.build_list_request(provider, api_key=keys.secret(provider.name, fingerprint))
        if path is not None:
            wire = replace(wire, url=provider.base_url + path)
        response = await self._transport.send(wire, timeout_s=timeout_s)
        if response.status >= 300:
            raise adapter.parse_error(response, now_ms=self._clock.now_ms())
        models = adapter.parse_list(response.body) if path is None else ()
        return models, self._ahead_ms(response.headers.get("date", ""))

    def _ahead_ms(self, date: str) -> int:
        """By how much our clock is ahead of the `date` that a server says it is; 0 where it says none."""
        try:
            return self._clock.now_ms() - round(parsedate_to_datetime(date).timestamp() * 1000)
        except ValueError:
            return 0


def _together(looks: Sequence[Probe]) -> Probe:
    """What was found with each key of one provider, as one: of those it took, else of the first."""
    taken = [look for look in looks if not look.error]
    if not taken:
        return looks[0]
    return replace(
        taken[0],
        keys=tuple(fingerprint for look in taken for fingerprint in look.keys),
        refused=tuple(look.message for look in looks if look.error),
    )
