"""A cheap model first, a stronger one when its answer will not do: who is asked, what is paid, what is said."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

import worlds
from orchestra_router import errors
from orchestra_router.simulation import Reply, ServerError
from orchestra_router.simulation.answering import Says
from orchestra_router.types import Completion, CompletionRequest
from worlds import World, ask

CODING = "Write a Python function that parses a date and fix the bug in it."
REFUSAL = "I'm sorry, but I can't help with that."


@asynccontextmanager
async def open_world(home: Path, **settings: Any) -> AsyncGenerator[World]:
    """Without a local server, whose answers cost nothing."""
    async with worlds.open_world(home, **settings) as world:
        world.providers["ollama"].script_probes(*[Reply(500)] * 50)
        yield world


def escalating(prompt: str = CODING, **changes: Any) -> CompletionRequest:
    return ask(prompt, strategy="escalate", **changes)


async def steps(world: World, request: CompletionRequest) -> tuple[str, str]:
    """The providers of the cheap and of the strong step."""
    plan = await world.router.plan(request)
    cheap, strong = plan.route[:2]
    assert (cheap.step, strong.step) == ("cheap", "strong")
    assert cheap.deployment.provider.name != strong.deployment.provider.name
    return cheap.deployment.provider.name, strong.deployment.provider.name


async def recorded(world: World) -> list[tuple[int | None, int, int]]:
    await world.router.cost_report()  # which waits until everything so far is on record
    with closing(sqlite3.connect(world.home / "orchestra.db")) as db:
        return db.execute("SELECT escalated, escalation_saved_nusd, wasted_nusd FROM requests").fetchall()


async def test_a_good_answer_of_the_cheap_model_is_the_answer_and_what_it_saved_is_said(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        plan = await world.router.plan(escalating())
        completion = await world.router.complete(escalating())

        assert completion.provider == plan.route[0].deployment.provider.name
        assert completion.escalation_saved_nusd == plan.route[1].expected_nusd - completion.cost_nusd > 0
        assert (completion.flaw, completion.wasted_nusd) == ("", 0)
        assert await recorded(world) == [(0, completion.escalation_saved_nusd, 0)]


@pytest.mark.parametrize(
    ("says", "flaw"),
    [
        (Says(text=REFUSAL), "refused"),
        (Says(text="def f(", finish="length"), "truncated"),
        (Says(text="```python\ndef f(:\n```"), "broken_code"),
    ],
)
async def test_an_answer_that_will_not_do_goes_one_step_up_and_both_bills_count(
    tmp_path: Path, says: Says, flaw: str
) -> None:
    async with open_world(tmp_path) as world:
        cheap, strong = await steps(world, escalating())
        world.providers[cheap].script(says)

        completion = await world.router.complete(escalating())

        assert completion.provider == strong
        assert [(a.provider, a.outcome, a.rejected) for a in completion.attempts] == [
            (cheap, "ok", flaw),
            (strong, "ok", ""),
        ]
        assert completion.cost_nusd == world.providers.billed_nusd
        assert completion.wasted_nusd == world.providers[cheap].billed_nusd > 0
        assert any(cheap in note and f"({flaw})" in note and strong in note for note in completion.notes)
        assert await recorded(world) == [(1, 0, completion.wasted_nusd)]
        total = (await world.router.cost_report()).total
        assert (total.cheap_steps, total.escalated, total.wasted_nusd) == (1, 1, completion.wasted_nusd)


async def test_an_answer_without_words_goes_one_step_up_and_is_not_asked_for_again(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        cheap, strong = await steps(world, escalating())
        world.providers[cheap].script(Says(text=""))

        completion = await world.router.complete(escalating())

        assert [attempt.provider for attempt in completion.attempts] == [cheap, strong]
        assert (await recorded(world))[0][0] == 1


async def test_an_answer_off_its_schema_goes_one_step_up(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with open_world(tmp_path) as world:
        request = escalating("Hello there.", response_schema=schema, task="general_chat")
        cheap, strong = await steps(world, request)
        world.providers[cheap].script(Says(text='{"n": "one"}'))

        completion = await world.router.complete(request)

    assert (completion.provider, completion.attempts[0].rejected) == (strong, "off_schema")


async def test_the_callers_own_check_decides_too(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        request = escalating(accept=r"\d+ EUR")
        cheap, strong = await steps(world, request)
        world.providers[cheap].script(Says(text="Twelve euros."))
        world.providers[strong].script(Says(text="12 EUR"))

        completion = await world.router.complete(request)

    assert (completion.answer.text, completion.flaw) == ("12 EUR", "")


async def test_there_is_one_step_only_and_an_answer_that_is_no_better_says_so(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        request = escalating(accept="never said")
        cheap, strong = await steps(world, request)

        completion = await world.router.complete(request)
        again = await world.router.complete(request)

    assert [attempt.provider for attempt in completion.attempts] == [cheap, strong]
    assert (completion.provider, completion.flaw) == (strong, "not_accepted")
    assert again.cache == "MISS"  # an answer that will not do is not kept


async def test_when_the_strong_model_fails_the_cheap_answer_is_better_than_none(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        cheap, strong = await steps(world, escalating())
        world.providers[cheap].script(Says(text=REFUSAL))
        world.providers[strong].script(*[ServerError(500)] * 9)

        completion = await world.router.complete(escalating())

    assert (completion.provider, completion.flaw, completion.wasted_nusd) == (cheap, "refused", 0)
    assert any("server error" in note for note in completion.notes)


async def test_when_nobody_else_answers_an_empty_answer_is_no_answer(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_attempts=4) as world:
        cheap, _ = await steps(world, escalating())
        world.providers[cheap].script(Says(text=""), *[ServerError(500)] * 9)
        for name, provider in world.providers.providers.items():
            provider.script(*[ServerError(500)] * (0 if name == cheap else 9))

        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(escalating())

    assert len(world.calls) == 4


async def test_one_cap_covers_both_and_what_it_cannot_pay_for_is_not_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        cheap, strong = await steps(world, escalating())
        plan = await world.router.plan(escalating())
        world.providers[cheap].script(Says(text=REFUSAL))

        completion = await world.router.complete(escalating(max_cost_nusd=plan.route[1].worst_nusd))

    assert (completion.provider, completion.flaw) == (cheap, "refused")
    assert strong not in world.calls
    assert any("max_cost_usd" in note for note in completion.notes)


async def test_the_attempts_of_both_steps_share_one_budget(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_attempts=1) as world:
        cheap, _ = await steps(world, escalating())
        world.providers[cheap].script(Says(text=REFUSAL))

        completion = await world.router.complete(escalating())

    assert world.calls == [cheap]
    assert completion.flaw == "refused"


async def test_a_cheap_model_that_is_down_costs_no_second_opinion(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        cheap, strong = await steps(world, escalating())
        world.providers[cheap].script(Reply(401))

        completion = await world.router.complete(escalating())

        assert completion.provider == strong
        assert await recorded(world) == [(None, 0, 0)]


async def test_where_cheap_answers_never_do_the_strong_model_is_asked_at_once(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        cheap, _ = await steps(world, escalating())
        for number in range(20):
            world.providers[cheap].script(Says(text=REFUSAL))
            await world.router.complete(escalating(f"{CODING} {number}", cache="off"))
        world.clock.advance(60)

        completion = await world.router.complete(escalating())

    assert len(completion.attempts) == 1
    assert completion.provider != cheap
    assert any("not tried first" in note for note in completion.notes)


async def test_a_pattern_counts_under_any_strategy_and_one_other_model_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Says(text="Twelve euros."))
        world.providers["openrouter"].script(Says(text="12 EUR"))

        completion = await world.router.complete(ask(CODING, accept=r"\d+ EUR"))
        refused = await world.router.complete(ask(CODING + " Again.", accept="never said"))

    assert _trail(completion) == [("deepseek", "not_accepted"), ("openrouter", "")]
    assert (len(refused.attempts), refused.flaw) == (2, "not_accepted")


async def test_a_pinned_model_is_not_exchanged_over_a_pattern(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(ask(provider="anthropic", accept="never said"))

    assert (completion.provider, completion.flaw, len(completion.attempts)) == ("anthropic", "not_accepted", 1)


async def test_a_pattern_that_takes_for_ever_is_given_up_and_the_answer_handed_over(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Says(text="a" * 5_000 + "b"))

        completion = await world.router.complete(ask(CODING, accept="(a+)+$"))

    assert (completion.flaw, len(completion.attempts)) == ("", 1)
    assert any("takes too long" in note for note in completion.notes)


async def test_a_pattern_that_cannot_be_used_is_explained_before_anything_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.InvalidRequest, match="`accept` is not a regular expression"):
            await world.router.complete(ask(accept="("))

    assert world.calls == []


async def test_a_pattern_is_held_against_what_the_caller_sees(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(
            ask("Say my number 536-90-4399 again.", provider="deepseek", accept=r"536-90-4399")
        )

    assert "536-90-4399" in completion.answer.text
    assert completion.flaw == ""


async def test_a_wait_that_the_rest_of_the_deadline_has_no_room_for_is_not_begun(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        cheap, strong = await steps(world, escalating())
        world.providers[cheap].script(Says(text=REFUSAL))
        world.providers[strong].script(Reply(429, headers={"retry-after": "400"}))

        completion = await world.router.complete(escalating())

    assert (completion.provider, completion.flaw, world.clock.slept) == (cheap, "refused", [])


def _trail(completion: Completion) -> list[tuple[str, str]]:
    return [(attempt.provider, attempt.rejected) for attempt in completion.attempts]
