"""httpx's transport over our own connections, kept open and used again.

httpx's own pool looks at every connection for every request, which makes a call cost several times as much, and the
more the more lie there. This one takes the connection that was used last, and checks each address that it connects to.
"""

import asyncio
import math
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx

from orchestra_router.connections.addresses import address_of, may_connect
from orchestra_router.connections.connection import Connection, Header
from orchestra_router.connections.proxies import Proxy, UnusableProxy, proxy_for

CONNECT_TIMEOUT_S = 10.0
KEEP_IDLE_S = 30.0
"""Servers that close earlier say so by closing, and some in `keep-alive: timeout=`."""
KEEP_ALIVE_AFTER_S = 30
"""The system asks whether the other end is still there."""
MOST_IDLE = 64
"""For each host."""
NEXT_ADDRESS_S = 0.25
"""An address that has not answered by then is joined by the next one, and whoever is first is used."""
MOST_DIGITS = 9
"""Of a number that a server sends; Python refuses to read very many."""
PORTS = {"http": 80, "https": 443}

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
Resolve = Callable[[str, int], Awaitable[Sequence[AddressInfo]]]
"""From a host and port to what `socket.getaddrinfo` gives."""


def _nothing() -> None:
    """What nobody listens to."""


class ForbiddenAddress(httpx.ConnectError):
    """Every address of the host is one that may not be connected to."""


class _Idle(NamedTuple):
    connection: Connection
    until: float
    """On the event loop's clock."""


@dataclass(slots=True)
class _Server:
    """Where requests go, and the connections kept to it, the one used last at the end."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None
    idle: list[_Idle] = field(default_factory=list[_Idle])

    @property
    def authority(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode("ascii")


class Pool(httpx.AsyncBaseTransport):
    """`private_hosts` may be on a private network or on this machine; other names may not lead there.

    Follows no redirect, keeps no cookie, verifies every certificate. Through a proxy, the proxy's address is the one
    that is connected to: it looks the provider's name up itself.
    """

    def __init__(
        self,
        *,
        private_hosts: Collection[str] = (),
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
        keep_s: float = 0,
    ) -> None:
        """A connection that nobody uses is closed after `keep_s`, where that is given."""
        self._keep_s = keep_s or KEEP_IDLE_S
        self._private_hosts = frozenset(private_hosts)
        self._resolve = resolve or _resolved
        self._tls = tls or httpx.create_ssl_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._servers: dict[tuple[str, bytes, int | None], _Server] = {}
        self._busy: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request`, whose body is in memory, and return at the response's head.

        Raises:
            httpx.ConnectError, ConnectTimeout, ProxyError, LocalProtocolError: nothing was sent.
            httpx.TransportError: it may have been read and answered all the same.
        """
        exchange = await self.exchange(request.method, request.url, request.headers.raw, request.content)
        return httpx.Response(exchange.status, headers=exchange.headers, stream=exchange, request=request)

    async def exchange(
        self,
        method: str,
        url: httpx.URL,
        headers: Sequence[Header],
        body: bytes,
        *,
        on_sending: Callable[[], None] = _nothing,
    ) -> "Exchange":
        """The same without httpx's records, which take longer than sending. `headers` are all there are, `host` too.

        `on_sending` is called once there is a connection, just before anything is sent over it.
        """
        server = self._server(url)
        target = url.raw_path
        if server.proxy is not None and server.scheme == "http":
            headers, target = [*headers, *server.proxy.headers], str(url).encode("ascii")
        message = _head(method, target, headers) + body
        connection = self._reused(server) or await self._connected(server)
        self._busy.add(connection)
        try:
            on_sending()
            await connection.ask(message)
        except BaseException:
            self._busy.discard(connection)
            connection.abort()
            raise
        return Exchange(connection, lambda: self._done(server, connection))

    async def warm(self, url: httpx.URL) -> None:
        """Have a connection to where `url` leads for whoever asks first; nothing is sent over it.

        Raises:
            httpx.TransportError: it cannot be had.
        """
        server = self._server(url)
        if not server.idle:
            self._keep(server, await self._connected(server), self._keep_s)

    async def aclose(self) -> None:
        """Close every connection, those in use too."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        idle = [kept.connection for server in self._servers.values() for kept in server.idle]
        for connection in (*self._busy, *idle):
            connection.abort()
        self._busy.clear()
        self._servers.clear()
        await asyncio.sleep(0)  # the sockets are closed at the loop's next turn

    def _server(self, url: httpx.URL) -> _Server:
        # Base URLs come from the configuration, so there are few.
        key = (url.scheme, url.raw_host, url.port)
        server = self._servers.get(key)
        if server is None:
            host = url.raw_host.decode("ascii")
            server = _Server(url.scheme, host, url.port or PORTS[url.scheme], _proxy_for(url.scheme, host))
            self._servers[key] = server
        return server

    # --- kept connections ------------------------------------------------------------------------------------

    def _reused(self, server: _Server) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while server.idle:
            connection, until = server.idle.pop()
            if until > now and connection.is_open:
                return connection
            connection.abort()
        return None

    def _done(self, server: _Server, connection: Connection) -> None:
        self._busy.discard(connection)
        if not connection.finish():
            return
        keep_s = min(self._keep_s, _kept_by_server_s(connection.headers))
        if keep_s <= 0 or len(server.idle) >= MOST_IDLE:
            connection.abort()
            return
        self._keep(server, connection, keep_s)

    def _keep(self, server: _Server, connection: Connection, keep_s: float) -> None:
        loop = asyncio.get_running_loop()
        server.idle.append(_Idle(connection, loop.time() + keep_s))
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEEP_IDLE_S, self._sweep)

    def _sweep(self) -> None:
        """Close what was not used again."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for server in self._servers.values():
            for kept in server.idle:
                if kept.until <= now:
                    kept.connection.abort()
            server.idle = [kept for kept in server.idle if kept.until > now]
        any_left = any(server.idle for server in self._servers.values())
        self._sweeping = loop.call_later(KEEP_IDLE_S, self._sweep) if any_left else None

    # --- new connections -------------------------------------------------------------------------------------

    async def _connected(self, server: _Server) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if server.proxy is None:
                    return await self._direct(server)
                return await self._through(server.proxy, server)
        except TimeoutError:
            raise httpx.ConnectTimeout("Nobody answered in time.") from None
        except (OSError, UnicodeError) as error:  # DNS, TCP and TLS; a name that the DNS cannot hold
            raise httpx.ConnectError(type(error).__name__) from error

    async def _direct(self, server: _Server) -> Connection:
        sock = await self._socket(server.host, server.port, self._private_hosts)
        return await self._over(sock, server.host if server.scheme == "https" else None)

    async def _through(self, proxy: Proxy, server: _Server) -> Connection:
        # A name is looked up by the proxy; an address is no secret.
        address = address_of(server.host)
        if address is not None and not may_connect(server.host, str(address), self._private_hosts):
            raise ForbiddenAddress(server.host)
        # Who put a proxy into the environment may have it on this machine or network.
        sock = await self._socket(proxy.host, proxy.port, {proxy.host})
        connection = await self._over(sock, proxy.host if proxy.tls else None)
        if server.scheme == "http":
            return connection
        try:
            await self._tunnel(connection, proxy, server)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _tunnel(self, connection: Connection, proxy: Proxy, server: _Server) -> None:
        try:
            await connection.ask(_head("CONNECT", server.authority, [(b"host", server.authority), *proxy.headers]))
        except httpx.TransportError as error:
            raise httpx.ProxyError("The proxy did not answer.") from error
        if not 200 <= connection.status < 300:
            raise httpx.ProxyError(f"The proxy answered {connection.status}.")
        connection.begin_tunnel()
        through = await asyncio.get_running_loop().start_tls(
            connection.transport, connection, self._tls, server_hostname=server.host
        )
        if through is None:
            raise httpx.ProxyError("The proxy closed the connection.")
        connection.transport = through

    async def _over(self, sock: socket.socket, server_hostname: str | None) -> Connection:
        """A connection over `sock`, with TLS where a name for the certificate is given."""
        tls = self._tls if server_hostname is not None else None
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, sock=sock, ssl=tls, server_hostname=server_hostname
        )
        return connection

    async def _socket(self, host: str, port: int, private_hosts: Collection[str]) -> socket.socket:
        """A socket connected to one of the addresses of `host`: the first that answers.

        Raises:
            ForbiddenAddress: none of them may be connected to.
            OSError: none of them answers.
        """
        found = await self._resolve(host, port)
        allowed = [info for info in found if may_connect(host, str(info[4][0]), private_hosts)]
        if not allowed:
            raise ForbiddenAddress(host)
        return await _first_to_answer(allowed)


class Exchange(httpx.AsyncByteStream):
    """A response whose head has come; iterating gives its body as it was sent. To be closed, by whatever exit."""

    def __init__(self, connection: Connection, done: Callable[[], None]) -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._connection = connection
        self._done = done
        self._is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.body()

    async def read(self, *, most: int) -> bytes:
        """The body once all of it has come; of a longer one than `most` bytes, a beginning that is longer than that.

        Raises:
            httpx.TransportError: it broke off.
        """
        return await self._connection.whole_body(most=most)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._done()

    async def aclose(self) -> None:
        """What httpx calls."""
        self.close()


def _head(method: str, target: bytes, headers: Sequence[Header]) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), *[b"%b: %b" % header for header in headers], b"\r\n"]
    head = b"\r\n".join(lines)
    ends = len(lines)
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise httpx.LocalProtocolError("A header holds a line break.")
    return head


def _proxy_for(scheme: str, host: str) -> Proxy | None:
    try:
        return proxy_for(scheme, host)
    except UnusableProxy:
        raise httpx.ProxyError("The environment names a proxy that is not an HTTP proxy.") from None


def _kept_by_server_s(headers: Sequence[Header]) -> float:
    """How long the server keeps the connection, a second taken off for the way; forever if it does not say."""
    for name, value in headers:
        if name.lower() == b"keep-alive":
            _, found, seconds = value.partition(b"timeout=")
            digits = seconds.partition(b",")[0].strip()
            if found and digits.isdigit():
                return int(digits[:MOST_DIGITS]) - 1
    return math.inf


async def _resolved(host: str, port: int) -> Sequence[AddressInfo]:
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)


async def _first_to_answer(found: Sequence[AddressInfo]) -> socket.socket:
    """Try one address after the other, each a little after the one before ("happy eyeballs")."""
    waiting = list(found)
    trying: set[asyncio.Task[socket.socket]] = set()
    failures: list[OSError] = []
    connected: list[socket.socket] = []
    try:
        while not connected and (waiting or trying):
            if waiting:
                trying.add(asyncio.create_task(_connect(waiting.pop(0))))
            done, trying = await asyncio.wait(
                trying, timeout=NEXT_ADDRESS_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                try:
                    connected.append(task.result())
                except OSError as error:
                    failures.append(error)
    finally:
        for task in trying:
            task.cancel()
            task.add_done_callback(_close)
    for late in connected[1:]:
        late.close()
    if connected:
        return connected[0]
    raise failures[0]


def _close(late: asyncio.Task[socket.socket]) -> None:
    if not late.cancelled() and late.exception() is None:
        late.result().close()


async def _connect(info: AddressInfo) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A router on the way forgets a connection that is silent for long, and then says nothing of it.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_AFTER_S)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
