"""Single flight: identical requests under way at the same moment become one upstream call."""

from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

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

    def turn(self, key: str | None, *, seconds: float) -> "Turn":
        """`async with flights.turn(key, seconds=...) as waited:` - whether an identical request had to be waited for.

        None stands for a request like no other.

        Raises:
            DeadlineExceeded: it had to be waited for longer than `seconds`.
        """
        return Turn(self, key, seconds)

    def line(self, key: str) -> tuple[_Line, bool]:
        """Those who wait for `key`; and whether somebody is ahead of us."""
        line = self._under_way.get(key)
        if line is not None:
            return line, True
        line = self._under_way[key] = deque()
        return line, False

    async def leads(self, key: str, line: _Line, seconds: float) -> bool:
        """Wait in `line`. True: the next flight is ours."""
        mine = _Waiting()
        line.append(mine)
        try:
            with anyio.fail_after(seconds):
                await mine.called.wait()
        except BaseException as error:
            if mine.leads:  # called just as it left
                self.hand_on(key, line)
            elif mine in line:
                line.remove(mine)
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(
                    "This request's time ran out while an identical one was being answered."
                ) from None
            raise
        return mine.leads

    def hand_on(self, key: str, line: _Line) -> None:
        if not line:
            del self._under_way[key]
            return
        following = line.popleft()
        following.leads = True
        following.called.set()

    def land(self, key: str, line: _Line) -> None:
        del self._under_way[key]
        for waiting in line:
            waiting.called.set()
        line.clear()


class Turn:
    """One request's turn: with an answer it frees all who wait, with an error it hands on to the next of them."""

    __slots__ = ("_flights", "_key", "_line", "_seconds")

    def __init__(self, flights: Flights, key: str | None, seconds: float) -> None:
        self._flights = flights
        self._key = key
        self._seconds = seconds
        self._line: _Line | None = None
        """Led by us; None where nobody is led."""

    async def __aenter__(self) -> bool:
        if self._key is None:
            return False
        line, waits = self._flights.line(self._key)
        if not waits or await self._flights.leads(self._key, line, self._seconds):
            self._line = line
        return waits

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._key is None or self._line is None:
            return
        if error is None:
            self._flights.land(self._key, self._line)
        else:
            self._flights.hand_on(self._key, self._line)
