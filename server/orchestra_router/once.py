"""Work that is slow the first time and then done for all, as patterns are compiled: not on the event loop, where it would
hold up everybody.
"""

import asyncio
from collections.abc import Callable

import anyio.to_thread


class Once:
    def __init__(self, work: Callable[[], object]) -> None:
        """`work` is done on another thread."""
        self.is_done = False
        self._work = work
        self._turn = asyncio.Lock()

    async def done(self) -> None:
        """Returns once it is done, by whoever came first."""
        async with self._turn:
            if not self.is_done:
                await anyio.to_thread.run_sync(self._work)
                self.is_done = True
