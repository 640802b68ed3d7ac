"""A clock that a test moves by hand: who sleeps stays asleep until then."""

from collections.abc import Callable

import anyio
import anyio.lowlevel

TURNS = 40
"""More than any chain of tasks here needs to come to rest."""


async def turns() -> None:
    """Let every task that can go on do so."""
    for _ in range(TURNS):
        await anyio.lowlevel.checkpoint()


class HandClock:
    def __init__(self, now_ms: int = 1_795_449_600_000) -> None:  # 2026-11-23T16:00:00Z
        self.ms = now_ms
        self._asleep: list[tuple[float, Callable[[], object]]] = []

    @property
    def asleep(self) -> int:
        return len(self._asleep)

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        awake = anyio.Event()
        self.later(seconds, awake.set)
        await awake.wait()

    def later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        entry = (self.monotonic() + seconds, call)
        self._asleep.append(entry)
        return lambda: self._asleep.remove(entry) if entry in self._asleep else None

    async def advance(self, seconds: float) -> None:
        """Move on, waking sleepers at their time, and let everybody do what there is to do."""
        end = self.monotonic() + seconds
        await turns()
        while due := sorted((entry for entry in self._asleep if entry[0] <= end), key=lambda entry: entry[0]):
            until, wake = due[0]
            self._asleep.remove(due[0])
            self.ms = max(self.ms, round(until * 1000))
            wake()
            await turns()
        self.ms = round(end * 1000)
        await turns()
