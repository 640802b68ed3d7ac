"""`orchestra bench`: what a call through the router costs on this machine, beside a bare one."""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestra_router.commands.base import Commands

if TYPE_CHECKING:
    from orchestra_router.bench.report import Report

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

COMMITS = 50


def add_to(commands: Commands) -> None:
    bench = commands.reporting("bench", _bench, "Measure what a call through the router costs here, beside a bare one.")
    bench.add_argument("--quick", action="store_true", help="a few seconds, and nothing but the router itself")
    bench.add_argument("--rounds", type=int, metavar="N", help="how often everything is measured in turn (5)")
    bench.add_argument("--calls", type=int, metavar="N", help="calls of each kind in a round (200)")
    bench.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="on whose disk the databases are (the temporary one)"
    )
    bench.add_argument(
        "--check", action="store_true", help="fail where something costs so much that it must be a defect"
    )
    bench.add_argument("--svg", type=Path, metavar="FILE", help="draw a picture, too")


def _bench(asked: argparse.Namespace) -> int:
    import anyio

    from orchestra_router.bench import report

    orchestra = logging.getLogger("orchestra")
    level = orchestra.level
    # A provider that is busy on purpose is not worth a line each time.
    orchestra.setLevel(logging.CRITICAL)
    try:
        measured = anyio.run(_measured, asked)
    finally:
        orchestra.setLevel(level)
    if asked.svg is not None:
        asked.svg.write_text(report.picture(measured), encoding="utf-8")
    print(json.dumps(report.as_json(measured), indent=2) if asked.json else report.table(measured))
    defects = report.defects(measured) if asked.check else ()
    for defect in defects:
        print(defect, file=sys.stderr)
    return 1 if defects else 0


async def _measured(asked: argparse.Namespace) -> "Report":
    from orchestra_router.bench import servers
    from orchestra_router.bench.kinds import kinds
    from orchestra_router.bench.measure import measured
    from orchestra_router.bench.report import Report
    from orchestra_router.bench.world import place, provider

    starts: dict[str, servers.Start] = {}
    with tempfile.TemporaryDirectory(prefix="orchestra-bench-", dir=asked.folder) as name, provider() as port:
        folder = Path(name)
        async with kinds(folder, port, semantic=not asked.quick, servers_too=not asked.quick) as found:
            results = await measured(
                found,
                callers=(1, 64) if asked.quick else (1, 16, 64, 256),
                calls=asked.calls or (100 if asked.quick else 200),
                rounds=asked.rounds or (3 if asked.quick else 5),
                say=_say,
            )
        if not asked.quick:
            environ = place(folder / "start", port).environ()
            for what, command in (("bare SDK server", servers.BARE), ("orchestra", servers.OURS)):
                starts[what] = min([await servers.start(command, environ) for _ in range(5)], key=lambda s: s.seconds)
        return Report(
            results=results,
            commit_us=_commit_us(folder),
            starts=starts,
            megabytes=servers.megabytes(os.getpid()),
        )


def _say(text: str) -> None:
    """For the person who waits."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _commit_us(folder: Path) -> float:
    """What the disk takes to write a page down for good: the median, in microseconds."""
    taken: list[float] = []
    with (folder / "durable").open("wb") as file:
        for _ in range(COMMITS):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return sorted(taken)[COMMITS // 2] * 1e6
