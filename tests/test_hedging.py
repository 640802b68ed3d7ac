"""A second provider, asked when the first is slow: who wins, who is left, what both cost."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from hand_clock import HandClock
from mcp_wire import PATIENCE_S
from orchestra_router import errors
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import Hang, Reply, ServerError, SimulatedWorld, simulated_world
from orchestra_router.simulation.faults import Endless
from orchestra_router.types import Completion
from worlds import ask, config_for, open_world

CODING = "Write a Python function that parses a date and fix the bug in it."


@asynccontextmanager
async def hand_world(home: Path) -> AsyncGenerator[tuple[Router, SimulatedWorld, HandClock]]:
    """A router that hedges, on a clock moved by hand."""
    clock = HandClock()
    with anyio.fail_after(PATIENCE_S):
        async with simulated_world(clock=clock) as providers:
            config = config_for(providers, home, hedge="true", hedge_after_s="10")
            async with open_router(config, clock=clock) as router:
                yield router, providers, clock


async def test_a_slow_provider_is_overtaken_and_left_and_both_bills_are_kept(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path, hedge="true") as world:
        world.providers["deepseek"].script(hang)

        completion = await world.router.complete(ask(CODING))
        (slow,) = world.providers["deepseek"].received
        await slow.done.wait()
        report = await world.router.cost_report()

    assert completion.provider == "openrouter"
    assert slow.client_left
    assert world.clock.slept == [10.0]
    assert sorted((a.provider, a.outcome, a.rejected) for a in completion.attempts) == [
        ("deepseek", "cancelled", "slower"),
        ("openrouter", "ok", ""),
    ]
    assert completion.wasted_nusd > 0
    assert (report.total.held_nusd, report.total.spent_nusd) == (0, completion.cost_nusd)
    assert len({attempt.number for attempt in completion.attempts}) == 2
    assert any("took longer than 10.0 s" in note for note in completion.notes)


async def test_a_provider_that_is_not_slow_is_the_only_one_asked(tmp_path: Path) -> None:
    async with hand_world(tmp_path) as (router, providers, clock):
        completion = await router.complete(ask(CODING))
        await clock.advance(60)

        assert completion.provider == "deepseek"
        assert not [received for received in providers["openrouter"].received if received.method == "POST"]


async def test_the_first_may_still_win_and_the_second_is_left(tmp_path: Path) -> None:
    slow, slower = Hang(), Hang()
    answers: list[Completion] = []
    async with hand_world(tmp_path) as (router, providers, clock):
        providers["deepseek"].script(slow)
        providers["openrouter"].script(slower)
        async with anyio.create_task_group() as group:

            async def one() -> None:
                answers.append(await router.complete(ask(CODING)))

            group.start_soon(one)
            await slow.reached.wait()
            while not slower.reached.is_set():
                await clock.advance(1)
            slow.release()
        left = providers["openrouter"].received[-1]
        await left.done.wait()

        assert left.client_left
        assert answers[0].provider == "deepseek"


async def test_an_answer_that_has_begun_is_not_raced(tmp_path: Path) -> None:
    heard: list[str] = []

    async def hear(message: str) -> None:
        heard.append(message)

    async with hand_world(tmp_path) as (router, providers, clock):
        providers["deepseek"].script(Endless())
        async with anyio.create_task_group() as group:

            async def one() -> None:
                await router.complete(ask(CODING), on_progress=hear)

            group.start_soon(one)
            while not any("characters" in message for message in heard):
                await clock.advance(0.01)
            await clock.advance(20)
            group.cancel_scope.cancel()

        assert not [received for received in providers["openrouter"].received if received.method == "POST"]


async def test_a_second_that_fails_changes_nothing_and_one_that_is_alone_left_wins(tmp_path: Path) -> None:
    hang = Hang()
    answers: list[Completion] = []
    async with hand_world(tmp_path) as (router, providers, clock):
        providers["deepseek"].script(hang)
        providers["openrouter"].script(Reply(401))
        async with anyio.create_task_group() as group:

            async def one() -> None:
                answers.append(await router.complete(ask(CODING)))

            group.start_soon(one)
            await hang.reached.wait()
            while not any(received.method == "POST" for received in providers["openrouter"].received):
                await clock.advance(1)
            await providers["openrouter"].received[-1].done.wait()
            hang.release()

        assert answers[0].provider == "deepseek"
        assert {attempt.outcome for attempt in answers[0].attempts} == {"ok", "auth_failed"}


async def test_a_race_stays_within_the_attempts_and_the_cap_of_its_request(tmp_path: Path) -> None:
    async with open_world(tmp_path, hedge="true", max_attempts=3) as world:
        for provider in world.providers.providers.values():
            provider.script(*[ServerError(500)] * 9)

        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(CODING))

    assert len(world.calls) <= 3


async def test_a_second_that_the_cap_cannot_pay_for_is_not_asked(tmp_path: Path) -> None:
    hang = Hang()
    answers: list[Completion] = []
    async with open_world(tmp_path, hedge="true") as world:
        plan = await world.router.plan(ask(CODING))
        world.providers["deepseek"].script(hang)
        async with anyio.create_task_group() as group:

            async def one() -> None:
                cap = plan.route[0].worst_nusd + 1
                answers.append(await world.router.complete(ask(CODING, max_cost_nusd=cap)))

            group.start_soon(one)
            await hang.reached.wait()
            await anyio.wait_all_tasks_blocked()
            hang.release()

    assert [attempt.provider for attempt in answers[0].attempts] == ["deepseek"]
    assert world.calls == ["deepseek"]
    assert not any("asked too" in note for note in answers[0].notes)


@pytest.mark.parametrize(("accept", "rejected"), [(None, ""), ("never said", "not_accepted")])
async def test_one_that_answered_a_moment_too_late_is_the_slower_one_and_the_other_gave_the_answer(
    tmp_path: Path, accept: str | None, rejected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang, both = Hang(), anyio.Event()
    async with open_world(tmp_path, hedge="true", max_attempts=3) as world:
        world.providers["deepseek"].script(hang)
        health = world.router._health  # pyright: ignore[reportPrivateUsage]
        begun = 0

        async def in_turn(*_: object, **__: object) -> None:
            """What follows an answer: the second goes on first, when the first has its answer too."""
            nonlocal begun
            begun += 1
            if begun == 1:
                hang.release()
                await both.wait()
            elif begun == 2:
                both.set()
                await anyio.sleep_forever()

        monkeypatch.setattr(health, "succeeded", in_turn)
        with anyio.fail_after(PATIENCE_S):
            completion = await world.router.complete(ask(CODING, accept=accept))

    attempts = {attempt.number: attempt for attempt in completion.attempts}
    assert [(attempts[n].provider, attempts[n].outcome, attempts[n].rejected) for n in (1, 2)] == [
        ("deepseek", "ok", "slower"),
        ("openrouter", "ok", rejected),
    ]
    assert attempts[1].cost_nusd > 0
    assert completion.wasted_nusd == sum(a.cost_nusd for a in completion.attempts if a.rejected)
    assert accept or (completion.provider, completion.cost_source) == ("openrouter", attempts[2].cost_source)
