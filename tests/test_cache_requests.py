"""The cache as a caller meets it: what is served again, to whom, for how long, and what is said about it."""

from pathlib import Path

import pytest

from orchestra_router import errors
from orchestra_router.config import load
from orchestra_router.policy.cache.eligibility import eligibility, unfit
from orchestra_router.simulation import Reply
from orchestra_router.types import Answer, CompletionRequest, Image, Message, Text, Tool, ToolCall
from worlds import World, ask, open_world

REFUSAL = "I'm sorry, but I can't help with that."
PROMPT = "Explain how a suspension bridge carries its load."


async def asked(world: World, request: CompletionRequest) -> str:
    return (await world.router.complete(request)).cache


# --- modes -----------------------------------------------------------------------------------------------------


async def test_only_never_pays_and_says_so(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.CacheMiss, match="Nothing was paid") as caught:
            await world.router.complete(ask(PROMPT, cache="only"))
        nobody_asked = world.calls == []
        await world.router.complete(ask(PROMPT))

        kept = await world.router.complete(ask(PROMPT, cache="only"))

    assert caught.value.code == "cache_miss"
    assert nobody_asked
    assert (kept.cache, kept.cost_nusd, kept.cache_reason) == ("HIT", 0, "")


async def test_only_with_something_that_is_never_kept_says_why(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.CacheMiss, match="temperature above 0"):
            await world.router.complete(ask(PROMPT, cache="only", temperature=0.5))


async def test_refresh_replaces_what_was_kept(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        first = await world.router.complete(ask(PROMPT))
        await world.router.complete(ask(PROMPT, cache="refresh"))

        third = await world.router.complete(ask(PROMPT))

    assert len(world.calls) == 2
    assert third.cache == "HIT"
    assert third.cache_entry
    assert first.cache_entry == ""


async def test_off_neither_looks_nor_keeps(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        first = await world.router.complete(ask(PROMPT, cache="off"))
        second = await world.router.complete(ask(PROMPT))

    assert (first.cache, first.cache_reason) == ("DISABLED", "switched off by the caller")
    assert second.cache == "MISS"


async def test_a_namespace_separates_what_one_scope_would_share(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        one = [await asked(world, ask(PROMPT, metadata={"cache_namespace": name})) for name in ("docs", "web", "docs")]
        none = await asked(world, ask(PROMPT))

    assert (one, none) == (["MISS", "MISS", "HIT"], "MISS")


async def test_other_labels_do_not(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        statuses = [await asked(world, ask(PROMPT, metadata={"app": app})) for app in ("docs", "web")]

    assert statuses == ["MISS", "HIT"]


# --- feedback --------------------------------------------------------------------------------------------------


async def test_an_answer_marked_wrong_is_deleted_and_the_prompt_asked_anew(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask(PROMPT))
        hit = await world.router.complete(ask(PROMPT))

        again = await world.router.complete(ask(PROMPT, wrong_cache_entry=hit.cache_entry))
        after = await world.router.complete(ask(PROMPT))

    assert again.cache == "REFRESH"
    assert len(world.calls) == 2
    assert any(f"{hit.cache_entry} was deleted" in note for note in again.notes)
    assert after.cache == "HIT"
    assert after.cache_entry != hit.cache_entry


async def test_an_entry_nobody_knows_is_no_reason_not_to_answer(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(ask(PROMPT, wrong_cache_entry="0123456789abcdef"))

    assert completion.answer.text
    assert any("no such cache entry" in note for note in completion.notes)


# --- what is kept, and for how long ----------------------------------------------------------------------------


QUESTION = ask(PROMPT).messages
IMAGE = Message("user", (Text(PROMPT), Image(data="aGVsbG8=", media_type="image/png")))
ANSWERED = Message("assistant", (Text("It hangs."),))


@pytest.mark.parametrize(
    ("request_", "reason", "seconds"),
    [
        (ask(PROMPT), "", 3600),
        (ask(PROMPT, cache_ttl_s=60), "", 60),
        (ask(PROMPT, cache_ttl_s=86_400), "", 86_400),
        (ask(PROMPT, temperature=0), "", 3600),
        (ask(PROMPT, task="creative_writing"), "creative writing", 3600),
        (ask(PROMPT, web_search=True), "web search", 300),
        (ask(PROMPT, task="web_search", web_search=True), "web search", 300),
        (ask("What is the latest Python release?"), "a word of time", 300),
        (ask("Wie ist das Wetter heute?"), "a word of time", 300),
        (ask("Ankara'da hava ŞİMDİ kaç derece?"), "a word of time", 300),
        (ask("How do I print the current directory in bash?"), "", 3600),
        (ask("What is the way to revert my most recent git commit?"), "", 3600),
        (ask("How do I undo the latest commit?"), "", 3600),
        (ask("How do I recover recently deleted photos?"), "", 3600),
        (ask("How does alternating current flow in a coil?"), "", 3600),
        (ask("Translate 'see you tomorrow' to Portuguese"), "", 3600),
        (ask('What does "breaking news" mean?'), "", 3600),
        (ask("What is 'good day, today' in Greek?"), "", 3600),
        (ask("What is the latest commit of Linux?"), "a word of time", 300),
        (ask("Which films were recently released?"), "a word of time", 300),
        (ask("What is the current price of copper wire?"), "a word of time", 300),
        (ask("Translate 'good day' and the headlines of today"), "a word of time", 300),
        (ask("Translate today's headlines"), "a word of time", 300),
        (ask('What is "the latest price" in dollars?'), "a word of time", 300),
        (ask("What does 'news' mean today?"), "a word of time", 300),
        (ask("What is the current president's directory of friends?"), "a word of time", 300),
        (ask("Does my most recent commit build on the latest Python?"), "a word of time", 300),
        (ask("今天有什么消息"), "a word of time", 300),
        (ask("word " * 250), "a long prompt", 3600),
        (ask("a" * 500), "a long prompt", 3600),
        (CompletionRequest(messages=(IMAGE,)), "the last turn is more than the user's text", 3600),
        (CompletionRequest(messages=(IMAGE, ANSWERED, *QUESTION)), "attachments", 3600),
        (CompletionRequest(messages=(*QUESTION, ANSWERED, *QUESTION)), "", 3600),
        (CompletionRequest(messages=(*QUESTION, ANSWERED)), "the last turn is more than the user's text", 3600),
    ],
)
async def test_what_is_only_served_for_the_very_same_request_and_how_long(
    tmp_path: Path, request_: CompletionRequest, reason: str, seconds: float
) -> None:
    catalog = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog

    found = eligibility(request_, catalog, setting="semantic", ttl_s=3600)

    assert (found.kept, found.compared) == (True, reason == "")
    assert (found.reason.partition(":")[0], found.ttl_s) == (reason, seconds)


async def test_an_answer_from_the_web_is_served_again_for_minutes_only(tmp_path: Path) -> None:
    request = ask("Who won?", task="web_search")
    async with open_world(tmp_path) as world:
        await world.router.complete(request)
        world.clock.advance(299)
        soon = await world.router.complete(request)
        world.clock.advance(2)
        late = await world.router.complete(request)

    assert (soon.cache, late.cache, late.cache_reason) == ("HIT", "MISS", "web search")


async def test_a_task_may_have_a_time_of_its_own_and_a_call_too(tmp_path: Path) -> None:
    toml = "\n[tasks.coding]\ncache_ttl_s = 10\n"
    async with open_world(tmp_path, toml=toml) as world:
        statuses: list[str] = []
        for request in (ask(PROMPT, task="coding"), ask(PROMPT, task="coding", effort="low", cache_ttl_s=30)):
            await world.router.complete(request)
            world.clock.advance(11)
            statuses.append(await asked(world, request))

    assert statuses == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(text="A cable hangs between towers."), ""),
        (Answer(text="I'm sorry, but I can't help with that."), "a refusal"),
        (Answer(text="I’m sorry, but I can’t assist with this request."), "a refusal"),  # noqa: RUF001 - as models write
        (Answer(text="As an AI language model, I cannot provide medical advice."), "a refusal"),
        (Answer(text="Sorry, I am unable to create images."), "a refusal"),
        (Answer(text="I can't say it better than Brunel: bridges carry loads."), ""),
        (Answer(text="Sorry for the delay! The answer is 42."), ""),
        (Answer(text="You cannot divide by zero."), ""),
        (Answer(text=" \n"), "an empty answer"),
        (Answer(text="half", finish="length"), "not a whole answer"),
        (Answer(text="no", finish="content_filter"), "not a whole answer"),
        (Answer(text="call", tool_calls=(ToolCall("1", "f", "{}"),)), "not a whole answer"),
        (Answer(text="x" * 1_000_001), "too large"),
    ],
)
def test_only_whole_answers_freely_given_are_kept(answer: Answer, why: str) -> None:
    assert unfit(answer) == why


async def test_a_refusal_is_bought_again(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        message = {"role": "assistant", "content": REFUSAL}
        refused = {"choices": [{"message": message, "finish_reason": "stop"}], "model": "deepseek-v4-flash"}
        world.providers["deepseek"].script(Reply(body=refused))
        request = ask(PROMPT, provider="deepseek")
        first = await world.router.complete(request)

        second = await world.router.complete(request)

    assert first.answer.text == REFUSAL
    assert second.cache == "MISS"


async def test_tools_that_are_offered_are_a_reason_that_is_told(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(ask(PROMPT, tools=(Tool("t", "", {"type": "object"}),)))

    assert (completion.cache, completion.cache_reason) == ("DISABLED", "tools are offered")


async def test_the_number_of_answers_kept_is_bounded_as_set(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache_entries_per_scope=2) as world:
        for number in range(4):
            await world.router.complete(ask(f"{PROMPT} {number}"))
            world.clock.advance(1)

        contents = await world.router.store.cache_contents()

    assert contents.entries == 2
