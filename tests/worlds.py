"""A router with the simulated providers behind it: real sockets, a real database, a clock the test owns."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clocks import FakeClock
from orchestra_router.config import Config, load
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import SimulatedWorld, simulated_config, simulated_world
from orchestra_router.types import CompletionRequest, Message, Text


@dataclass(frozen=True, slots=True)
class World:
    router: Router
    providers: SimulatedWorld
    clock: FakeClock
    home: Path

    @property
    def calls(self) -> list[str]:
        """The providers that were asked for an answer, in no particular order, one entry per call."""
        return [
            name
            for name, provider in self.providers.providers.items()
            for received in provider.received
            if received.method == "POST"
        ]


def config_for(
    providers: SimulatedWorld,
    home: Path,
    *,
    toml: str = "",
    without: tuple[str, ...] = (),
    keys: Mapping[str, str] | None = None,
    **settings: Any,
) -> Config:
    """`settings` are written as the environment's; `toml` is added to the file; `without` names providers with no key.

    `keys` are variables that replace the providers' keys, or stand beside them; a `{key}` is what its provider takes.
    """
    text = simulated_config(providers) + toml
    (home / "orchestra.toml").write_text(text, encoding="utf-8")
    found = {
        provider.vendor.key_env: provider.key
        for name, provider in providers.providers.items()
        if provider.vendor.key_env and name not in without
    }
    for variable, value in (keys or {}).items():
        right = next((p.key for p in providers.providers.values() if variable.startswith(p.vendor.key_env or "-")), "")
        found[variable] = value.format(key=right)
    # Comparing by meaning loads 90 MB of weights: only where a test is about it.
    settings = {"cache": "exact"} | settings
    return load(
        {"ORCHESTRA_HOME": str(home), **found} | {f"ORCHESTRA_{k.upper()}": str(v) for k, v in settings.items()}
    )


@asynccontextmanager
async def open_world(
    home: Path,
    *,
    toml: str = "",
    without: tuple[str, ...] = (),
    keys: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncGenerator[World]:
    clock = FakeClock()
    async with simulated_world(clock=clock) as providers:
        config = config_for(providers, home, toml=toml, without=without, keys=keys, **settings)
        async with open_router(config, clock=clock) as router:
            yield World(router, providers, clock, home)


def ask(prompt: str = "Hello there.", **changes: Any) -> CompletionRequest:
    return CompletionRequest(messages=(Message("user", (Text(prompt),)),), **changes)
