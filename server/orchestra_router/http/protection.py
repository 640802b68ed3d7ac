"""Whom a request may claim to be addressed to and to come from, and how much and how slowly it may send."""

import asyncio
from collections.abc import Collection, Mapping
from ipaddress import ip_address

from starlette.types import Message, Receive

from orchestra_router.config import Settings
from orchestra_router.http.refusals import Refused

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""How this machine calls itself."""
CLOSE = {"connection": "close"}
SMALL_BODY_BYTES = 1_000_000
"""A body of this size is always let in."""
BODIES_PER_KEY = 10
"""So many of the largest bodies may be in memory for one access key, or more that are smaller."""


class Doors:
    """The Host and Origin headers that are let in: a page of another site must not reach a server on this machine."""

    def __init__(self, hosts: Collection[str], origins: Collection[str]) -> None:
        self._hosts = LOOPBACK | frozenset(hosts)
        self._origins = frozenset(origins)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises: Refused."""
        host = headers.get("host", "").lower()
        if not self._is_ours(host):
            raise Refused(
                421,
                "unknown_host",
                "This server is not known by the name in the Host header. Add the name to `http_hosts`, or use"
                " 127.0.0.1.",
                headers=CLOSE,
            )
        origin = headers.get("origin")
        if origin is not None and not self._may_call(origin.lower(), host):
            raise Refused(
                403,
                "unknown_origin",
                "Pages of this Origin may not call this server. Add the origin to `http_origins` to allow it.",
                kind="permission_error",
            )

    def shares_with(self, origin: str | None) -> bool:
        """Whether a page of `origin` may read the answers (CORS)."""
        return origin is not None and origin.lower() in self._origins

    def _is_ours(self, host: str) -> bool:
        return host in self._hosts or _without_port(host) in self._hosts

    def _may_call(self, origin: str, host: str) -> bool:
        scheme, _, authority = origin.partition("://")
        local = scheme in {"http", "https"} and _without_port(authority) in LOOPBACK
        return local or origin in self._origins or (scheme in {"http", "https"} and authority == host)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not (host.startswith("[") and host.endswith("]")) else host


def check_length(headers: Mapping[str, str]) -> None:
    """Raises: Refused: a body's length is said in two ways, so a proxy may take the rest of it for another request."""
    if "content-length" in headers and "transfer-encoding" in headers:
        raise Refused(
            400,
            "bad_header",
            "`Content-Length` and `Transfer-Encoding` are both there: how long the body is must be said in one way.",
            headers=CLOSE,
        )


def is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


class Room:
    """For the large bodies of the requests under way, which stay in memory until they are answered; by access key."""

    def __init__(self, settings: Settings) -> None:
        self._most = round(BODIES_PER_KEY * settings.http_body_mb * 1_000_000)
        self._taken: dict[str, int] = {}

    def take(self, key_id: str, more: int) -> None:
        """Raises: Refused: the key has no more of it."""
        taken = self._taken.get(key_id, 0) + more
        if taken > self._most:
            raise Refused(
                429,
                "too_many_bytes",
                f"The requests of this access key that are under way hold {self._most:,} bytes together, which is all they"
                " may. Ask again when some are answered.",
                kind="rate_limit_error",
                headers=CLOSE | {"retry-after": "1", "x-should-retry": "true"},
            )
        self._taken[key_id] = taken

    def give_back(self, key_id: str, taken: int) -> None:
        self._taken[key_id] -= taken
        if not self._taken[key_id]:
            del self._taken[key_id]


class Patience:
    """Receives a request's body for an application: no more than allowed, and no slower."""

    def __init__(
        self,
        receive: Receive,
        headers: Mapping[str, str],
        settings: Settings,
        room: Room,
        *,
        key_id: str,
        most_bytes: int | None,
    ) -> None:
        """`most_bytes` counts where it is less than what the settings allow."""
        self._receive = receive
        self._allowed = round(settings.http_body_mb * 1_000_000)
        self._most = self._allowed if most_bytes is None else min(most_bytes, self._allowed)
        self._seconds = settings.http_read_timeout_s
        self._received = 0
        self._room = room
        self._key_id = key_id
        self._taken = 0
        self._until: float | None = None
        self._whole = False
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared[:20]) > self._most:
            raise self._too_large()

    async def receive(self) -> Message:
        """Raises: Refused."""
        if self._whole:  # what comes now is that the client has gone
            return await self._receive()
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise Refused(
                408,
                "slow_request",
                f"The body did not arrive within {self._seconds:.0f} s (`http_read_timeout_s`).",
                headers=CLOSE,
            ) from None
        self._received += len(message.get("body", b""))
        if self._received > self._most:
            raise self._too_large()
        if self._received > SMALL_BODY_BYTES:
            self._room.take(self._key_id, self._received - self._taken)
            self._taken = self._received
        self._whole = not message.get("more_body", False)
        return message

    def close(self) -> None:
        """The request is over, and its body is not needed any more."""
        if self._taken:
            self._room.give_back(self._key_id, self._taken)
            self._taken = 0

    def _too_large(self) -> Refused:
        raised = ", or raise `http_body_mb`" if self._most == self._allowed else ""
        return Refused(
            413,
            "request_too_large",
            f"The body has more than {self._most:,} bytes. Send less{raised}.",
            headers=CLOSE,
        )
