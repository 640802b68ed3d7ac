"""uvicorn's HTTP/1.1, but patient within limits, and with errors in our own words.

llhttp, Node's parser, reads the requests. What it lets pass and others read in two ways is refused here.
"""

import asyncio
import json
from typing import Any, cast

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from orchestra_router.http.refusals import Refused

MAX_HEAD_BYTES = 65_536
LEAST_BESIDE_HEADER = len(b":\r\n")
KEEP_ALIVE_S = 30
"""How long a connection without a request stays open."""
MOST_TOGETHER_BYTES = 65_536
"""Of an answer that may wait for what is written in the same turn of the event loop."""
NOT_HTTP = "This is no HTTP request that can be read."


class LimitedConfig(uvicorn.Config):
    """A request's head takes `head_s` at most, what was sent is read within `unread_s`, and more than so many
    `connections` are turned away.
    """

    def __init__(self, app: ASGIApp, *, head_s: float, unread_s: float, connections: int, **options: Any) -> None:
        super().__init__(app, **options)
        self.head_s = head_s
        self.unread_s = unread_s
        self.connections = connections


class _Together:
    """Sends a head and what comes with it at once: each piece sent alone wakes the client, and costs as much as parsing it."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._bytes = 0

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes > MOST_TOGETHER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()
            self._bytes = 0

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class LimitedProtocol(HttpToolsProtocol):
    config: LimitedConfig
    parser: HttpRequestParser  # pyright: ignore[reportIncompatibleVariableOverride] - as it is until the connection is lost
    cycle: RequestResponseCycle | None  # pyright: ignore[reportIncompatibleVariableOverride] - as it is before the first request
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _deaf = False
    """What came last cannot be read, so nothing after it can."""
    _staying = False
    """A head is read for the second time."""
    _in_head = False
    _head_bytes = 0
    """Of the head that is being read."""
    _fruitless_bytes = 0
    """Since a head or a piece of a body was whole: a head's, a trailer's, what a chunk has beside its length."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._together = _Together(transport, self.loop)
        if len(self.connections) > self.config.connections:
            self._refuse(
                Refused(
                    503,
                    "too_many_connections",
                    "Too many connections are open. Ask again in a moment, or raise `http_connections`.",
                    kind="api_error",
                    headers={"retry-after": "1", "x-should-retry": "true"},
                )
            )
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            return
        self._fruitless_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except HttpParserError:
            self.send_400_response("")
        if self._fruitless_bytes > MAX_HEAD_BYTES:
            self._refuse(_head_too_large())
        self._watch_head()

    def shutdown(self) -> None:
        self._together.flush()
        super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.config.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() and self._unread_timer is None:
            # What is closed stays open until it has been read.
            self._unread_timer = self.loop.call_later(self.config.unread_s, self.transport.abort)

    def send_400_response(self, msg: str) -> None:
        del msg  # the library's words
        too_large = self._head_bytes > MAX_HEAD_BYTES
        self._refuse(_head_too_large() if too_large else Refused(400, "not_http", NOT_HTTP))

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._stay()
            else:
                return

    def _stay(self) -> None:
        """Read on in HTTP/1.1 after a head that offers another protocol, as Java's client does with every first request.

        The parser takes what follows such a head for that protocol, so another one is told where the body ends.
        """
        framing = (header for header in self.headers if header[0] in {b"content-length", b"transfer-encoding"})
        self.parser = HttpRequestParser(self)
        self._staying = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % header for header in framing))
        self._staying = False

    # --- what the parser calls; what is raised in it ends in `send_400_response` ------------------------------

    def on_message_begin(self) -> None:
        if not self._staying:
            self._unset_keepalive_if_required()
            super().on_message_begin()
            self._in_head, self._head_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        if not self._staying:
            self._count(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # nothing in a trailer is a header of the request, whose handler has begun
            self._count(len(name) + len(value) + LEAST_BESIDE_HEADER)
            super().on_header(name, value.strip(b" \t"))  # llhttp leaves what stands behind it

    def on_headers_complete(self) -> None:
        if self._staying:
            return
        self._in_head, self._fruitless_bytes = False, 0
        named = [name for name, _ in self.headers]
        hosts = named.count(b"host")
        # A proxy would know by another name whom this is for, or where its body ends.
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0") or not self.url.startswith(b"/"):
            raise HttpParserError
        if any(name == b"transfer-encoding" and value.lower() != b"chunked" for name, value in self.headers):
            raise HttpParserError
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = cast("asyncio.Transport", self._together)

    def on_body(self, body: bytes) -> None:
        self._fruitless_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitless_bytes = 0
        if self.parser.should_upgrade():  # its body is still to come
            return
        super().on_message_complete()
        answered = self.cycle is not None and self.cycle.response_complete
        if answered and not self.transport.is_closing():  # before it was whole: only now is there nothing to wait for
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            raise HttpParserError

    # --- limits ----------------------------------------------------------------------------------------------

    def _watch_head(self) -> None:
        """Have a timer exactly while the head of a request is awaited that has begun, or is the first."""
        answering = self.cycle is not None and not self.cycle.response_complete
        idle = self.timeout_keep_alive_task is not None
        if answering or idle or self.transport.is_closing():
            self._stop_timer()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.config.head_s, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        seconds = f"{self.config.head_s:.0f} s (`http_read_timeout_s`)"
        self._refuse(Refused(408, "slow_request", f"The request's head did not arrive within {seconds}."))

    def _refuse(self, refusal: Refused) -> None:
        """Answer, unless an answer is under way, and close."""
        self._stop_timer()
        self._together.flush()
        cycle = self.cycle if self.cycle is not None and not self.cycle.response_complete else None
        if cycle is not None and not cycle.more_body:
            # A request is whole, and its answer to come; what came after it gets none.
            cycle.keep_alive, self._deaf = False, True
            return
        answering = self.pipeline or (cycle is not None and cycle.response_started)
        if not (answering or self.transport.is_closing()):
            self.transport.write(_response(refusal))
        self.transport.close()


def _head_too_large() -> Refused:
    return Refused(431, "head_too_large", f"The request's head has more than {MAX_HEAD_BYTES:,} bytes.")


def _response(refusal: Refused) -> bytes:
    body = json.dumps(refusal.body, ensure_ascii=False, separators=(",", ":")).encode()
    headers: dict[str, Any] = {
        "content-type": "application/json",
        "content-length": len(body),
        "connection": "close",
        **refusal.headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {refusal.status} \r\n{head}\r\n".encode() + body
