"""Clocks, disks and providers that misbehave: no call is sent that could not be written down, and sums stay right."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from ledgers import kept_sums, sums_of_rows
from orchestra_router.batches import complete_all
from orchestra_router.errors import BudgetExceeded, RouterError, StoreError
from orchestra_router.simulation import Hang, Reply, ServerError
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import Settled, Settlement
from worlds import World, ask, open_world


async def spent(world: World, period: str) -> tuple[int, int]:
    found = await world.router.store.spent("global", period)
    return found.spent_nusd, found.held_nusd


async def pragma(world: World, what: str) -> tuple[int, ...]:
    store = world.router.store
    assert isinstance(store, SqliteStore)
    connection = store._hops._connection  # pyright: ignore[reportPrivateUsage]
    return tuple(await connection.read(lambda db: db.execute(f"PRAGMA {what}").fetchone()))


def books_are_right(world: World) -> bool:
    with closing(sqlite3.connect(world.home / "orchestra.db")) as db:
        return kept_sums(db) == sums_of_rows(db)


async def test_a_call_over_midnight_and_the_months_end_is_charged_to_where_it_began(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        ledger = world.router._ledger  # pyright: ignore[reportPrivateUsage]
        candidate = (await world.router.plan(ask(provider="openrouter"))).route[0]
        async with ledger.reserve(
            candidate, ask(), request_id="r", number=1, spent_nusd=0, seconds_left=9, waited_s=0
        ) as reservation:
            reservation.sending()
            world.clock.advance(8 * 86_400)
            reservation.reported_nusd = 5_000
        assert await spent(world, "2026-11-23") == await spent(world, "2026-11") == (5_000, 0)
        assert await spent(world, "2026-12-01") == await spent(world, "2026-12") == (0, 0)
        assert books_are_right(world)


async def test_a_clock_that_goes_back_grants_no_second_budget(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_month_usd="0.0005") as world:

        async def ask_while_the_clock_is_moved() -> None:
            for number in range(50):
                await world.router.complete(ask(f"{number}?", provider="deepseek", max_tokens=50))
                world.clock.set_wall_back(3600 if number % 2 else -1800)

        with pytest.raises(BudgetExceeded, match="monthly budget"):
            await ask_while_the_clock_is_moved()

        assert world.calls
        assert sum(await spent(world, "2026-11")) <= 500_000
        assert books_are_right(world)


async def test_another_time_zone_begins_another_day_and_the_month_goes_on(tmp_path: Path) -> None:
    async with open_world(tmp_path, timezone="UTC") as world:
        await world.router.complete(ask(provider="deepseek"))
        before = await spent(world, "2026-11")

    async with open_world(tmp_path, timezone="Pacific/Auckland") as world:
        await world.router.complete(ask("Again.", provider="deepseek"))

        assert (await spent(world, "2026-11-24"))[0] > 0
        assert (await spent(world, "2026-11"))[0] > before[0]
        assert books_are_right(world)


async def test_closing_under_a_call_does_not_make_it_pay_for_another(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)
        asking = asyncio.create_task(world.router.complete(ask(task="coding")))
        await hang.reached.wait()

        await world.router.aclose()
        await asyncio.wait({asking})

        assert isinstance(asking.exception(), RouterError)
        assert world.calls == ["deepseek"]


def written(world: World) -> list[tuple[object, ...]]:
    """Each attempt's state and each request's outcome."""
    with closing(sqlite3.connect(world.home / "orchestra.db")) as db:
        return db.execute("SELECT state FROM attempts UNION ALL SELECT outcome FROM requests").fetchall()


async def test_closing_lets_what_is_under_way_end_and_nothing_more_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)
        asking = asyncio.create_task(world.router.complete(ask(task="coding")))
        await hang.reached.wait()
        slept: list[float] = []

        async def patiently(seconds: float) -> None:
            slept.append(seconds)
            await asyncio.Event().wait()

        monkeypatch.setattr(world.clock, "sleep", patiently)
        closed = asyncio.create_task(world.router.aclose())
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RouterError, match="is closed"):
            await world.router.complete(ask())
        hang.release()
        with anyio.fail_after(5):
            await closed
        completion = await asking

    assert slept == [world.router.config.settings.close_grace_s]
    assert completion.cost_source != "estimate"
    assert written(world) == [("settled",), ("ok",)]


async def test_what_does_not_end_in_time_is_cut_off_and_settled_before_the_books_are_closed(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:

        async def ask_and_go_on() -> str:
            with pytest.raises(RouterError, match="closed meanwhile"):
                await world.router.complete(ask(task="coding"))
            await anyio.lowlevel.checkpoint()
            return "went on"

        world.providers["deepseek"].script(hang)
        asking = asyncio.create_task(ask_and_go_on())
        await hang.reached.wait()

        await world.router.aclose()

        assert written(world) == [("uncertain",), ("cancelled",)]
        assert await asking == "went on"
        assert books_are_right(world)


async def test_a_task_that_is_cancelled_while_the_router_closes_stays_cancelled(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)
        asking = asyncio.create_task(world.router.complete(ask(task="coding")))
        await hang.reached.wait()

        closed = asyncio.create_task(world.router.aclose())
        asking.cancel()
        await closed
        await asyncio.wait({asking})

    assert asking.cancelled()
    assert written(world) == [("uncertain",), ("cancelled",)]


async def test_a_full_disk_fails_the_call_before_anybody_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        (pages,) = await pragma(world, "page_count")
        await pragma(world, f"max_page_count = {pages}")

        asked = 0

        async def ask_on() -> None:
            nonlocal asked
            for number in range(2_000):
                asked = len(world.calls)
                await world.router.complete(ask(f"{number}?", provider="ollama"))

        with pytest.raises(StoreError, match="its disk is full"):
            await ask_on()

        assert len(world.calls) == asked
        assert books_are_right(world)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 10, "total_tokens": 5},
        {"prompt_tokens": 10**15, "completion_tokens": 10**15, "total_tokens": 2 * 10**15},
        {"prompt_tokens": "many", "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10, "cost": -1},
    ],
)
async def test_absurd_usage_never_lowers_what_was_spent_and_is_never_believed(
    tmp_path: Path, usage: dict[str, object]
) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask(provider="openrouter"))
        before = (await spent(world, "2026-11-23"))[0]
        body = {"choices": [{"finish_reason": "stop", "message": {"content": "Hi."}}], "usage": usage}
        world.providers["openrouter"].script(Reply(200, body=body))
        completion = await world.router.complete(ask("Again.", provider="openrouter", max_retries=0))

        assert completion.cost_nusd >= 0
        assert before <= (await spent(world, "2026-11-23"))[0] < before + 1_000_000_000
        assert books_are_right(world)


async def test_nothing_is_sent_while_another_program_has_the_database_locked(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        await pragma(world, "busy_timeout = 50")
        with closing(sqlite3.connect(world.home / "orchestra.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="is locked by another program"):
                await world.router.complete(ask(provider="deepseek", cache="off"))
            other.execute("ROLLBACK")

        assert world.calls == []
        assert (await world.router.complete(ask(provider="deepseek"))).answer.text


# --- a settlement that cannot be written -----------------------------------------------------------------------


def let_each_settlement_fail_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another program has the database locked just then."""
    settle, failed = world.router.store.settle, set[str]()

    async def failing(settlement: Settlement) -> Settled:
        if settlement.attempt_id not in failed:
            failed.add(settlement.attempt_id)
            raise StoreError("orchestra.db is locked by another program.")
        return await settle(settlement)

    monkeypatch.setattr(world.router.store, "settle", failing)


async def test_an_answer_whose_cost_cannot_be_written_goes_out_with_its_cost_and_is_not_paid_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path) as world:
        let_each_settlement_fail_once(world, monkeypatch)

        first = await world.router.complete(ask(provider="deepseek"))
        again = await world.router.complete(ask(provider="deepseek"))
        report = await world.router.cost_report()

        assert first.answer.text == again.answer.text
        assert first.cost_nusd == world.providers.billed_nusd == report.total.spent_nusd > 0
        assert report.total.held_nusd == again.cost_nusd == 0
        assert world.calls == ["deepseek"]
        assert books_are_right(world)


async def test_costs_that_cannot_be_written_count_against_the_cap_of_their_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path, batch_concurrency=1) as world:
        let_each_settlement_fail_once(world, monkeypatch)
        world.providers["deepseek"].script(*[ServerError()] * 4)
        worst = (await world.router.plan(ask("Hello 0.", provider="deepseek"))).route[0].worst_nusd
        asked = [ask(f"Hello {n}.", provider="deepseek", max_cost_nusd=worst, max_retries=0) for n in range(4)]

        batch = await complete_all(world.router, asked, request_id="b")
        report = await world.router.cost_report()

        assert batch.cost_nusd == report.total.spent_nusd == worst
        assert world.calls == ["deepseek"]
        assert books_are_right(world)


async def test_a_failure_whose_cost_cannot_be_written_still_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path) as world:
        let_each_settlement_fail_once(world, monkeypatch)
        world.providers["deepseek"].script(ServerError())

        completion = await world.router.complete(ask("Write a Python function that adds two numbers.", max_retries=0))

        assert [attempt.outcome for attempt in completion.attempts] == ["server_failed", "ok"]
        assert len(world.calls) == 2
