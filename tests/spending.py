"""Several processes that spend one budget at once, and what the ledger says afterwards."""

import random
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.abc
from anyio.streams.text import TextReceiveStream

from ledgers import kept_sums
from orchestra_router.clock import SystemClock
from orchestra_router.config import load
from orchestra_router.router import open_router
from spending_process import COST_NUSD, MAX_TOKENS, MODEL, PROMPT, PROVIDER
from worlds import ask

PROCESS = Path(__file__).with_name("spending_process.py")


@dataclass(slots=True)
class Round:
    """One round: what the processes said, and what is in the ledger when all are gone."""

    worst_nusd: int
    budget_nusd: int
    ok: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    states: Counter[str] = field(default_factory=Counter[str])
    settled: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Request -> what its settled attempts cost."""
    uncertain: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    spent_nusd: int = 0
    held_nusd: int = 0
    sum_of_rows_nusd: int = 0


async def run(home: Path, *, fit: int, processes: int, calls: int, kill: int = 0, seed: int = 0) -> Round:
    """`processes` times `calls` at once on a budget for exactly `fit`; `kill` of them die somewhere, and are replaced."""
    worst_nusd = await _worst_nusd(home)
    # After all but one have been settled, what is left is to the nano-dollar what the last one has to hold.
    found = Round(worst_nusd, (fit - 1) * COST_NUSD + worst_nusd)
    await anyio.Path(home / "budget").write_text(f"{found.budget_nusd / 1e9:.9f}", encoding="utf-8")
    rng = random.Random(seed)  # noqa: S311 - a test's choice, to be repeated
    async with AsyncExitStack() as stack:
        names = [f"p{number}" for number in range(processes)]
        victims = {name: rng.randint(0, calls) for name in names[:kill]}
        started = [(name, await stack.enter_async_context(_spender(home, name, calls))) for name in names]
        async with anyio.create_task_group() as group:
            for name, process in started:
                group.start_soon(_follow, process, found, victims.get(name))
        heirs = [(n, await stack.enter_async_context(_spender(home, f"{n}-heir", calls))) for n in victims]
        async with anyio.create_task_group() as group:
            for _, process in heirs:
                group.start_soon(_follow, process, found, None)
    await _look(home, found)
    return found


async def _worst_nusd(home: Path) -> int:
    async with open_router(
        load({"ORCHESTRA_HOME": str(home), "OPENROUTER_API_KEY": "k"}), clock=SystemClock()
    ) as router:
        plan = await router.plan(ask(PROMPT, provider=PROVIDER, model=MODEL, max_tokens=MAX_TOKENS))
        return plan.route[0].worst_nusd


@asynccontextmanager
async def _spender(home: Path, name: str, calls: int) -> AsyncGenerator[anyio.abc.Process]:
    command = [sys.executable, str(PROCESS), str(home), name, str(calls)]
    async with await anyio.open_process(command, stderr=None) as process:
        yield process


async def _follow(process: anyio.abc.Process, found: Round, dies_after: int | None) -> None:
    """Let `process` go, and write down what it says; kill it once it has said so much."""
    assert process.stdout is not None
    assert process.stdin is not None
    said, rest = 0, ""
    async for text in TextReceiveStream(process.stdout):
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            what, _, request_id = line.partition(" ")
            if what == "ready":
                await process.stdin.send(b"\n")
            elif what in {"ok", "refused"}:
                (found.ok if what == "ok" else found.refused).append(request_id)
                said += 1
            if dies_after is not None and said >= dies_after and what != "done":
                process.kill()
    await process.wait()


async def _look(home: Path, found: Round) -> None:
    async with open_router(load({"ORCHESTRA_HOME": str(home)}), clock=SystemClock()):
        pass  # opening takes what the dead have left for spent
    with closing(sqlite3.connect(home / "orchestra.db")) as db:
        for request_id, state, cost in db.execute("SELECT request_id, state, cost_nusd FROM attempts"):
            found.states[state] += 1
            found.sum_of_rows_nusd += cost
            if state in {"settled", "uncertain"}:
                rows = found.settled if state == "settled" else found.uncertain
                rows.setdefault(request_id, []).append(cost)
        day = db.execute("SELECT DISTINCT day FROM attempts").fetchone()[0]
        found.spent_nusd, found.held_nusd = kept_sums(db)["global", day]
