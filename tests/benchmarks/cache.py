"""What comparing by meaning costs: an embedding, a look among many entries, memory, and the event loop's longest wait.

    PYTHONPATH=tests uv run python tests/benchmarks/cache.py [ENTRIES ...]

Prints medians. It judges nothing: machines differ. How long an idle event loop of another process waited in the same
moments says what of a wait is the machine's.
"""

import asyncio
import json
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager

import anyio

from clocks import FakeClock
from orchestra_router import garbage
from orchestra_router.config import load
from orchestra_router.embedding.base import NO_PAYER
from orchestra_router.policy.cache.question import Question
from orchestra_router.policy.cache.stage import Cached
from orchestra_router.policy.cache.vectors import encode
from orchestra_router.router import Router, open_router
from orchestra_router.store.cache_records import CacheEntry, CacheLimits, CacheVector
from orchestra_router.types import Answer, CompletionRequest
from worlds import ask

LOOKS = 60
TICK_S = 0.001
IDLE = "--idle"
FIRST_ASKED = 5_000
KEPT, ASKED = "How do I reset my router password?", "How can I reset the password of my router?"
AT_ONCE = 500
PLENTY = CacheLimits(entries=10_000_000, entries_per_scope=10_000_000, bytes=10**12)
WORDS = ["mountain", "river", "garden", "window", "letter", "engine", "bottle", "market", "island", "bridge"]


def prompt(number: int) -> str:
    """Never the same, and of one shelf: no digits, no capitals."""
    return "please describe the " + " and the ".join(WORDS[int(digit)] for digit in str(number + 1000))


async def main(sizes: Sequence[int]) -> None:
    garbage.own_process()
    with tempfile.TemporaryDirectory() as folder, idle_loop() as idle:
        config = load({"ORCHESTRA_HOME": folder})
        async with open_router(config, clock=FakeClock()) as router:
            before = memory_mb()
            async with stalls(idle, "loading the embedder"):
                embedder = await router.embedder.get(NO_PAYER)
            assert embedder is not None, router.embedder.state().problem
            await embedder.embed(["warm up"])
            print(f"memory          {before:.0f} MB before the embedder, {memory_mb():.0f} MB at most with it")
            taken: list[float] = []
            for number in range(LOOKS):
                started = time.perf_counter()
                await embedder.embed([prompt(number)])
                taken.append(time.perf_counter() - started)
            said("embedding", taken)
            said("empty shelf", [await look(router, prompt(number)) for number in range(LOOKS)])
            await keep_one(router)
            kept = 0
            for size in sizes:
                await fill(router, range(kept, size))
                kept = size
                async with stalls(idle, "the first look"):
                    first = await look(router, prompt(FIRST_ASKED))
                async with stalls(idle, "those after it"):
                    seconds = [await look(router, prompt(FIRST_ASKED + number)) for number in range(1, LOOKS)]
                    hits = [await hit(router) for _ in range(LOOKS)]
                said(f"{size:,} entries", seconds)
                said("a hit", hits)
                print(f"{'':15} the first look {first * 1e3:.0f} ms; {memory_mb():.0f} MB")


def request(text: str) -> CompletionRequest:
    return ask(text, task="general_chat")


async def keep_one(router: Router) -> None:
    """An answer that the hits are of."""
    asked = request(KEPT)
    cached = Cached(answer=Answer(text="Hold the button."), provider="p", model="m", reason="r")
    router.cache.keep(router.cache.question(asked), cached, asked, cost_nusd=1, now_ms=FakeClock().ms)
    await router.cache.settled()


async def look(router: Router, text: str) -> float:
    """Seconds that a miss takes from the request to the decision."""
    started = time.perf_counter()
    asked = router.cache.question(request(text))
    found = await router.cache.look(asked, request(text), now_ms=FakeClock().ms)
    assert found.hit is None
    return time.perf_counter() - started


async def hit(router: Router) -> float:
    """Seconds that a hit by meaning takes, from the request to the decision."""
    started = time.perf_counter()
    asked = router.cache.question(request(ASKED))
    found = await router.cache.look(asked, request(ASKED), now_ms=FakeClock().ms)
    assert found.status == "SEMANTIC HIT"
    return time.perf_counter() - started


async def fill(router: Router, numbers: range) -> None:
    """Entries of one shelf whose vectors are random: what they say costs nothing to compare."""
    import numpy as np  # noqa: PLC0415 - imported when the embedder is loaded, as by who does not fill anything

    asked = router.cache.question(request(prompt(0)))
    rng = np.random.default_rng(len(numbers))
    for start in range(numbers.start, numbers.stop, AT_ONCE):
        async with anyio.create_task_group() as group:  # those that wait for one commit share the next
            for number in range(start, min(start + AT_ONCE, numbers.stop)):
                vector = rng.standard_normal(384)
                unit = (vector / np.linalg.norm(vector)).astype(np.float32)
                group.start_soon(keep, router, an_entry(asked, number), encode(unit))


async def keep(router: Router, entry: CacheEntry, vector: bytes) -> None:
    kept = CacheVector(entry.entry_id, router.embedder.state().identity, vector)
    await router.store.keep(entry, kept, limits=PLENTY, now_ms=FakeClock().ms)


def an_entry(asked: Question, number: int) -> CacheEntry:
    assert asked.comparable is not None
    return CacheEntry(
        entry_id=secrets.token_hex(8),
        key=f"key {number}",
        scope=request("").scope,
        who=asked.who,
        body="{}",
        cost_nusd=1,
        created_ms=FakeClock().ms,
        expires_ms=FakeClock().ms + 10**9,
        rough=asked.comparable.rough,
        figures=asked.comparable.figures,
        shelf=asked.comparable.read().shelf,
        prompt=prompt(number),
    )


@asynccontextmanager
async def stalls(idle: "subprocess.Popen[str]", what: str) -> AsyncGenerator[None]:
    """Prints how long the event loop waited, and how long the idle one did meanwhile."""
    waits: list[float] = []
    waits_of(idle)
    async with anyio.create_task_group() as group:
        group.start_soon(tick, waits)
        yield
        group.cancel_scope.cancel()
    print(f"{'':15} {what}: {waited(waits)}; an idle loop {waited(waits_of(idle))}")


async def tick(waits: list[float]) -> None:
    """How much longer than asked for a task slept that wakes every millisecond."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(TICK_S)
        waits.append(time.perf_counter() - started - TICK_S)


def waited(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return f"waited {ordered[-1] * 1e3:.1f} ms at most, {ordered[len(ordered) * 99 // 100] * 1e3:.1f} ms in 99 of 100"


@contextmanager
def idle_loop() -> "Generator[subprocess.Popen[str]]":
    command = [sys.executable, __file__, IDLE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def waits_of(idle: "subprocess.Popen[str]") -> list[float]:
    """Its waits since it was asked last."""
    assert idle.stdin is not None
    assert idle.stdout is not None
    print(file=idle.stdin, flush=True)
    return json.loads(idle.stdout.readline())


async def be_idle() -> None:
    waits: list[float] = []

    def tell() -> None:
        for _ in sys.stdin:
            print(json.dumps([waits.pop() for _ in range(len(waits))] or [0.0]), flush=True)

    threading.Thread(target=tell, daemon=True).start()
    await tick(waits)


def memory_mb() -> float:
    """The most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def said(what: str, seconds: Sequence[float]) -> None:
    ordered = sorted(seconds)
    print(
        f"{what:<15} median {statistics.median(ordered) * 1e3:6.2f} ms  95 of 100 in {ordered[len(ordered) * 95 // 100] * 1e3:6.2f} ms"
    )


if __name__ == "__main__":
    if sys.argv[1:] == [IDLE]:
        anyio.run(be_idle)
    anyio.run(main, [int(size.replace(",", "")) for size in sys.argv[1:]] or [1_000, 10_000, 100_000])
