"""Many prompts in one call: how many at once, what is asked, what each answers, what all of it costs."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client

from hand_clock import HandClock, turns
from mcp_wire import PATIENCE_S
from orchestra_router.batches import Batch, complete_all
from orchestra_router.errors import BudgetExceeded, DeadlineExceeded
from orchestra_router.policy.purse import Purse
from orchestra_router.simulation import Hang, Reply, SimulatedWorld, simulated_world
from orchestra_router.simulation.answering import Says
from orchestra_router.types import CompletionRequest
from surface import Json, configured, connected, fail, succeed
from worlds import World, ask, open_world

CAPITALS = [f"What is the capital of {country}?" for country in ("France", "Italy", "Japan", "Spain")]


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@asynccontextmanager
async def client_of(world: SimulatedWorld, home: Path, lines: str = "") -> AsyncGenerator[Client]:
    async with connected(configured(world, home, lines)) as client:
        yield client


def requests(prompts: Sequence[str], **changes: object) -> list[CompletionRequest]:
    return [ask(prompt, **changes) for prompt in prompts]


async def run(world: World, prompts: Sequence[str], **changes: object) -> Batch:
    return await complete_all(world.router, requests(prompts, **changes), request_id="b")


async def test_each_prompt_has_its_answer_in_its_place_and_the_costs_add_up(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    async with client_of(world, tmp_path) as client:
        data = await succeed(client, "complete", prompts=CAPITALS)

    answers = [result["text"] for result in data["results"]]
    assert [capital in text for capital, text in zip(("Paris", "Rome", "Tokyo", "Madrid"), answers, strict=True)] == (
        [True] * 4
    )
    assert (data["answered"], data["failed"]) == (4, 0)
    assert data["cost_nusd"] == world.billed_nusd > 0


async def test_the_same_prompt_is_asked_once(world: SimulatedWorld, tmp_path: Path) -> None:
    async with client_of(world, tmp_path) as client:
        data = await succeed(
            client, "complete", prompts=[CAPITALS[0], CAPITALS[1], CAPITALS[0]], provider="deepseek", cache="off"
        )

    assert len(world["deepseek"].received) == 2
    assert data["results"][2] == {"same_as": 0}


async def test_a_failure_stands_in_its_place_with_its_cause_and_the_others_are_answered(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    world["deepseek"].script(Says(), Reply(400), Says())

    async with client_of(world, tmp_path, "batch_concurrency = 1") as client:
        data = await succeed(client, "complete", prompts=CAPITALS[:3], provider="deepseek")

    assert ["error" in result for result in data["results"]] == [False, True, False]
    assert data["results"][1]["error"]["code"] == "all_attempts_failed"
    assert "malformed" in data["results"][1]["error"]["message"]
    assert (data["answered"], data["failed"]) == (2, 1)


async def test_no_more_are_asked_at_once_than_the_setting_allows(tmp_path: Path) -> None:
    hangs = [Hang() for _ in range(4)]
    batches: list[Batch] = []
    async with open_world(tmp_path, batch_concurrency=2) as world:
        world.providers["deepseek"].script(*hangs)

        async def ask_all() -> None:
            batches.append(await run(world, CAPITALS, provider="deepseek"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask_all)
            for hang in hangs:
                await hang.reached.wait()
                hang.release()

        assert world.providers["deepseek"].most_in_flight <= 2
    assert len(batches[0].answers) == 4


async def test_two_prompts_are_under_way_at_the_same_time(tmp_path: Path) -> None:
    hangs = [Hang(), Hang()]
    async with open_world(tmp_path) as world, anyio.create_task_group() as group:
        world.providers["deepseek"].script(*hangs)
        with anyio.fail_after(PATIENCE_S):
            group.start_soon(lambda: run(world, CAPITALS[:2], provider="deepseek"))
            for hang in hangs:
                await hang.reached.wait()
        for hang in hangs:
            hang.release()


@pytest.mark.parametrize("fits", [0, 1, 2])
async def test_one_cap_is_for_the_whole_batch(tmp_path: Path, fits: int) -> None:
    async with open_world(tmp_path) as world:
        plan = await world.router.plan(ask(CAPITALS[0], provider="openrouter", max_tokens=100))
        worst = plan.route[0].worst_nusd
        # Each answer is made to cost about its worst case, so that the cap is met.
        world.providers["openrouter"].script(*[Says(text="word " * 79) for _ in CAPITALS])

        batch = await run(
            world, CAPITALS, provider="openrouter", max_tokens=100, max_cost_nusd=fits * worst + worst // 2
        )

    assert batch.cost_nusd == world.providers.billed_nusd <= fits * worst + worst // 2
    assert len(batch.answers) >= fits
    assert all(isinstance(failure, BudgetExceeded) for failure in batch.failures)
    assert bool(batch.failures)


async def test_prompts_wait_for_money_that_others_may_leave(tmp_path: Path) -> None:
    async with open_world(tmp_path, batch_concurrency=4) as world:
        plan = await world.router.plan(ask(CAPITALS[0], provider="openrouter"))

        # One worst case at a time is all it pays for; what an answer comes to is far less.
        batch = await run(world, CAPITALS, provider="openrouter", max_cost_nusd=round(1.5 * plan.route[0].worst_nusd))

    assert len(batch.answers) == 4


async def test_progress_says_how_many_are_done(tmp_path: Path) -> None:
    heard: list[str] = []

    async def hear(message: str) -> None:
        heard.append(message)

    async with open_world(tmp_path) as world:
        await complete_all(world.router, requests([*CAPITALS, CAPITALS[0]]), request_id="b", on_progress=hear)

    assert heard == [f"{done} of 4 done" for done in (1, 2, 3, 4)]


async def test_a_long_batch_is_handed_over_and_collected_later(world: SimulatedWorld, tmp_path: Path) -> None:
    clock, hang = HandClock(), Hang()
    world["openrouter"].script(hang)
    answers: list[Json] = []
    with anyio.fail_after(PATIENCE_S):
        async with (
            connected(configured(world, tmp_path, "answer_within_s = 50"), clock=clock) as client,
            anyio.create_task_group() as group,
        ):

            async def start() -> None:
                answers.append(await succeed(client, "complete", prompts=CAPITALS[:2], provider="openrouter"))

            group.start_soon(start)
            await hang.reached.wait()
            while not answers:
                await clock.advance(10)
            hang.release()
            answers.append(await succeed(client, "complete", request_id=answers[0]["request_id"]))

    running, collected = answers
    assert running["status"] == "running"
    assert collected["request_id"] == running["request_id"]
    assert collected["answered"] == 2


async def test_a_cancelled_batch_leaves_its_providers_and_no_hold_behind(tmp_path: Path) -> None:
    hangs = [Hang(), Hang()]
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(*hangs)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: run(world, CAPITALS, provider="deepseek"))
            for hang in hangs:
                await hang.reached.wait()
            group.cancel_scope.cancel()
        received = list(world.providers["deepseek"].received)
        for request in received:
            await request.done.wait()
        report = await world.router.cost_report()

    assert all(request.client_left for request in received[:2])
    assert report.total.held_nusd == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prompts": ["a", " "]}, r"`prompts\[1\]` is empty"),
        ({"prompts": ["a"], "prompt": "b"}, "`prompts` stands alone"),
        ({"prompts": ["a"], "request_id": "r"}, "give it alone"),
        ({"prompts": ["a"] * 501}, "at most 500"),
        ({"prompts": [7]}, "`prompts"),
    ],
)
async def test_a_malformed_batch_is_refused_whole(
    world: SimulatedWorld, tmp_path: Path, arguments: Json, says: str
) -> None:
    async with client_of(world, tmp_path) as client:
        text, error = await fail(client, "complete", **arguments)

    assert error["code"] == "invalid_request"
    assert re.search(says, text)
    assert world.billed_nusd == 0


async def test_whoever_waits_longest_for_money_is_next_however_much_it_is() -> None:
    purse, order = Purse(10), list[str]()

    async def spend(name: str, amount: int) -> None:
        async with purse.held(amount):
            order.append(name)
            await turns()

    async with anyio.create_task_group() as group:
        for name, amount in (("first", 6), ("dear", 9), *((f"cheap {number}", 3) for number in range(6))):
            group.start_soon(spend, name, amount)

    assert order[:2] == ["first", "dear"]
    assert len(order) == 8


async def test_who_waits_for_money_past_its_deadline_is_told_so_and_is_in_nobodys_way() -> None:
    purse = Purse(10)

    async with purse.held(8):
        with pytest.raises(DeadlineExceeded, match="max_cost_usd"):
            async with purse.held(9, within_s=0):
                raise AssertionError
        async with purse.held(2):
            pass
    async with purse.held(10):
        pass


async def test_who_leaves_while_waiting_for_money_is_in_nobodys_way() -> None:
    purse, served = Purse(10), list[int]()

    async def spend(amount: int) -> None:
        async with purse.held(amount):
            served.append(amount)

    async with purse.held(8), anyio.create_task_group() as group:
        leaver = anyio.CancelScope()

        async def leave() -> None:
            with leaver:
                await spend(9)

        group.start_soon(leave)
        await turns()
        group.start_soon(spend, 2)
        await turns()
        leaver.cancel()

    async with purse.held(10):
        pass
    assert served == [2]


async def test_money_that_arrives_as_its_waiter_leaves_goes_back() -> None:
    purse, left = Purse(10), anyio.CancelScope()

    async def wait_and_leave() -> None:
        with left:
            async with purse.held(9):
                raise AssertionError

    async with anyio.create_task_group() as group:
        async with purse.held(8):
            group.start_soon(wait_and_leave)
            await turns()
        left.cancel()

    async with purse.held(10, within_s=0):
        pass


async def test_what_costs_nothing_does_not_wait_for_money() -> None:
    purse = Purse(10)

    async with purse.held(10), purse.held(0, within_s=0):
        pass


async def test_a_prompt_that_others_leave_no_money_for_ends_at_its_deadline(tmp_path: Path) -> None:
    purse = Purse(1)

    async with open_world(tmp_path, deadline_s=0.3) as world, purse.held(1):
        with anyio.fail_after(PATIENCE_S), pytest.raises(DeadlineExceeded, match="max_cost_usd"):
            await world.router.complete(ask(provider="deepseek"), purse=purse)

    assert world.calls == []


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(0, 60),
    calls=st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), max_size=25),
    workers=st.integers(1, 6),
)
def test_a_purse_is_never_overdrawn_and_nobody_waits_for_ever(
    limit: int, calls: list[tuple[int, float]], workers: int
) -> None:
    paid: list[int] = []

    async def play() -> None:
        purse, waiting = Purse(limit), iter(calls)

        async def work() -> None:
            for worst, share in waiting:
                try:
                    async with purse.held(worst):
                        await anyio.lowlevel.checkpoint()
                        paid.append(int(worst * share))
                        purse.pay(paid[-1])
                except BudgetExceeded:
                    continue

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as group:
                for _ in range(workers):
                    group.start_soon(work)

    anyio.run(play)

    assert sum(paid) <= limit
