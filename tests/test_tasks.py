"""Which task a prompt is taken for, and the words that decide it."""

import json
import re
import time
from importlib.resources import files
from math import exp
from pathlib import Path

import pytest

from orchestra_router.catalog import Catalog
from orchestra_router.config import load
from orchestra_router.embedding.base import NO_PAYER, Payer
from orchestra_router.embedding.local import LazyEmbedder, LocalEmbedder
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.policy.classification import classifier, signals
from orchestra_router.policy.plain_questions import is_plain_question
from orchestra_router.policy.tasks import classified, classify, with_task
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
        "Select a color from the list",
    ],
)
def test_one_ambiguous_word_decides_nothing(prompt: str, catalog: Catalog) -> None:
    assert classify(ask(prompt), catalog.keywords).task == "general_chat"


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
    assert classify(ask(prompt), catalog.keywords).task == task


def test_the_reason_names_the_words_that_decided(catalog: Catalog) -> None:
    found = classify(ask("What is the weather in Paris?"), catalog.keywords)

    assert re.fullmatch(r'no task named; "weather" and ".*" point to web_search \(\d+%\)', found.reason)
    assert "weather in" in found.signals


def test_a_search_is_not_guessed_for_a_caller_with_tools(catalog: Catalog) -> None:
    tool = Tool(name="search", description="Searches.", parameters={"type": "object"})

    assert classify(ask("What is the weather in Paris?", tools=(tool,)), catalog.keywords).task != "web_search"


@pytest.mark.parametrize(
    "piece", ["a ", "write ", "how many ", "1 + ", "f(a", "<a", "select ", "as a-", "rewrite code "]
)
def test_no_prompt_takes_long_to_read(piece: str, catalog: Catalog) -> None:
    request = ask(piece * 100_000)
    catalog.keywords  # noqa: B018 - compiled before the clock starts

    started = time.perf_counter()
    classify(request, catalog.keywords)

    assert time.perf_counter() - started < 1


def test_what_is_between_two_tasks_goes_to_general_chat_and_says_so(catalog: Catalog) -> None:
    found = classify(ask("weather poem python equation hello"), catalog.keywords)

    assert found.confidence < 0.4
    assert found.task == "general_chat"
    assert re.search(r"it may be \w+ \(\d+%\) or \w+", found.reason)


@pytest.mark.parametrize("text", ["", "   ", "?", "\ud800", "\x00", "🤷", "a" * 4_000_000, "\n" * 4_000_000])
def test_every_text_has_a_task_and_soon(text: str, catalog: Catalog) -> None:
    classify(ask("warm up"), catalog.keywords)

    started = time.perf_counter()
    found = classify(ask(text), catalog.keywords)

    assert found.task in catalog.tasks
    assert found.reason
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("Schreibe ein Gedicht über das Meer", "creative_writing"),
        ("Schreibe eine Python-Funktion, die eine Liste sortiert", "coding"),
        ("Quel temps fera-t-il demain à Paris ?", "web_search"),
        ("Écris un poème sur la pluie", "creative_writing"),
        ("¿Qué tiempo hace hoy en Madrid?", "web_search"),
        ("Scrivi una funzione in Python che inverte una stringa", "coding"),
        ("Escreva um poema sobre o outono", "creative_writing"),
        ("Wat is het laatste nieuws van vandaag?", "web_search"),
        ("写一首关于春天的诗", "creative_writing"),
        ("明天上海的天气怎么样", "web_search"),
        ("напиши стихотворение про зиму", "creative_writing"),
    ],
)
def test_the_languages_that_are_covered_are_read(prompt: str, task: str, catalog: Catalog) -> None:
    found = classify(ask(prompt), catalog.keywords)

    assert found.task == task
    assert "not covered" not in found.reason


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("오늘 저녁에 무엇을 먹을까요?", "Korean"),
        ("ما هو أفضل كتاب قرأته هذا العام؟", "Arabic"),
        ("मुझे एक अच्छी किताब बताइए", "Indic"),
        ("Ποια είναι η καλύτερη εποχή για ταξίδι;", "Greek"),
        ("Gdzie mogę znaleźć świeże grzyby jesienią?", "not recognised"),
    ],
)
def test_a_language_that_is_not_covered_is_named(prompt: str, language: str, catalog: Catalog) -> None:
    reason = classify(ask(prompt), catalog.keywords).reason

    assert "not covered" in reason
    assert language in reason


def test_a_task_of_the_users_own_is_found_by_its_patterns(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text(
        """
[tasks.legal]
route = [{ model = "sonar", provider = "perplexity" }]
strong = ['\\bnon-disclosure\\b']
keywords = ['\\bclause\\b', '\\bcontract\\b']
""",
        encoding="utf-8",
    )
    words = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog.keywords

    assert classify(ask("Write a python function for a non-disclosure form"), words).task == "legal"
    assert classify(ask("Read the second clause of this contract"), words).task == "legal"
    assert classify(ask("Is Santa bound by a contract?"), words).task == "general_chat"


# --- with the meaning ----------------------------------------------------------------------------------------


class Counting(LazyEmbedder):
    """The real embedder, and how often it was needed."""

    needed = 0

    async def get(self, payer: Payer = NO_PAYER) -> LocalEmbedder | None:
        self.needed += 1
        return await super().get(payer)


def counting(home: Path, *, wanted: bool = True) -> Counting:
    return Counting(home, None, wanted=wanted)


@pytest.mark.parametrize("prompt", ["I live in Java", "My flatmate never washes up, and I am fed up with it."])
async def test_the_meaning_decides_where_the_words_do_not(prompt: str, catalog: Catalog, tmp_path: Path) -> None:
    found = await classified(ask(prompt), catalog.keywords, PromptVector(counting(tmp_path), prompt))

    assert (found.task, found.method) == ("general_chat", "rules and meaning")
    assert "and its meaning" in found.reason


PLAIN_QUESTIONS = [
    "Who wrote Moby Dick?",
    "Who is the author of Moby Dick?",
    "Which artist painted Guernica?",
    "When was the Hoover Dam built?",
    "When did they build the Hoover Dam?",
    "In which year did the Lusitania sink?",
    "Which lake is the deepest in the world?",
    "What is the largest desert in Asia?",
    "Which currency is used in Norway?",
    "Which city is the capital of Peru?",
    "When is the best time of the year to visit Patagonia?",
    "what's a sonnet",
]
CHANGING_QUESTIONS = [
    "Who is the president of Peru?",
    "Who is the chief executive of Renault?",
    "Who won the World Cup?",
    "Who wrote the new Bond film?",
    "Who founded the startup that was sold this week?",
    "When did the strike end?",
    "When was the latest bridge built?",
    "What year did Brazil last win the World Cup?",
    "Which currency is used in Norway now?",
    "What is the rate of the currency of Norway?",
    "What is the largest company in Asia?",
    "What is the tallest building in the world?",
    "What is the longest flight in the world?",
    "What's the weather in Lima?",
    "What's a good name for a cafe?",
    "Write what a sonnet is as a sonnet",
    "What was built in 2026?",
    "When is the best time to book a flight?",
]


@pytest.mark.parametrize("prompt", PLAIN_QUESTIONS)
async def test_what_is_in_any_book_is_neither_searched_for_nor_invented(
    prompt: str, catalog: Catalog, tmp_path: Path
) -> None:
    found = await classified(ask(prompt), catalog.keywords, PromptVector(counting(tmp_path), prompt))

    assert found.task not in {"web_search", "creative_writing"}


@pytest.mark.parametrize("prompt", CHANGING_QUESTIONS)
def test_what_may_have_changed_is_no_plain_question(prompt: str) -> None:
    assert not is_plain_question(prompt)


async def test_clear_words_need_no_embedding(catalog: Catalog, tmp_path: Path) -> None:
    prompt = "Write a Python function that parses a CSV file with regex"
    embedder = counting(tmp_path)

    found = await classified(ask(prompt), catalog.keywords, PromptVector(embedder, prompt))

    assert (found.task, found.method, embedder.needed) == ("coding", "rules", 0)


async def test_a_pinned_model_is_not_worth_an_embedding(catalog: Catalog, tmp_path: Path) -> None:
    embedder = counting(tmp_path)

    await with_task(ask("Hm, what now?", model="sonar"), catalog, PromptVector(embedder, "Hm, what now?"))

    assert embedder.needed == 0


async def test_without_an_embedder_the_words_decide(catalog: Catalog, tmp_path: Path) -> None:
    prompt = "Hm, what now?"

    found = await classified(ask(prompt), catalog.keywords, PromptVector(counting(tmp_path, wanted=False), prompt))

    assert found == classify(ask(prompt), catalog.keywords)


async def test_a_prompt_is_embedded_once_whoever_asks(tmp_path: Path) -> None:
    vector = PromptVector(LazyEmbedder(tmp_path, None, wanted=True), "Hello there.")

    first = await vector.get()

    assert first is not None
    assert await vector.get() is first


async def test_another_embedders_vector_is_not_read(tmp_path: Path) -> None:
    vector = PromptVector(LazyEmbedder(tmp_path, None, wanted=True), "Hello there.")

    assert await vector.get(made_by="another/0123") is None


@pytest.mark.parametrize("most", [True, False])
def test_a_task_is_as_likely_as_the_stored_weights_say(most: bool, catalog: Catalog) -> None:
    """Of texts of all sizes, up to one of the heaviest or the lightest words there are."""
    stored = json.loads(
        files("orchestra_router.policy.classification").joinpath("classifier.json").read_text(encoding="utf-8")
    )
    rows: dict[str, list[int]] = stored["rules"]["weights"]
    words = sorted((term for term in rows if term.isalpha()), key=lambda term: sum(rows[term]), reverse=most)
    index = signals.Index(catalog.keywords)

    for count in (0, 1, 2, 10, signals.MOST_TERMS):
        text = " ".join(["Zyxw", *words[:count]])
        patterns = index.found(text)
        strengths = classifier.strengths_of(text, patterns, rows)
        logits = [
            bias + stored["rules"]["scale"] * sum(value * rows[signal][place] for signal, value in strengths.items())
            for place, bias in enumerate(stored["rules"]["bias"])
        ]

        scores = classifier.rules().scores(text, patterns)

        assert scores.best == stored["tasks"][logits.index(max(logits))]
        assert scores.confidence == pytest.approx(exp(max(logits)) / sum(map(exp, logits)), rel=1e-12)
