"""Builds the MCP server, and serves it over stdio."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio
from mcp.server import MCPServer

from orchestra_router import garbage, stdio
from orchestra_router.clock import Clock, SystemClock
from orchestra_router.errors import ConfigError
from orchestra_router.observe import configure_logging
from orchestra_router.policy.redactor import Redactor, redactor
from orchestra_tools.server import OrchestraServer
from orchestra_tools.service import Service, serving

if TYPE_CHECKING:
    from orchestra_router.config import Config

logger = logging.getLogger("orchestra")

INSTRUCTIONS = (
    "Orchestra asks other language models for you: `complete` answers a prompt, `route_task` shows first who would be"
    " asked at what price. Answers cost real money within the user's budgets; `cost_report` says how much,"
    " `provider_status` what works. When `complete` answers status running, collect the answer with its request_id."
    " Free to read: orchestra://providers, orchestra://models (prices), orchestra://spend/today, and"
    " orchestra://requests/{trace_id} (whom an answer's request was sent to, and why)."
)
SIMULATED_ANSWER_WITHIN_S = 5
SIMULATED_SLOW_S = 10
"""A slow answer has to be collected, and nobody should have to wait a minute to see that."""
SIMULATED = "Simulated: no provider was asked, nothing was paid, and the answer is made up."
EXIT_GRACE_S = 3
"""How long running calls may take to settle their money when the process is told to end."""


def build_server(
    config: "Config | ConfigError",
    *,
    clock: Clock | None = None,
    simulated: bool = False,
    around: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> OrchestraServer:
    """The MCP server over `config`; with a broken one, every tool answers what is wrong with it.

    `around` is entered before anything is opened, and left after everything is closed.
    """

    @asynccontextmanager
    async def lifespan(_: MCPServer[Service]) -> AsyncGenerator[Service]:
        notice = SIMULATED if simulated else ""
        async with around(), serving(config, clock or SystemClock(), notice=notice) as service:
            yield service

    return OrchestraServer(instructions=instructions(simulated=simulated), lifespan=lifespan)


def instructions(*, simulated: bool) -> str:
    """What a client is told of the tools before it calls one."""
    return _simulated_instructions() if simulated else INSTRUCTIONS


def _simulated_instructions() -> str:
    from orchestra_router.simulation.troubles import PHRASES  # noqa: PLC0415 - most who serve need no simulation

    return f"{SIMULATED} {INSTRUCTIONS} A prompt may ask for a failure, to see what becomes of it: {PHRASES}."


def serve_stdio(config: "Config | ConfigError") -> None:
    """Serve one client on stdin and stdout until it goes, or a signal comes. Returns, or ends the process with 0."""
    log_to_stderr(config)
    if isinstance(config, ConfigError):
        logger.error("%s", config)
    garbage.own_process()
    anyio.run(_serve_stdio, build_server(config, around=_leaving))


def log_to_stderr(config: "Config | ConfigError") -> None:
    """From now on log lines go to stderr, without the keys of `config` and without anybody's data."""
    if isinstance(config, ConfigError):
        configure_logging("WARNING", Redactor(config.secrets))
        return
    configure_logging(config.settings.log_level, redactor(config), style=config.settings.log_format)


def serve_simulated() -> None:
    """The same over simulated providers on loopback and a data folder that is gone afterwards."""
    configure_logging("WARNING", Redactor())
    anyio.run(_serve_simulated)


async def _serve_simulated() -> None:
    folder = TemporaryDirectory(prefix="orchestra-simulated-")

    @asynccontextmanager
    async def around() -> AsyncGenerator[None]:
        async with _leaving():
            with folder:
                yield

    async with simulation(Path(folder.name)) as config:
        await _serve_stdio(build_server(config, simulated=True, around=around))


@asynccontextmanager
async def simulation(home: Path) -> AsyncGenerator["Config"]:
    """The configuration of simulated providers, which answer inside; what is written goes to `home`."""
    from orchestra_router.config import load  # noqa: PLC0415 - most who serve need no simulation
    from orchestra_router.simulation import Troubles, simulated_config, simulated_world  # noqa: PLC0415 - as above

    async with simulated_world(troubles=Troubles(slow_s=SIMULATED_SLOW_S)) as world:
        settings = f"answer_within_s = {SIMULATED_ANSWER_WITHIN_S}\n"
        (home / "orchestra.toml").write_text(settings + simulated_config(world), encoding="utf-8")
        yield load({"ORCHESTRA_HOME": str(home), **world.keys})


async def _serve_stdio(server: OrchestraServer) -> None:
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as serving_scope:

        def stop() -> None:
            serving_scope.cancel()
            loop.call_later(EXIT_GRACE_S, os._exit, 1)

        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows: an interrupt cancels this task by itself
                loop.add_signal_handler(number, stop)
        await stdio.serve(server.lowlevel)


@asynccontextmanager
async def _leaving() -> AsyncGenerator[None]:
    """End the process when serving was cut short, once everything inside is closed.

    A thread still reads stdin then and cannot be interrupted, so an ordinary return would wait for the client.
    """
    try:
        yield
    except anyio.get_cancelled_exc_class():  # a signal, or the client closed our stdout
        _exit_now(0)
    except Exception:
        logger.exception("the server failed")
        _exit_now(1)


def _exit_now(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)
