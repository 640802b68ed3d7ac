"""What can be read off a text without understanding it: the catalog's patterns, its words, its looks.

Every signal has a name and a strength. What each is worth is a table: `classifier.json`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import log1p, sqrt
from typing import NamedTuple

from orchestra_router.catalog import TaskWords
from orchestra_router.policy.classification.openings import LETTERS, openings
from orchestra_router.policy.small_letters import small_letters

READ_CHARACTERS = 4_000
"""What is asked stands at the beginning or the end; the middle of a long prompt is material."""
MOST_TERMS = 120
"""Words that are looked at. A task shows early, and longer texts would drown it."""
LONGEST_TERM = 40
USUAL_CHARACTERS = 1_000
"""Most texts have so many words by then."""
MOST_STRONG, MOST_WEAK = 2, 3
"""More patterns of a kind add nothing."""
PATTERN_STRENGTH, LOOKS_STRENGTH, TERM_STRENGTH = 0.3, 0.3, 1.5
_TERM = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\w\s]")
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_CODE = re.compile(r"[{}();=<>\[\]_`]")


@dataclass(frozen=True, slots=True)
class Patterns:
    """The catalog's patterns that match, by task, each as the text it matched. A task without any is not there."""

    strong: Mapping[str, tuple[str, ...]]
    weak: Mapping[str, tuple[str, ...]]

    def strengths(self) -> dict[str, float]:
        strong = {f"strong {task}": min(len(found), MOST_STRONG) for task, found in self.strong.items()}
        weak = {f"weak {task}": min(len(found), MOST_WEAK) for task, found in self.weak.items()}
        return {name: PATTERN_STRENGTH * count for name, count in (strong | weak).items()}


class _Try(NamedTuple):
    """One way in which a pattern may begin with a word."""

    place: int
    """Of the pattern."""
    later: frozenset[str]
    """Words of which one comes later, where there are any."""
    texts: tuple[str, ...]
    """The same of texts."""
    at_line: bool
    """Whether a match begins where the line of the word does."""
    match: Callable[[str, int], re.Match[str] | None]


class Index:
    """The catalog's patterns by what their matches begin with, so that only those are tried that may match."""

    def __init__(self, words: Mapping[str, TaskWords]) -> None:
        self._strong = [(task, pattern) for task, patterns in words.items() for pattern in patterns.strong]
        weak = [(task, pattern) for task, patterns in words.items() for pattern in patterns.weak]
        self._patterns = [*self._strong, *weak]
        self._anywhere: list[int] = []
        self._words: dict[str, list[_Try]] = {}
        self._texts: dict[str, list[int]] = {}
        for place, (_, pattern) in enumerate(self._patterns):
            opening = openings(pattern)
            for begins, at_line in ((opening.lines, True), (opening.words, False)):
                for letters, later in begins.items():
                    each_try = _Try(place, later.words, tuple(later.texts), at_line, pattern.match)
                    self._words.setdefault(letters, []).append(each_try)
            for text in opening.texts:
                if not any(other in text for other in opening.texts - {text}):
                    self._texts.setdefault(text, []).append(place)
            if opening.anywhere:
                self._anywhere.append(place)
        self._ascii = [(text, places) for text, places in self._texts.items() if text.isascii()]
        self._letters = self._words.keys() | {
            each for tries in self._words.values() for each_try in tries for each in each_try.later
        }

    def found(self, text: str) -> Patterns:
        """What matches in `text`, each pattern where it does first."""
        lowered = small_letters(text)
        found: dict[int, str | None] = {}
        for place in self._searched(lowered):
            match = self._patterns[place][1].search(text)
            found[place] = match and match[0]
        known = self._letters
        words = [
            (letters, match.start()) for match in _WORD.finditer(lowered) if (letters := match[0][:LETTERS]) in known
        ]
        there = {letters for letters, _ in words}
        tries = {letters: self._worth(letters, there, lowered) for letters in there if letters in self._words}
        for letters, start in words:
            for each in tries.get(letters, ()):
                if each.place in found:
                    continue
                if matched := each.match(text, text.rfind("\n", 0, start) + 1 if each.at_line else start):
                    found[each.place] = matched[0]
        strong: dict[str, tuple[str, ...]] = {}
        weak: dict[str, tuple[str, ...]] = {}
        for place in sorted(found):
            if (matched := found[place]) is not None:
                task = self._patterns[place][0]
                kind = strong if place < len(self._strong) else weak
                kind[task] = (*kind.get(task, ()), matched)
        return Patterns(strong, weak)

    def _worth(self, letters: str, there: set[str], lowered: str) -> list[_Try]:
        """The ways to begin with a word of `letters` for which what comes later is there, too."""
        return [
            each
            for each in self._words[letters]
            if not (each.later and there.isdisjoint(each.later))
            and not (each.texts and not any(map(lowered.__contains__, each.texts)))
        ]

    def _searched(self, lowered: str) -> list[int]:
        """The patterns whose matches may begin with something else than a word."""
        texts = self._ascii if lowered.isascii() else self._texts.items()
        return [*self._anywhere, *(place for text, places in texts if text in lowered for place in places)]


def ends(text: str) -> str:
    """The part of a prompt that is read."""
    if len(text) <= READ_CHARACTERS:
        return text
    half = READ_CHARACTERS // 2
    return f"{text[:half]}\n{text[-half:]}"


def terms(text: str) -> list[str]:
    """Words, pairs of words, and the first ones with a `^`, as often as they are there; every number is `#`.

    Chinese and kana one by one.
    """
    words = _TERM.findall(text[:USUAL_CHARACTERS].lower())
    if len(words) <= MOST_TERMS and len(text) > USUAL_CHARACTERS:
        # Only so much is cut into words as can be used; no word of use is longer than 40 characters.
        words = _TERM.findall(text[: MOST_TERMS * LONGEST_TERM].lower())
    words = words[:MOST_TERMS]
    if not text.isascii():
        words = [each for word in words for each in (word if _UNSPACED.match(word) else (word,))][:MOST_TERMS]
    words = ["#" if word.isdigit() else word[:LONGEST_TERM] for word in words]
    pairs = list(map(" ".join, pairwise(words)))
    return [*words, *pairs, *(f"^{first}" for first in (*words[:1], *pairs[:1]))]


def term_strengths(found: Iterable[str], known: Mapping[str, object]) -> dict[str, float]:
    """Of the terms that are `known`, so that a long text has no louder voice than a short one."""
    of_use = dict.fromkeys(filter(known.__contains__, found))
    return dict.fromkeys(of_use, TERM_STRENGTH / sqrt(max(1, len(of_use))))


def looks(text: str) -> dict[str, float]:
    """Signals with blanks around the name, which no word has."""
    numbers = len(_NUMBER.findall(text))
    strengths = {
        " length ": log1p(len(text)) / 8,
        " lines ": float("\n" in text),
        " question ": float(text.rstrip().endswith(("?", "？"))),  # noqa: RUF001 - as it is written in Chinese
        " number ": float(numbers > 0),
        " numbers ": min(numbers, 6) / 6,
        " lower case ": float(text[:1].islower()),
        " code ": min(len(_CODE.findall(text)), 10) / 10,
        " letters beyond ascii ": float(not text.isascii()),
    }
    return {name: LOOKS_STRENGTH * strength for name, strength in strengths.items() if strength}
