"""What a person sees while an answer grows: the tail of it, checked like any answer, not too often."""

import re
from collections.abc import Awaitable, Callable

from orchestra_router.clock import Clock
from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.guardrails import Guarded, Guardrails

OnProgress = Callable[[str], Awaitable[None]]

EVERY_S = 0.5
TAIL_CHARACTERS = 160
WINDOW_CHARACTERS = 2_000
"""What is looked at again with the next text: more than the tail, and than anything that is to be hidden."""

_SPACE = re.compile(r"\s")


class Growth:
    """Collects one streamed answer and tells `on_progress` about it.

    What is new is checked together with the end of what came before, never a chunk alone: what is to be hidden may
    lie across two. So each character is checked about once, however long the answer grows.
    """

    def __init__(self, on_progress: OnProgress, guardrails: Guardrails, guarded: Guarded, clock: Clock) -> None:
        self._on_progress = on_progress
        self._guardrails = guardrails
        self._guarded = guarded
        self._clock = clock
        self._characters = 0
        self._pieces: list[str] = []
        """The end of what was checked, then what came since."""
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
        grown = "".join(self._pieces)
        self._pieces = [_window(grown)]
        try:
            checked = self._guardrails.check_growing(grown)
        except GuardrailBlocked:
            self._refused = True  # the whole answer will be refused in its place; nothing more of it is shown
            return
        tail = self._guarded.restore_text(checked)[-TAIL_CHARACTERS:]
        await self._on_progress(f"{self._characters:,} characters: {' '.join(tail.split())}")


def _window(text: str) -> str:
    """The end of `text`, from a space on if there is one, so that it begins with a whole number or word."""
    start = max(0, len(text) - WINDOW_CHARACTERS)
    space = _SPACE.search(text, start, start + WINDOW_CHARACTERS // 2) if start else None
    return text[space.start() if space else start :]
