"""Failures that a prompt asks for, so that a person can watch from a client what a router makes of them."""

import asyncio
from collections import OrderedDict

from orchestra_router.simulation.faults import Reply, ServerError, Step

RATE_LIMIT = "simulate a rate limit"
OUTAGE = "simulate an outage"
SLOW = "simulate a slow answer"
TOOL = "use the tool"
"""Needs no help from here: a simulated model that is told so calls a tool of the request."""
WAIT_S = 2
KEPT = 1_000

PHRASES = (
    f'"{RATE_LIMIT}" (one provider asks for a wait of {WAIT_S} s, then answers), "{OUTAGE}" (the first provider fails,'
    f' the next one answers), "{SLOW}" (it takes so long that it has to be collected), "{TOOL}" (it calls a tool that'
    " came with the request)"
)


class Troubles:
    """What the providers of one world know of the failures that were asked for. The phrases may stand anywhere."""

    def __init__(self, *, slow_s: float) -> None:
        """`slow_s` is what a slow answer takes, in seconds."""
        self._slow_s = slow_s
        self._failing: OrderedDict[str, str] = OrderedDict()
        """Question -> the provider that was the first to be asked, until the question is answered."""

    def next(self, provider: str, question: str) -> Step | None:
        """How `provider` fails at `question`; None if it is to answer."""
        asked = question.lower()
        first = self._failing.get(question)
        if RATE_LIMIT in asked and first is None:
            return self._fail(question, provider, Reply(429, headers={"retry-after": str(WAIT_S)}))
        if OUTAGE in asked and first in (None, provider):
            return self._fail(question, provider, ServerError(503))
        self._failing.pop(question, None)
        return None

    async def wait(self, question: str) -> None:
        if SLOW in question.lower():
            await asyncio.sleep(self._slow_s)

    def _fail(self, question: str, provider: str, step: Step) -> Step:
        self._failing[question] = provider
        while len(self._failing) > KEPT:
            self._failing.popitem(last=False)
        return step
