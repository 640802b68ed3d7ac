"""A small HTTP/1.1 server on loopback, with enough control over the socket to misbehave.

`h11` does the parsing. One handler serves every request; it holds an `Exchange` and answers as it likes:
properly, in part, with bytes that are not HTTP, or not at all.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
TURNS_TO_CLOSE = 8

logger = logging.getLogger("orchestra.simulation")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request, whole. Header names are in lower case; the path is decoded and without its query."""

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class ClientLeft(Exception):
    """The client closed its connection while it was being answered."""


class Exchange:
    """The answer to one request, in the handler's hands. Every `send` waits while the client reads too slowly."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection

    async def respond(self, status: int, headers: Mapping[str, str], body: bytes, *, keep: int | None = None) -> None:
        """Answer at once. With `keep`, only so many bytes of the announced body are sent before the line closes."""
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self.send(body if keep is None else body[:keep])
        if keep is None:
            await self.end()
        else:
            self.drop()

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head; without a content-length the body will be chunked."""
        head = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._connection.send(h11.Response(status_code=status, headers=head, reason=b""))

    async def send(self, data: bytes) -> None:
        """Send a part of the body; chunked, it is one chunk."""
        await self._connection.send(h11.Data(data=data))

    async def end(self) -> None:
        await self._connection.send(h11.EndOfMessage())

    async def raw(self, data: bytes) -> None:
        """Write `data` to the socket as it is, then close."""
        await self._connection.write(data)
        self.drop()

    def drop(self, *, reset: bool = False) -> None:
        """Close, after what was written has gone out; with `reset`, at once and with a TCP reset."""
        self._connection.close(reset=reset)


Handler = Callable[[HttpRequest, Exchange], Awaitable[None]]


class _Connection(asyncio.Protocol):
    """One client. Reads on while it answers, so that a client that leaves is noticed at once."""

    def __init__(self, handler: Handler, connections: "set[_Connection]") -> None:
        self._handler = handler
        self._connections = connections
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    # --- what the event loop tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker what TCP gives
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._connections.discard(self)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._http.their_state is not h11.ERROR:
            self._http.receive_data(data)
            self._read()

    # --- reading

    def _read(self) -> None:
        try:
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._head, self._body = event, bytearray()
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_BODY_BYTES:
                        self.close()
                        return
                elif isinstance(event, h11.EndOfMessage):
                    self._task = asyncio.get_running_loop().create_task(self._answer(self._request()))
                else:  # it waits for more, for our answer, or is gone
                    break
            if self._http.they_are_waiting_for_100_continue:
                self._transport.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        except h11.RemoteProtocolError:
            self.close()

    def _request(self) -> HttpRequest:
        assert self._head is not None  # noqa: S101 - a body ends only after its head
        url = urlsplit(self._head.target.decode())
        return HttpRequest(
            method=self._head.method.decode(),
            path=unquote(url.path),
            query=dict(parse_qsl(url.query)),
            headers={name.decode(): value.decode("latin-1") for name, value in self._head.headers},
            body=bytes(self._body),
        )

    # --- answering

    async def _answer(self, request: HttpRequest) -> None:
        try:
            await self._handler(request, Exchange(self))
        except ClientLeft:
            return
        except Exception:  # the outermost edge: a bug here must not take the other providers down
            logger.exception("a simulated provider failed on %s %s", request.method, request.path)
            self.close()
            return
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._read()
        else:
            self.close()

    async def send(self, event: h11.Event) -> None:
        self._put(event)
        await self._writable.wait()

    def _put(self, event: h11.Event) -> None:
        if self._transport.is_closing():
            raise ClientLeft
        if data := self._http.send(event):
            self._transport.write(data)

    async def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ClientLeft
        self._transport.write(data)
        await self._writable.wait()

    def close(self, *, reset: bool = False) -> None:
        if not reset:
            self._transport.close()
            return
        if not self._transport.is_closing():
            # A linger of zero seconds makes close() send RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    async def shut(self) -> None:
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


class HttpServer:
    """Listens on a free port of 127.0.0.1 from `start` to `stop`; must live in one asyncio event loop."""

    def __init__(self, server: asyncio.Server, connections: set[_Connection]) -> None:
        self._server = server
        self._connections = connections
        self.port: int = server.sockets[0].getsockname()[1]

    @classmethod
    async def start(cls, handler: Handler) -> Self:
        connections: set[_Connection] = set()
        loop = asyncio.get_running_loop()
        return cls(await loop.create_server(lambda: _Connection(handler, connections), "127.0.0.1", 0), connections)

    async def stop(self) -> None:
        """Close the port and every connection, answered or not."""
        self._server.close()
        # A client that was accepted a moment ago takes a few turns of the loop to show up, and one to be gone again.
        for _ in range(TURNS_TO_CLOSE):
            for connection in tuple(self._connections):
                await connection.shut()
            await asyncio.sleep(0)
        await self._server.wait_closed()
