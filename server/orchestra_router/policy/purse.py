"""What a caller allows several requests to cost together."""

import math
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel

from orchestra_router.errors import BudgetExceeded, DeadlineExceeded


@dataclass(eq=False, slots=True)
class _Turn:
    """One attempt that waits for its money."""

    amount_nusd: int
    decided: anyio.Event = field(default_factory=anyio.Event)
    granted: bool = False
    left_nusd: int = 0
    """What there was when it was decided."""


class Purse:
    """Holds the worst case of each attempt under way, so that together they never pass `limit_nusd` (None: no limit)."""

    def __init__(self, limit_nusd: int | None = None, *, shared: bool = False) -> None:
        """`shared`: by several requests."""
        self.makes_wait = shared and limit_nusd is not None
        """Whether one request may have to wait for what another gives back."""
        self._limit_nusd = limit_nusd
        self._held_nusd = 0
        self._spent_nusd = 0
        self._waiting: deque[_Turn] = deque()

    def held(self, amount_nusd: int, *, within_s: float = math.inf) -> AbstractAsyncContextManager[None]:
        """Hold `amount_nusd` for one attempt, waiting in turn while others under way may yet leave enough.

        Raises, on entering:
            BudgetExceeded: nobody is under way, and what is left does not do.
            DeadlineExceeded: it was not known within `within_s` seconds.
        """
        waits_for_nobody = amount_nusd == 0 or self._limit_nusd is None
        return nullcontext() if waits_for_nobody else self._holding(amount_nusd, within_s)

    @asynccontextmanager
    async def _holding(self, amount_nusd: int, within_s: float) -> AsyncGenerator[None]:
        await self._take(_Turn(amount_nusd), within_s)
        try:
            yield
        finally:
            self._give_back(amount_nusd)

    def pay(self, amount_nusd: int) -> None:
        self._spent_nusd += amount_nusd

    async def _take(self, turn: _Turn, within_s: float) -> None:
        self._waiting.append(turn)
        self._decide()
        try:
            with anyio.move_on_after(within_s):
                await turn.decided.wait()
            # Whoever freed the money may have ended the race that this attempt was for.
            await anyio.lowlevel.checkpoint_if_cancelled()
        except anyio.get_cancelled_exc_class():
            self._leave(turn)
            raise
        if not turn.decided.is_set():
            self._leave(turn)
            raise DeadlineExceeded(
                "This request's time ran out while others under the same max_cost_usd held what is left of it. Raise it,"
                " or ask less at once."
            )
        if not turn.granted:
            error = BudgetExceeded("What is left of max_cost_usd cannot pay for this. Raise it to go on.")
            error.left_nusd = turn.left_nusd
            raise error

    def _decide(self) -> None:
        """First come, first served: else small amounts would pass a large one for ever."""
        while self._waiting:
            turn = self._waiting[0]
            turn.left_nusd = self._left_nusd()
            turn.granted = self._limit_nusd is None or turn.amount_nusd <= turn.left_nusd
            if not turn.granted and self._held_nusd:
                return
            self._waiting.popleft()
            self._held_nusd += turn.amount_nusd if turn.granted else 0
            turn.decided.set()

    def _leave(self, turn: _Turn) -> None:
        if not turn.decided.is_set():
            self._waiting.remove(turn)
            self._decide()
        elif turn.granted:
            self._give_back(turn.amount_nusd)

    def _give_back(self, amount_nusd: int) -> None:
        self._held_nusd -= amount_nusd
        self._decide()

    def _left_nusd(self) -> int:
        return (self._limit_nusd or 0) - self._spent_nusd - self._held_nusd
