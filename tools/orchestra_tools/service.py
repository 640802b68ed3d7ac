"""What the tools work with: the router, once it is open, and the calls that run."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context

from orchestra_router import garbage
from orchestra_router.clock import Clock
from orchestra_router.errors import AccessDenied, ConfigError, RouterError
from orchestra_router.policy.access import Caller
from orchestra_tools.approval import Approvals
from orchestra_tools.running import RunningCalls

if TYPE_CHECKING:  # they load httpx, the store and the prices, for which no client should have to wait
    from orchestra_router.config import Config
    from orchestra_router.router import Router

logger = logging.getLogger("orchestra.tools")

SETTLE_S = 2.0


@dataclass(eq=False, slots=True)
class _Opening:
    done: anyio.Event = field(default_factory=anyio.Event)
    router: "Router | None" = None
    error: Exception | None = None


class Service:
    """Opens the router when it is first needed, and again when opening failed: a repaired file needs no restart."""

    def __init__(self, config: "Config | ConfigError", clock: Clock, group: TaskGroup, *, notice: str = "") -> None:
        self.running = RunningCalls(group, clock)
        self.approvals = Approvals()
        self.notice = notice
        """Said with every result, where it matters to all of them (simulated answers)."""
        self._config = config
        self.clock = clock
        self._group = group
        self._opening: _Opening | None = None
        self._closing = anyio.Event()

    @property
    def config(self) -> "Config":
        """Raises: ConfigError: what is wrong with the configuration."""
        if isinstance(self._config, ConfigError):
            raise self._config
        return self._config

    async def router(self) -> "Router":
        """Raises: RouterError: the configuration or the database cannot be used."""
        opening = self._open(self.config)
        await opening.done.wait()
        if opening.router is None:
            raise opening.error or RouterError("The server is closing.")
        return opening.router

    async def caller(self, context: "Context[Any, Any] | ServerRequestContext[Any, Any]") -> Caller:
        """Who asks: over HTTP whoever was let in there, else whoever started this process.

        Raises:
            AccessDenied: nobody was, or `ORCHESTRA_KEY` holds no key that is valid.
            RouterError: as `router`.
        """
        request = (context.request_context if isinstance(context, Context) else context).request
        if request is None:
            return await (await self.router()).own_caller()
        caller = getattr(request.state, "caller", None)
        if not isinstance(caller, Caller):
            raise AccessDenied("This request came without an access key.")
        return caller

    def open_soon(self) -> None:
        """Start to open the router in the background, so that the first call need not wait for it."""
        if not isinstance(self._config, ConfigError):
            self._open(self._config)

    async def aclose(self) -> None:
        """Cancel running calls, give them `SETTLE_S` to settle their money, then close the router."""
        with anyio.move_on_after(SETTLE_S, shield=True):
            await self.running.aclose()
        self._closing.set()

    def _open(self, config: "Config") -> _Opening:
        if self._opening is None or self._opening.error is not None:
            self._opening = _Opening()
            self._group.start_soon(self._hold_open, config, self._opening)
        return self._opening

    async def _hold_open(self, config: "Config", opening: _Opening) -> None:
        """One task opens and closes the router, whichever request wanted it and whatever becomes of that request."""
        with anyio.CancelScope(shield=True):
            try:
                # In a thread, so that requests are answered while modules load.
                await anyio.to_thread.run_sync(import_module, "orchestra_router.router")
                from orchestra_router.router import open_router  # noqa: PLC0415 - see the line above

                async with open_router(config, clock=self.clock) as opening.router:
                    garbage.loaded()
                    opening.done.set()
                    warming = asyncio.create_task(opening.router.warm())
                    await self._closing.wait()
                    warming.cancel()
            except RouterError as error:
                opening.error = error
                logger.error("%s", error)  # noqa: TRY400 - the message is for a person and says it all
            except Exception as error:
                opening.error = error
                logger.exception("the router cannot be opened, or not closed")
            finally:
                opening.done.set()


@asynccontextmanager
async def serving(config: "Config | ConfigError", clock: Clock, *, notice: str = "") -> AsyncGenerator[Service]:
    """A `Service` for as long as the server runs. On the way out running calls are cancelled and settle."""
    failed: RouterError | None = None
    async with anyio.create_task_group() as group:
        service = Service(config, clock, group, notice=notice)
        try:
            yield service
        except RouterError as error:
            failed = error  # raised below, outside the group, which would wrap it
        finally:
            await service.aclose()
    if failed is not None:
        raise failed
