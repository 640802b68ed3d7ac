"""A system prompt that comes again is read from the provider's cache, where that saves money."""

from pathlib import Path
from typing import Any

import pytest

from clocks import FakeClock
from formats import sent
from orchestra_router.config import load
from orchestra_router.deployments import Deployment
from orchestra_router.policy.prefixes import MOST_KEPT, Prefixes, beginnings
from orchestra_router.pricing import Pricing
from orchestra_router.providers import chat, messages
from orchestra_router.types import CompletionRequest, Message, Scope, Text, Tool
from worlds import World, open_world

LONG = "You review contracts. " * 500
"""About 2,750 tokens."""


def ask(prompt: str, *, system: str = LONG, **changes: Any) -> CompletionRequest:
    opening = (Message("system", (Text(system),)),) if system else ()
    return CompletionRequest(messages=(*opening, Message("user", (Text(prompt),))), **changes)


def deployment(home: Path, model: str = "claude-sonnet-5-5", provider: str = "anthropic") -> Deployment:
    return load({"ORCHESTRA_HOME": str(home)}).catalog.deployment(model, provider)


async def usages(world: World, *systems: str, gap_s: float = 1, **changes: Any) -> list[tuple[int, int, int]]:
    """Fresh, written and read tokens of one question after the other."""
    found: list[tuple[int, int, int]] = []
    for number, system in enumerate(systems):
        completion = await world.router.complete(ask(f"Question {number}?", system=system, **changes))
        usage = completion.answer.usage
        assert usage is not None
        found.append((usage.input_fresh, usage.cache_write, usage.cache_read))
        world.clock.advance(gap_s)
    return found


async def test_the_second_use_within_five_minutes_is_written_and_the_third_is_read(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        first, second, third = await usages(world, LONG, LONG, LONG, provider="anthropic", model="claude-sonnet-5-5")

        total = (await world.router.cost_report()).total
        assert total.spent_nusd == world.providers.billed_nusd

    assert first[1:] == (0, 0)
    assert second[1] > 2_000
    assert second[2] == 0
    assert third[1] == 0
    assert third[2] == second[1]


@pytest.mark.parametrize(
    ("systems", "gap_s"),
    [((LONG, LONG, LONG), 301), (("Be brief.",) * 3, 1), ((LONG, f"{LONG} 1", f"{LONG} 2"), 1), (("", "", ""), 1)],
    ids=["too seldom", "too short", "never the same", "none"],
)
async def test_nothing_is_written_that_will_not_be_read(tmp_path: Path, systems: tuple[str, ...], gap_s: float) -> None:
    async with open_world(tmp_path) as world:
        found = await usages(world, *systems, gap_s=gap_s, provider="anthropic", model="claude-sonnet-5-5")

    assert [usage[1:] for usage in found] == [(0, 0)] * 3


def test_what_is_marked_is_the_end_of_tools_and_system_prompt(tmp_path: Path) -> None:
    keep = {"cache_control": {"type": "ephemeral"}}
    tool = Tool("find", "Finds.", {})
    claude, router = deployment(tmp_path), deployment(tmp_path, provider="openrouter")

    marked = sent(messages.build_request(claude, ask("Hi", tools=(tool,), mark_prefix=True), api_key=""))
    tools_only = sent(messages.build_request(claude, ask("Hi", system="", tools=(tool,), mark_prefix=True), api_key=""))
    through = sent(chat.build_request(router, ask("Hi", mark_prefix=True), api_key=""))
    plain = sent(messages.build_request(claude, ask("Hi", tools=(tool,)), api_key=""))

    assert marked["system"] == [{"type": "text", "text": LONG} | keep]
    assert "cache_control" not in marked["tools"][-1]
    assert tools_only["tools"][-1].items() >= keep.items()
    assert through["messages"][0] == {"role": "system", "content": [{"type": "text", "text": LONG} | keep]}
    assert plain["system"] == LONG


def test_a_model_that_cannot_be_told_and_another_key_are_left_alone(tmp_path: Path) -> None:
    prefixes = Prefixes(FakeClock())
    claude, open_model = deployment(tmp_path), deployment(tmp_path, "deepseek-flash", "openrouter")
    begun = beginnings(ask("Hi"))
    for one in (claude, open_model):
        prefixes.was_read(one, begun, marked=False)

    assert prefixes.should_mark(claude, begun)
    assert not prefixes.should_mark(open_model, begun)
    assert not prefixes.should_mark(claude, beginnings(ask("Hi", scope=Scope(access_key="team"))))


def test_a_conversation_is_expected_to_be_cheaper_where_it_has_been(tmp_path: Path) -> None:
    clock = FakeClock()
    prefixes = Prefixes(clock)
    there = deployment(tmp_path, "deepseek-flash", "deepseek")
    first = ask("Hi", system=LONG)
    prefixes.was_read(there, beginnings(first), marked=False)
    later = CompletionRequest(
        messages=(*first.messages, Message("assistant", (Text("Hello."),)), Message("user", (Text("And?"),)))
    )
    elsewhere = deployment(tmp_path, "deepseek-flash", "openrouter")

    assert prefixes.cached_tokens(there, beginnings(later)) > 2_700
    assert prefixes.cached_tokens(elsewhere, beginnings(later)) == 0
    clock.advance(301)
    assert prefixes.cached_tokens(there, beginnings(later)) == 0


async def test_the_plan_expects_the_cached_rate(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        request = ask("Question?", provider="anthropic", model="claude-sonnet-5-5")
        before = (await world.router.plan(request)).route[0]
        await usages(world, LONG, LONG, provider="anthropic", model="claude-sonnet-5-5")
        after = (await world.router.plan(request)).route[0]

    saved = 2_750 * (2_000 - 100)
    assert before.expected_nusd - after.expected_nusd == pytest.approx(saved, rel=0.01)
    assert after.worst_nusd == before.worst_nusd


def test_the_worst_case_pays_for_writing_every_token(tmp_path: Path) -> None:
    config = load({"ORCHESTRA_HOME": str(tmp_path)})
    worst = Pricing.of(config.settings).worst_case_nusd(
        deployment(tmp_path), input_tokens=1_000, output_tokens=0, at_ms=0
    )

    assert worst >= 1_000 * 2_500


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    prefixes = Prefixes(FakeClock())
    claude = deployment(tmp_path)
    begun = [beginnings(ask("Hi", system=f"{number} {LONG[:4_000]}")) for number in range(MOST_KEPT + 1)]
    for one in begun:
        prefixes.was_read(claude, one, marked=False)

    assert not prefixes.should_mark(claude, begun[0])
    assert prefixes.should_mark(claude, begun[-1])


async def test_a_marked_prompt_is_taken_by_openrouter_too(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await usages(world, LONG, LONG, LONG, provider="openrouter", model="claude-sonnet-5-5")

        bodies = [received.raw for received in world.providers["openrouter"].received if received.method == "POST"]
        assert [b"cache_control" in body for body in bodies] == [False, True, True]
        assert (await world.router.cost_report()).total.spent_nusd == world.providers.billed_nusd
