"""An answer as it grows, for whoever would rather iterate than be called."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

import anyio

from orchestra_router.call import Call
from orchestra_router.errors import AllAttemptsFailed, StreamBroken
from orchestra_router.policy.progress import OnText
from orchestra_router.types import Completion, Delta

MOST_WAITING = 64
"""Pieces that nobody has taken yet; then the provider waits too."""


async def hear_out(call: Call, text: str, *, number: int) -> None:
    """Hand on what of `text`, the whole answer of attempt `number`, has not been heard yet.

    Raises:
        GuardrailBlocked: the rest must not be handed on.
        AllAttemptsFailed: what was heard is the beginning of another answer, which broke off.
    """
    if call.on_text is None:
        return
    if call.heard and call.speech is not None and call.speech.number != number:
        broken = StreamBroken()
        broken.deployment = next((a.deployment for a in call.attempts if a.number == call.speech.number), "")
        raise AllAttemptsFailed(f"No deployment answered. {broken}.", [broken])
    if call.speech is not None and call.speech.number == number:
        await call.speech.end()
    elif text:
        await call.on_text(text)


class AnswerStream:
    """Iterates over the pieces of an answer, and ends with the `Completion` of all of it.

    Use it as an async context manager: leaving it early stops the provider and settles what the answer has cost.
    """

    def __init__(self, work: Callable[[OnText], Awaitable[Completion]]) -> None:
        self._work = work
        self._pieces: asyncio.Queue[Delta | Completion | None] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta | Completion:
        """Raises: RouterError: as `Router.complete` does."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        piece = await self._pieces.get()
        if piece is not None:
            return piece
        error, self._error = self._error, None
        self._pieces.put_nowait(None)  # for whoever asks once more
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._task})

    async def _run(self) -> None:
        async def hear(text: str) -> None:
            await self._pieces.put(Delta(text))

        try:
            await self._pieces.put(await self._work(hear))
        except Exception as error:  # noqa: BLE001 - raised where somebody waits for it
            self._error = error
        await self._pieces.put(None)
