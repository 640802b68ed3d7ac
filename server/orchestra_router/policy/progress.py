"""What a person sees while an answer grows: the tail of it, checked like any answer, not too often."""

from collections.abc import Awaitable, Callable

from orchestra_router.clock import Clock
from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.guardrails import Guarded, Guardrails

OnProgress = Callable[[str], Awaitable[None]]

EVERY_S = 0.5
TAIL_CHARACTERS = 160


class Growth:
    """Collects one streamed answer and tells `on_progress` of what is certain of it."""

    def __init__(self, on_progress: OnProgress, guardrails: Guardrails, guarded: Guarded, clock: Clock) -> None:
        self._on_progress = on_progress
        self._stream = guardrails.stream(guarded)
        self._clock = clock
        self._characters = 0
        self._pieces: list[str] = []
        """What came since somebody was told."""
        self._tail = ""
        self._refused = False
        self._told = float("-inf")
        self.started: float | None = None
        """When the first text came, on the clock's monotonic scale."""

    async def add(self, text: str) -> None:
        now = self._clock.monotonic()
        if self.started is None:
            self.started = now
        if self._refused:
            return
        self._characters += len(text)
        self._pieces.append(text)
        if now - self._told < EVERY_S:
            return
        self._told = now
        grown, self._pieces = "".join(self._pieces), []
        try:
            self._tail = (self._tail + self._stream.feed(grown))[-TAIL_CHARACTERS:]
        except GuardrailBlocked:
            self._refused = True  # the whole answer will be refused in its place; nothing more of it is shown
            return
        await self._on_progress(f"{self._characters:,} characters: {' '.join(self._tail.split())}")
