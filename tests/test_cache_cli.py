"""`orchestra cache ...` on a real file, as its owner runs it."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_wire import environment
from orchestra_router.config import load
from orchestra_router.router import open_router
from orchestra_router.simulation import SimulatedWorld, simulated_world
from surface import environ
from test_cli import orchestra
from worlds import ask

FIRST = "How do I reset my router password?"
SAME = "How can I reset the password of my router?"


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@pytest.fixture
def env(world: SimulatedWorld, tmp_path: Path) -> dict[str, str]:
    return environment(tmp_path, **environ(world, tmp_path))


async def cache(env: dict[str, str], *arguments: str, code: int = 0) -> Any:
    done = await orchestra(env, "cache", *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


async def ask_some(env: dict[str, str]) -> str:
    """A miss and a hit by meaning; the entry that was served."""
    async with open_router(load(env | {"PATH": ""})) as router:
        await router.complete(ask(FIRST, task="general_chat"))
        return (await router.complete(ask(SAME, task="general_chat"))).cache_entry


async def test_what_is_kept_can_be_looked_at_and_deleted(env: dict[str, str]) -> None:
    entry_id = await ask_some(env)

    (listed,) = await cache(env, "list")
    shown = await cache(env, "show", entry_id)
    stats = await cache(env, "stats")
    deleted = await cache(env, "delete", entry_id)
    empty = await cache(env, "list")

    assert (listed["id"], listed["prompt"], listed["hits"]) == (entry_id, FIRST, 1)
    assert shown["answer"]["text"]
    assert (stats["total"][0]["requests"], stats["total"][0]["semantic_hits"]) == (2, 1)
    assert stats["total"][0]["saved_usd"] > 0
    assert [row["group"] for row in stats["by_task"]] == ["general_chat"]
    assert stats["kept"]["entries"] == 1
    assert deleted == {"deleted": 1}
    assert empty == []


async def test_what_is_not_there_is_said(env: dict[str, str]) -> None:
    shown = await orchestra(env, "cache", "show", "nothing")

    assert shown.returncode == 1
    assert "There is no cache entry nothing." in shown.stderr
    assert await cache(env, "delete", "nothing", code=1) == {"deleted": 0}
    assert await cache(env, "clear") == {"deleted": 0}


async def test_people_get_tables(env: dict[str, str]) -> None:
    entry_id = await ask_some(env)

    said = [
        (await orchestra(env, "cache", *asked)).stdout
        for asked in (["stats"], ["list"], ["show", entry_id], ["shadow"])
    ]

    assert "kept      1 answer of 1 scope," in said[0]
    assert "50%" in said[0]
    assert FIRST in said[1]
    assert entry_id in said[2]
    assert "Shadow mode is off" in said[3]


async def test_an_entry_taken_back_is_not_served_for_what_it_was_served_for(env: dict[str, str]) -> None:
    entry_id = await ask_some(env)

    await cache(env, "wrong", entry_id)

    async with open_router(load(env | {"PATH": ""})) as router:
        await router.complete(ask(FIRST, task="general_chat"))
        again = await router.complete(ask(SAME, task="general_chat"))
    assert (again.cache, again.cache_reason) == ("SEMANTIC MISS", "marked wrong before")


async def test_the_cache_is_warmed_under_a_cap(env: dict[str, str], world: SimulatedWorld, tmp_path: Path) -> None:
    file = anyio.Path(tmp_path / "prompts.jsonl")
    await file.write_text(
        "\n".join(json.dumps({"prompt": prompt, "task": "general_chat"}) for prompt in (FIRST, "What is a haiku?"))
        + "\n"
    )

    unasked = await orchestra(env, "cache", "warm", str(file))
    billed = world.billed_nusd
    nothing = await cache(env, "warm", str(file), "--yes", "--max-cost-usd", "0", code=1)
    warmed = await cache(env, "warm", str(file), "--yes")
    again = await cache(env, "warm", str(file), "--yes")

    assert (unasked.returncode, billed) == (1, 0)
    assert "Nothing was asked" in unasked.stderr
    assert (nothing["asked"], nothing["left"]) == (0, 2)
    assert (warmed["asked"], warmed["failed"], warmed["left"]) == (2, [], 0)
    assert warmed["cost_usd"] == pytest.approx(world.billed_nusd / 1e9)
    assert (again["asked"], again["hits"], again["cost_usd"]) == (0, 2, 0)
    assert (await cache(env, "stats"))["kept"]["embedded"] == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "prompts.jsonl:1 is no JSON"), ('{"promt": "x"}', "Did you mean `prompt`?"), ("{}", "Neither `prompt` nor")],
)
async def test_a_file_that_cannot_be_asked_is_explained(
    env: dict[str, str], tmp_path: Path, line: str, said: str
) -> None:
    file = anyio.Path(tmp_path / "prompts.jsonl")
    await file.write_text(line)

    done = await orchestra(env, "cache", "warm", str(file), "--yes")

    assert done.returncode == 1
    assert said in done.stderr
