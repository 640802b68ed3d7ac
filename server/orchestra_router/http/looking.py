"""`orchestra dashboard`: only the page, on loopback, for the one who started it, until it is ended."""

import asyncio
import webbrowser

import anyio
import anyio.to_thread

from orchestra_router.app import log_to_stderr
from orchestra_router.clock import SystemClock
from orchestra_router.config import Config
from orchestra_router.http.callers import authenticating
from orchestra_router.http.serving import HOST, Address, Signals, bound, looking, tell
from orchestra_tools.service import serving


def look(config: Config, *, port: int, open_browser: bool) -> None:
    """Serve the page until a signal comes.

    Raises:
        RouterError: it cannot be served, and why.
    """
    log_to_stderr(config)
    anyio.run(_look, config, port, open_browser)


async def _look(config: Config, port: int, open_browser: bool) -> None:
    signals = Signals()
    async with serving(config, SystemClock()) as service:
        await service.router()
        listener = bound(Address(HOST, port), named_by="orchestra dashboard --port PORT")
        secret, authenticate = authenticating(service)
        with signals.caught():
            async with looking(service, authenticate, config.settings, listener) as server:
                link = server.dashboard(secret)
                tell(f"The dashboard is at {link}")
                tell("The link is good once, for ten minutes. Ctrl-C ends it.")
                opening = asyncio.create_task(_opened(link)) if open_browser else None
                await signals.first.wait()
                if opening is not None:
                    opening.cancel()


async def _opened(link: str) -> None:
    # In a thread that nobody waits for: some browsers return only when they are closed.
    if not await anyio.to_thread.run_sync(webbrowser.open, link, abandon_on_cancel=True):
        tell("No browser could be opened. Copy the address into one.")
