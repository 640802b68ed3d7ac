"""Identical requests at the same moment become one."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from ledgers import add_key
from orchestra_router.batches import complete_all
from orchestra_router.errors import AllAttemptsFailed, BudgetExceeded, DeadlineExceeded
from orchestra_router.policy.access import LOCAL, Caller
from orchestra_router.policy.flights import Flights
from orchestra_router.simulation import Hang, Reply
from orchestra_router.types import Completion, CompletionRequest, Scope
from worlds import World, ask, open_world

PATIENCE_S = 20.0
"""No test waits for it; it ends a test that hangs."""
WAITING = 8
CAPITAL = "What is the capital of France?"


async def test_the_second_waits_for_the_first_and_is_told_that_it_did() -> None:
    flights = Flights()
    inside, leave = anyio.Event(), anyio.Event()
    waited: list[bool] = []
    before: list[bool] = []

    async def first() -> None:
        async with flights.turn("q", seconds=60):
            inside.set()
            await leave.wait()

    async def second() -> None:
        async with flights.turn("q", seconds=60) as had_to_wait:
            waited.append(had_to_wait)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await inside.wait()
        group.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        before += waited
        leave.set()

    assert before == []
    assert waited == [True]


async def test_a_flight_that_fails_wakes_those_who_wait_and_leaves_nothing_behind() -> None:
    flights = Flights()
    inside = anyio.Event()
    waited: list[bool] = []

    async def second() -> None:
        async with flights.turn("q", seconds=60) as had_to_wait:
            waited.append(had_to_wait)

    async def crash() -> None:
        async with flights.turn("q", seconds=60):
            inside.set()
            await anyio.wait_all_tasks_blocked()
            raise RuntimeError

    async with anyio.create_task_group() as group:

        async def first() -> None:
            with pytest.raises(RuntimeError):
                await crash()

        group.start_soon(first)
        await inside.wait()
        group.start_soon(second)

    async with flights.turn("q", seconds=60) as had_to_wait:
        assert not had_to_wait
    assert waited == [True]


async def test_requests_that_are_not_to_be_shared_do_not_wait_for_each_other() -> None:
    flights = Flights()

    async with flights.turn(None, seconds=60), flights.turn(None, seconds=60) as had_to_wait:
        assert not had_to_wait


async def test_nobody_waits_for_longer_than_his_own_time_and_the_one_under_way_goes_on() -> None:
    flights = Flights()

    async with flights.turn("q", seconds=60):
        with pytest.raises(DeadlineExceeded, match="an identical one"):
            async with flights.turn("q", seconds=0):
                pass
        with pytest.raises(DeadlineExceeded):
            async with flights.turn("q", seconds=0.01):
                pass


async def test_of_those_who_wait_one_at_a_time_asks_until_somebody_has_an_answer() -> None:
    flights = Flights()
    asking: list[int] = []
    woken: list[int] = []
    answered = False

    async def fly(number: int) -> None:
        nonlocal answered
        async with flights.turn("q", seconds=PATIENCE_S):
            if answered:
                woken.append(number)
                return
            asking.append(number)
            await anyio.wait_all_tasks_blocked()
            assert asking[-1] == number
            answered = number == 2
            if not answered:
                raise RuntimeError

    async def one(number: int) -> None:
        with contextlib.suppress(RuntimeError):
            await fly(number)

    async with anyio.create_task_group() as group:
        for number in range(WAITING):
            group.start_soon(one, number)

    assert asking == [0, 1, 2]
    assert woken == list(range(3, WAITING))


async def test_who_is_called_to_fly_and_leaves_at_that_very_moment_hands_on() -> None:
    flights = Flights()
    inside, leave = anyio.Event(), anyio.Event()
    flown: list[bool] = []
    leaver = anyio.CancelScope()

    async def crash() -> None:
        async with flights.turn("q", seconds=PATIENCE_S):
            inside.set()
            await leave.wait()
            raise RuntimeError

    async def first() -> None:
        with pytest.raises(RuntimeError):
            await crash()
        leaver.cancel()

    async def second() -> None:
        with leaver:
            async with flights.turn("q", seconds=PATIENCE_S):
                await anyio.lowlevel.checkpoint()
                pytest.fail("it has left")

    async def third() -> None:
        async with flights.turn("q", seconds=PATIENCE_S) as had_to_wait:
            flown.append(had_to_wait)

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            for work in (first, second, third):
                group.start_soon(work)
                await inside.wait()
                await anyio.wait_all_tasks_blocked()
            leave.set()

    assert flown == [True]


# --- through the router --------------------------------------------------------------------------------------


async def two_at_once(
    world: World, first: CompletionRequest, second: CompletionRequest, *, scope: Scope | None = None
) -> list[Completion]:
    """The answers to both, where the second one comes, from `scope`, while the first one hangs at DeepSeek."""
    hang = Hang()
    world.providers["deepseek"].script(hang)
    answers: list[Completion] = []
    if scope is not None and scope.access_key != LOCAL.access_key:
        await add_key(world.router.store, scope.access_key)

    async def answer(request: CompletionRequest, caller: Caller | None = None) -> None:
        answers.append(await world.router.complete(request, caller=caller))

    async with anyio.create_task_group() as group:
        group.start_soon(answer, first)
        await hang.reached.wait()
        group.start_soon(answer, second, Caller(scope or LOCAL, "admin"))
        await anyio.wait_all_tasks_blocked()
        hang.release()
    return answers


def pinned(**changes: Any) -> CompletionRequest:
    return ask("Is it worth it?", provider="deepseek", fallback_providers=(), **changes)


async def test_the_same_question_at_the_same_moment_is_asked_once(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        answers = await two_at_once(world, pinned(), pinned())

        assert world.calls == ["deepseek"]
    assert sorted(answer.cache for answer in answers) == ["HIT", "MISS"]
    assert len({answer.answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    "other",
    [Scope(access_key="team"), Scope(user="eve"), Scope(session="s2")],
    ids=["access key", "user", "session"],
)
async def test_who_pays_for_himself_never_shares_a_call_with_somebody_else(tmp_path: Path, other: Scope) -> None:
    async with open_world(tmp_path) as world:
        answers = await two_at_once(world, pinned(), pinned(), scope=other)

        assert world.calls == ["deepseek", "deepseek"]
    assert [answer.cache for answer in answers] == ["MISS", "MISS"]
    assert all(answer.cost_nusd for answer in answers)


async def test_who_wants_no_cache_shares_no_call_either(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        answers = await two_at_once(world, pinned(), pinned(cache="off"))

        assert world.calls == ["deepseek", "deepseek"]
    assert all(answer.cost_nusd for answer in answers)


async def test_who_waits_may_leave_without_an_end_to_the_call_he_waits_for(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)
        answers: list[Completion] = []

        async def first() -> None:
            answers.append(await world.router.complete(pinned()))

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await hang.reached.wait()
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(world.router.complete, pinned())
                await anyio.wait_all_tasks_blocked()
                waiting.cancel_scope.cancel()
            hang.release()

        assert world.calls == ["deepseek"]
    assert [answer.cache for answer in answers] == ["MISS"]


async def test_who_waits_asks_for_himself_when_the_first_caller_leaves(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)
        answers: list[Completion] = []

        async def second() -> None:
            answers.append(await world.router.complete(pinned()))

        async with anyio.create_task_group() as group, anyio.create_task_group() as leaving:
            leaving.start_soon(world.router.complete, pinned())
            await hang.reached.wait()
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()

        assert world.calls == ["deepseek", "deepseek"]
    assert [answer.cache for answer in answers] == ["MISS"]


async def test_when_the_caller_who_asks_leaves_one_other_asks_for_all_who_wait(tmp_path: Path) -> None:
    hang = Hang()
    leader = anyio.CancelScope()
    answers: list[Completion] = []
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)

        async def lead() -> None:
            with leader:
                await world.router.complete(ask(CAPITAL, provider="deepseek"))

        async def follow() -> None:
            answers.append(await world.router.complete(ask(CAPITAL, provider="deepseek")))

        async with anyio.create_task_group() as group:
            group.start_soon(lead)
            await hang.reached.wait()
            for _ in range(WAITING):
                group.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            leader.cancel()

    assert world.calls == ["deepseek"] * 2
    assert sorted(answer.cache for answer in answers) == ["HIT"] * (WAITING - 1) + ["MISS"]


async def test_who_waited_for_a_failure_asks_for_himself(tmp_path: Path) -> None:
    outcomes: list[str] = []
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Reply(400))

        async def one() -> None:
            try:
                completion = await world.router.complete(ask(CAPITAL, provider="deepseek", fallback_providers=()))
                outcomes.append(completion.cache)
            except AllAttemptsFailed as error:
                outcomes.append(error.code)

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(one)

    assert sorted(outcomes) == ["HIT", "HIT", "MISS", "all_attempts_failed"]
    assert len(world.calls) == 2


async def test_what_no_budget_pays_for_is_refused_to_each_of_many_at_once(tmp_path: Path) -> None:
    refused: list[str] = []
    async with open_world(tmp_path, budget_day_usd="0.0000001") as world:

        async def one() -> None:
            with pytest.raises(BudgetExceeded) as raised:
                await world.router.complete(ask(CAPITAL, provider="deepseek"))
            refused.append(raised.value.code)

        async with anyio.create_task_group() as group:
            for _ in range(WAITING):
                group.start_soon(one)

    assert len(refused) == WAITING
    assert world.calls == []


async def test_who_waits_for_a_batchs_money_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    hang = Hang()
    outside: list[Completion] = []
    async with open_world(tmp_path) as world:
        questions = [ask(f"What is the capital of {where}?", provider="deepseek") for where in ("France", "Italy")]
        cap_nusd = max([(await world.router.plan(question)).route[0].worst_nusd for question in questions])
        world.providers["deepseek"].script(hang)

        async def batch() -> None:
            capped = [replace(question, max_cost_nusd=cap_nusd) for question in questions]
            await complete_all(world.router, capped, request_id="b")

        async with anyio.create_task_group() as group:
            group.start_soon(batch)
            await hang.reached.wait()
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(PATIENCE_S):
                outside.append(await world.router.complete(questions[1]))
            hang.release()

    assert [completion.cache for completion in outside] == ["MISS"]
