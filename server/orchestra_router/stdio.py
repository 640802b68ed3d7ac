"""One client on stdin and stdout: every line it sends is a message, or is told that it is none.

The SDK's own transport (2.3) drops what it cannot read, and whoever sent that waits for ever. And where a client's first
request asks what the server speaks, the SDK refuses the handshake that some clients do next. Besides, it reads and writes in
threads, which costs a call more than all the rest of the SDK.
"""

import io
import logging
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

import anyio
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop, serve_loop
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import (
    INVALID_REQUEST,
    PROTOCOL_VERSION_META_KEY,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
)

from orchestra_router import jsonrpc
from orchestra_router.pipes import LineReader, LineWriter, is_pipe, writing
from orchestra_router.stdin import claimed_stdin, claimed_stdout, mended

logger = logging.getLogger("orchestra")

MOST_BEFORE = 8
"""Messages before a client's first request that are served after it."""
OTHER_ERA = "This connection began with `initialize`, so its requests carry no protocol version of their own."


async def serve(server: Server[Any]) -> None:
    """Serve the client until it closes stdin, or no longer reads."""
    with claimed_stdin() as stdin, anyio.CancelScope() as serving:
        # The lifespan last: a thread that reads cannot be cancelled, and what was opened is closed before it is waited for.
        async with _outgoing(serving) as outgoing, _lines(stdin) as lines, server.lifespan(server) as state:
            incoming = _Incoming(lines, outgoing, server, state)
            opening = await incoming.opening()
            # Either way would do for a handshake; this one hands a message on without a relay between.
            loop = serve_loop if opening is not None and opening.method == "initialize" else serve_dual_era_loop
            options = server.create_initialization_options()
            await loop(server, incoming, outgoing, lifespan_state=state, init_options=options)


class Outgoing(Protocol):
    """A stream of messages to the client, as the SDK wants it."""

    async def send(self, item: SessionMessage, /) -> None: ...
    async def aclose(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None: ...


@asynccontextmanager
async def _lines(stdin: TextIO) -> AsyncGenerator[AsyncIterator[str]]:
    if not is_pipe(stdin.fileno()):
        yield aiter(anyio.wrap_file(stdin))
        return
    reader = LineReader(stdin.fileno())
    try:
        yield reader
    finally:
        reader.close()


@asynccontextmanager
async def _outgoing(serving: anyio.CancelScope) -> AsyncGenerator[Outgoing]:
    """Where messages go. Once nobody reads them `serving` is cancelled."""
    if sys.platform == "win32" or not is_pipe(1):
        # With nothing to read, the SDK claims stdout and writes.
        async with stdio_server(stdin=anyio.wrap_file(io.StringIO())) as (unused, outgoing), unused:
            yield outgoing
        return
    with claimed_stdout() as descriptor, writing(descriptor) as write:
        writer = LineWriter(descriptor, write)
        try:
            yield _Written(writer, serving)
        finally:
            writer.close()


class _Stream:
    """A stream that is opened and closed by whoever made it."""

    async def aclose(self) -> None:
        """Nothing is this one's to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        """Nothing is this one's to close."""


class _Written(_Stream):
    def __init__(self, writer: LineWriter, serving: anyio.CancelScope) -> None:
        self._writer = writer
        self._serving = serving

    async def send(self, item: SessionMessage, /) -> None:
        line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            await self._writer.write(line.encode() + b"\n")
        except OSError:
            self._serving.cancel()
            raise anyio.BrokenResourceError from None


class _Incoming(_Stream):
    """The client's messages. What is none is answered here, and so is what only asks what the server speaks."""

    def __init__(self, lines: AsyncIterator[str], outgoing: Outgoing, server: Server[Any], state: object) -> None:
        self._lines = lines
        self._outgoing = outgoing
        self._server = server
        self._state = state
        self._opening: JSONRPCRequest | None = None
        """The request by which the client has chosen its era of the protocol: its first, other than a probe."""
        self._kept: deque[SessionMessage] = deque()
        """What came up to there."""

    async def opening(self) -> JSONRPCRequest | None:
        """Wait for the first request, which is still to be served; None when the client goes before."""
        async for message in self:
            if len(self._kept) < MOST_BEFORE or message.message is self._opening:
                self._kept.append(message)
            if self._opening is not None:
                break
        return self._opening

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        if self._kept and self._opening is not None:
            return self._kept.popleft()
        async for line in self._lines:
            if (message := await self._read(mended(line))) is not None:
                return SessionMessage(message)
        raise StopAsyncIteration

    async def _read(self, line: str) -> JSONRPCMessage | None:
        """The message in `line`; None where there is none to be served, or it has been answered here."""
        if not line or line.isspace():
            return None
        message = jsonrpc.parsed(line)
        if isinstance(message, ErrorData):
            # Its text may hold anything, so it is not shown.
            logger.warning("a line of %d characters from the client is no message", len(line.rstrip("\r\n")))
            await self._outgoing.send(SessionMessage(jsonrpc.refusal(message, line)))
            return None
        if not isinstance(message, JSONRPCRequest):
            return message
        if self._opening is None and message.method == "server/discover" and _is_enveloped(message):
            await self._answer_probe(message)
            return None
        self._opening = self._opening or message
        if self._opening.method == "initialize" and message.method != "initialize" and _is_enveloped(message):
            error = ErrorData(code=INVALID_REQUEST, message=OTHER_ERA)
            await self._outgoing.send(SessionMessage(JSONRPCError(jsonrpc="2.0", id=message.id, error=error)))
            return None
        return message

    async def receive(self) -> SessionMessage:
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def _answer_probe(self, message: JSONRPCMessage) -> None:
        """Answer as a connection of its own does, so that the one with the client is still to be opened."""
        to_server, from_client = anyio.create_memory_object_stream[SessionMessage | Exception](1)
        to_client, from_server = anyio.create_memory_object_stream[SessionMessage](1)
        async with anyio.create_task_group() as group:
            group.start_soon(_serve_once, self._server, self._state, from_client, to_client)
            async with to_server, from_server:
                await to_server.send(SessionMessage(message))
                await self._outgoing.send(await from_server.receive())
            group.cancel_scope.cancel()


async def _serve_once(server: Server[Any], state: object, incoming: Any, outgoing: Any) -> None:
    await serve_dual_era_loop(server, incoming, outgoing, lifespan_state=state)


def _is_enveloped(message: JSONRPCRequest) -> bool:
    """Whether it stands alone, as since 2026-07-28 every request does."""
    meta = (message.params or {}).get("_meta")
    return isinstance(meta, dict) and PROTOCOL_VERSION_META_KEY in meta
