"""A cache file of a gigabyte: opening it, looking in it, keeping more in it, making room, and the memory that takes.

    PYTHONPATH=tests uv run python tests/benchmarks/cache_file.py [MEGABYTES]

Prints medians. It judges nothing: machines differ.
"""

import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import anyio

from clocks import FakeClock
from orchestra_router.config import load
from orchestra_router.policy.cache.stage import Cached
from orchestra_router.router import Router, open_router
from orchestra_router.types import Answer, CompletionRequest
from worlds import ask

BODY_BYTES = 10_000
TIMES = 40

FILL = """
    WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :entries)
    INSERT INTO cache (
        key, entry_id, who, rough, figures, shelf, words, guard, access_key, user, session, cost_nusd, bytes, created_ms, expires_ms,
        used_ms, prompt, body
    )
    SELECT 'key ' || number, 'entry ' || number, 'scope ' || (number % 50), 'rough ' || (number % 500), number, 'shelf ' || (number % 500), hex(randomblob(32)),
        '3', '', '', '', 1, :bytes, :now_ms, :now_ms + 1000000000, :now_ms + number, 'prompt ' || number,
        hex(randomblob(:bytes / 2))
    FROM numbers
"""


async def main(megabytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = load({"ORCHESTRA_HOME": folder, "ORCHESTRA_CACHE_MB": str(megabytes)})
        async with open_router(config, clock=FakeClock()):
            pass
        started = time.perf_counter()
        entries = megabytes * 1_000_000 // BODY_BYTES
        with closing(sqlite3.connect(config.settings.database)) as db, db:
            db.execute(FILL, {"entries": entries, "bytes": BODY_BYTES, "now_ms": FakeClock().ms})
        print(f"{entries:,} answers, {folder_mb(folder):,.0f} MB, written in {time.perf_counter() - started:.1f} s")
        before_mb = memory_mb()
        started = time.perf_counter()
        async with open_router(config, clock=FakeClock()) as router:
            print(f"opened          {(time.perf_counter() - started) * 1e3:8.2f} ms")
            await said("miss", lambda number: look(router, f"a question {number}"))
            await said("keep, make room", lambda number: keep(router, f"a question {number}"))
            await said("exact hit", lambda number: look(router, f"a question {number}"))
            await said("contents", lambda _: router.store.cache_contents(), times=3)
            await said("list", lambda _: router.store.cache_entries(most=50), times=3)
            contents = await router.store.cache_contents()
            print(
                f"kept            {contents.entries:,} answers, {contents.bytes / 1e6:,.1f} MB by the limit of {megabytes:,} MB"
            )
            print(f"memory          {before_mb:.0f} MB before, {memory_mb():.0f} MB at most")
            await said("clear a part", lambda _: router.store.drop_cached(), times=10)


def folder_mb(folder: str) -> float:
    return sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6


def request(text: str) -> CompletionRequest:
    return ask(text, task="general_chat")


async def look(router: Router, text: str) -> None:
    asked = request(text)
    await router.cache.look(router.cache.question(asked), asked, now_ms=FakeClock().ms)


async def keep(router: Router, text: str) -> None:
    asked = request(text)
    cached = Cached(answer=Answer(text="x" * BODY_BYTES), provider="p", model="m", reason="r")
    router.cache.keep(router.cache.question(asked), cached, asked, cost_nusd=1, now_ms=FakeClock().ms)
    await router.cache.settled()


async def said(what: str, work: Callable[[int], Awaitable[object]], *, times: int = TIMES) -> None:
    taken: list[float] = []
    for number in range(times):
        started = time.perf_counter()
        await work(number)
        taken.append(time.perf_counter() - started)
    taken.sort()
    print(f"{what:<15} {taken[len(taken) // 2] * 1e3:8.2f} ms, {taken[-1] * 1e3:.2f} ms at most")


def memory_mb() -> float:
    """The most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
