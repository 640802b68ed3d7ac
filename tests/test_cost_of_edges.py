"""What the edges add to a call: functions called between a client's bytes and the router, and back. Counted, not timed.

The router answers at once here; what it costs itself is counted in test_cost_per_call.py. The bounds are in the same file.
"""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest
from mcp.server.runner import serve_loop
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from http_worlds import open_http
from mcp_wire import LEGACY
from orchestra_router.app import build_server
from orchestra_router.router import Router
from orchestra_router.simulation import simulated_world
from orchestra_router.types import Completion
from surface import configured
from test_cost_per_call import BOUNDS, CALLS, WARM

QUESTION = "What is the capital of France?"
Call = Callable[[int], Awaitable[None]]


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its second answer on the router gives the first again."""
    complete = Router.complete
    given: list[Completion] = []

    async def instant(self: Router, *asked: Any, **more: Any) -> Completion:
        if not given:
            given.append(await complete(self, *asked, **more))
        return given[0]

    monkeypatch.setattr(Router, "complete", instant)


@asynccontextmanager
async def tool(home: Path) -> AsyncGenerator[Call]:
    async with simulated_world() as world:
        server = build_server(configured(world, home)).lowlevel
        to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](1)
        outgoing, from_server = anyio.create_memory_object_stream[SessionMessage](1)

        async def ask(number: int, method: str, params: dict[str, Any]) -> JSONRPCMessage:
            request = JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params)
            await to_server.send(SessionMessage(request))
            return (await from_server.receive()).message

        async def call(number: int) -> None:
            answer = await ask(number, "tools/call", {"name": "complete", "arguments": {"prompt": QUESTION}})
            assert isinstance(answer, JSONRPCResponse)
            assert "Paris" in answer.result["structuredContent"]["text"]

        async with server.lifespan(server) as state, anyio.create_task_group() as group:
            group.start_soon(partial(serve_loop, server, incoming, outgoing, lifespan_state=state))
            client = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
            assert not isinstance(await ask(-1, "initialize", client), JSONRPCError)
            await to_server.send(SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/initialized")))
            with to_server, from_server:
                yield call
            group.cancel_scope.cancel()


@asynccontextmanager
async def gateway(home: Path) -> AsyncGenerator[Call]:
    async with open_http(home) as world:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.server.address.port)
        body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": QUESTION}]})
        head = f"authorization: Bearer {world.key}\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"

        async def call(_: int) -> None:
            writer.write(f"POST /v1/chat/completions HTTP/1.1\r\n{head}{body}".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
            length = int(answer.partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
            assert b"Paris" in await reader.readexactly(length)

        yield call
        writer.close()


async def functions(call: Call) -> float:
    """Called for one call, on average."""
    for number in range(WARM):
        await call(number)
    count = 0

    def profiled(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profiled)
    try:
        for number in range(WARM, WARM + CALLS):
            await call(number)
    finally:
        sys.setprofile(None)
    return count / CALLS


@pytest.mark.usefixtures("instant")
@pytest.mark.parametrize("edge", [tool, gateway], ids=lambda edge: edge.__name__)
async def test_an_edge_adds_no_more_than_it_did(edge: Callable[[Path], Any], tmp_path: Path) -> None:
    async with edge(tmp_path) as call:
        counted = await functions(call)

    assert counted <= BOUNDS["edges"][edge.__name__]
