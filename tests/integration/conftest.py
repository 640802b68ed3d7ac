from collections.abc import AsyncGenerator, Generator

import pytest
from routes import Routed
from servers import AIMOCK, AIMOCK_KEY, GATEWAY, node_server

from clocks import FakeClock
from orchestra_router.simulation import simulated_world
from orchestra_router.transport import Transport

collect_ignore = ["node_modules"]


@pytest.fixture(scope="session")
def aimock() -> Generator[str]:
    """The address of aimock: an upstream that others wrote. It knows only fixtures/, and only AIMOCK_KEY."""
    arguments = ("--fixtures", "fixtures", "--strict", "--validate-on-load")
    with node_server(AIMOCK, *arguments, AIMOCK_API_KEYS=AIMOCK_KEY) as url:
        yield url


@pytest.fixture(scope="session")
def gateway() -> Generator[str]:
    """The base URL of Portkey's open-source gateway."""
    with node_server(GATEWAY, "--headless") as url:
        yield f"{url}/v1"


@pytest.fixture
async def transport() -> AsyncGenerator[Transport]:
    transport = Transport(FakeClock())
    yield transport
    await transport.aclose()


@pytest.fixture
async def routed(gateway: str, transport: Transport) -> AsyncGenerator[Routed]:
    async with simulated_world(clock=FakeClock()) as world:
        yield Routed(gateway, world, transport)
