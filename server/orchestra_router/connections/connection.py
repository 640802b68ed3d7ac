"""One HTTP/1.1 connection: a request is written, its response is read as it comes, then the next.

llhttp, Node's parser, reads the responses. Nothing here knows where the connection leads.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import httptools
import httpx

HIGH_WATER_BYTES = 256 * 1024
"""With this much read and not yet asked for, nothing more is read."""
MOST_HEAD_BYTES = 64 * 1024
SURELY_SENT_BYTES = 64 * 1024
"""The system takes so much at once. Of a longer question, how much has left cannot be seen through TLS."""

Header = tuple[bytes, bytes]


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. After a failure, or a body not read to its end, it is of no more use."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.status = 0
        self.headers: list[Header] = []
        self._parser = httptools.HttpResponseParser(self)
        self._asked = False
        """A response is awaited, or being read."""
        self._asked_bytes = 0
        self._head_bytes = 0
        self._has_head = False
        self._is_framed = False
        """The response says where its body ends; otherwise it ends with the connection."""
        self._is_complete = True
        self._keeps_alive = False
        self._chunks: list[bytes] = []
        self._unread_bytes = 0
        self._failure: httpx.TransportError | None = None
        self._woken: asyncio.Future[None] | None = None

    # --- what whoever asks calls -----------------------------------------------------------------------------

    async def ask(self, message: bytes) -> None:
        """Send `message`; on return `status` and `headers` are those of the response.

        Raises:
            httpx.TransportError: it may have arrived all the same.
        """
        self.status, self.headers = 0, []
        self._head_bytes, self._has_head, self._is_framed = 0, False, False
        self._is_complete, self._asked, self._asked_bytes = False, True, len(message)
        self.transport.write(message)
        while not self._has_head:
            await self._news()

    async def body(self) -> AsyncIterator[bytes]:
        """The body, piece by piece as it comes: what is there already is one piece, however it was sent.

        Raises:
            httpx.TransportError: it broke off.
        """
        while True:
            if self._chunks:
                yield self._taken()
            elif self._is_complete:
                return
            else:
                self.transport.resume_reading()
                await self._news()

    async def whole_body(self, *, most: int) -> bytes:
        """The body once all of it has come, or as soon as it is longer than `most` bytes.

        Raises:
            httpx.TransportError: it broke off.
        """
        while not self._is_complete and self._unread_bytes <= most:
            self.transport.resume_reading()
            await self._news()
        return self._taken()

    def _taken(self) -> bytes:
        taken = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._unread_bytes = 0
        return taken

    def begin_tunnel(self) -> None:
        """The proxy at the other end has agreed: what comes from here on is somebody else's."""
        self._parser = httptools.HttpResponseParser(self)
        self._asked, self._is_complete = False, True

    def finish(self) -> bool:
        """End the exchange. False: the connection cannot carry another, and is closed."""
        done = self._is_complete and self._failure is None and self._keeps_alive
        # An answer before the end of the question, as refusals are: the rest of it is not wanted any more.
        may_be_early = self.status >= 400 and self._asked_bytes > SURELY_SENT_BYTES
        all_sent = self.transport.get_write_buffer_size() == 0 and not may_be_early
        reusable = done and all_sent and not self.transport.is_closing()
        self._asked = False
        self._chunks.clear()
        self._unread_bytes = 0
        if reusable:
            self.transport.resume_reading()  # the last of a long body may have come faster than it was asked for
        else:
            self.abort()
        return reusable

    def abort(self) -> None:
        self.transport.abort()

    @property
    def is_open(self) -> bool:
        return not self.transport.is_closing()

    # --- what the event loop calls ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self._asked:
            self.abort()  # nobody has asked anything: whatever it is, it belongs to no request of ours
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(httpx.RemoteProtocolError("The response is not HTTP."))
        if not self._has_head and self._head_bytes > MOST_HEAD_BYTES:
            self._fail(httpx.RemoteProtocolError("The response's head does not end."))
        if self._unread_bytes > HIGH_WATER_BYTES and not self.transport.is_closing():
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self._has_head and not self._is_framed:
            self._is_complete = True
        elif not self._is_complete and self._failure is None:
            self._failure = httpx.ReadError("The connection was closed before the response had ended.")
        self._wake()

    # --- what the parser calls -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise ValueError("A second response to one request.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return  # a trailer
        self.headers.append((name, value))
        self._is_framed = self._is_framed or name.lower() in {b"content-length", b"transfer-encoding"}

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        # 1xx says that the response is yet to come.
        self._has_head = self.status >= 200

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._chunks.append(body)
            self._unread_bytes += len(body)

    def on_message_complete(self) -> None:
        if not self._has_head:
            self.headers, self._is_framed = [], False
            return
        self._is_complete = True
        self._keeps_alive = self._parser.should_keep_alive()

    # --- waiting ---------------------------------------------------------------------------------------------

    async def _news(self) -> None:
        """Wait for whatever comes next.

        Raises:
            httpx.TransportError: nothing more comes.
        """
        if self._failure is not None:
            raise self._failure
        self._woken = asyncio.get_running_loop().create_future()
        try:
            await self._woken
        finally:
            self._woken = None

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _fail(self, failure: httpx.TransportError) -> None:
        self._failure = self._failure or failure
        self.abort()
