"""Sends wire requests and maps what can go wrong on the way to our errors.

What was never dispatched (`ConnectFailed`) costs nothing; what was dispatched and not answered may have been
billed, so the two are kept apart.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from orchestra_router import garbage
from orchestra_router.clock import Clock
from orchestra_router.errors import (
    AddressRefused,
    ConnectFailed,
    InvalidAnswer,
    PermissionRefused,
    ProviderError,
    ReadTimeout,
    ServerFailed,
    StreamBroken,
)
from orchestra_router.gathering import Gathered
from orchestra_router.providers.base import Adapter, StreamReader
from orchestra_router.providers.sse import EventReader
from orchestra_router.types import Answer, WireRequest, WireResponse, changed

if TYPE_CHECKING:
    import httpx

    from orchestra_router.connections.connection import Header
    from orchestra_router.connections.pool import Exchange, Pool

MAX_BODY_BYTES = 32 * 2**20
"""A longer answer is no answer: the longest real ones (a million tokens) stay below 10 MB."""
SLICE_BYTES = 16_384
LARGE_BODY_BYTES = 500_000
"""Reading this much takes longer than other requests should wait."""
HEADERS = {"accept": "*/*", "accept-encoding": "gzip, deflate", "user-agent": "orchestra-router"}
REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-generation-id")
_REQUEST_ID = re.compile(r"[!-~]{1,200}")
"""It is kept with each attempt, so nothing longer than any vendor's, and nothing that steers a terminal."""

OnText = Callable[[str], Awaitable[None]]
OnSending = Callable[[], None]
OnHead = Callable[[Mapping[str, str]], None]
"""Told the headers of a response, whatever its status; their names are in lower case."""


def _nothing() -> None:
    """What nobody listens to."""


def _ignore(_: Mapping[str, str]) -> None:
    """As above."""


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """Seconds until the first event, between two, and for the whole answer."""

    first_s: float
    idle_s: float
    total_s: float


class _Sending:
    """Called when something is sent over `transport`; remembers it, and tells whoever listens."""

    __slots__ = ("_has_begun", "_told", "_transport")

    def __init__(self, transport: Transport, told: OnSending) -> None:
        self._transport = transport
        self._told = told
        self._has_begun = False

    def __call__(self) -> None:
        """Raises: ConnectFailed: the transport has been closed, and what was sent now would be paid for nothing."""
        if self._transport.is_closed:
            raise ConnectFailed
        self._has_begun = True
        self._told()

    def timed_out(self) -> ProviderError:
        return ReadTimeout() if self._has_begun else ConnectFailed()


class Transport:
    """One pool of connections for the process, made at first use: its certificate store takes 40 ms to load.

    `private_hosts` are those that may be on a private network.
    """

    def __init__(self, clock: Clock, *, private_hosts: Collection[str] = (), keep_s: float = 0) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._private_hosts = private_hosts
        self._pool: Pool | None = None
        self._opening = anyio.Lock()
        self.is_closed = False
        """Nothing is sent any more."""

    async def ask(
        self,
        adapter: Adapter,
        wire: WireRequest,
        *,
        timeout_s: float,
        on_sending: OnSending = _nothing,
        on_head: OnHead = _ignore,
    ) -> Answer:
        """The answer to `wire`, whole.

        Raises:
            ProviderError: whatever went wrong, classified.
        """
        response = await self.send(wire, timeout_s=timeout_s, on_sending=on_sending)
        on_head(response.headers)
        return await self._answer(adapter, response)

    async def ask_streaming(
        self,
        adapter: Adapter,
        wire: WireRequest,
        *,
        timeouts: StreamTimeouts,
        on_text: OnText,
        on_sending: OnSending = _nothing,
        on_head: OnHead = _ignore,
    ) -> Answer:
        """The answer to `wire`, its text handed to `on_text` piece by piece as it arrives.

        Raises:
            StreamBroken: it broke off after its first text, for whatever reason.
            ProviderError: anything that went wrong before.
        """
        pool = self._pool or await self._opened()
        delivered = False
        sending = _Sending(self, on_sending)

        async def deliver(text: str) -> None:
            nonlocal delivered
            delivered = True
            await on_text(text)

        try:
            with anyio.fail_after(timeouts.total_s):
                return await self._stream(pool, adapter, wire, timeouts, deliver, sending, on_head)
        except TimeoutError:
            raise (StreamBroken() if delivered else sending.timed_out()) from None
        except StreamBroken:
            raise
        except ProviderError as error:
            if not delivered:
                raise
            broken = StreamBroken(
                status=error.status,
                provider_code=error.provider_code,
                usage=error.usage,
                cost_nusd=error.cost_nusd,
                partial_text=error.partial_text,
            )
            broken.in_answer = True
            raise broken from error

    async def send(self, wire: WireRequest, *, timeout_s: float, on_sending: OnSending = _nothing) -> WireResponse:
        """The provider's response, whatever its status; at most `timeout_s` and `MAX_BODY_BYTES`.

        `on_sending` is called once there is a connection, just before anything is sent: from then on it may cost money.
        """
        pool = self._pool or await self._opened()
        sending = _Sending(self, on_sending)
        try:
            async with asyncio.timeout(timeout_s):
                exchange = await _begun(pool, wire, sending)
                try:
                    return await _read_whole(exchange)
                finally:
                    exchange.close()
        except TimeoutError:
            raise sending.timed_out() from None

    async def warm(self, urls: Collection[str]) -> None:
        """Have a connection to where each of `urls` leads, as far as one can be had."""
        pool = self._pool or await self._opened()
        async with anyio.create_task_group() as group:
            for url in urls:
                group.start_soon(_warmed, pool, url)

    async def aclose(self) -> None:
        self.is_closed = True
        if self._pool is not None:
            await self._pool.aclose()

    async def _stream(
        self,
        pool: Pool,
        adapter: Adapter,
        wire: WireRequest,
        timeouts: StreamTimeouts,
        deliver: OnText,
        sending: _Sending,
        on_head: OnHead,
    ) -> Answer:
        with anyio.fail_after(timeouts.first_s) as patience:
            exchange = await _begun(pool, wire, sending)
            try:
                head = _head(exchange)
                on_head(head.headers)
                if not 200 <= head.status < 300 or not _is_event_stream(head):
                    # A server that ignores `stream` answers in one piece.
                    return await self._answer(adapter, await _read_whole(exchange))
                pieces = _pieces(exchange, head)
                try:
                    answer = await _read_stream(
                        adapter.stream_reader(), pieces, head, timeouts.idle_s, patience, deliver
                    )
                except ProviderError as error:
                    error.in_answer = True
                    raise
                return _with_request_id(answer, head)
            finally:
                exchange.close()

    async def _opened(self) -> Pool:
        async with self._opening:
            if self._pool is None:
                with garbage.loading():
                    self._pool = await anyio.to_thread.run_sync(_new_pool, self._private_hosts, self._keep_s)
        return self._pool

    async def _answer(self, adapter: Adapter, response: WireResponse) -> Answer:
        if response.status >= 400:
            raise adapter.parse_error(response, now_ms=self._clock.now_ms())
        if response.status >= 300:
            # We follow no redirects: a key must not travel to wherever an answer points. Nothing was done for it.
            raise PermissionRefused(status=response.status)
        try:
            return _with_request_id(await _parsed(adapter, response.body), response)
        except ProviderError as error:
            # Inside an answer that had begun with a success: it may have been billed.
            error.in_answer = True
            raise


async def _begun(pool: Pool, wire: WireRequest, sending: _Sending) -> Exchange:
    """What answers `wire`, whose head has come; to be closed, by whatever exit."""
    try:
        url, headers = _addressed(wire)
        method = "GET" if wire.body is None else "POST"
        return await pool.exchange(method, url, headers, wire.body or b"", on_sending=sending)
    except Exception as error:  # noqa: BLE001 - raised again
        raise _in_our_terms(error) from None


def _in_our_terms(error: Exception) -> Exception:
    """What a failure of the connection means for the money; anything else as it is."""
    import httpx  # noqa: PLC0415 - 50 ms; there since the first connection

    from orchestra_router.connections.pool import ForbiddenAddress  # noqa: PLC0415 - as above

    before_dispatch = (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ProxyError,
        httpx.LocalProtocolError,
        httpx.InvalidURL,
    )
    if isinstance(error, ForbiddenAddress):
        return AddressRefused()
    if isinstance(error, before_dispatch):
        return ConnectFailed()
    if isinstance(error, httpx.DecodingError):
        return InvalidAnswer(provider_code="undecodable_body")
    if isinstance(error, httpx.RequestError):
        # Sent at least in part, and no whole response: it may have been billed.
        return ServerFailed()
    return error


def _new_pool(private_hosts: Collection[str], keep_s: float) -> Pool:
    from orchestra_router.connections.pool import Pool  # noqa: PLC0415 - httpx takes 50 ms

    return Pool(private_hosts=private_hosts, keep_s=keep_s)


async def _warmed(pool: Pool, url: str) -> None:
    import httpx  # noqa: PLC0415 - 50 ms; there since the pool is

    with suppress(httpx.TransportError, httpx.InvalidURL):  # whoever asks will be told
        await pool.warm(httpx.URL(url))


@lru_cache(maxsize=1_000)
def _target(text: str) -> tuple[httpx.URL, tuple[Header, ...]]:
    """A URL, and the headers that are the same for all that is sent there. There are few, and reading one takes long."""
    import httpx  # noqa: PLC0415 - 50 ms; imported when the first call needs it

    url = httpx.URL(text)
    return url, ((b"host", url.netloc), *_encoded(HEADERS))


def _addressed(wire: WireRequest) -> tuple[httpx.URL, list[Header]]:
    url, headers = _target(wire.url)
    said = _encoded(wire.headers)
    own = {name for name, _ in said}
    length = [] if wire.body is None else [(b"content-length", b"%d" % len(wire.body))]
    return url, [*(header for header in headers if header[0] not in own), *said, *length]


def _encoded(headers: Mapping[str, str]) -> list[Header]:
    return [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]


def _head(exchange: Exchange) -> WireResponse:
    headers = {name.decode("ascii", "replace").lower(): value.decode("latin-1") for name, value in exchange.headers}
    return WireResponse(status=exchange.status, headers=headers, body=b"")


def _is_packed(head: WireResponse) -> bool:
    return head.headers.get("content-encoding", "identity") != "identity"


def _pieces(exchange: Exchange, head: WireResponse) -> AsyncIterator[bytes]:
    """The pieces of the body as they come, unpacked."""
    if not _is_packed(head):
        return aiter(exchange)
    from orchestra_router.connections.unpacking import unpacked  # noqa: PLC0415 - httpx takes 50 ms

    return unpacked(aiter(exchange), head.headers["content-encoding"])


async def _read_whole(exchange: Exchange) -> WireResponse:
    head = _head(exchange)
    try:
        if not _is_packed(head):
            body = await exchange.read(most=MAX_BODY_BYTES)
        else:
            whole = bytearray()
            async for piece in _pieces(exchange, head):
                whole += piece
                if len(whole) > MAX_BODY_BYTES:
                    break
            body = bytes(whole)
    except Exception as error:  # noqa: BLE001 - raised again
        raise _in_our_terms(error) from None
    if len(body) > MAX_BODY_BYTES:
        raise InvalidAnswer(status=head.status, provider_code="body_too_large")
    return WireResponse(status=head.status, headers=head.headers, body=body)


async def _parsed(adapter: Adapter, body: bytes) -> Answer:
    if len(body) < LARGE_BODY_BYTES:
        return adapter.parse_response(body)
    return await anyio.to_thread.run_sync(adapter.parse_response, body)


async def _read_stream(
    reader: StreamReader,
    pieces: AsyncIterator[bytes],
    head: WireResponse,
    idle_s: float,
    patience: anyio.CancelScope,
    deliver: OnText,
) -> Answer:
    try:
        await _feed(reader, pieces, head, idle_s, patience, deliver)
    except Exception as failure:  # noqa: BLE001 - raised again, or what it means is
        error = _in_our_terms(failure)
        if not isinstance(error, ServerFailed | InvalidAnswer) or error.provider_code or error.status is not None:
            raise error from None  # the provider said so itself, in an event
        # The connection broke. The answer may still be whole; if not, finish() says what had come.
        return _finish(reader, error)
    return reader.finish()


async def _feed(
    reader: StreamReader,
    pieces: AsyncIterator[bytes],
    head: WireResponse,
    idle_s: float,
    patience: anyio.CancelScope,
    deliver: OnText,
) -> None:
    """Hand every event to `reader` until its format says that the answer is over, or the body ends.

    `patience` runs out at the time allowed for the first event: keep-alives do not buy more. After that event it is
    renewed by `idle_s` with whatever arrives. How long `deliver` takes is not the provider's silence.
    """
    gathered = Gathered(deliver)
    failed: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(gathered.deliver_all, group.cancel_scope)
        try:
            await _read_events(reader, pieces, head, idle_s, patience, gathered)
        except Exception as error:  # noqa: BLE001 - raised below, outside the group, which would wrap it
            failed = error
        patience.deadline = math.inf
        gathered.close()
    if error := gathered.failed or failed:
        raise error


async def _read_events(
    reader: StreamReader,
    pieces: AsyncIterator[bytes],
    head: WireResponse,
    idle_s: float,
    patience: anyio.CancelScope,
    gathered: Gathered,
) -> None:
    events = EventReader()
    received = 0
    begun = False
    unyielded = 0
    async for chunk in pieces:
        received += len(chunk)
        if received > MAX_BODY_BYTES:
            raise InvalidAnswer(status=head.status, provider_code="body_too_large")
        for start in range(0, len(chunk), SLICE_BYTES):
            part = chunk[start : start + SLICE_BYTES]
            for event in events.feed(part):
                begun = True
                gathered.add(reader.feed(event))
                if reader.done:
                    return
            unyielded += len(part)
            if unyielded >= SLICE_BYTES:
                # What has arrived can be megabytes of events: others are served meanwhile.
                unyielded = 0
                if begun:
                    patience.deadline = math.inf
                await gathered.room()
        if begun:
            patience.deadline = anyio.current_time() + idle_s
    for event in events.end():
        gathered.add(reader.feed(event))


def _finish(reader: StreamReader, broken: ProviderError) -> Answer:
    try:
        return reader.finish()
    except InvalidAnswer:
        raise broken from None


def _is_event_stream(head: WireResponse) -> bool:
    return head.headers.get("content-type", "").lower().startswith("text/event-stream")


def _with_request_id(answer: Answer, head: WireResponse) -> Answer:
    named = next(
        (found for name in REQUEST_ID_HEADERS if (found := head.headers.get(name))), answer.provider_request_id
    )
    sound = named if _REQUEST_ID.fullmatch(named) else ""
    return answer if sound == answer.provider_request_id else changed(answer, provider_request_id=sound)
