"""One process of a chaos run: a router on the shared database, and callers who come, wait, change their mind and go.

    python -m orchestra_router.chaos.worker SEED          with ORCHESTRA_HOME and keys in the environment

Reads orders from stdin, one a line: `jump SECONDS` sets the wall clock, `full` and `space` take the disk away and give
it back, `stop` ends it. Writes one line of JSON at the end. May be killed at any time.
"""

import asyncio
import gc
import json
import os
import random
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from orchestra_router.batches import complete_all
from orchestra_router.clock import SystemClock
from orchestra_router.config import load
from orchestra_router.errors import RouterError, StoreError
from orchestra_router.observe import configure_logging
from orchestra_router.policy.redactor import Redactor
from orchestra_router.router import Router, open_router
from orchestra_router.types import CompletionRequest, Message, Text

if sys.platform != "win32":
    import resource

CALLERS = 6
PROMPTS = 300
"""So few that some are asked again, and answered from the cache."""
TASKS = ("coding", "general_chat", "complex_reasoning", "creative_writing")
IMPATIENT_S = 0.25
WARM_UP_REQUESTS = 30
AGAIN_S = 0.5


class JumpingClock(SystemClock):
    """The machine's clock, and what somebody made of it."""

    def __init__(self) -> None:
        self.off_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.off_ms


class Worker:
    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)  # noqa: S311 - the same callers for the same seed
        self.clock = JumpingClock()
        self.outcomes: Counter[str] = Counter()
        self.unexpected: list[str] = []
        """Errors that are not ours: each is a defect."""
        self.stopping = anyio.Event()

    async def run(self) -> dict[str, Any]:
        config = load(os.environ)
        configure_logging("WARNING", Redactor(config.keys.secrets()))
        self._listen(asyncio.get_running_loop())
        before = _open_files()
        warm_mb = busy_mb = 0.0
        while not self.stopping.is_set():
            try:
                async with open_router(config, clock=self.clock) as router:
                    warm_mb, busy_mb = await self._serve(router)
            except StoreError as error:  # as a client does that starts it again
                self.outcomes[error.code] += 1
                await anyio.sleep(AGAIN_S)
        await anyio.sleep(0.1)  # closed sockets leave the loop at its next turns
        gc.collect()
        return {
            "requests": self.outcomes.total(),
            "outcomes": dict(self.outcomes.most_common()),
            "unexpected": self.unexpected[:20],
            "files_left": _open_files() - before,
            "tasks_left": len(asyncio.all_tasks()) - 1,
            "warm_mb": round(warm_mb, 1),
            "end_mb": round(busy_mb, 1),
        }

    async def _serve(self, router: Router) -> tuple[float, float]:
        """Until it is stopped. Returns the megabytes after the first requests, and after the last."""
        warm_mb: list[float] = []
        async with anyio.create_task_group() as callers:
            for _ in range(CALLERS):
                callers.start_soon(self._caller, router, warm_mb)
        busy_mb = _memory_mb()
        return (warm_mb or [busy_mb])[0], busy_mb

    # --- callers ---------------------------------------------------------------------------------------------

    async def _caller(self, router: Router, warm_mb: list[float]) -> None:
        while not self.stopping.is_set():
            try:
                self.outcomes[await self._one(router)] += 1
            except RouterError as error:
                self.outcomes[error.code] += 1
            except Exception as error:  # noqa: BLE001 - the outermost edge: what comes here is a defect, and told
                self.unexpected.append(f"{type(error).__name__}: {error}"[:300])
            if not warm_mb and self.outcomes.total() >= WARM_UP_REQUESTS:
                warm_mb.append(_memory_mb())
            await anyio.sleep(self.choose.uniform(0, 0.05))

    async def _one(self, router: Router) -> str:
        chance = self.choose.random()
        if chance < 0.03:
            await router.cost_report(period="month", group_by="provider")
            return "report"
        if chance < 0.06:
            await router.provider_status()
            return "status"
        if chance < 0.10:
            await router.plan(self._request())
            return "plan"
        if chance < 0.15:
            await complete_all(router, [self._request(task="coding") for _ in range(3)], request_id=os.urandom(6).hex())
            return "batch"
        if chance < 0.30:
            with anyio.move_on_after(self.choose.uniform(0, IMPATIENT_S)) as patience:
                await router.complete(self._request(), on_progress=_nobody)
            return "left" if patience.cancelled_caught else "streamed"
        if chance < 0.45:
            await router.complete(self._request(), on_progress=_nobody)
            return "streamed"
        return "ok" if (await router.complete(self._request())).cost_nusd else "cached or free"

    def _request(self, task: str | None = None) -> CompletionRequest:
        prompt = f"Question {self.choose.randrange(PROMPTS)}: what is {self.choose.randrange(9)} and 4?"
        messages = (Message("user", (Text(prompt),)),)
        return CompletionRequest(messages=messages, task=task or self.choose.choice(TASKS), max_tokens=200)

    # --- orders ----------------------------------------------------------------------------------------------

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        def listen() -> None:
            for line in sys.stdin:
                order, _, value = line.strip().partition(" ")
                loop.call_soon_threadsafe(self._obey, order, value)
            loop.call_soon_threadsafe(self._obey, "stop")

        threading.Thread(target=listen, daemon=True).start()

    def _obey(self, order: str, value: str = "") -> None:
        match order:
            case "jump":
                self.clock.off_ms = int(value) * 1000
            case "full":
                _limit_files(0)
            case "space":
                _limit_files(None)
            case _:
                self.stopping.set()


async def _nobody(_: str) -> None:
    """Listens, so that the answer is streamed."""


def _limit_files(size: int | None) -> None:
    """No file may grow beyond `size` bytes, as if the disk were full there; None lets it again."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def _open_files() -> int:
    """Of this process, sockets too; 0 where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208 - no path of the user's
    return 0


def _memory_mb() -> float:
    """Resident now; 0 where the system does not tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def main() -> None:
    told = anyio.run(Worker(int(sys.argv[1])).run)
    _limit_files(None)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
