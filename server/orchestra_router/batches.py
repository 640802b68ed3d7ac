"""Many requests at once: a few at a time, each different one once, each failure in its own place."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from orchestra_router.config import Config
from orchestra_router.errors import RouterError
from orchestra_router.observe import logger
from orchestra_router.policy.access import Caller
from orchestra_router.policy.purse import Purse
from orchestra_router.types import Completion, CompletionRequest, usd

OnProgress = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SameAs:
    """The request at this place of the batch, from 0, is the same one."""

    place: int


Outcome = Completion | RouterError | SameAs


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    request_id: str
    outcomes: tuple[Outcome, ...]
    """One for each request, in their order."""

    @property
    def answers(self) -> tuple[Completion, ...]:
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Completion))

    @property
    def failures(self) -> tuple[RouterError, ...]:
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, RouterError))

    @property
    def cost_nusd(self) -> int:
        """Everything, what failed included."""
        failed = sum(attempt.cost_nusd for failure in self.failures for attempt in failure.attempts)
        return failed + sum(answer.cost_nusd for answer in self.answers)

    @property
    def cost_usd(self) -> float:
        return usd(self.cost_nusd)


class Asks(Protocol):
    """The router, as far as a batch needs it."""

    @property
    def config(self) -> Config: ...

    async def complete(self, asked: CompletionRequest, /, *, purse: Purse, caller: Caller | None) -> Completion: ...


async def complete_all(
    router: Asks,
    requests: Sequence[CompletionRequest],
    *,
    request_id: str,
    caller: Caller | None = None,
    on_progress: OnProgress | None = None,
) -> Batch:
    """Answer all of `requests`, which differ in nothing but their messages, at most `batch_concurrency` at a time.

    Their `max_cost_nusd` is for all of them together. Nothing that one of them meets ends another.
    """
    first = {request: place for place, request in reversed(list(enumerate(map(_question, requests))))}
    outcomes: list[Outcome] = [SameAs(first[_question(request)]) for request in requests]
    places = iter(sorted(first.values()))
    purse = Purse(requests[0].max_cost_nusd if requests else None, shared=True)
    done = 0

    async def work() -> None:
        nonlocal done
        for place in places:
            request = replace(requests[place], request_id=f"{request_id}-{place}")
            outcomes[place] = await _outcome(router, request, purse, caller)
            done += 1
            if on_progress is not None:
                await on_progress(f"{done} of {len(first)} done")

    async with anyio.create_task_group() as group:
        for _ in range(min(router.config.settings.batch_concurrency, len(first))):
            group.start_soon(work)
    return Batch(request_id=request_id, outcomes=tuple(outcomes))


async def _outcome(
    router: Asks, request: CompletionRequest, purse: Purse, caller: Caller | None
) -> Completion | RouterError:
    try:
        return await router.complete(request, purse=purse, caller=caller)
    except RouterError as error:
        return error
    except Exception:  # noqa: BLE001 - one prompt's defect must not take the others' answers away
        logger.exception("internal error in request %s", request.request_id)
        return RouterError(f"This is a defect of Orchestra, reported under id {request.request_id} in its log.")


def _question(request: CompletionRequest) -> object:
    """What tells the requests of a batch apart."""
    return request.messages
