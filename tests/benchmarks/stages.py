"""Where the time of a routed call goes: each stage beside a bare httpx call of the same run.

    uv run python tests/benchmarks/stages.py [--calls 300] [--folder /dev/shm]

Fed by what the router tells those who watch it, as its traces are. Calls come one after the other, medians are told.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx

from orchestra_router.bench.kinds import MODEL
from orchestra_router.bench.world import place, prompt, provider, request
from orchestra_router.config import load
from orchestra_router.observe import Finished
from orchestra_router.router import open_router

ROUNDS = 10
"""In which the two take turns; one more comes first, and is not counted."""


def stretches(told: Finished) -> Iterator[tuple[str, float]]:
    """The parts of one call in seconds, in their order."""
    for stage in told.stages:
        if stage.name != "attempts":
            yield stage.name, stage.ended - stage.began
            continue
        first, last = told.times[0], told.times[-1]
        yield "attempts: before the hold", first.asked - stage.began
        yield "attempts: hold the money", first.began - first.asked
        yield "attempts: call the provider", last.ended - first.began
        yield "attempts: settle", last.settled - last.ended
        yield "attempts: learn from it", stage.ended - last.settled
    yield "all stages", told.ended - told.started


async def measured(folder: Path, calls: int) -> None:
    told: list[Finished] = []
    whole: list[float] = []
    bare: list[float] = []
    with provider() as port:
        here = place(folder, port)
        async with (
            open_router(load(here.environ(embedder="off", log_level="ERROR"))) as router,
            httpx.AsyncClient(trust_env=False, timeout=600) as client,
        ):
            router.observers.requests.append(told.append)
            number = 0
            for _ in range(ROUNDS + 1):
                for _ in range(calls // ROUNDS):
                    number += 1
                    began = time.perf_counter()
                    await router.complete(request(prompt(number)))
                    whole.append(time.perf_counter() - began)
                for _ in range(calls // ROUNDS):
                    began = time.perf_counter()
                    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt(number)}]}
                    (await client.post(here.url, json=body)).raise_for_status().json()
                    bare.append(time.perf_counter() - began)
    warm = calls // ROUNDS
    one = statistics.median(bare[warm:])
    parts: dict[str, list[float]] = {}
    for each in told[warm:]:
        for name, seconds in stretches(each):
            parts.setdefault(name, []).append(seconds)
    parts["the call as its caller sees it"] = whole[warm:]
    print("  us   x bare call")
    print(f"{one * 1e6:5.0f}  {1:5.2f}  bare httpx call")
    for name, seconds in parts.items():
        median = statistics.median(seconds)
        print(f"{median * 1e6:5.0f}  {median / one:5.2f}  {name}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--calls", type=int, default=300)
    arguments.add_argument("--folder", type=Path, help="on whose disk the database is (the temporary one)")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        anyio.run(measured, Path(folder), asked.calls)


if __name__ == "__main__":
    main()
