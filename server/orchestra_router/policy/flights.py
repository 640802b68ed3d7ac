"""Single flight: identical requests under way at the same moment become one upstream call."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from orchestra_router.errors import DeadlineExceeded


@dataclass(slots=True, eq=False)
class _Waiting:
    called: anyio.Event = field(default_factory=anyio.Event)
    leads: bool = False
    """It was called to fly, not to look at what came of a flight."""


_Line = deque[_Waiting]
"""Who waits for one flight, longest first."""


class Flights:
    """Whoever comes first flies; the others wait until there is an answer, and then look in the cache again.

    A flight that ends without one (it failed, or its caller left) hands on to the one who waits longest: nobody inherits
    another caller's failure, and however many wait, one asks at a time. An answer that nobody may share frees them all:
    each needs one of his own, and there is no use in waiting for the others'.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, key: str | None, *, seconds: float) -> AsyncGenerator[bool]:
        """Yields whether an identical request had to be waited for. None stands for a request like no other.

        Raises:
            DeadlineExceeded: it had to be waited for longer than `seconds`.
        """
        if key is None:
            yield False
            return
        line = self._under_way.get(key)
        waits = line is not None
        if line is None:
            line = self._under_way[key] = deque()
        elif not await self._leads(key, line, seconds):
            yield True
            return
        try:
            yield waits
        except BaseException:
            self._hand_on(key, line)
            raise
        else:
            self._land(key, line)

    async def _leads(self, key: str, line: _Line, seconds: float) -> bool:
        """Wait in `line`. True: the next flight is ours."""
        mine = _Waiting()
        line.append(mine)
        try:
            with anyio.fail_after(seconds):
                await mine.called.wait()
        except BaseException as error:
            if mine.leads:  # called just as it left
                self._hand_on(key, line)
            elif mine in line:
                line.remove(mine)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(
                    "This request's time ran out while an identical one was being answered."
                ) from None
            raise
        return mine.leads

    def _hand_on(self, key: str, line: _Line) -> None:
        if not line:
            del self._under_way[key]
            return
        following = line.popleft()
        following.leads = True
        following.called.set()

    def _land(self, key: str, line: _Line) -> None:
        del self._under_way[key]
        for waiting in line:
            waiting.called.set()
        line.clear()
