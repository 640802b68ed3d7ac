"""`orchestra chaos`: traffic over several processes while everything around them fails, and the verdict."""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio

from orchestra_router.commands.base import Commands
from orchestra_router.errors import ConfigError

if TYPE_CHECKING:
    from orchestra_router.chaos.verdict import Verdict

MOST_MINUTES = 24 * 60
MOST_PROCESSES = 32


def add_to(commands: Commands) -> None:
    chaos = commands.reporting("chaos", _chaos, "Let everything fail around simulated traffic, and see what is left.")
    chaos.add_argument("--minutes", type=float, default=1.0, help="how long (1)")
    chaos.add_argument("--processes", type=int, default=4, help="how many share the database (4)")
    chaos.add_argument("--seed", type=int, default=1, help="the same one gives the same disturbances")
    chaos.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for the database, kept afterwards")


def _chaos(asked: argparse.Namespace) -> int:
    if not 0 < asked.minutes <= MOST_MINUTES or not 1 <= asked.processes <= MOST_PROCESSES:
        raise ConfigError(f"At most {MOST_MINUTES} minutes and {MOST_PROCESSES} processes, and more than none.")
    if asked.keep is None:
        with TemporaryDirectory(prefix="orchestra-chaos-") as folder:
            return _run(asked, Path(folder))
    if asked.keep.exists():
        raise ConfigError(f"{asked.keep} is there already; name a new folder.")
    asked.keep.mkdir(mode=0o700, parents=True)
    return _run(asked, asked.keep)


def _run(asked: argparse.Namespace, home: Path) -> int:
    from orchestra_router.chaos import conductor  # noqa: PLC0415 - the simulation is for few

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async def run() -> "Verdict":
        return await conductor.run(
            home, seconds=asked.minutes * 60, processes=asked.processes, seed=asked.seed, say=say
        )

    verdict = anyio.run(run)
    if asked.json:
        print(json.dumps({**verdict.facts, "defects": verdict.defects}, indent=2))
    else:
        width = max(len(name) for name in verdict.facts)
        print("\n".join(f"{name:<{width}}  {value}" for name, value in verdict.facts.items()))
        print("\n".join(f"DEFECT  {defect}" for defect in verdict.defects) or "Nothing is left that should not be.")
    return 1 if verdict.defects else 0
