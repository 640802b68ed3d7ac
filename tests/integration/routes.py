"""The catalog's own rows, through Portkey's open-source gateway to the simulated providers."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import pytest
from asking import PATIENT_S, ask_of

from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.providers.portkey import through
from orchestra_router.simulation import SimulatedProvider, SimulatedWorld
from orchestra_router.transport import Transport
from orchestra_router.types import Answer, CompletionRequest

_CATALOG: dict[str, dict[str, Any]] = tomllib.loads((files("orchestra_router") / "catalog.toml").read_text())
ROWS: dict[str, Any] = _CATALOG["providers"]
UNCHANGED: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Way:
    """Portkey's name of a provider, and what the address of the provider has to end in for it."""

    portkey: str
    host_path: str


WAYS = {
    "openai": Way("openai", "/v1"),
    "anthropic": Way("anthropic", "/v1"),
    "openrouter": Way("openrouter", "/api"),
    "deepseek": Way("deepseek", ""),
    "together": Way("together-ai", ""),
    "xai": Way("x-ai", "/v1"),
    "gemini": Way("google", ""),
    "perplexity": Way("perplexity-ai", "/v1"),
    "ollama": Way("ollama", ""),
}
MODELS = {
    "openai": "gpt-6.1-terra",
    "anthropic": "claude-haiku-5-5",
    "openrouter": "gpt-6.1-terra",
    "deepseek": "deepseek-flash",
    "together": "gpt-oss-120b",
    "xai": "grok-4.3",
    "gemini": "gemini-3.8-flash",
    "perplexity": "sonar",
}
ALL = pytest.mark.parametrize("name", WAYS)


@dataclass(frozen=True, slots=True)
class Routed:
    """The gateway at `url`, the providers behind it, and a transport to both."""

    url: str
    world: SimulatedWorld
    transport: Transport

    def __getitem__(self, name: str) -> SimulatedProvider:
        return self.world[name]

    def deployment(self, name: str, *, way: Way | None = None, row: Mapping[str, object] = UNCHANGED) -> Deployment:
        """A model of the provider `name`, by `way` (its own, if none is given); `row` changes the provider's row."""
        way = way or WAYS[name]
        host = "/".join(self.world.base_urls[name].split("/")[:3]) + way.host_path
        routed = {"name": name, "portkey": way.portkey, "portkey_host": host}
        return _deployment(name, through(Provider.model_validate(ROWS[name] | routed | dict(row)), base_url=self.url))

    def directly(self, name: str) -> Deployment:
        """The same model without the gateway."""
        here = {"name": name, "base_url": self.world.base_urls[name]}
        return _deployment(name, Provider.model_validate(ROWS[name] | here))

    async def ask(
        self,
        target: str | Deployment,
        request: CompletionRequest,
        *,
        key: str = "",
        stream: bool = False,
        timeout_s: float = PATIENT_S,
    ) -> Answer:
        """What a provider (by name, through the gateway) or a deployment answers; `key` replaces the right one."""
        deployment = self.deployment(target) if isinstance(target, str) else target
        key = key or self.world[deployment.provider.name].key
        return await ask_of(self.transport, deployment, request, key=key, stream=stream, timeout_s=timeout_s)


def _deployment(name: str, provider: Provider) -> Deployment:
    if provider.local:
        return Deployment(provider, Model(name="llama3.2:3b"), Offer(id="llama3.2:3b"))
    model = Model.model_validate(_CATALOG["models"][MODELS[name]] | {"name": MODELS[name]})
    return Deployment(provider, model, model.at[name])
