"""Nine simulated providers behind nine sockets on loopback, for `orchestra demo`, `serve --simulate` and the tests."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from orchestra_router.clock import Clock, SystemClock
from orchestra_router.simulation.http import HttpServer
from orchestra_router.simulation.providers import SimulatedProvider
from orchestra_router.simulation.troubles import Troubles
from orchestra_router.simulation.vendors import VENDORS


class SimulatedWorld:
    """`world["deepseek"]` is a provider; `base_urls` and `keys` are what a router needs to reach all of them."""

    def __init__(self, providers: Mapping[str, SimulatedProvider], base_urls: Mapping[str, str]) -> None:
        self.providers = dict(providers)
        self.base_urls = dict(base_urls)
        """Provider to base URL, in the form the router's own rows use."""
        self.keys = {
            provider.vendor.key_env: provider.key for provider in providers.values() if provider.vendor.key_env
        }
        """Environment variable to simulated key."""

    def __getitem__(self, name: str) -> SimulatedProvider:
        return self.providers[name]

    @property
    def billed_nusd(self) -> int:
        """What all of them have billed, in billionths of a dollar."""
        return sum(provider.billed_nusd for provider in self.providers.values())


@asynccontextmanager
async def simulated_world(
    *, clock: Clock | None = None, troubles: Troubles | None = None
) -> AsyncGenerator[SimulatedWorld]:
    """Start the providers, each on its own free port of 127.0.0.1, and stop them at the end, answered or not.

    `clock` decides prices (off-peak hours, dated changes) and which models have ended. With `troubles`, prompts that
    ask for a failure get one. Needs asyncio.
    """
    clock = clock or SystemClock()
    providers: dict[str, SimulatedProvider] = {}
    base_urls: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for vendor in VENDORS:
            provider = SimulatedProvider(vendor, key=f"simulated-{vendor.name}-key", clock=clock, troubles=troubles)
            server = await HttpServer.start(provider.handle)
            stack.push_async_callback(server.stop)
            providers[vendor.name] = provider
            base_urls[vendor.name] = f"http://127.0.0.1:{server.port}{vendor.base_path}"
        yield SimulatedWorld(providers, base_urls)


def simulated_config(world: SimulatedWorld) -> str:
    """The text of an `orchestra.toml` that points a router at `world`. Its keys are `world.keys`, for the environment."""
    lines = ["# Simulated providers: nothing leaves this machine, and nothing is paid."]
    for name, base_url in world.base_urls.items():
        lines += ["", f"[providers.{name}]", f'base_url = "{base_url}"']
        if not world[name].vendor.key_env:
            lines.append("enabled = true")
    return "\n".join(lines) + "\n"
