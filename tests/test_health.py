"""What becomes of a provider that fails, over several requests, processes and starts."""

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from clocks import FakeClock
from hand_clock import HandClock
from orchestra_router import errors
from orchestra_router.router import open_router
from orchestra_router.simulation import Hang, ServerError, simulated_world
from worlds import World, ask, config_for, open_world

DEEPSEEK = "deepseek/deepseek-flash"


def question(number: int | str) -> str:
    return f"Refactor this Python function, number {number}: def f(): pass"


async def outage(world: World, requests: int = 3) -> None:
    """DeepSeek fails so many requests: the first with all its tries, then nobody insists any more."""
    for number in range(requests):
        world.providers["deepseek"].script(*[ServerError(503)] * (1 if number else 3))
        await world.router.complete(ask(question(number), task="coding"))


async def test_a_provider_that_failed_three_requests_is_passed_over_then_tried_and_back(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await outage(world)
        during = await world.router.complete(ask(question("during"), task="coding"))
        world.clock.advance(30)
        planned = await world.router.plan(ask(question("planned"), task="coding"))
        after = await world.router.complete(ask(question("after"), task="coding"))
        again = await world.router.plan(ask(question("again"), task="coding"))

    assert during.provider != "deepseek"
    assert any(note.startswith(f"{DEEPSEEK} was passed over: cooling 30 s: server_failed") for note in during.notes)
    assert planned.route[0].health == "tried again after: server_failed"
    assert after.provider == "deepseek"
    assert again.route[0].health == "ok"


async def test_a_probe_that_fails_is_not_repeated_and_doubles_the_wait(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await outage(world)
        world.clock.advance(30)
        world.providers["deepseek"].script(ServerError(503))

        completion = await world.router.complete(ask(question("probe"), task="coding"))
        plan = await world.router.plan(ask(question("after"), task="coding"))

    assert [attempt.provider for attempt in completion.attempts][:2] == ["deepseek", "openrouter"]
    assert any(e.deployment == DEEPSEEK and "cooling 60 s" in e.reason for e in plan.excluded)


async def test_while_one_request_tries_it_the_others_are_answered_elsewhere(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        await outage(world)
        world.clock.advance(30)
        world.providers["deepseek"].script(hang)
        answered: list[str] = []

        async def probe() -> None:
            answered.append((await world.router.complete(ask(question("probe"), task="coding"))).provider)

        async with anyio.create_task_group() as group:
            group.start_soon(probe)
            await hang.reached.wait()
            answered.append((await world.router.complete(ask(question("other"), task="coding"))).provider)
            hang.release()

    assert answered == ["openrouter", "deepseek"]


async def test_a_probe_whose_caller_left_lets_the_next_request_try(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        await outage(world)
        world.clock.advance(30)
        world.providers["deepseek"].script(hang)
        async with anyio.create_task_group() as group:
            group.start_soon(world.router.complete, ask(question("probe"), task="coding"))
            await hang.reached.wait()
            group.cancel_scope.cancel()

        completion = await world.router.complete(ask(question("next"), task="coding"))

    assert completion.provider == "deepseek"


async def test_who_failed_the_last_request_is_not_asked_again_and_again_while_others_wait(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(*[ServerError(503)] * 4)
        trails = [
            [
                attempt.provider
                for attempt in (await world.router.complete(ask(question(number), task="coding"))).attempts
            ]
            for number in range(3)
        ]

    assert trails == [["deepseek"] * 3 + ["openrouter"], ["deepseek", "openrouter"], ["deepseek"]]


async def test_retries_leave_attempts_for_others_where_several_are_out_of_order(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for name in ("openrouter", "deepseek"):
            world.providers[name].script(*[ServerError(503)] * 6)

        completion = await world.router.complete(ask("Compare the two.", task="complex_reasoning"))

    assert len(completion.attempts) <= 6
    assert completion.provider not in {"openrouter", "deepseek"}


async def test_what_failed_is_still_passed_over_after_a_restart(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await outage(world)
        async with open_router(world.router.config, clock=world.clock) as another:
            plan = await another.plan(ask(question("restart"), task="coding"))

    assert DEEPSEEK in {excluded.deployment for excluded in plan.excluded}


async def test_a_provider_that_answers_most_requests_is_not_passed_over(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for number in range(12):
            if number % 4 == 3:
                world.providers["deepseek"].script(*[ServerError(503)] * 3)
            await world.router.complete(ask(question(number), task="coding"))

        plan = await world.router.plan(ask(question("last"), task="coding"))

    assert plan.route[0].deployment.key == DEEPSEEK


async def test_where_nothing_else_can_be_asked_another_requests_probe_is_waited_for(tmp_path: Path) -> None:
    clock, hang = HandClock(), Hang()
    async with simulated_world(clock=FakeClock()) as providers:
        config = config_for(providers, tmp_path, max_retries=0)
        async with open_router(config, clock=clock) as router:
            providers["xai"].script(*[ServerError(500)] * 3, hang)
            for number in range(3):
                with pytest.raises(errors.AllAttemptsFailed):
                    await router.complete(ask(question(number), provider="xai"))
            answered: list[str] = []

            async def complete(name: str) -> None:
                answered.append((await router.complete(ask(question(name), provider="xai"))).provider)

            async with anyio.create_task_group() as group:
                group.start_soon(complete, "probe")
                await hang.reached.wait()
                group.start_soon(complete, "waiting")
                while not clock.asleep:
                    await anyio.lowlevel.checkpoint()
                assert len(providers["xai"].received) == 4
                hang.release()
                while not answered:
                    await anyio.lowlevel.checkpoint()
                await clock.advance(0.25)

    assert answered == ["xai", "xai"]
