"""Times calls in turns: a round of each kind, then a round of each again, so that all meet the same machine."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

Call = Callable[[int], Awaitable[None]]
"""Makes one call; the number is never the same twice."""
NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing that is measured."""

    name: str
    call: Call
    concurrent: tuple[int, ...] = (1,)
    weight: float = 1.0
    """Calls for each call of the others: less for what takes long."""
    own_process: bool = True
    """The work is done in this process, so that its CPU time says something."""


@dataclass(slots=True)
class Taken:
    """What the calls of one kind took, at one number of callers."""

    seconds: list[float] = field(default_factory=list[float])
    per_s: list[float] = field(default_factory=list[float])
    """Calls per second, by round."""
    cpu_s: list[float] = field(default_factory=list[float])
    """Of this process, per call, by round."""

    @property
    def p50_us(self) -> float:
        return statistics.median(self.seconds) * 1e6

    @property
    def p99_us(self) -> float:
        return sorted(self.seconds)[int(0.99 * (len(self.seconds) - 1))] * 1e6

    @property
    def rate(self) -> float:
        return statistics.median(self.per_s)

    @property
    def cpu_us(self) -> float:
        return statistics.median(self.cpu_s) * 1e6


Results = Mapping[tuple[str, int], Taken]
"""By kind and number of callers."""


async def measured(
    kinds: Sequence[Kind], *, callers: Sequence[int], calls: int, rounds: int, say: Callable[[str], None]
) -> Results:
    """`calls` calls of each kind in each of `rounds` rounds, for each number of callers that the kind is made for."""
    results: dict[tuple[str, int], Taken] = {}
    for kind in kinds:
        say(f"warming up: {kind.name}")
        await _round(kind, 1, max(3, calls // 10), Taken())
    for concurrent in callers:
        for number in range(rounds):
            say(f"{concurrent} at a time, round {number + 1} of {rounds}")
            for kind in kinds:
                if concurrent in kind.concurrent:
                    taken = results.setdefault((kind.name, concurrent), Taken())
                    await _round(kind, concurrent, max(concurrent, round(calls * kind.weight)), taken)
    return results


async def _round(kind: Kind, concurrent: int, calls: int, taken: Taken) -> None:
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            began = time.perf_counter()
            await kind.call(next(NUMBERS))
            taken.seconds.append(time.perf_counter() - began)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(concurrent)))
    taken.per_s.append(calls / (time.perf_counter() - began))
    taken.cpu_s.append((time.process_time() - cpu) / calls)
