"""Which task a prompt is taken for, and the words that decide it."""

import time
from pathlib import Path

import pytest

from orchestra_router.catalog import Catalog
from orchestra_router.config import load
from orchestra_router.policy.tasks import classify
from orchestra_router.types import Tool
from worlds import ask


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    home: Path = tmp_path_factory.mktemp("home")
    return load({"ORCHESTRA_HOME": str(home)}).catalog


@pytest.mark.parametrize(
    "prompt",
    [
        "Today I feel sad",
        "Is the function of the liver to store glycogen?",
        "My code of conduct draft",
        "Explain step by step why the sky is blue",
        "I bought it for $5",
        "I live in Java",
        "Select a color from the list",
    ],
)
def test_one_ambiguous_word_decides_nothing(prompt: str, catalog: Catalog) -> None:
    assert classify(ask(prompt), catalog.keywords)[0] == "general_chat"


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("What is the weather in Paris?", "web_search"),
        ("Which airlines fly there right now?", "web_search"),
        ("Write a function that adds two numbers", "coding"),
        ("Why does my python thread hang?", "coding"),
        ("Prove that there are infinitely many primes", "complex_reasoning"),
        ("Write a haiku about rain", "creative_writing"),
    ],
)
def test_a_strong_phrase_or_two_signs_decide(prompt: str, task: str, catalog: Catalog) -> None:
    assert classify(ask(prompt), catalog.keywords)[0] == task


def test_the_reason_names_the_words(catalog: Catalog) -> None:
    _, reason = classify(ask("What is the weather in Paris?"), catalog.keywords)

    assert reason == 'no task named; "weather in" and "weather" points to web_search'


def test_a_search_is_not_guessed_for_a_caller_with_tools(catalog: Catalog) -> None:
    tool = Tool(name="search", description="Searches.", parameters={"type": "object"})

    assert classify(ask("What is the weather in Paris?", tools=(tool,)), catalog.keywords)[0] != "web_search"


@pytest.mark.parametrize(
    "piece", ["a ", "write ", "how many ", "1 + ", "f(a", "<a", "select ", "as a-", "rewrite code "]
)
def test_no_prompt_takes_long_to_read(piece: str, catalog: Catalog) -> None:
    request = ask(piece * 100_000)
    catalog.keywords  # noqa: B018 - compiled before the clock starts

    started = time.perf_counter()
    classify(request, catalog.keywords)

    assert time.perf_counter() - started < 1
