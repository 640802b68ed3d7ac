"""On whose account a process asks."""

from pathlib import Path

import pytest

from orchestra_router.errors import BudgetExceeded
from orchestra_router.types import Scope
from worlds import ask, open_world

TEAM = """
[budgets.user.ada]
day_usd = 0.000001

[[rules]]
name = "bob asks at home"
when = { user = "bob" }
require = ["ollama"]
"""


async def test_a_users_budget_holds_for_the_process_that_asks_for_that_user(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml=TEAM, user="ada") as world:
        with pytest.raises(BudgetExceeded, match="of user ada"):
            await world.router.complete(ask(provider="deepseek"))


async def test_a_rule_for_a_user_is_that_users_alone(tmp_path: Path) -> None:
    providers: list[str] = []
    for user in ("bob", "carol"):
        async with open_world(tmp_path, toml=TEAM, user=user) as world:
            providers.append((await world.router.complete(ask())).provider)

    assert providers[0] == "ollama"
    assert providers[1] != "ollama"


async def test_two_users_share_no_cached_answer_and_each_has_a_row_in_the_report(tmp_path: Path) -> None:
    cached: list[str] = []
    for user in ("carol", "dave", "carol"):
        async with open_world(tmp_path, user=user) as world:
            cached.append((await world.router.complete(ask("What is a prime?"))).cache)
            report = await world.router.cost_report(period="all", group_by="user")

    assert cached == ["MISS", "MISS", "HIT"]
    assert {row.group for row in report.rows} == {"carol", "dave"}  # pyright: ignore[reportPossiblyUnbound] - set three times


async def test_no_request_chooses_its_own_scope(tmp_path: Path) -> None:
    async with open_world(tmp_path, user="carol") as world:
        await world.router.complete(ask(scope=Scope("admin", "dave", "other")))
        report = await world.router.cost_report(period="all", group_by="user")

    assert {row.group for row in report.rows} == {"carol"}
