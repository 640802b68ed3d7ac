"""Starts the workers of a chaos run, gets in their way, and judges what is left."""

import json
import os
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, Process

from orchestra_router.chaos import weather
from orchestra_router.chaos.verdict import Verdict, judge
from orchestra_router.config import load
from orchestra_router.simulation import SimulatedWorld, simulated_config, simulated_world

SETTINGS = """\
request_timeout_s = 3
stream_idle_timeout_s = 2
deadline_s = 8
max_retries = 1
cooldown_s = 1
hedge = true
hedge_after_s = 1
budget_day_usd = 1000000
budget_month_usd = 1000000
alert_day_usd = 1000000
cache = "exact"
cache_mb = 20

"""
LONGEST_PAUSE_S = 5.0
"""Between two disturbances, on average; less in a short run."""
LOCKED_S = 6.0
"""Longer than anybody waits for the database."""
FULL_S = 1.5
JUMPS_S = (-604_800, -60, 60, 604_800)
"""A week has the same prices at the same hours: what is counted can still be held against the bills."""
PATIENCE_S = 60.0
"""A worker that does not end within this has failed."""


@dataclass
class Team:
    """The workers, those that were killed, and what they said."""

    environ: Mapping[str, str]
    seed: int
    processes: list[Process] = field(default_factory=list[Process])
    started: int = 0
    killed: int = 0
    told: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    log: list[str] = field(default_factory=list[str])
    """Every line that any of them wrote to stderr."""
    disturbances: Counter[str] = field(default_factory=Counter[str])


async def run(home: Path, *, seconds: float, processes: int, seed: int, say: Callable[[str], None]) -> Verdict:
    """So many seconds of traffic by `processes` workers on a new database in `home`, and the verdict on what is left.

    The load is bounded by the callers of each worker; everything stops by itself.
    """
    async with simulated_world() as world:
        (home / "orchestra.toml").write_text(SETTINGS + simulated_config(world), encoding="utf-8")
        weather.let_loose(world, seed)
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "HOME", "TMPDIR") if name in os.environ}
        environ = {**kept, "ORCHESTRA_HOME": str(home), **world.keys}
        team = Team(environ, seed)
        async with anyio.create_task_group() as readers:
            for _ in range(processes):
                await _start(team, readers.start_soon)
            await _disturb(team, home, seconds, readers.start_soon, say)
            await _end(team)
        say("Judging.")
        _calm(world)
        return await judge(
            load(environ), world, team.told, team.log, killed=team.killed, disturbances=team.disturbances
        )


# --- workers -------------------------------------------------------------------------------------------------

Soon = Callable[..., object]


async def _start(team: Team, soon: Soon) -> None:
    team.started += 1
    command = [sys.executable, "-m", "orchestra_router.chaos.worker", str(team.seed * 100 + team.started)]
    process = await anyio.open_process(command, env=team.environ)
    team.processes.append(process)
    soon(_read, process, team)


async def _read(process: Process, team: Team) -> None:
    said = bytearray()
    log = bytearray()

    async def take(stream: ByteReceiveStream | None, into: bytearray) -> None:
        if stream is not None:
            async for piece in stream:
                into += piece

    async with anyio.create_task_group() as group:
        group.start_soon(take, process.stdout, said)
        group.start_soon(take, process.stderr, log)
    await process.wait()
    team.log.extend(log.decode(errors="replace").splitlines())
    if said:
        team.told.append(json.loads(said))


async def _order(process: Process, order: str) -> None:
    try:
        if process.stdin is not None:
            await process.stdin.send(f"{order}\n".encode())
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # it ended meanwhile, and what it said will show why


async def _end(team: Team) -> None:
    for process in team.processes:
        await _order(process, "space")
        await _order(process, "stop")
    with anyio.move_on_after(PATIENCE_S):
        for process in team.processes:
            await process.wait()
    for process in team.processes:
        if process.returncode is None:
            team.log.append(f"Traceback: worker {process.pid} did not end within {PATIENCE_S:.0f} s")
            process.kill()


# --- what gets in their way ----------------------------------------------------------------------------------


async def _disturb(team: Team, home: Path, seconds: float, soon: Soon, say: Callable[[str], None]) -> None:
    """One thing after the other, in an order that the seed decides, until the time is up."""
    choose = random.Random(team.seed)  # noqa: S311 - the same disturbances for the same seed
    ends, pause_s = time.monotonic() + seconds, min(LONGEST_PAUSE_S, seconds / 30)
    await anyio.sleep(min(3.0, seconds / 4))
    while time.monotonic() < ends:
        victim = choose.choice(team.processes)
        what = choose.choice(("kill", "lock", "full", "jump"))
        say(f"{ends - time.monotonic():5.0f} s left: {what}")
        team.disturbances[what] += 1
        match what:
            case "kill":
                victim.kill()
                team.processes.remove(victim)
                team.killed += 1
                await _start(team, soon)
            case "lock":
                await anyio.to_thread.run_sync(_lock, home / "orchestra.db", LOCKED_S)
            case "full":
                await _order(victim, "full")
                await anyio.sleep(FULL_S)
                await _order(victim, "space")
            case _:
                await _order(victim, f"jump {choose.choice(JUMPS_S)}")
        await anyio.sleep(pause_s * choose.uniform(0.5, 1.5))


def _lock(database: Path, seconds: float) -> None:
    """Hold the write lock, as a backup program or a database browser would."""
    with closing(sqlite3.connect(database, timeout=10, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        db.execute("ROLLBACK")


def _calm(world: SimulatedWorld) -> None:
    for provider in world.providers.values():
        provider.latency_s = 0.0
