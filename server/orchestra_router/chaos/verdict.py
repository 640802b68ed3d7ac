"""What must be true once the dust has settled, and what is."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from orchestra_router.config import Config
from orchestra_router.router import open_router
from orchestra_router.simulation import SimulatedWorld
from orchestra_router.store.backup import back_up

QUIET_S = 10.0
"""How long the simulated providers may take to notice that everybody is gone."""
MOST_GROWTH_MB = 60.0
"""A worker's memory from its first requests to its last: the cache, the libraries that are loaded late."""
EXPLAINED = re.compile(
    r"orchestra(\.\w+)*|locked by another program|disk is full|disk fails|cannot be (read|written|used)|set aside|uncertain"
)
"""What a line of a worker's log may be about."""


@dataclass
class Verdict:
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    defects: list[str] = field(default_factory=list[str])
    """What must not be; empty is good."""

    def require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.defects.append(otherwise)


async def judge(
    config: Config,
    world: SimulatedWorld,
    told: Sequence[Mapping[str, Any]],
    log: Sequence[str],
    *,
    killed: int,
    disturbances: Mapping[str, int],
) -> Verdict:
    """The ledger against the providers' bills, and whether anything leaked, broke or was left unexplained."""
    verdict = Verdict()
    _processes(verdict, told, killed)
    _log(verdict, log)
    await _providers_are_quiet(verdict, world)
    await _ledger(verdict, config, world)
    verdict.facts["disturbances"] = dict(disturbances)
    return verdict


def _processes(verdict: Verdict, told: Sequence[Mapping[str, Any]], killed: int) -> None:
    outcomes: Counter[str] = Counter()
    for one in told:
        outcomes.update(one["outcomes"])
        verdict.require(not one["unexpected"], f"a worker met errors that are not ours: {one['unexpected']}")
        verdict.require(one["files_left"] <= 0, f"{one['files_left']} files or sockets were left open")
        verdict.require(one["tasks_left"] == 0, f"{one['tasks_left']} tasks were left running")
        grown = one["end_mb"] - one["warm_mb"]
        verdict.require(grown <= MOST_GROWTH_MB, f"a worker grew by {grown:.0f} MB")
    verdict.require(outcomes.total() > 0, "no worker said what it did")
    verdict.facts |= {
        "workers": len(told),
        "killed": killed,
        "requests": outcomes.total(),
        "outcomes": dict(outcomes.most_common()),
        "memory_mb": [f"{one['warm_mb']} -> {one['end_mb']}" for one in told],
    }


def _log(verdict: Verdict, log: Sequence[str]) -> None:
    strange = [line for line in log if "Traceback" in line or (line.strip() and not EXPLAINED.search(line))]
    verdict.facts["log_lines"] = len(log)
    verdict.require(not strange, f"the log holds {len(strange)} lines that nothing explains, such as: {strange[:12]}")


async def _providers_are_quiet(verdict: Verdict, world: SimulatedWorld) -> None:
    """Nobody is connected any more who would be waiting for an answer."""
    with anyio.move_on_after(QUIET_S):
        while any(provider.in_flight for provider in world.providers.values()):  # noqa: ASYNC110 - they tell nobody
            await anyio.sleep(0.05)
    busy = {name: provider.in_flight for name, provider in world.providers.items() if provider.in_flight}
    verdict.require(not busy, f"providers still answer somebody: {busy}")


async def _ledger(verdict: Verdict, config: Config, world: SimulatedWorld) -> None:
    async with open_router(config) as router:
        report = await router.cost_report(period="all", group_by="provider")
        audit = await router.store.verify_audit()
    rows = {row.group: row for row in report.rows}
    for name, provider in world.providers.items():
        counted = rows[name].spent_nusd if name in rows else 0
        unknown = rows[name].uncertain_nusd if name in rows else 0
        # What is settled was billed to the nano-dollar; what nobody knows was counted at its worst.
        verdict.require(
            counted - unknown <= provider.billed_nusd <= counted,
            f"{name} billed {provider.billed_nusd:,} nano-dollars; the ledger has {counted - unknown:,} settled and"
            f" {unknown:,} unknown",
        )
    verdict.require(report.total.held_nusd == 0, f"{report.total.held_nusd:,} nano-dollars are still held")
    verdict.require(not audit.problems, f"the audit trail: {audit.problems[:3]}")
    copy = config.settings.home / "copy.db"
    back_up(config.settings.database, copy)  # which checks every page
    verdict.facts |= {
        "attempts": report.total.attempts,
        "spent_usd": round(report.total.spent_nusd / 1e9, 6),
        "unknown_usd": round(report.total.uncertain_nusd / 1e9, 6),
        "billed_usd": round(world.billed_nusd / 1e9, 6),
        "held_usd": report.total.held_nusd / 1e9,
        "audit_rows": audit.rows,
    }
