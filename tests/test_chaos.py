"""The judge of a chaos run finds what it is there to find. The run itself is a step of `.ci/run`."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.chaos.verdict import Verdict, judge
from orchestra_router.cli import main
from worlds import World, ask, open_world

TOLD: Mapping[str, Any] = {
    "requests": 1,
    "outcomes": {"ok": 1},
    "unexpected": [],
    "files_left": 0,
    "tasks_left": 0,
    "warm_mb": 70.0,
    "end_mb": 71.0,
}
EXPLAINED = ["12:00:00 WARNING orchestra: openai was set aside for 30 s"]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as opened:
        await opened.router.complete(ask())
        await opened.router.cost_report()  # comes behind what the call cost, and the judge reads by himself
        yield opened


async def verdict_on(world: World, *, log: list[str] | None = None, **told: Any) -> Verdict:
    log = EXPLAINED if log is None else log
    return await judge(world.router.config, world.providers, [{**TOLD, **told}], log, killed=0, disturbances={})


async def test_a_run_in_order_has_no_defect(world: World) -> None:
    verdict = await verdict_on(world)

    assert verdict.defects == []
    assert verdict.facts["spent_usd"] == verdict.facts["billed_usd"] > 0


@pytest.mark.parametrize("nusd", [1, -1])
async def test_a_bill_that_is_not_what_the_ledger_says_is_a_defect(world: World, nusd: int) -> None:
    for provider in world.providers.providers.values():
        provider.billed_nusd += nusd

    assert any("billed" in defect for defect in (await verdict_on(world)).defects)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"unexpected": ["ValueError: x"]}, "not ours"),
        ({"files_left": 2}, "2 files or sockets"),
        ({"tasks_left": 1}, "1 tasks"),
        ({"end_mb": 500.0}, "430 MB"),
        ({"outcomes": {}}, "no worker said"),
    ],
)
async def test_what_leaks_is_a_defect(world: World, told: dict[str, Any], said: str) -> None:
    assert any(said in defect for defect in (await verdict_on(world, **told)).defects)


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "something odd"])
async def test_a_line_that_nothing_explains_is_a_defect(world: World, line: str) -> None:
    assert any("nothing explains" in defect for defect in (await verdict_on(world, log=[*EXPLAINED, line])).defects)


async def test_somebody_who_still_waits_is_a_defect(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestra_router.chaos.verdict.QUIET_S", 0.0)
    world.providers["openai"].in_flight = 1

    assert any("still answer" in defect for defect in (await verdict_on(world)).defects)
    world.providers["openai"].in_flight = 0


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "1e9"], ["--processes", "1000"]])
def test_its_load_is_bounded(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", *arguments]) == 1

    assert "At most" in capsys.readouterr().err


def test_it_writes_over_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--keep", str(tmp_path)]) == 1

    assert "name a new folder" in capsys.readouterr().err
