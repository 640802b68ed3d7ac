"""A clock the test owns."""


class FakeClock:
    """Stands still until somebody sleeps or the test moves it; remembers every sleep."""

    def __init__(self, now_ms: int = 1_795_449_600_000) -> None:  # 2026-11-23T16:00:00Z
        self.ms = now_ms
        self._back_ms = 0
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self.ms - self._back_ms

    def monotonic(self) -> float:
        return self.ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ms += round(seconds * 1000)

    def advance(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)

    def set_wall_back(self, seconds: float) -> None:
        """As a machine's clock is corrected: the time of day jumps, the monotonic scale does not."""
        self._back_ms += round(seconds * 1000)
