"""What a caller allows several requests to cost together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel

from orchestra_router.errors import BudgetExceeded


class Purse:
    """Holds the worst case of each attempt under way, so that together they never pass `limit_nusd` (None: no limit)."""

    def __init__(self, limit_nusd: int | None = None) -> None:
        self._limit_nusd = limit_nusd
        self._held_nusd = 0
        self._spent_nusd = 0
        self._freed = anyio.Event()

    @asynccontextmanager
    async def held(self, amount_nusd: int) -> AsyncGenerator[None]:
        """Hold `amount_nusd` for one attempt, waiting while others under way may yet leave enough.

        Raises:
            BudgetExceeded: nobody is under way, and what is left does not do.
        """
        while not self._has(amount_nusd):
            if not self._held_nusd:
                raise BudgetExceeded("What is left of max_cost_usd cannot pay for this. Raise it to go on.")
            await self._freed.wait()
            # Whoever freed it may have ended the race that this attempt was for.
            await anyio.lowlevel.checkpoint_if_cancelled()
        self._held_nusd += amount_nusd
        try:
            yield
        finally:
            self._held_nusd -= amount_nusd
            self._freed.set()
            self._freed = anyio.Event()

    def pay(self, amount_nusd: int) -> None:
        self._spent_nusd += amount_nusd

    def _has(self, amount_nusd: int) -> bool:
        return self._limit_nusd is None or self._spent_nusd + self._held_nusd + amount_nusd <= self._limit_nusd
