"""One client on stdin and stdout: every line it sends is a message, or is told that it is none.

The SDK's own transport (2.3) drops what it cannot read, and whoever sent that waits for ever. And where a client's first
request asks what the server speaks, the SDK refuses the handshake that some clients do next.
"""

import io
import logging
from contextlib import suppress
from typing import Any, TextIO, cast

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import PROTOCOL_VERSION_META_KEY, ErrorData, JSONRPCMessage, JSONRPCRequest

from orchestra_router import jsonrpc
from orchestra_router.stdin import claimed_stdin

logger = logging.getLogger("orchestra")

Incoming = SessionMessage | Exception
Outgoing = MemoryObjectSendStream[SessionMessage]


async def serve(server: Server[Any]) -> None:
    """Serve the client until it closes stdin."""
    # With nothing to read, the SDK claims stdout and writes; the reading is ours.
    nothing = anyio.wrap_file(io.StringIO())
    with claimed_stdin() as stdin:
        # The lifespan last: a thread that reads cannot be cancelled, and what was opened is closed before it is waited for.
        async with (
            stdio_server(stdin=nothing) as (unused, outgoing),
            unused,
            anyio.create_task_group() as group,
            server.lifespan(server) as state,
        ):
            send, receive = anyio.create_memory_object_stream[Incoming](0)
            group.start_soon(_Reader(server, state, cast("Outgoing", outgoing)).pass_on, stdin, send)
            options = server.create_initialization_options()
            await serve_dual_era_loop(server, receive, outgoing, lifespan_state=state, init_options=options)


class _Reader:
    def __init__(self, server: Server[Any], state: object, outgoing: Outgoing) -> None:
        self._server = server
        self._state = state
        self._outgoing = outgoing
        self._opened = False
        """Whether the client has chosen its era of the protocol: its first request does, other than a probe."""

    async def pass_on(self, stdin: TextIO, incoming: MemoryObjectSendStream[Incoming]) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with incoming:
                async for line in anyio.wrap_file(stdin):
                    if not line.strip():
                        continue
                    message = jsonrpc.parsed(line)
                    if isinstance(message, ErrorData):
                        # Its text may hold anything, so it is not shown.
                        logger.warning("a line of %d characters from the client is no message", len(line.rstrip("\n")))
                        await self._outgoing.send(SessionMessage(jsonrpc.refusal(message, line)))
                    elif self._opened or not _is_probe(message):
                        self._opened = self._opened or isinstance(message, JSONRPCRequest)
                        await incoming.send(SessionMessage(message))
                    else:
                        await self._answer_probe(message)

    async def _answer_probe(self, message: JSONRPCMessage) -> None:
        """Answer as a connection of its own does, so that the one with the client is still to be opened."""
        to_server, from_client = anyio.create_memory_object_stream[Incoming](1)
        to_client, from_server = anyio.create_memory_object_stream[SessionMessage](1)
        async with anyio.create_task_group() as group:
            group.start_soon(_serve_once, self._server, self._state, from_client, to_client)
            async with to_server, from_server:
                await to_server.send(SessionMessage(message))
                await self._outgoing.send(await from_server.receive())
            group.cancel_scope.cancel()


async def _serve_once(server: Server[Any], state: object, incoming: Any, outgoing: Any) -> None:
    await serve_dual_era_loop(server, incoming, outgoing, lifespan_state=state)


def _is_probe(message: JSONRPCMessage) -> bool:
    """Whether it only asks what the server speaks."""
    if not isinstance(message, JSONRPCRequest) or message.method != "server/discover":
        return False
    meta = (message.params or {}).get("_meta")
    return isinstance(meta, dict) and PROTOCOL_VERSION_META_KEY in meta
