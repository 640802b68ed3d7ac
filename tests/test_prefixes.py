"""A system prompt that comes again is read from the provider's cache, where that saves money."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from clocks import FakeClock
from formats import sent
from orchestra_router.config import load
from orchestra_router.deployments import Deployment
from orchestra_router.policy.prefixes import MOST_KEPT, Beginnings, Marks, Prefixes, prefix_key
from orchestra_router.pricing import Pricing
from orchestra_router.providers import chat, messages, responses
from orchestra_router.types import CompletionRequest, Image, Message, Scope, Text, Tool, ToolCall, ToolResult
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
    begun = Beginnings(ask("Hi"))
    for one in (claude, open_model):
        prefixes.was_read(one, begun, Marks())

    assert prefixes.marks(claude, begun) == Marks(fixed=True)
    assert prefixes.marks(open_model, begun) == Marks()
    assert prefixes.marks(claude, Beginnings(ask("Hi", scope=Scope(access_key="team")))) == Marks()


def test_a_conversation_is_expected_to_be_cheaper_where_it_has_been(tmp_path: Path) -> None:
    clock = FakeClock()
    prefixes = Prefixes(clock)
    there = deployment(tmp_path, "deepseek-flash", "deepseek")
    first = ask("Hi", system=LONG)
    prefixes.was_read(there, Beginnings(first), Marks())
    later = CompletionRequest(
        messages=(*first.messages, Message("assistant", (Text("Hello."),)), Message("user", (Text("And?"),)))
    )
    elsewhere = deployment(tmp_path, "deepseek-flash", "openrouter")

    assert prefixes.cached_tokens(there, Beginnings(later)) > 2_700
    assert prefixes.cached_tokens(elsewhere, Beginnings(later)) == 0
    clock.advance(301)
    assert prefixes.cached_tokens(there, Beginnings(later)) == 0


def test_a_request_has_as_many_tokens_as_its_last_beginning() -> None:
    request = CompletionRequest(
        tools=(Tool("find", "Findet Züge.", {"type": "object"}),),
        messages=(
            Message("system", (Text("Sei kurz."),)),
            Message("user", (Text("Où est la gare ? " * 9), Image(data="aGk=", media_type="image/png"))),
            Message("assistant", (ToolCall("call_1", "find", '{"what": "駅"}'),)),
            ToolCall("call_1", "find", "{}").result("Gleis 9¾"),
        ),
    )

    assert Beginnings(request).tokens == Beginnings(request).grown[-1].tokens > 50


def test_no_short_prompt_is_read_for_what_a_provider_may_have_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestra_router.policy.prefixes._beginnings", None)
    prefixes, begun = Prefixes(FakeClock()), Beginnings(ask("Hi", system="Be brief."))

    for one in (deployment(tmp_path), deployment(tmp_path, "gpt-6-luna", "openai")):
        prefixes.was_read(one, begun, prefixes.marks(one, begun))
        assert prefixes.counting(begun) is None
        assert prefixes.cached_tokens(one, begun) == 0
        assert prefix_key(one, begun) == ""


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
    begun = [Beginnings(ask("Hi", system=f"{number} {LONG[:4_000]}")) for number in range(MOST_KEPT + 1)]
    for one in begun:
        prefixes.was_read(claude, one, Marks())

    assert prefixes.marks(claude, begun[0]) == Marks()
    assert prefixes.marks(claude, begun[-1]) == Marks(fixed=True)


async def test_a_marked_prompt_is_taken_by_openrouter_too(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await usages(world, LONG, LONG, LONG, provider="openrouter", model="claude-sonnet-5-5")

        bodies = [received.raw for received in world.providers["openrouter"].received if received.method == "POST"]
        assert [b"cache_control" in body for body in bodies] == [False, True, True]
        assert (await world.router.cost_report()).total.spent_nusd == world.providers.billed_nusd


# --- conversations -----------------------------------------------------------------------------------------------


def talk(*turns: str, **changes: Any) -> CompletionRequest:
    """A conversation without a system prompt: the user and the model in turns."""
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    messages = (Message(roles[number % 2], (Text(text),)) for number, text in enumerate(turns))
    return CompletionRequest(messages=tuple(messages), provider="anthropic", model="claude-sonnet-5-5", **changes)


async def bills(world: World, *conversations: CompletionRequest) -> list[tuple[int, int, int]]:
    """Fresh, written and read tokens of one after the other."""
    found: list[tuple[int, int, int]] = []
    for request in conversations:
        usage = (await world.router.complete(request)).answer.usage
        assert usage is not None
        found.append((usage.input_fresh, usage.cache_write, usage.cache_read))
    return found


async def test_a_conversation_that_goes_on_is_written_to_its_end_and_read_from_there(tmp_path: Path) -> None:
    turns = [f"{number} {LONG}" for number in range(7)]
    conversations = [talk(*turns[:length]) for length in (1, 3, 5, 7)]
    async with open_world(tmp_path) as world:
        first, second, third, fourth = await bills(world, *conversations)
        total = (await world.router.cost_report()).total
        expected = (await world.router.plan(talk(*turns, "a", "And?"))).route[0]

        assert total.spent_nusd == world.providers.billed_nusd

    one = first[0]
    assert first == (one, 0, 0)
    assert second == (0, pytest.approx(3 * one, rel=0.01), 0)
    assert third == (0, pytest.approx(2 * one, rel=0.01), second[1])
    assert fourth == (0, pytest.approx(2 * one, rel=0.01), second[1] + third[1])
    # From the third request on less is paid for the input than without a mark, and by the fourth a third of it.
    paid = sum(fresh + 1.25 * written + 0.05 * read for fresh, written, read in (first, second, third, fourth))
    assert paid < 0.7 * (1 + 3 + 5 + 7) * one
    assert expected.expected_nusd < 7 * one * 2_000 / 2


async def test_questions_about_the_same_text_write_it_once_and_never_the_question(tmp_path: Path) -> None:
    question = "What does clause {} say? " + "Please be exact. " * 400
    asked = [talk(LONG, "I have read it.", question.format(number)) for number in range(3)]
    async with open_world(tmp_path) as world:
        first, second, third = await bills(world, *asked)

    assert first[1:] == (0, 0)
    assert second[1] == third[2] > 2_000
    assert second[2] == third[1] == 0
    assert second[0] == third[0] > 1_000


@pytest.mark.parametrize(
    ("turns", "gap_s"), [((LONG, LONG, LONG), 301), (("Hi.", "Hello.", "And?"), 1)], ids=["too seldom", "too short"]
)
async def test_no_turn_is_marked_in_vain(tmp_path: Path, turns: tuple[str, ...], gap_s: float) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(talk(turns[0]))
        world.clock.advance(gap_s)
        (second,) = await bills(world, talk(*turns))

    assert second[1:] == (0, 0)


def test_the_mark_of_a_turn_is_at_its_last_block_that_is_no_thought(tmp_path: Path) -> None:
    keep = {"cache_control": {"type": "ephemeral"}}
    claude = deployment(tmp_path)
    call = Message("assistant", (Text("Looking."), ToolCall("c1", "find", "{}")))
    result = Message("user", (ToolResult("c1", "find", "nothing"),))
    request = CompletionRequest(
        messages=(*talk("Hi.").messages, call, result), tools=(Tool("find", "Finds.", {}),), mark_turns=(2, 3)
    )

    said, called, returned = sent(messages.build_request(claude, request, api_key=""))["messages"]

    assert said == {"role": "user", "content": [{"type": "text", "text": "Hi."}]}
    assert ["cache_control" in block for block in called["content"]] == [False, True]
    assert returned["content"][-1].items() >= keep.items()


# --- who keeps by himself ----------------------------------------------------------------------------------------


async def test_openai_is_told_which_requests_begin_alike_and_nobody_else_is(tmp_path: Path) -> None:
    asked = [
        ask("Question 1?", provider="openai"),
        ask("Question 2?", provider="openai"),
        ask("Question 3?", provider="openai", system=f"Another. {LONG}"),
        ask("Question 4?", provider="openai", system="Short."),
        ask("Question 5?", provider="deepseek"),
    ]
    async with open_world(tmp_path) as world:
        for request in asked:
            await world.router.complete(request)
        bodies = [
            json.loads(received.raw)
            for name in ("openai", "deepseek")
            for received in world.providers[name].received
            if received.method == "POST"
        ]

    first, second, other, short, elsewhere = (body.get("prompt_cache_key") for body in bodies)
    assert first == second is not None
    assert other not in {None, first}
    assert (short, elsewhere) == (None, None)


def test_a_conversation_without_a_long_system_prompt_keeps_its_key(tmp_path: Path) -> None:
    openai = deployment(tmp_path, "gpt-6-luna", "openai")
    first = prefix_key(openai, Beginnings(talk(LONG)))

    assert prefix_key(openai, Beginnings(talk(LONG, "Hello.", "And?"))) == first != ""
    assert prefix_key(openai, Beginnings(talk(f"Other. {LONG}"))) != first
    assert prefix_key(openai, Beginnings(talk(LONG, scope=Scope(access_key="team")))) != first
    through = deployment(tmp_path, "gpt-6-luna", "openrouter")
    assert prefix_key(through, Beginnings(talk(LONG))) == ""


@pytest.mark.parametrize("build", [chat.build_request, responses.build_request])
def test_the_key_goes_out_over_both_of_openais_formats(tmp_path: Path, build: Any) -> None:
    openai = deployment(tmp_path, "gpt-6-luna", "openai")

    assert sent(build(openai, ask("Hi", prefix_key="a1"), api_key=""))["prompt_cache_key"] == "a1"
    assert "prompt_cache_key" not in sent(build(openai, ask("Hi"), api_key=""))


def test_every_claude_of_the_catalog_says_from_where_on_it_can_be_marked(tmp_path: Path) -> None:
    catalog = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog

    least = {name: model.cache_from_tokens for name, model in catalog.models.items() if name.startswith("claude")}

    assert least["claude-sonnet-4-5"] == 1_024
    assert {tokens for name, tokens in least.items() if name != "claude-sonnet-4-5"} == {512}
