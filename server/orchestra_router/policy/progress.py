"""What a person sees while an answer grows: the tail of it, checked like any answer, not too often."""

from collections.abc import Awaitable, Callable

from orchestra_router.clock import Clock
from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.guardrails import Guarded, Guardrails
from orchestra_router.types import Answer

OnProgress = Callable[[str], Awaitable[None]]

EVERY_S = 0.5
TAIL_CHARACTERS = 160


class Growth:
    """Collects one streamed answer and tells `on_progress` about it.

    The whole text so far is checked each time, never a chunk alone: what is to be hidden may lie across two.
    """

    def __init__(self, on_progress: OnProgress, guardrails: Guardrails, guarded: Guarded, clock: Clock) -> None:
        self._on_progress = on_progress
        self._guardrails = guardrails
        self._guarded = guarded
        self._clock = clock
        self._text = ""
        self._told = float("-inf")
        self.started: float | None = None
        """When the first text came, on the clock's monotonic scale."""

    async def add(self, text: str) -> None:
        now = self._clock.monotonic()
        if self.started is None:
            self.started = now
        self._text += text
        if now - self._told < EVERY_S:
            return
        self._told = now
        try:
            checked = self._guardrails.check_answer(Answer(text=self._text)).text
        except GuardrailBlocked:
            return  # the whole answer will be refused in its place; until then nothing of it is shown
        tail = self._guarded.restore_text(checked)[-TAIL_CHARACTERS:]
        await self._on_progress(f"{len(self._text):,} characters: {' '.join(tail.split())}")
