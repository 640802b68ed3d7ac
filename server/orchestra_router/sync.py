"""The router for programs without an event loop: its own loop in a thread, which any number of threads may ask."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from anyio.from_thread import BlockingPortal, start_blocking_portal

from orchestra_router.batches import Batch
from orchestra_router.config import Config
from orchestra_router.deployments import Plan
from orchestra_router.errors import RouterError
from orchestra_router.keywords import Asked, Asking
from orchestra_router.policy.costs import CostReport
from orchestra_router.policy.status import StatusReport
from orchestra_router.router import Router
from orchestra_router.streams import AnswerStream
from orchestra_router.types import Completion, CompletionRequest, Delta

T = TypeVar("T")

SETTLE_S = 10.0
"""How long a call that was cancelled may take to settle its money."""

OnText = Callable[[str], object]
"""Called in the router's own thread, so it should be quick."""


class SyncRouter:
    """`Router`, waited for. Use it with `with`, or call `close`; several threads may use it at once.

    An interrupt (Ctrl-C) stops the call that is waited for; what it has cost by then is settled and on record.
    """

    def __init__(self, portal: BlockingPortal, router: Router, resources: ExitStack) -> None:
        """Made by `open`, whose `resources` are released by `close`."""
        self._portal = portal
        self._router = router
        self._resources = resources
        self._under_way: dict[Future[Any], Future[None]] = {}
        """The calls, and when each has settled what it cost, which a cancelled one does after its end is known."""
        self._streams: set[AnswerStream] = set()
        self._closed = False

    @classmethod
    def open(
        cls,
        config: Config | None = None,
        *,
        home: str | Path | None = None,
        file: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Self:
        """As `Router.open`: `with SyncRouter.open() as router: ...`."""
        _check_thread()
        with ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal("asyncio", name="orchestra"))
            opening = Router.open(config, home=home, file=file, environ=environ, settings=settings)
            router = stack.enter_context(portal.wrap_async_context_manager(opening))
            return cls(portal, router, stack.pop_all())

    def complete(
        self, asked: Asked = None, /, *, on_progress: OnText | None = None, **asking: Unpack[Asking]
    ) -> Completion:
        return self._wait(partial(self._router.complete, asked, on_progress=_telling(on_progress), **asking))

    def batch(
        self,
        asked: Sequence[str] | Sequence[CompletionRequest],
        /,
        *,
        on_progress: OnText | None = None,
        **asking: Unpack[Asking],
    ) -> Batch:
        return self._wait(partial(self._router.batch, asked, on_progress=_telling(on_progress), **asking))

    @contextmanager
    def stream(self, asked: Asked = None, /, **asking: Unpack[Asking]) -> Generator[Iterator[Delta | Completion]]:
        """The same answer as it grows: `Delta` after `Delta`, then the `Completion`.

        with router.stream("Why is the sky blue?") as pieces:
            for piece in pieces: ...

        Leaving it early stops the provider and settles what the answer has cost.
        """
        stream = self._router.stream(asked, **asking)
        self._streams.add(stream)
        try:
            yield self._pieces(stream)
        finally:
            self._streams.discard(stream)
            if not self._closed:
                self._wait(stream.aclose)

    def plan(self, asked: Asked = None, /, **asking: Unpack[Asking]) -> Plan:
        return self._wait(partial(self._router.plan, asked, **asking))

    def provider_status(self, provider: str | None = None, *, probe: bool = False) -> StatusReport:
        return self._wait(partial(self._router.provider_status, provider, probe=probe))

    def cost_report(
        self,
        *,
        period: str | None = None,
        first_day: str | None = None,
        last_day: str | None = None,
        group_by: str | None = None,
    ) -> CostReport:
        return self._wait(
            partial(self._router.cost_report, period=period, first_day=first_day, last_day=last_day, group_by=group_by)
        )

    def close(self) -> None:
        """Cancel what other threads still wait for, settle its money, and close the router. Twice is as good as once."""
        self._closed = True
        under_way = dict(self._under_way)
        for future in under_way:
            future.cancel()
        wait(under_way.values(), timeout=SETTLE_S)
        while self._streams:
            self._portal.call(self._streams.pop().aclose)
        self._resources.close()

    def _pieces(self, stream: AnswerStream) -> Iterator[Delta | Completion]:
        while (piece := self._wait(partial(_next, stream))) is not None:
            yield piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _wait(self, work: Callable[[], Awaitable[T]]) -> T:
        _check_thread()
        if self._closed:
            raise RouterError("This SyncRouter is closed. Open another.")
        settled = Future[None]()
        future = self._portal.start_task_soon(partial(_run, work, settled))
        self._under_way[future] = settled
        try:
            return future.result()
        except CancelledError:
            raise RouterError("The call was cancelled, for the router was closed meanwhile.") from None
        except BaseException:
            # An interrupt of this thread says nothing to the loop's.
            if future.cancel():
                wait((settled,), timeout=SETTLE_S)
            raise
        finally:
            del self._under_way[future]


async def _run(work: Callable[[], Awaitable[T]], settled: Future[None]) -> T:
    try:
        return await work()
    finally:
        settled.set_result(None)


async def _next(stream: AnswerStream) -> Delta | Completion | None:
    return await anext(stream, None)


def _telling(on_text: OnText | None) -> Callable[[str], Awaitable[None]] | None:
    if on_text is None:
        return None

    async def tell(text: str) -> None:
        on_text(text)

    return tell


def _check_thread() -> None:
    """Raises: RouterError: an event loop runs in this thread, and would stand still."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RouterError(
        "SyncRouter would block the event loop that runs in this thread. Use `async with Router.open() as router:`"
        " and `await router.complete(...)` here (in a notebook too), or call SyncRouter in a thread of its own."
    )
