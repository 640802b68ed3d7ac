"""A clock the test owns."""

from collections.abc import Callable


class FakeClock:
    """Stands still until somebody sleeps or the test moves it; remembers every sleep."""

    def __init__(self, now_ms: int = 1_795_449_600_000) -> None:  # 2026-11-23T16:00:00Z
        self.ms = now_ms
        self._back_ms = 0
        self.slept: list[float] = []
        self._later: list[tuple[float, Callable[[], None]]] = []

    def now_ms(self) -> int:
        return self.ms - self._back_ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        entry = (self.monotonic() + seconds, call)
        self._later.append(entry)
        return lambda: self._later.remove(entry) if entry in self._later else None

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        for entry in [entry for entry in self._later if entry[0] <= self.monotonic()]:
            self._later.remove(entry)
            entry[1]()

    def set_wall_back(self, seconds: float) -> None:
        """As a machine's clock is corrected: the time of day jumps, the monotonic scale does not."""
        self._back_ms += round(seconds * 1000)
