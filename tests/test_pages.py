"""A long answer, page by page."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra_router.errors import InvalidRequest
from orchestra_router.simulation import SimulatedWorld, simulated_world
from orchestra_tools.pages import Place, answer_page, batch_page
from surface import Json, answering, configured, connected, fail, succeed

FAMILY = "👩‍👩‍👧‍👦"
E_ACUTE = "e\u0301"
pieces = st.sampled_from(["a", "word", " ", "\n", "é", FAMILY, E_ACUTE, "漢", "🇫🇷"])
texts = st.lists(pieces, max_size=300).map("".join)


def next_place(page: Json) -> Place:
    return Place.of(page["more"]["next"].split('"')[1])


def pages_of(data: Json, turn: Any, most: int) -> list[Json]:
    pages = [turn(data, Place("id"), most=most)]
    while pages[-1].get("more"):
        pages.append(turn(data, next_place(pages[-1]), most=most))
    return pages


@given(texts, st.integers(20, 400))
@settings(max_examples=60)
def test_the_pages_together_are_the_answer_and_none_is_too_long(text: str, most: int) -> None:
    pages = pages_of({"text": text, "cost_usd": 1, "request_id": "id"}, answer_page, most)

    assert "".join(page["text"] for page in pages) == text
    assert all(len(page["text"]) <= most for page in pages)
    assert ["cost_usd" in page for page in pages] == [True] + [False] * (len(pages) - 1)


@pytest.mark.parametrize("character", [FAMILY, E_ACUTE, "🇫🇷", "각", "க்ஷ"])
def test_what_looks_like_one_character_stays_one(character: str) -> None:
    text = character * 500

    pages = pages_of({"text": text, "request_id": "id"}, answer_page, 101)

    whole = regex.findall(r"\X", text)
    assert [piece for page in pages for piece in regex.findall(r"\X", page["text"])] == whole


def test_a_page_ends_between_words() -> None:
    first, *_ = pages_of({"text": "one two three " * 100, "request_id": "id"}, answer_page, 205)

    assert first["text"].endswith(("one", "two", "three"))
    assert first["more"]["characters"] == 1_400 - len(first["text"])


@given(st.lists(texts, min_size=1, max_size=8), st.integers(50, 600))
@settings(max_examples=60)
def test_the_pages_of_a_batch_together_are_its_results(answers: list[str], most: int) -> None:
    entries: list[Json] = [{"text": text, "model": "m"} for text in answers]
    entries.append({"error": {"code": "no_route"}})

    pages = pages_of({"results": entries, "answered": len(answers), "request_id": "id"}, batch_page, most)

    read = [""] * len(entries)
    for page in pages:
        assert page["results"]
        for number, entry in enumerate(page["results"], start=page.get("first", 0)):
            read[number] += entry.get("text", "!")
    assert read == [*answers, "!"]
    assert "answered" in pages[0]


@pytest.mark.parametrize("text", ["id@", "id@x", "id@1+", "@5", "id@-1", "id@1@2", "id@9999999999"])
def test_a_place_that_no_result_gave_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="unchanged"):
        Place.of(text)


@pytest.mark.parametrize("place", [Place("id", 4), Place("id", 0, 1)])
def test_behind_the_end_there_is_nothing(place: Place) -> None:
    with pytest.raises(InvalidRequest, match="3 characters"):
        answer_page({"text": "abc"}, place, most=10)


# --- through a client ------------------------------------------------------------------------------------------


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_long_answer_is_read_to_its_end_and_paid_once(mode: str, world: SimulatedWorld, tmp_path: Path) -> None:
    text = " ".join(f"Sentence number {number}." for number in range(150))
    world["deepseek"].script(answering(text))

    async with connected(configured(world, tmp_path, "answer_page_chars = 1000"), mode) as client:
        pages = [await succeed(client, "complete", prompt="Tell me a lot.", provider="deepseek")]
        while "more" in pages[-1]:
            pages.append(await succeed(client, "complete", request_id=next_place_text(pages[-1])))
        words, _ = await fail(client, "complete", request_id=f"{pages[0]['request_id']}@9999")
        foreign, _ = await fail(client, "complete", request_id="0123456789abcdef@1000")

    assert len(pages) > 2
    assert "".join(page["text"] for page in pages) == text
    assert len(world["deepseek"].received) == 1
    assert f"has {len(text):,} characters" in words
    assert "can be collected" in foreign


def next_place_text(page: Json) -> str:
    return page["more"]["next"].split('"')[1]


async def test_a_short_answer_says_nothing_of_pages(world: SimulatedWorld, tmp_path: Path) -> None:
    async with connected(configured(world, tmp_path)) as client:
        data = await succeed(client, "complete", prompt="What is the capital of France?")

    assert "more" not in data


async def test_what_is_known_of_all_models_fits_into_one_result_of_every_client(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    async with connected(configured(world, tmp_path)) as client:
        sizes = {
            tool: len(str(await succeed(client, tool, **arguments)))
            for tool, arguments in (
                ("provider_status", {}),
                ("route_task", {"prompt": "Hello there."}),
                ("cost_report", {"group_by": "model"}),
            )
        }

    assert max(sizes.values()) < 50_000, sizes
