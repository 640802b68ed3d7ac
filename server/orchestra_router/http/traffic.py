"""The requests under way, so that the server can wait for their end, or make one."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio


class Traffic:
    def __init__(self) -> None:
        self.draining = False
        """Nothing new is begun; what is under way may end."""
        self._answering: set[anyio.CancelScope] = set()
        self._listening: set[anyio.CancelScope] = set()
        self._changed = anyio.Event()

    @property
    def answering(self) -> int:
        """How many requests are being answered."""
        return len(self._answering)

    @contextmanager
    def request(self, *, listens: bool) -> Generator[anyio.CancelScope]:
        """The time of one request, which `stop` cuts short. One that `listens` is not waited for."""
        kept = self._listening if listens else self._answering
        with anyio.CancelScope() as scope:
            kept.add(scope)
            try:
                yield scope
            finally:
                kept.discard(scope)
                self._changed.set()

    async def drained(self, within_s: float) -> bool:
        """Let nothing more begin; whether all that is being answered ended in time."""
        self.draining = True
        with anyio.move_on_after(within_s):
            await self.quiet()
        return not self._answering

    async def quiet(self) -> None:
        """Returns once nothing is being answered."""
        await self._until_empty(self._answering)

    async def stop(self) -> None:
        """Cancel what is still under way, and wait until it has cleaned up."""
        for kept in (self._answering, self._listening):
            for scope in tuple(kept):
                scope.cancel()
            await self._until_empty(kept)

    async def _until_empty(self, kept: set[anyio.CancelScope]) -> None:
        while kept:
            self._changed = anyio.Event()
            await self._changed.wait()
