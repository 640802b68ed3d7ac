"""Sends wire requests and maps what can go wrong on the way to our errors. All the httpx there is.

What was never dispatched (`ConnectFailed`) costs nothing; what was dispatched and not answered may have been
billed, so the two are kept apart.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread

from orchestra_router.clock import Clock
from orchestra_router.errors import (
    ConnectFailed,
    InvalidAnswer,
    PermissionRefused,
    ProviderError,
    ReadTimeout,
    ServerFailed,
    StreamBroken,
)
from orchestra_router.providers.base import Adapter, StreamReader
from orchestra_router.providers.sse import EventReader
from orchestra_router.types import Answer, StreamEvent, WireRequest, WireResponse

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
MAX_BODY_BYTES = 32 * 2**20
"""A longer answer is no answer: the longest real ones (a million tokens) stay below 10 MB."""
SLICE_BYTES = 65_536
LARGE_BODY_BYTES = 500_000
"""Reading this much takes longer than other requests should wait."""
REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-generation-id")

OnText = Callable[[str], Awaitable[None]]
OnHead = Callable[[Mapping[str, str]], None]
"""Told the headers of a response, whatever its status; their names are in lower case."""


def _ignore(_: Mapping[str, str]) -> None:
    """What nobody listens to."""


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """Seconds until the first event, between two, and for the whole answer."""

    first_s: float
    idle_s: float
    total_s: float


class Transport:
    """One HTTP client for the process, made at first use: its certificate store takes 40 ms to load."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._opening = anyio.Lock()

    async def ask(self, adapter: Adapter, wire: WireRequest, *, timeout_s: float, on_head: OnHead = _ignore) -> Answer:
        """The answer to `wire`, whole.

        Raises:
            ProviderError: whatever went wrong, classified.
        """
        response = await self.send(wire, timeout_s=timeout_s)
        on_head(response.headers)
        self._raise_for_status(adapter, response)
        with _from_answer():
            return _with_request_id(await _parsed(adapter, response.body), response)

    async def ask_streaming(
        self,
        adapter: Adapter,
        wire: WireRequest,
        *,
        timeouts: StreamTimeouts,
        on_text: OnText,
        on_head: OnHead = _ignore,
    ) -> Answer:
        """The answer to `wire`, its text handed to `on_text` piece by piece as it arrives.

        Raises:
            StreamBroken: it broke off after its first text, for whatever reason.
            ProviderError: anything that went wrong before.
        """
        delivered = False

        async def deliver(text: str) -> None:
            nonlocal delivered
            delivered = True
            await on_text(text)

        try:
            with anyio.fail_after(timeouts.total_s):
                return await self._stream(adapter, wire, timeouts, deliver, on_head)
        except TimeoutError:
            raise (StreamBroken() if delivered else ReadTimeout()) from None
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

    async def send(self, wire: WireRequest, *, timeout_s: float) -> WireResponse:
        """The provider's response, whatever its status; at most `timeout_s` and `MAX_BODY_BYTES`."""
        try:
            with anyio.fail_after(timeout_s):
                async with self._open(wire) as response:
                    return await _read_whole(response)
        except TimeoutError:
            raise ReadTimeout from None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _stream(
        self, adapter: Adapter, wire: WireRequest, timeouts: StreamTimeouts, deliver: OnText, on_head: OnHead
    ) -> Answer:
        with anyio.fail_after(timeouts.first_s) as patience:
            async with self._open(wire) as response:
                on_head(_head(response).headers)
                if not response.is_success or not _is_event_stream(response):
                    whole = await _read_whole(response)
                    self._raise_for_status(adapter, whole)
                    # A server that ignores `stream` answers in one piece.
                    with _from_answer():
                        return _with_request_id(await _parsed(adapter, whole.body), whole)
                with _from_answer():
                    answer = await _read_stream(adapter.stream_reader(), response, timeouts.idle_s, patience, deliver)
                    return _with_request_id(answer, _head(response))

    @asynccontextmanager
    async def _open(self, wire: WireRequest) -> AsyncGenerator[httpx.Response]:
        client = await self._opened()
        import httpx  # noqa: PLC0415 - 50 ms; imported when the first call needs it

        try:
            request = client.build_request(
                "GET" if wire.body is None else "POST", wire.url, headers=dict(wire.headers), content=wire.body
            )
            with _mapped_errors():
                response = await client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.InvalidURL):
            raise ConnectFailed from None
        try:
            with _mapped_errors():
                yield response
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _opened(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._client is None:
                self._client = await anyio.to_thread.run_sync(_new_client)
        return self._client

    def _raise_for_status(self, adapter: Adapter, response: WireResponse) -> None:
        if response.status >= 400:
            raise adapter.parse_error(response, now_ms=self._clock.now_ms())
        if response.status >= 300:
            # We follow no redirects: a key must not travel to wherever an answer points. Nothing was done for it.
            raise PermissionRefused(status=response.status)


@contextmanager
def _mapped_errors() -> Generator[None]:
    """Failures after dispatch, in our terms. Those before it are the caller's to tell apart."""
    import httpx  # noqa: PLC0415 - 50 ms; imported when the first call needs it

    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError):
        raise
    except httpx.TimeoutException:
        raise ReadTimeout from None
    except httpx.DecodingError:
        raise InvalidAnswer(provider_code="undecodable_body") from None
    except httpx.RequestError:
        # Sent at least in part, and no whole response: it may have been billed.
        raise ServerFailed from None


@contextmanager
def _from_answer() -> Generator[None]:
    """Marks what goes wrong inside an answer that had begun with a success: it may have been billed."""
    try:
        yield
    except ProviderError as error:
        error.in_answer = True
        raise


def _new_client() -> httpx.AsyncClient:
    import httpx  # noqa: PLC0415 - 50 ms; imported when the first call needs it

    return httpx.AsyncClient(
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S, pool=CONNECT_TIMEOUT_S),
        # Each connection lying in the pool makes every call dearer, so few are kept.
        limits=httpx.Limits(max_connections=256, max_keepalive_connections=16, keepalive_expiry=30),
        # A local server is never reached through a proxy.
        mounts={"all://127.0.0.1": None, "all://localhost": None, "all://[::1]": None},
    )


async def _read_whole(response: httpx.Response) -> WireResponse:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise InvalidAnswer(status=response.status_code, provider_code="body_too_large")
    return replace(_head(response), body=bytes(body))


async def _parsed(adapter: Adapter, body: bytes) -> Answer:
    if len(body) < LARGE_BODY_BYTES:
        return adapter.parse_response(body)
    return await anyio.to_thread.run_sync(adapter.parse_response, body)


async def _read_stream(
    reader: StreamReader, response: httpx.Response, idle_s: float, patience: anyio.CancelScope, deliver: OnText
) -> Answer:
    try:
        with _mapped_errors():
            await _feed(reader, response, idle_s, patience, deliver)
    except (ServerFailed, InvalidAnswer) as error:
        if error.provider_code or error.status is not None:
            raise  # the provider said so itself, in an event
        # The connection broke. The answer may still be whole; if not, finish() says what had come.
        return _finish(reader, error)
    return reader.finish()


async def _feed(
    reader: StreamReader, response: httpx.Response, idle_s: float, patience: anyio.CancelScope, deliver: OnText
) -> None:
    """Hand every event to `reader` until its format says that the answer is over, or the body ends.

    `patience` runs out at the time allowed for the first event: keep-alives do not buy more. After that event it is
    renewed by `idle_s` with whatever arrives.
    """
    events = EventReader()
    received = 0
    begun = False
    async for chunk in response.aiter_bytes():
        received += len(chunk)
        if received > MAX_BODY_BYTES:
            raise InvalidAnswer(status=response.status_code, provider_code="body_too_large")
        # A compressed chunk can be megabytes of events: others are served between two slices of it.
        for start in range(0, len(chunk), SLICE_BYTES):
            for event in events.feed(chunk[start : start + SLICE_BYTES]):
                begun = True
                await _hand_on(event, reader, deliver)
                if reader.done:
                    return
            await anyio.lowlevel.checkpoint()
        if begun:
            patience.deadline = anyio.current_time() + idle_s
    for event in events.end():
        await _hand_on(event, reader, deliver)


async def _hand_on(event: StreamEvent, reader: StreamReader, deliver: OnText) -> None:
    if text := reader.feed(event):
        await deliver(text)


def _finish(reader: StreamReader, broken: ProviderError) -> Answer:
    try:
        return reader.finish()
    except InvalidAnswer:
        raise broken from None


def _head(response: httpx.Response) -> WireResponse:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return WireResponse(status=response.status_code, headers=headers, body=b"")


def _is_event_stream(response: httpx.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("text/event-stream")


def _with_request_id(answer: Answer, response: WireResponse) -> Answer:
    named = next((response.headers[name] for name in REQUEST_ID_HEADERS if name in response.headers), "")
    return replace(answer, provider_request_id=named or answer.provider_request_id)
