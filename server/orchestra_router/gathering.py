"""Pieces of text on their way from a provider to whoever hears them.

A provider sends a few letters at a time, and many such pieces may have arrived together. Each check and each way through a
socket costs more than a piece does, so what is there together goes on together; nothing waits for more to come.
"""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

MOST_WAITING = 65_536
"""Characters that whoever hears has not taken yet; then the provider waits too."""


class Gathered:
    def __init__(self, deliver: Callable[[str], Awaitable[None]]) -> None:
        self._deliver = deliver
        self._texts: list[str] = []
        self._waiting = 0
        self._some = asyncio.Event()
        self._taken = asyncio.Event()
        self._closed = False
        self.failed: Exception | None = None
        """What `deliver` raised."""

    def add(self, text: str) -> None:
        if text:
            self._texts.append(text)
            self._waiting += len(text)
            self._some.set()

    async def room(self) -> None:
        """Let others have a turn, and wait until there is room for more."""
        await anyio.lowlevel.checkpoint()
        while self._waiting > MOST_WAITING:
            self._taken.clear()
            await self._taken.wait()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._some.set()

    async def deliver_all(self, scope: anyio.CancelScope) -> None:
        """Deliver what comes until it is closed. A failure cancels `scope`, in which it is produced."""
        try:
            while not self._closed or self._texts:
                await self._some.wait()
                self._some.clear()
                text = "".join(self._texts)
                self._texts.clear()
                self._waiting = 0
                self._taken.set()
                if text:
                    await self._deliver(text)
        except Exception as error:  # noqa: BLE001 - raised where the answer is read
            self.failed = error
            scope.cancel()
