"""Runs the server: binds, serves, and on a signal lets running requests end before it goes."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import uvicorn

from orchestra_router import garbage
from orchestra_router.app import SIMULATED, log_to_stderr, simulation
from orchestra_router.clock import SystemClock
from orchestra_router.config import Config, Settings
from orchestra_router.errors import ConfigError
from orchestra_router.http import health
from orchestra_router.http.app import HttpApp
from orchestra_router.http.callers import Authenticate, authenticating
from orchestra_router.http.dashboard import Dashboard
from orchestra_router.http.description import Description
from orchestra_router.http.endpoint import Endpoint
from orchestra_router.http.gateway import models
from orchestra_router.http.gateway.chat import Chat
from orchestra_router.http.health import Health
from orchestra_router.http.mcp_endpoint import McpEndpoint
from orchestra_router.http.metrics import Exposition
from orchestra_router.http.protection import is_loopback
from orchestra_router.http.protocol import KEEP_ALIVE_S, LimitedConfig, LimitedProtocol
from orchestra_router.http.sessions import Sessions
from orchestra_router.http.traffic import Traffic
from orchestra_tools.service import Service, serving

logger = logging.getLogger("orchestra.http")

HOST, PORT = "127.0.0.1", 8765
BACKLOG = 2_048
SEND_BUFFER_BYTES = 65_536
CLOSE_S = 1
"""How long closed connections may take to go."""
EXIT_GRACE_S = 5
"""How long everything may take to settle and close, once nothing is answered any more."""
ENDPOINTS: tuple[Endpoint, ...] = (*health.ENDPOINTS, *models.ENDPOINTS)
"""Those that need nothing but the router. A new room adds its rows here."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """What "127.0.0.1:8765", "8765", "localhost", "[::1]:8765" or "" names.

    Raises:
        ConfigError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = ("", text) if text.isdigit() else (text, "")
    if (port and not (port.isdigit() and int(port) < 65_536)) or any(c.isspace() or c == "/" for c in text):
        raise ConfigError(f"`--http {text}` is no address. Write HOST:PORT, for example {HOST}:{PORT}.")
    return Address(host.strip("[]") or HOST, int(port) if port else PORT)


def check_bind(to: Address, settings: Settings, *, keys: int) -> None:
    """Raises: ConfigError: other machines could reach it, and not everything is there that this takes."""
    if is_loopback(to.host):
        return
    missing: list[str] = []
    if not settings.http_hosts:
        missing.append('the names it is reached by, `http_hosts = ["llm.example.org"]` in orchestra.toml')
    if not keys:
        missing.append("an access key, `orchestra keys create NAME`")
    if missing:
        raise ConfigError(
            f"{to} can be reached from other machines, and that takes {' and '.join(missing)}. Or bind to {HOST}."
        )


@dataclass(frozen=True, slots=True)
class Listening:
    """A server that accepts requests, and where."""

    address: Address
    app: HttpApp
    traffic: Traffic
    sessions: Sessions

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def dashboard(self, secret: str) -> str:
        """A link that signs in once, for whoever has the key `secret`."""
        return f"{self.url}/sign-in#token={self.sessions.invite(secret)}"


def bound(to: Address, *, named_by: str = "orchestra serve --http HOST:PORT") -> socket.socket:
    """A socket that listens at `to`, which `named_by` names another for; with port 0 the system chooses one.

    Raises:
        ConfigError: somebody else does, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # elsewhere it would let two servers share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted connections have it too: the system would keep megabytes for a client that does not read.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            listener.bind(place)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"Nothing can listen at {to}: {error.strerror or error}. Name another: `{named_by}`."
        ) from None
    return listener


@asynccontextmanager
async def listening(
    service: Service,
    authenticate: Authenticate,
    settings: Settings,
    listener: socket.socket,
    *,
    simulated: bool = False,
) -> AsyncGenerator[Listening]:
    """Serve at `listener` inside. On leaving, what is still being answered is cut short and settled."""
    traffic, exposition = Traffic(), Exposition()
    mcp = McpEndpoint(service, simulated=simulated, settings=settings)
    described = Description((*Health(traffic).endpoints, *Chat().endpoints, *exposition.endpoints, *ENDPOINTS))
    sessions = Sessions(authenticate, service.clock.monotonic)
    endpoints = (
        *described.endpoints,
        *mcp.endpoints,
        *Dashboard(sessions, authenticate).endpoints,
    )
    app = HttpApp(endpoints, authenticate, sessions, service, settings, traffic)
    async with exposition.of(await service.router()), mcp.run(), _accepting(app, settings, listener, traffic) as at:
        yield Listening(at, app, traffic, sessions)


@asynccontextmanager
async def looking(
    service: Service, authenticate: Authenticate, settings: Settings, listener: socket.socket
) -> AsyncGenerator[Listening]:
    """The same with the dashboard alone, so that nothing can be asked for that costs or changes anything."""
    traffic = Traffic()
    sessions = Sessions(authenticate, service.clock.monotonic)
    app = HttpApp(Dashboard(sessions, authenticate).endpoints, authenticate, sessions, service, settings, traffic)
    async with _accepting(app, settings, listener, traffic) as at:
        yield Listening(at, app, traffic, sessions)


@asynccontextmanager
async def _accepting(
    app: HttpApp, settings: Settings, listener: socket.socket, traffic: Traffic
) -> AsyncGenerator[Address]:
    server = _Server(
        LimitedConfig(
            app,
            head_s=settings.http_read_timeout_s,
            unread_s=settings.http_write_timeout_s,
            connections=settings.http_connections,
            http=LimitedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # What goes wrong in an answer is logged where it is known what it is; the rest is what strangers send.
            log_level="critical",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=CLOSE_S,
        )
    )
    host, port = listener.getsockname()[:2]
    accepting = asyncio.create_task(server.serve([listener]))
    try:
        yield Address(host, port)
    finally:
        with anyio.CancelScope(shield=True):
            await traffic.stop()
            server.should_exit = True
            await asyncio.wait({accepting})


def serve_http(config: Config, to: Address) -> None:
    """Serve until a signal comes. Returns once all money is settled and everything is closed.

    Raises:
        RouterError: it cannot be served, and why.
    """
    log_to_stderr(config)
    garbage.own_process()
    anyio.run(_serve, config, to, "")


def serve_http_simulated(to: Address) -> None:
    """The same over simulated providers on loopback and a data folder that is gone afterwards."""
    with TemporaryDirectory(prefix="orchestra-simulated-") as folder:
        anyio.run(_serve_simulated, Path(folder), to)


async def _serve_simulated(home: Path, to: Address) -> None:
    async with simulation(home) as config:
        log_to_stderr(config)
        await _serve(config, to, SIMULATED)


async def _serve(config: Config, to: Address, notice: str) -> None:
    async with serving(config, SystemClock(), notice=notice) as service:
        await _serve_until_told(service, config.settings, to, notice)


async def _serve_until_told(service: Service, settings: Settings, to: Address, notice: str) -> None:
    router = await service.router()
    keys = len(await router.store.access_keys())
    check_bind(to, settings, keys=keys)
    listener = bound(to)
    # What a service manager or a container collects is no place for a key.
    for_a_person = bool(notice) or sys.stderr.isatty()
    key, authenticate = authenticating(service) if for_a_person else ("", router.authenticate)
    signals = Signals()
    with signals.caught():
        async with listening(service, authenticate, settings, listener, simulated=bool(notice)) as server:
            _say(server, key, keys, notice)
            await signals.first.wait()
            if server.traffic.answering:
                seconds = f"{settings.http_drain_s:.0f} s"
                tell(f"Ending: {server.traffic.answering} requests have {seconds}. Again to end at once.")
            await _first_of(server.traffic.drained(settings.http_drain_s), signals.second.wait())
            asyncio.get_running_loop().call_later(EXIT_GRACE_S, os._exit, 1)


def _say(server: Listening, key: str, keys: int, notice: str) -> None:
    """`key` is the server's own, shown to whoever started it; "" where nobody looks. `keys` is how many others exist."""
    tell(
        f"Orchestra serves at {server.url} (MCP: {server.url}/mcp, OpenAI: {server.url}/v1, dashboard: {server.url}/)."
    )
    if key:
        tell(f"Until it ends it takes this key: {key}")
        tell(f"This link shows the dashboard, once: {server.dashboard(key)}")
    elif not keys:
        tell("Nobody is let in yet: `orchestra keys create NAME` makes an access key, which is taken at once.")
    if notice:
        tell(notice)


def tell(text: str) -> None:
    """For the person at the terminal. Not a log line: it holds what the log must not."""
    print(text, file=sys.stderr, flush=True)


class Signals:
    def __init__(self) -> None:
        self.first = anyio.Event()
        self.second = anyio.Event()

    @contextmanager
    def caught(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            with suppress(NotImplementedError):  # Windows: an interrupt cancels this task by itself
                loop.add_signal_handler(number, self._came)
        try:
            yield
        finally:
            for number in numbers:
                with suppress(NotImplementedError):
                    loop.remove_signal_handler(number)

    def _came(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


async def _first_of(*works: Coroutine[object, object, object]) -> None:
    async with anyio.create_task_group() as group:

        async def run(work: Coroutine[object, object, object]) -> None:
            await work
            group.cancel_scope.cancel()

        for work in works:
            group.start_soon(run, work)


class _Server(uvicorn.Server):
    """uvicorn's, but signals are ours: it would end by the signal that it was told to end with."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
