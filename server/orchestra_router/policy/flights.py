"""Single flight: identical requests under way at the same moment become one upstream call."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from orchestra_router.errors import DeadlineExceeded


class Flights:
    """Whoever comes first flies; the others wait until it has landed, and then look in the cache again.

    A flight that ends without an answer to share (it failed, or its caller left) wakes the waiting, who then
    ask for themselves: nobody inherits another caller's failure.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, anyio.Event] = {}

    @asynccontextmanager
    async def turn(self, key: str | None, *, seconds: float) -> AsyncGenerator[bool]:
        """Yields whether an identical request had to be waited for. None stands for a request like no other.

        Raises:
            DeadlineExceeded: it was waited for longer than `seconds`, on the machine's clock.
        """
        if key is None:
            yield False
            return
        if (landed := self._under_way.get(key)) is not None:
            with anyio.move_on_after(seconds) as waiting:
                await landed.wait()
            if waiting.cancelled_caught:
                raise DeadlineExceeded("This request's time ran out while an identical one was being answered.")
            yield True
            return
        landed = self._under_way[key] = anyio.Event()
        try:
            yield False
        finally:
            del self._under_way[key]
            landed.set()
