"""Two ways to an answer, the second begun only when the first is slow: whoever is first, wins."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def race(
    first: Callable[[], Awaitable[T]], second: Callable[[], Awaitable[T]], *, is_slow: Callable[[], Awaitable[bool]]
) -> T:
    """What `first` returns, or `second`, which begins once `is_slow` has returned True. The loser is cancelled.

    Until `second` has begun, a failure of `first` is the end of it; afterwards either may still win.

    Raises:
        Exception: what `first` failed with, when neither returned.
    """
    won: list[T] = []
    failed: list[Exception] = []
    begun = False

    async with anyio.create_task_group() as group:

        async def run_first() -> None:
            try:
                won.append(await first())
            except Exception as error:  # noqa: BLE001 - raised below, outside the group, which would wrap it
                failed.append(error)
                if begun:
                    return
            group.cancel_scope.cancel()

        async def run_second() -> None:
            nonlocal begun
            if not await is_slow():
                return
            begun = True
            try:
                won.append(await second())
            except Exception as error:  # noqa: BLE001 - as above
                begun = False
                if not failed:
                    return
                failed.append(error)
            group.cancel_scope.cancel()

        group.start_soon(run_first)
        group.start_soon(run_second)
    if won:
        return won[0]
    raise failed[0]
