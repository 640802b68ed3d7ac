"""What can be read off a text without understanding it: the catalog's patterns, its words, its looks.

Every signal has a name and a strength. What each is worth is a table: `classifier.json`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log1p, sqrt

from orchestra_router.catalog import TaskWords
from orchestra_router.policy.classification.needed import may_match

READ_CHARACTERS = 4_000
"""What is asked stands at the beginning or the end; the middle of a long prompt is material."""
MOST_TERMS = 120
"""Words that are looked at. A task shows early, and longer texts would drown it."""
MOST_STRONG, MOST_WEAK = 2, 3
"""More patterns of a kind add nothing."""
PATTERN_STRENGTH, LOOKS_STRENGTH, TERM_STRENGTH = 0.3, 0.3, 1.5
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\w\s]")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_CODE = "{}();=<>[]_`"


@dataclass(frozen=True, slots=True)
class Patterns:
    """The catalog's patterns that match, by task, each as the text it matched."""

    strong: Mapping[str, tuple[str, ...]]
    weak: Mapping[str, tuple[str, ...]]

    @classmethod
    def found(cls, text: str, words: Mapping[str, TaskWords]) -> "Patterns":
        # Without regard to case, some letters beyond ASCII match letters within it.
        lowered = text.lower() if text.isascii() else None

        def matches(patterns: Sequence[re.Pattern[str]]) -> tuple[str, ...]:
            worth = patterns if lowered is None else [each for each in patterns if may_match(each, lowered)]
            return tuple(match[0] for each in worth if (match := each.search(text)))

        return cls(
            {task: matches(patterns.strong) for task, patterns in words.items()},
            {task: matches(patterns.weak) for task, patterns in words.items()},
        )

    def strengths(self) -> dict[str, float]:
        strong = {f"strong {task}": min(len(found), MOST_STRONG) for task, found in self.strong.items() if found}
        weak = {f"weak {task}": min(len(found), MOST_WEAK) for task, found in self.weak.items() if found}
        return {name: PATTERN_STRENGTH * count for name, count in (strong | weak).items()}


def ends(text: str) -> str:
    """The part of a prompt that is read."""
    if len(text) <= READ_CHARACTERS:
        return text
    half = READ_CHARACTERS // 2
    return f"{text[:half]}\n{text[-half:]}"


def terms(text: str) -> frozenset[str]:
    """Words, pairs of words, and the first ones with a `^`; every number is `#`. Chinese and kana one by one."""
    # Only so much is cut into words as can be used; no word of use is longer than 40 characters.
    words: list[str] = []
    for match in _WORD.finditer(text[: MOST_TERMS * 40].lower()):
        word = match[0]
        words += word if _UNSPACED.match(word) else ["#" if word.isdigit() else word[:40]]
        if len(words) >= MOST_TERMS:
            break
    words = words[:MOST_TERMS]
    pairs = [f"{one} {other}" for one, other in pairwise(words)]
    return frozenset((*words, *pairs, *(f"^{first}" for first in (*words[:1], *pairs[:1]))))


def term_strengths(found: frozenset[str], known: Mapping[str, object]) -> dict[str, float]:
    """Of the terms that are `known`, so that a long text has no louder voice than a short one."""
    of_use = [term for term in found if term in known]
    return dict.fromkeys(of_use, TERM_STRENGTH / sqrt(max(1, len(of_use))))


def looks(text: str) -> dict[str, float]:
    """Signals with blanks around the name, which no word has."""
    numbers = sum(1 for _ in re.finditer(r"\d+", text))
    strengths = {
        " length ": log1p(len(text)) / 8,
        " lines ": float("\n" in text),
        " question ": float(text.rstrip().endswith(("?", "？"))),  # noqa: RUF001 - as it is written in Chinese
        " number ": float(numbers > 0),
        " numbers ": min(numbers, 6) / 6,
        " lower case ": float(text[:1].islower()),
        " code ": min(sum(map(text.count, _CODE)), 10) / 10,
        " letters beyond ascii ": float(not text.isascii()),
    }
    return {name: LOOKS_STRENGTH * strength for name, strength in strengths.items() if strength}
