"""Answers served for another wording of the same question: when, to whom, and when never."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.embedding.local import LocalEmbedder
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.policy.cache import question
from orchestra_router.router import open_router
from orchestra_router.simulation import Says
from orchestra_router.types import Completion, Scope
from worlds import World, ask, open_world

FIRST = "How do I reset my router password?"
SAME = "How can I reset the password of my router?"
THEIRS = "How do I reset your router password?"
REWORDED = "How can I recover the password of my router?"
OPPOSITE = "How do I not reset my router password?"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were embedded, by the real embedder."""
    texts: list[str] = []
    real = LocalEmbedder.embed

    async def embed(self: LocalEmbedder, asked: Sequence[str]) -> Any:
        texts.extend(asked)
        return await real(self, asked)

    monkeypatch.setattr(LocalEmbedder, "embed", embed)
    return texts


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def complete(world: World, prompt: str, **changes: Any) -> Completion:
    completion = await world.router.complete(ask(prompt, **{"task": "general_chat"} | changes))
    await world.router.cache.settled()
    return completion


# --- hits ------------------------------------------------------------------------------------------------------


async def test_another_wording_is_answered_for_nothing_and_the_result_says_how(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        first = await complete(world, FIRST)
        world.clock.advance(90)

        second = await complete(world, SAME)

    assert second.cache == "SEMANTIC HIT"
    assert second.answer.text == first.answer.text
    assert (second.cost_nusd, second.saved_nusd, second.cache_age_ms) == (0, first.cost_nusd, 90_000)
    assert second.cache_similarity is not None
    assert 0.95 <= second.cache_similarity <= 1
    assert second.cache_entry
    assert len(world.calls) == 1


@pytest.mark.parametrize(
    ("prompt", "status", "reason"),
    [
        ("How do I reset my router password in 5 minutes?", "MISS", "nothing comparable is kept"),
        (OPPOSITE, "MISS", "nothing comparable is kept"),
        ("How do I reset `my` router password?", "MISS", "nothing comparable is kept"),
        ("Wie setze ich das Passwort meines Routers zurück?", "MISS", "nothing comparable is kept"),
        ("How do plants grow in the desert?", "SEMANTIC MISS", "none is alike enough"),
        (THEIRS, "SEMANTIC MISS", "person"),
    ],
)
async def test_another_question_is_asked_and_the_result_says_why(
    tmp_path: Path, prompt: str, status: str, reason: str
) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)

        second = await complete(world, prompt)

    assert (second.cache, second.cache_reason.partition(":")[0]) == (status, reason)
    assert len(world.calls) == 2


async def test_the_threshold_may_be_lower(tmp_path: Path) -> None:
    one = "How do I remove a coffee stain from a carpet?"
    other = "What is the best way to remove coffee stains from carpet?"
    statuses: list[str] = []
    for number, threshold in enumerate(["0.95", "balanced"]):
        home = tmp_path / str(number)
        home.mkdir()
        async with open_world(home, cache="semantic", cache_threshold=threshold) as world:
            await complete(world, one)
            statuses.append((await complete(world, other)).cache)

    assert statuses == ["SEMANTIC MISS", "SEMANTIC HIT"]


async def test_where_nothing_can_match_nothing_is_embedded(tmp_path: Path, embedded: list[str]) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        before_the_call: list[str] = []

        def weather() -> Says:
            before_the_call.extend(embedded)
            return Says()

        for provider in world.providers.providers.values():
            provider.weather = weather
        await complete(world, FIRST)
        on_the_way, after = list(before_the_call), list(embedded)

        await complete(world, "How do I reset 5 router passwords?")
        await complete(world, "How do I reset my router password?", task="coding")

    assert on_the_way == []
    assert after == [FIRST]
    # Each of the others after its own answer, and none to find that answer.
    assert sorted(embedded) == sorted([FIRST, FIRST, "How do I reset 5 router passwords?"])


async def test_a_prompt_whose_task_is_told_by_its_meaning_is_embedded_once(tmp_path: Path, embedded: list[str]) -> None:
    unclear = "My flatmate 536-90-4399 never washes up, and I am fed up with it."
    reworded = "My flatmate 536-90-4399 never washes up and I'm fed up with it."
    async with open_world(tmp_path, cache="semantic") as world:
        first = await complete(world, unclear, task=None)
        after_one = list(embedded)

        second = await complete(world, reworded, task=None)

    assert (first.cache, second.cache) == ("MISS", "SEMANTIC HIT")
    # For the task, for the look in the cache and for what is kept there.
    assert len(after_one) == 1
    assert len(embedded) == 2
    assert not any("536-90" in text for text in embedded)


async def test_a_vector_of_another_text_is_not_compared(tmp_path: Path, embedded: list[str]) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        router = world.router
        theirs = PromptVector(router.embedder, FIRST)
        await theirs.get()

        asked = router.cache.question(ask(SAME, task="general_chat"), theirs)

        assert asked.comparable is not None
        assert await asked.comparable.vector.get() is not None
    assert embedded == [FIRST, SAME]


async def test_an_answer_that_expired_is_not_served_for_another_wording_either(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)
        world.clock.advance(3601)

        second = await complete(world, SAME)

    assert second.cache == "MISS"


async def test_a_hit_keeps_an_answer_from_being_pushed_out(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic", cache_entries_per_scope=2) as world:
        await complete(world, FIRST)
        world.clock.advance(1)
        await complete(world, "How do plants grow in the desert?")
        world.clock.advance(1)
        await complete(world, SAME)
        world.clock.advance(1)

        await complete(world, "What is the tallest mountain in Africa?")

        assert (await complete(world, FIRST)).cache == "HIT"


async def test_what_is_redacted_is_compared_and_kept_redacted(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, "Is 536-90-4399 a valid social security number?")

        second = await complete(world, "Is 536-90-4398 a valid social security number, please?")

    on_disk = everything_in(tmp_path)
    assert second.cache == "SEMANTIC HIT"
    assert b"536-90-439" not in on_disk


# --- feedback and shadow ---------------------------------------------------------------------------------------


async def test_a_pair_marked_wrong_never_matches_again_in_either_order(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)
        hit = await complete(world, SAME)

        again = await complete(world, SAME, wrong_cache_entry=hit.cache_entry)
        other_way = await complete(world, FIRST)
        both_kept = [(await complete(world, prompt)).cache for prompt in (FIRST, SAME)]
        in_capitals = await complete(world, SAME.upper().capitalize())

    assert (hit.cache, again.cache) == ("SEMANTIC HIT", "REFRESH")
    assert (other_way.cache, other_way.cache_reason) == ("SEMANTIC MISS", "marked wrong before")
    assert both_kept == ["HIT", "HIT"]
    assert in_capitals.cache == "SEMANTIC HIT"  # of the same words, not of the other pair


async def test_another_scope_cannot_delete_an_entry_nor_learn_that_it_is_there(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)
        entry = (await complete(world, SAME)).cache_entry
        cache = world.router.cache

        theirs = cache.question(ask(SAME, task="general_chat", scope=Scope("other")))
        said = await cache.wrong(entry, theirs, now_ms=world.clock.now_ms())
        unknown = await cache.wrong("0" * 16, theirs, now_ms=world.clock.now_ms())

        assert said.replace(entry, "X") == unknown.replace("0" * 16, "X")
        assert (await complete(world, SAME)).cache == "SEMANTIC HIT"


async def test_shadow_mode_serves_nothing_by_meaning_and_records_what_it_would_have(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic", cache_shadow="true") as world:
        await complete(world, FIRST)
        same = await complete(world, SAME)
        theirs = await complete(world, THEIRS)
        exact = await complete(world, FIRST)
        matches = await world.router.store.cache_matches(served=False, most=9)

    assert (same.cache, same.cache_reason) == ("SEMANTIC MISS", "shadow mode")
    assert (theirs.cache, exact.cache) == ("SEMANTIC MISS", "HIT")
    would_be = {match.asked: (match.earlier, match.refusal.partition(":")[0]) for match in matches}
    assert would_be[SAME] == (FIRST, "")
    assert would_be[THEIRS] == (FIRST, "person")
    assert len(world.calls) == 3


# --- read only where it can help -------------------------------------------------------------------------------

IN_FIGURES, IN_WORDS = "What is 10% of 50?", "What is ten percent of fifty?"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that the lexical guard was made to read, by the real guard."""
    texts: list[str] = []
    real = question.parse

    def parse(text: str) -> Any:
        texts.append(text)
        return real(text)

    monkeypatch.setattr(question, "parse", parse)
    return texts


async def test_prompts_of_other_numbers_are_not_read_to_know_that_nothing_matches(
    tmp_path: Path, parsed: list[str]
) -> None:
    async with open_world(tmp_path, cache="semantic", embedder="off") as world:
        for number in range(3):
            missed = await complete(world, f"How do I reset {number} router passwords?")
            assert (missed.cache, missed.cache_reason) == ("MISS", "nothing comparable is kept")
        assert parsed == []

        again = await complete(world, "How do I reset 1 router passwords please?")

    assert again.cache == "SEMANTIC HIT"
    assert sorted(parsed) == ["How do I reset 1 router passwords please?", "How do I reset 1 router passwords?"]


@pytest.mark.parametrize("embedder", ["local", "off"])
@pytest.mark.parametrize(("kept", "asked"), [(IN_FIGURES, IN_WORDS), (IN_WORDS, IN_FIGURES)])
async def test_a_number_is_the_same_in_figures_and_in_words(
    tmp_path: Path, embedder: str, kept: str, asked: str
) -> None:
    async with open_world(tmp_path, cache="semantic", embedder=embedder, cache_threshold="0.5") as world:
        for number in range(40):
            await complete(world, f"What is {number} plus {number + 1}?")
        await complete(world, kept)
        await complete(world, "What is one plus one?")

        second = await complete(world, asked)

    assert second.cache == "SEMANTIC HIT"


async def test_one_prompt_of_spelled_numbers_does_not_make_all_others_be_read(
    tmp_path: Path, parsed: list[str]
) -> None:
    async with open_world(tmp_path, cache="semantic", embedder="off") as world:
        await complete(world, IN_WORDS)
        await complete(world, "What is 3% of 70?")
        await complete(world, "Which one is it?")
        parsed.clear()

        for number in range(3, 6):
            missed = await complete(world, f"How do I reset {number} router passwords?")
            assert missed.cache == "MISS"

    assert parsed == []


async def test_what_one_process_kept_unread_another_finds_by_its_words(tmp_path: Path, parsed: list[str]) -> None:
    async with open_world(tmp_path, cache="semantic", embedder="off") as world:
        await complete(world, FIRST)
        assert parsed == []

        async with open_router(world.router.config, clock=world.clock) as fresh:
            hit = await fresh.complete(ask(f"{FIRST} Please!", task="general_chat"))
            await fresh.cache.settled()
            read = list(parsed)
            again = await fresh.complete(ask(f"Please: {FIRST}", task="general_chat"))

    assert (hit.cache, again.cache) == ("SEMANTIC HIT", "SEMANTIC HIT")
    assert FIRST in read
    assert parsed.count(FIRST) == 1  # what was read is written down


async def test_answers_kept_without_a_look_are_all_found_in_time(tmp_path: Path) -> None:
    prompts = [f"How do plants grow in the {place}?" for place in "abcdefghijklmnopqrstuvwxyz"]
    async with open_world(tmp_path, cache="semantic", embedder="off") as world:
        for prompt in prompts:
            await complete(world, prompt, cache="refresh")

        for prompt in prompts[:2]:  # as many looks as it takes to read them, a few at a time
            await complete(world, f"{prompt} Thanks", cache="use")
        found = [(await complete(world, f"Please: {prompt}")).cache for prompt in prompts]

    assert set(found) <= {"SEMANTIC HIT", "HIT"}


# --- without, or with another, embedder ------------------------------------------------------------------------


async def test_without_an_embedder_the_very_same_words_still_match(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic", embedder="off") as world:
        await complete(world, FIRST)

        polite = await complete(world, "how do I reset my router password please")
        reworded = await complete(world, REWORDED)

    assert (polite.cache, polite.cache_similarity) == ("SEMANTIC HIT", None)
    assert reworded.cache == "MISS"


async def test_damaged_weights_are_explained_and_exact_hits_go_on(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("model.safetensors", "vocab.txt"):
        (weights / name).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00damaged!")
    async with open_world(tmp_path, cache="semantic", embedder_path=str(weights)) as world:
        await complete(world, FIRST)
        statuses = [(await complete(world, prompt)).cache for prompt in (FIRST, f"{FIRST} Please!", REWORDED)]
        state = world.router.embedder.state()

    assert statuses == ["HIT", "SEMANTIC HIT", "MISS"]
    assert str(weights) in state.problem


async def test_vectors_of_another_embedder_are_not_compared_and_are_made_anew(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)
        with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db, db:
            db.execute("UPDATE cache_vectors SET embedder = 'another/1'")
            db.execute("UPDATE cache SET embedder = 'another/1'")

        first_look = await complete(world, SAME)
        third = await complete(world, "How could I reset my router's password?")

    assert first_look.cache == "MISS"
    assert third.cache == "SEMANTIC HIT"


@pytest.mark.parametrize(
    "damage",
    [b"short", b"\x00" * 1536, b"\xff" * 1536, b"\x00\x00\x80\x7f" * 384],
    ids=["short", "zeros", "nan", "inf"],
)
async def test_damaged_vectors_are_never_compared_and_are_made_anew(tmp_path: Path, damage: bytes) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)
        with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db, db:
            db.execute("UPDATE cache_vectors SET vector = ?", (damage,))
        async with open_router(world.router.config, clock=world.clock) as fresh:
            first_look = await fresh.complete(ask(SAME, task="general_chat", cache="use"))
            await fresh.cache.settled()
            await fresh.store.drop_cached(entry_id=(await fresh.complete(ask(SAME, task="general_chat"))).cache_entry)
            second_look = await fresh.complete(ask(SAME, task="general_chat"))

    assert first_look.cache == "MISS"
    assert second_look.cache == "SEMANTIC HIT"


async def test_what_a_process_did_not_get_to_embed_is_embedded_when_it_is_needed(
    tmp_path: Path, embedded: list[str]
) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)
        with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db, db:
            db.execute("DELETE FROM cache_vectors")
        async with open_router(world.router.config, clock=world.clock) as fresh:
            hit = await fresh.complete(ask(SAME, task="general_chat"))
            await fresh.cache.settled()
            contents = await fresh.store.cache_contents()

    assert hit.cache == "SEMANTIC HIT"
    assert embedded == [FIRST, SAME, FIRST]
    assert contents.embedded == 1


# --- hostile prompts -------------------------------------------------------------------------------------------

HOSTILE = {
    "one character": "a" * 100_000,
    "digits": "7" * 100_000,
    "numbers": "1 2 3 " * 20_000,
    "mixed scripts": "a\u0431\u0432\u03b3\u03b4\u6f22\u5b57\u304b\ud55c\uae00\u0627\u0628 " * 20,
    "brackets": "[" * 50_000,
    "combining": "e\u0301" * 50_000,
    "blanks": " \t\n" * 30_000 + "x",
    "quotes": "`\"'" * 500,
}


@pytest.mark.parametrize("prompt", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_prompt_is_answered_and_kept_apart_from_its_like(tmp_path: Path, prompt: str) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        statuses = [(await complete(world, text)).cache for text in (prompt, prompt + "b", prompt)]

    assert statuses[0] == "MISS"
    assert statuses[1] in {"MISS", "SEMANTIC MISS"}
    assert statuses[2] == "HIT"


async def test_invisible_characters_do_not_make_another_question(tmp_path: Path) -> None:
    async with open_world(tmp_path, cache="semantic") as world:
        await complete(world, FIRST)

        hidden = await complete(world, "How do I re\u00adset my router\ufeff password?")

    assert hidden.cache == "SEMANTIC HIT"
