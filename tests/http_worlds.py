"""A server over HTTP with the simulated providers behind it, and clients for it: raw sockets and httpx."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from clocks import FakeClock
from orchestra_router.clock import Clock
from orchestra_router.http.callers import authenticating
from orchestra_router.http.serving import Address, Listening, bound, listening
from orchestra_router.router import Router
from orchestra_router.simulation import SimulatedWorld, simulated_world
from orchestra_tools.service import serving
from worlds import config_for

PATIENCE_S = 20
HOST = b"host: 127.0.0.1\r\n"


@dataclass(frozen=True, slots=True)
class HttpWorld:
    server: Listening
    router: Router
    providers: SimulatedWorld
    key: str
    """Of an admin."""
    client: httpx.AsyncClient
    """With that key."""

    def silent_client(self) -> socket.socket:
        """A connection of somebody who sends and never reads; the system keeps little for him."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.server.address.port))
        client.setblocking(False)
        return client

    async def raw(self, data: bytes, *, hang_up: bool = False) -> bytes:
        """All that the server sends in answer to `data`, until it closes; with `hang_up`, our half is closed first."""
        with anyio.fail_after(PATIENCE_S):
            async with await anyio.connect_tcp("127.0.0.1", self.server.address.port) as stream:
                await stream.send(data)
                if hang_up:
                    await stream.send_eof()
                return await rest(stream)


async def rest(stream: anyio.abc.ByteReceiveStream) -> bytes:
    """What still comes, until the other end closes."""
    received = bytearray()
    try:
        async for chunk in stream:
            received += chunk
    except anyio.BrokenResourceError:
        pass
    return bytes(received)


@asynccontextmanager
async def open_http(
    home: Path, *, clock: Clock | None = None, toml: str = "", **settings: Any
) -> AsyncGenerator[HttpWorld]:
    clock = clock or FakeClock()
    async with simulated_world(clock=clock) as providers:
        config = config_for(providers, home, toml=toml, **settings)
        async with serving(config, clock) as service:
            router = await service.router()
            key, authenticate = authenticating(service)
            async with (
                listening(service, authenticate, config.settings, bound(Address("127.0.0.1", 0))) as server,
                httpx.AsyncClient(base_url=server.url, headers=bearer(key), timeout=PATIENCE_S) as client,
            ):
                yield HttpWorld(server, router, providers, key, client)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def code_of(response: httpx.Response) -> str:
    """The code of a refusal, which is always whole."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "?"))
    code: str = error["code"]
    return code


@asynccontextmanager
async def mcp_client(world: HttpWorld, mode: str, **more: Any) -> AsyncGenerator[Client]:
    """The SDK's own client, with the admin's key. `mode`: "auto" speaks the newer protocol, "legacy" the older."""
    async with httpx2.AsyncClient(headers=bearer(world.key)) as http:
        transport = streamable_http_client(f"{world.server.url}/mcp", http_client=http)
        async with Client(transport, mode=mode, **more) as client:
            yield client
