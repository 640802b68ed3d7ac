"""The requests of a router that are under way, so that closing it can wait for their end, or make one.

Nobody knows what an attempt comes to that is cut off, so it counts at its worst case: a little patience costs less.
"""

import asyncio
from types import TracebackType
from typing import cast

import anyio

from orchestra_router.clock import Clock
from orchestra_router.errors import RouterError

SETTLE_S = 10.0
"""How long requests that were cut short may take to settle their money."""

AnyTask = asyncio.Task[object]


class Underway:
    def __init__(self, clock: Clock) -> None:
        self.requests: set[Request] = set()
        self.is_closing = False
        self.fewer = asyncio.Event()
        """Set as a request ends."""
        self._clock = clock

    async def aclose(self, *, grace_s: float) -> None:
        """Let nothing begin any more; wait `grace_s` for what is under way, then cut it short. It has settled on return."""
        self.is_closing = True
        closing = asyncio.current_task()
        if self._besides(closing):
            patience, quiet = (
                asyncio.create_task(work) for work in (self._clock.sleep(grace_s), self._until_quiet(closing))
            )
            await asyncio.wait({patience, quiet}, return_when=asyncio.FIRST_COMPLETED)
            for task in (patience, quiet):
                task.cancel()
        for request in self._besides(closing):
            request.cut()
        with anyio.move_on_after(SETTLE_S):
            await self._until_quiet(closing)

    async def _until_quiet(self, closing: AnyTask | None) -> None:
        while self._besides(closing):
            self.fewer.clear()
            await self.fewer.wait()

    def _besides(self, closing: AnyTask | None) -> "list[Request]":
        """Those of other tasks: who closes the router from within a request cannot wait for that."""
        return [request for request in self.requests if request.task is not closing]


class Request:
    """The time of one request. Cut short, it ends in a `RouterError`, and its task goes on."""

    __slots__ = ("_cancelling", "_is_cut", "_underway", "task")

    def __init__(self, underway: Underway) -> None:
        self.task = cast("AnyTask", asyncio.current_task())  # whoever awaits is in one
        self._underway = underway
        self._cancelling = self.task.cancelling()
        self._is_cut = False

    def __enter__(self) -> None:
        """Raises: RouterError: the router is closed."""
        if self._underway.is_closing:
            raise RouterError("This router is closed. Open another.")
        self._underway.requests.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._underway.requests.discard(self)
        self._underway.fewer.set()
        if not self._is_cut:
            return
        # Somebody else may have cancelled the task, too.
        is_ours = self.task.uncancel() <= self._cancelling
        if is_ours and isinstance(error, asyncio.CancelledError):
            raise RouterError("The request was cut short, for the router was closed meanwhile.") from None

    def cut(self) -> None:
        self._is_cut = self.task.cancel()
