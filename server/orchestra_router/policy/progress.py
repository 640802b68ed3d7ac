"""What is handed on while an answer grows, checked like any answer: all of it, or, to watch, its tail now and then."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from orchestra_router.clock import Clock
from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.guardrails import Guarded, Guardrails

OnProgress = Callable[[str], Awaitable[None]]
OnText = Callable[[str], Awaitable[None]]
"""Hears the pieces of an answer in their order, each once."""

EVERY_S = 0.5
TAIL_CHARACTERS = 160


class Growing(Protocol):
    """One streamed answer of one attempt."""

    started: float | None
    """When the first text came, on the clock's monotonic scale."""

    async def add(self, text: str) -> None: ...


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


class Speech:
    """Hands one streamed answer on as it comes, as far as it is certain."""

    def __init__(self, on_text: OnText, guardrails: Guardrails, guarded: Guarded, clock: Clock, *, number: int) -> None:
        """`number` is that of the attempt which speaks."""
        self._on_text = on_text
        self._stream = guardrails.stream(guarded)
        self._clock = clock
        self._refused: GuardrailBlocked | None = None
        self.number = number
        self.started: float | None = None
        self.heard = False
        """Something was handed on, so no other answer may follow."""

    async def add(self, text: str) -> None:
        if self.started is None:
            self.started = self._clock.monotonic()
        if self._refused is None:
            await self._hand_on(self._stream.feed, text)

    async def end(self) -> None:
        """Hand the rest on, once the answer is whole.

        Raises:
            GuardrailBlocked: some of it must not be.
        """
        if self._refused is None:
            await self._hand_on(lambda _: self._stream.end(), "")
        if self._refused is not None:
            raise self._refused

    async def _hand_on(self, checked: Callable[[str], str], text: str) -> None:
        try:
            ready = checked(text)
        except GuardrailBlocked as error:
            # The provider may finish: then it is known what the answer costs.
            self._refused = error
            return
        if ready:
            self.heard = True
            await self._on_text(ready)
