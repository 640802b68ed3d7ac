"""uvicorn's HTTP/1.1, but patient within limits, and with errors in our own words."""

import asyncio
import json
import sys
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from orchestra_router.http.refusals import Refused

MAX_HEAD_BYTES = 65_536
KEEP_ALIVE_S = 30
"""How long a connection without a request stays open."""


class LimitedConfig(uvicorn.Config):
    """A request's head takes `head_s` at most, what was sent is read within `unread_s`, and more than so many
    `connections` are turned away.
    """

    def __init__(self, app: ASGIApp, *, head_s: float, unread_s: float, connections: int, **options: Any) -> None:
        super().__init__(app, **options)
        self.head_s = head_s
        self.unread_s = unread_s
        self.connections = connections


class LimitedProtocol(H11Protocol):
    config: LimitedConfig
    cycle: RequestResponseCycle | None  # pyright: ignore[reportIncompatibleVariableOverride] - as it is before the first request
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
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
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch_head()

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
        error = sys.exc_info()[1]
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            refusal = Refused(431, "head_too_large", f"The request's head has more than {MAX_HEAD_BYTES:,} bytes.")
        else:
            refusal = Refused(400, "not_http", "This is no HTTP request that can be read.")
        self._refuse(refusal)

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
        if not self.transport.is_closing() and self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.write(_response(refusal))
        self.transport.close()


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
