"""What a request has to pass before anything is done for it, and an answer before it is handed over."""

import anyio.to_thread

from orchestra_router import patterns
from orchestra_router.config import Settings
from orchestra_router.errors import InvalidRequest
from orchestra_router.once import Once
from orchestra_router.policy import estimate
from orchestra_router.policy.guardrails import LARGE_TEXT_BYTES, Guarded, Guardrails
from orchestra_router.types import Answer, CompletionRequest, Image, Scope

PART_BYTES = 500
"""What looking at one text takes besides its own bytes."""


class Gate:
    def __init__(self, guardrails: Guardrails, settings: Settings) -> None:
        self._guardrails = guardrails
        self._settings = settings
        self._rules = Once(guardrails.warm)

    async def prompt(self, request: CompletionRequest) -> Guarded:
        """`request` as it may leave this machine.

        Raises:
            InvalidRequest: it is too large, cannot be encoded, or its `accept` is no pattern.
            GuardrailBlocked: it holds what must not leave.
        """
        size = _size(request)
        if size > (most := self._settings.max_prompt_bytes):
            raise InvalidRequest(
                f"The prompt has {size:,} bytes; at most {most:,} are accepted. Shorten it, or raise max_prompt_bytes."
            )
        if request.accept is not None:
            await _check_pattern(request.accept)
        if not self._rules.is_done:
            await self._rules.done()
        if size + _besides(request) < LARGE_TEXT_BYTES:
            return self._guardrails.check_prompt(request)
        # Others are served meanwhile.
        return await anyio.to_thread.run_sync(self._guardrails.check_prompt, request)

    async def answer(self, answer: Answer, scope: Scope) -> Answer:
        """Raises: GuardrailBlocked: it holds what must not be shown."""
        if len(answer.text) < LARGE_TEXT_BYTES:
            return self._guardrails.check_answer(answer, scope)
        return await anyio.to_thread.run_sync(self._guardrails.check_answer, answer, scope)


def _size(request: CompletionRequest) -> int:
    try:
        return estimate.prompt_bytes(request)
    except (UnicodeEncodeError, RecursionError):
        raise InvalidRequest(
            "The request holds half a character (a lone surrogate), or a schema nested too deep to be sent."
        ) from None


def _besides(request: CompletionRequest) -> int:
    """The bytes of text that looking at images, and at text in many parts, takes as long as."""
    besides = 0
    for message in request.messages:
        besides += PART_BYTES * len(message.parts)
        if not message.is_text:
            besides += sum(len(part.data) for part in message.parts if isinstance(part, Image) and part.data)
    return besides


async def _check_pattern(accept: str) -> None:
    try:
        await anyio.to_thread.run_sync(patterns.check, accept)
    except patterns.BadPattern as error:
        raise InvalidRequest(f"`accept` {error}.") from None
