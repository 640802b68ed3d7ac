"""Where a pattern is tried at all: never at fewer places than it matches at."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.catalog import TaskWords
from orchestra_router.config import load
from orchestra_router.policy.classification.openings import Openings, openings
from orchestra_router.policy.classification.signals import Index, Patterns
from orchestra_router.policy.small_letters import small_letters

PAIRS = Path(__file__).parent / "data" / "pairs.jsonl"
TRAINING = Path(__file__).parent / "tasks" / "training"


def read_off(pattern: str) -> Openings:
    return openings(re.compile(pattern, re.IGNORECASE | re.MULTILINE))


NOTHING: set[str] = set()


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"\b(?:Python|C(?:\+\+|#))", {"pytho": NOTHING, "c": NOTHING}),
        (r"\b(?:write|fix)\b.{0,60}\b(?:code|function)\b", {"write": {"code", "funct"}, "fix": {"code", "funct"}}),
        (r"\bin the (?:style|voice) of\b", {"in": {"style", "voice"}}),
        (r"^who is\b|\bwho won\b", {"who": {"is", "won"}}),
        (r"\bwho\b|\bwho won\b", {"who": NOTHING}),
        (r"\bcolou?rs?\b", {"color": NOTHING, "colou": NOTHING}),
        (r"\b20[12]\b", {"201": NOTHING, "202": NOTHING}),
        (r"(?<!are you )\btoday\b", {"today": NOTHING}),
    ],
)
def test_the_words_that_a_match_begins_with_are_read_off_the_pattern(pattern: str, words: dict[str, set[str]]) -> None:
    found = read_off(pattern)

    assert {letters: later.words for letters, later in found.words.items()} == words
    assert (found.lines, found.texts, found.anywhere) == ({}, set(), False)


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"search (?:the web|online)\b", "search "),
        (r"(?:write|fix)\b.{0,60}\b(?:code|function)\b", "code function write"),
        (r"\bgo", "go"),
        (r"colou?r", "colo"),
        (r"(?:very )?good", "good"),
        (r"(?:ab){2}", "ab"),
        (r"x(?:a|b|)y", "x"),
        (r"[xyz]\s=", "="),
        (r"\b\w+ times as", " times as"),
        (r"\d+", "0 1 2 3 4 5 6 7 8 9"),
        (r"(?:a|\D)", ""),
        (r"(?:)", ""),
    ],
)
def test_where_a_match_may_begin_within_a_word_it_is_what_every_match_holds(pattern: str, texts: str) -> None:
    found = read_off(pattern)

    assert (" ".join(sorted(found.texts)), found.anywhere) == (texts, not texts)


def test_where_a_match_begins_with_almost_any_word_it_is_known_what_else_it_holds() -> None:
    words = read_off(r"\b[a-z]\([a-z0-9]\)\s?=|\b(?:in|for) (?:\w+ )?202[5-9]\b").words

    assert {letters: set(later.texts) for letters, later in words.items() if letters in {"a", "in"}} == {
        "a": {"("},
        "in": {"202"},
    }


def searched(text: str, words: Mapping[str, TaskWords]) -> Patterns:
    """What is found without an index."""

    def matched(patterns: tuple[re.Pattern[str], ...]) -> tuple[str, ...]:
        return tuple(match[0] for each in patterns if (match := each.search(text)))

    strong = {task: found for task, each in words.items() if (found := matched(each.strong))}
    return Patterns(strong, {task: found for task, each in words.items() if (found := matched(each.weak))})


def test_the_patterns_of_the_catalog_are_found_as_if_each_was_searched_for(tmp_path: Path) -> None:
    words = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog.keywords
    rows = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    texts = [row["a"] for row in rows if "a" in row]
    texts += [line for file in sorted(TRAINING.iterdir()) for line in file.read_text(encoding="utf-8").splitlines()]
    index = Index(words)

    assert len(texts) > 1_000
    assert [text for text in texts if index.found(text) != searched(text, words)] == []


@given(
    st.lists(
        st.sampled_from(
            [
                *(r"\bab?c\b", r"\ba(?:b|c){1,2}", r"a(?:bc|d)+e", r"(?i:AB)c|d(?=e)e", r"^a\b|\bd[ef]*\b"),
                *(r"\b(?:a|de) ?f\b.{0,3}\bk", r"(?<!x)ab?c{1,3}", r"[ab]c|(?:de){0,2}f", r"\b[^a]c?"),
                *(r"^[ \t]{0,2}(?:a|de|#k)\s?f?|=>", r"^\t*a{2}|^ ?b", r"\d\s?[ac]", r"\b[ab]\d\d?\b"),
                *(r"\b(a|k)\1c", r"x*", r"\bs\d"),
            ]
        ),
        min_size=1,
        max_size=3,
    ),
    st.text("abcdefkxs1 \n\t#\u0661\u212a\u017f\u0130\u00e9", max_size=16),
)
def test_any_pattern_is_found_in_any_text_as_if_it_was_searched_for(patterns: list[str], text: str) -> None:
    compiled = tuple(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in patterns)
    words = {"one": TaskWords(strong=compiled, weak=compiled[:1])}

    assert Index(words).found(text) == searched(text, words)


@pytest.mark.parametrize(
    "text", ["Kelvin \u212a", "\u017fecret", "I\u0130\u0131i", "\u03a3\u03c3\u03c2", "\u1c80\u0432"]
)
def test_small_letters_stay_in_their_places_and_are_alike_where_a_pattern_takes_them_for_the_same(text: str) -> None:
    small = small_letters(text)

    assert len(small) == len(text)
    for one, small_one in zip(text, small, strict=True):
        for other, small_other in zip(text, small, strict=True):
            assert (re.fullmatch(re.escape(one), other, re.IGNORECASE) is None) or small_one == small_other
