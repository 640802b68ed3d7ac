"""What a call through the router costs over a direct one: the same simulated provider, the same prompts, in turns.

    PYTHONPATH=tests uv run python tests/benchmarks/overhead.py

Prints medians and their ratio to a bare `httpx` POST with its JSON parsed. It judges nothing: machines differ.
"""

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import httpx

from orchestra_router.clock import SystemClock
from orchestra_router.router import open_router
from orchestra_router.simulation import simulated_world
from worlds import ask, config_for

CALLS = 400


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with simulated_world() as providers, httpx.AsyncClient() as http:
            config = config_for(providers, Path(folder), budget_day_usd=10_000, budget_month_usd=100_000)
            async with open_router(config, clock=SystemClock()) as router:
                together = providers["together"]

                async def direct(number: int) -> None:
                    body = {
                        "model": "zai-org/GLM-5.3",
                        "messages": [{"role": "user", "content": f"Question {number}?"}],
                    }
                    headers = {"authorization": f"Bearer {together.key}"}
                    reply = await http.post(
                        providers.base_urls["together"] + "/chat/completions", json=body, headers=headers
                    )
                    reply.raise_for_status().json()

                async def routed(number: int) -> None:
                    await router.complete(ask(f"Question {number}?", provider="together", model="glm-5.3"))

                async def cached(_: int) -> None:
                    await router.complete(ask("Question 0?", provider="together", model="glm-5.3"))

                await timed({"direct": direct, "routed": routed, "cached": cached})


async def timed(kinds: dict[str, Callable[[int], Awaitable[None]]]) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(CALLS):
        for name, call in kinds.items():
            started = time.perf_counter()
            await call(number)
            seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["direct"][20:])
    for name, taken in seconds.items():
        median = statistics.median(taken[20:])
        print(f"{name:<7} median {median * 1e6:7.0f} us  {median / base:5.2f} x direct")


if __name__ == "__main__":
    anyio.run(main)
