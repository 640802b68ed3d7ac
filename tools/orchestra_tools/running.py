"""Calls that may outlast the client's patience.

A call runs in the server's task group, not in the request that asked for it. When the answer window ends first,
the client is told the call's id, and collects the answer with it later.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Union

import anyio
from anyio.abc import TaskGroup

from orchestra_router.clock import Clock
from orchestra_router.errors import InvalidRequest, RouterError
from orchestra_router.types import Completion, Scope

if TYPE_CHECKING:  # it loads the router
    from orchestra_router.batches import Batch

logger = logging.getLogger("orchestra.tools")

HEARTBEAT_S = 10
KEEP_S = 900
"""How long an answer nobody waited for can still be collected."""
KEEP_CALLS = 100
"""How many such answers are kept for one access key, the newest: nobody's are pushed out by somebody else's."""
MOST_UNTOLD = 16
"""Messages that wait to be told. A client that does not read its progress misses the oldest."""

Tell = Callable[[str], Awaitable[None]]
Answered = Union[Completion, "Batch"]


@dataclass(eq=False, slots=True)
class Call:
    """One answer, or batch of answers, on its way. `error` is what it ended with, if not with that."""

    request_id: str
    owner: Scope
    started: float
    """Clock seconds, monotonic."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Answered | None = None
    error: Exception | None = None
    ended: float = math.inf
    last_word: str = "waiting for the answer"
    waiting: set["_Waiting"] = field(default_factory=set["_Waiting"])

    async def tell(self, message: str) -> None:
        self.last_word = message
        for waiting in self.waiting:
            waiting.hear(message)

    def end(self) -> None:
        self.done.set()
        for waiting in self.waiting:
            waiting.woken.set()


@dataclass(eq=False, slots=True)
class _Waiting:
    """Whoever waits for a call until the clock's `until`, and hears every `HEARTBEAT_S` that it goes on."""

    call: Call
    clock: Clock
    until: float
    over: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    untold: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_UNTOLD))
    stop: Callable[[], None] = lambda: None
    """Forbids the next heartbeat."""

    def hear(self, message: str) -> None:
        self.untold.append(message)
        self.woken.set()

    def wait_on(self) -> None:
        """Come back at the next heartbeat, or at the end."""
        left_s = self.until - self.clock.monotonic()
        if left_s > 0:
            self.stop = self.clock.later(min(HEARTBEAT_S, left_s), self._beat)
        else:
            self.over = True
            self.woken.set()

    def _beat(self) -> None:
        now = self.clock.monotonic()
        if now < self.until:
            self.hear(f"{self.call.last_word} ({now - self.call.started:.0f} s)")
        self.wait_on()


class RunningCalls:
    """The calls under way, and the answers still to be collected. `group` outlives every request."""

    def __init__(self, group: TaskGroup, clock: Clock) -> None:
        self._group = group
        self._clock = clock
        self._under_way: set[Call] = set()
        self._to_collect: dict[str, Call] = {}

    def start(self, request_id: str, owner: Scope, work: Callable[[Tell], Awaitable[Answered]]) -> Call:
        call = Call(request_id, owner, self._clock.monotonic())
        self._under_way.add(call)
        self._group.start_soon(self._run, call, work)
        return call

    def find(self, request_id: str, owner: Scope) -> Call:
        """Raises: InvalidRequest: no such call of this owner, or its answer is no longer kept."""
        self._forget_old()
        call = self._to_collect.get(request_id)
        if call is None or call.owner != owner:
            raise InvalidRequest(
                "No call with this `request_id` can be collected. Only one whose result said so can, for"
                f" {KEEP_S // 60} minutes after it ended, from the server that answered it."
                " Ask again with `prompt`: if the answer was cached it costs nothing."
            )
        return call

    async def answer(self, call: Call, tell: Tell | None, *, within_s: float) -> Answered | None:
        """What `call` ended with, or None when `within_s` seconds pass first; it can be collected from then on.

        `tell` hears what the call is at, and every `HEARTBEAT_S` that it goes on.

        Cancelling the last one that waits cancels the call: whoever asked has gone.

        Raises:
            RouterError: the call failed.
        """
        waiting = _Waiting(call, self._clock, self._clock.monotonic() + within_s)
        call.waiting.add(waiting)
        waiting.wait_on()
        try:
            while not (call.done.is_set() or waiting.over):
                await waiting.woken.wait()
                waiting.woken.clear()
                while waiting.untold:
                    message = waiting.untold.popleft()
                    if tell is not None:
                        await tell(message)
        except anyio.get_cancelled_exc_class():
            if call.waiting == {waiting}:
                call.scope.cancel()
                self._to_collect.pop(call.request_id, None)
            raise
        finally:
            waiting.stop()
            call.waiting.discard(waiting)
        if not call.done.is_set():
            self.keep(call)
            return None
        if call.error is not None:
            raise call.error
        return call.answer

    def keep(self, call: Call) -> None:
        """Let its owner `find` it from now on."""
        self._forget_old()
        self._to_collect[call.request_id] = call

    async def aclose(self) -> None:
        """Cancel what is under way, and wait until its money is settled."""
        calls = tuple(self._under_way)
        for call in calls:
            call.scope.cancel()
        for call in calls:
            await call.done.wait()

    async def _run(self, call: Call, work: Callable[[Tell], Awaitable[Answered]]) -> None:
        try:
            with call.scope:
                call.answer = await work(call.tell)
        except Exception as error:
            # Raised again where somebody waits for it; here it would end every other call.
            call.error = error
            if not (isinstance(error, RouterError) or call.waiting):
                logger.exception("internal error in request %s, which nobody waits for now", call.request_id)
        finally:
            if call.answer is None and call.error is None:
                call.error = RouterError("The call was cancelled.")
            call.ended = self._clock.monotonic()
            self._under_way.discard(call)
            call.end()

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        ended = sorted((call for call in self._to_collect.values() if call.done.is_set()), key=lambda call: call.ended)
        for key in {call.owner.access_key for call in ended}:
            theirs = [call for call in ended if call.owner.access_key == key]
            expired = [call for call in theirs if now - call.ended > KEEP_S]
            for call in (*expired, *theirs[:-KEEP_CALLS]):
                self._to_collect.pop(call.request_id, None)
