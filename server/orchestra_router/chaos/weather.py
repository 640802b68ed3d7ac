"""How the simulated providers of a chaos run fail: now and then, in every way there is, the same for one seed."""

import random
from collections.abc import Callable

from orchestra_router.simulation import (
    Cut,
    Drop,
    Endless,
    Hang,
    Raw,
    Reply,
    Says,
    ServerError,
    SimulatedWorld,
    Step,
    StreamError,
    Truncate,
)

FAILS = 0.2
"""The share of calls that do not get a normal answer."""
SLOW_S = 0.02
FAULTS: tuple[Callable[[random.Random], Step], ...] = (
    lambda choose: ServerError(choose.choice((500, 502, 503))),
    lambda choose: Reply(429, headers={"retry-after": str(choose.randint(0, 2))}),
    lambda choose: Drop(reset=choose.random() < 0.5),
    lambda choose: Cut(after_events=choose.randint(0, 3), cleanly=choose.random() < 0.3),
    lambda choose: StreamError(after_events=choose.randint(0, 3)),
    lambda _: Truncate(),
    lambda _: Endless(pause_s=0.05),
    lambda _: Hang(),
    # Liars: a success that is none of this API's, and one that is no HTTP at all.
    lambda _: Reply(200, body={"object": "surprise", "usage": {"total_tokens": -5}}),
    lambda _: Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\xff\xfe\x00{"),
)


def let_loose(world: SimulatedWorld, seed: int) -> None:
    """From now on every provider of `world` fails as it comes."""
    for number, provider in enumerate(world.providers.values()):
        provider.weather = _of(random.Random(seed * 1_000 + number))  # noqa: S311 - the same weather for the same seed
        provider.latency_s = SLOW_S


def _of(choose: random.Random) -> Callable[[], Step]:
    def step() -> Step:
        return choose.choice(FAULTS)(choose) if choose.random() < FAILS else Says()

    return step
