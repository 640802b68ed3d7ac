"""What can be read off a text without understanding it: the catalog's patterns, its words, its looks.

Every signal has a name and a strength. What each is worth is a table: `classifier.json`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sized
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
_ASCII_TERM = re.compile(r"[a-z]+(?:'[a-z]+)?|[0-9]+|[^\w\s]")
"""The same of small letters in ASCII, in half the time."""
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_CODE = "{}();=<>[]_`"
_ASCII_CODE = _CODE.encode()


@dataclass(frozen=True, slots=True)
class Patterns:
    """The catalog's patterns that match, by task, each as the text it matched. A task without any is not there."""

    strong: Mapping[str, tuple[str, ...]]
    weak: Mapping[str, tuple[str, ...]]

    def strengths(self) -> dict[str, float]:
        kinds = (("strong", self.strong, MOST_STRONG), ("weak", self.weak, MOST_WEAK))
        return {
            f"{kind} {task}": PATTERN_STRENGTH * min(len(matched), most)
            for kind, found, most in kinds
            for task, matched in found.items()
        }


@dataclass(frozen=True, slots=True)
class _Try:
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


class _Held(NamedTuple):
    """Patterns of whose every match one of the same texts is a part."""

    texts: tuple[str, ...]
    of_ascii: tuple[str, ...]
    """Those of `texts` that a text in ASCII may hold."""
    places: tuple[int, ...]


class Index:
    """The catalog's patterns by what their matches begin with, so that only those are tried that may match."""

    def __init__(self, words: Mapping[str, TaskWords]) -> None:
        strong = [(task, pattern) for task, patterns in words.items() for pattern in patterns.strong]
        weak = [(task, pattern) for task, patterns in words.items() for pattern in patterns.weak]
        self._patterns = [*strong, *weak]
        self._first_weak = len(strong)
        self._anywhere: list[int] = []
        tries: dict[str, list[_Try]] = {}
        held: dict[frozenset[str], list[int]] = {}
        for place, (_, pattern) in enumerate(self._patterns):
            opening = openings(pattern)
            for begins, at_line in ((opening.lines, True), (opening.words, False)):
                for letters, later in begins.items():
                    each_try = _Try(place, later.words, tuple(later.texts), at_line, pattern.match)
                    tries.setdefault(letters, []).append(each_try)
            if opening.texts:
                held.setdefault(opening.texts, []).append(place)
            if opening.anywhere:
                self._anywhere.append(place)
        self._tries = tries
        self._letters = tries.keys() | {letters for each in tries.values() for one in each for letters in one.later}
        self._held = [_held(texts, places) for texts, places in held.items()]

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
        tries = self._worth({letters for letters, _ in words}, lowered)
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
                kind = strong if place < self._first_weak else weak
                kind[task] = (*kind.get(task, ()), matched)
        return Patterns(strong, weak)

    def _worth(self, there: set[str], lowered: str) -> dict[str, list[_Try]]:
        """By the letters that are `there`: the ways to begin with them for which what comes later is there, too."""
        worth: dict[str, list[_Try]] = {}
        for letters in there:
            for each in self._tries.get(letters, ()):
                if each.later and there.isdisjoint(each.later):
                    continue
                if not each.texts or any(map(lowered.__contains__, each.texts)):
                    worth.setdefault(letters, []).append(each)
        return worth

    def _searched(self, lowered: str) -> list[int]:
        """The patterns whose matches may begin with something else than a word."""
        searched = [*self._anywhere]
        is_ascii = lowered.isascii()
        for held in self._held:
            for text in held.of_ascii if is_ascii else held.texts:
                if text in lowered:
                    searched += held.places
                    break
        return searched


def _held(texts: frozenset[str], places: Iterable[int]) -> _Held:
    # What holds a longer text holds the shorter one in it.
    shortest = tuple(text for text in texts if not any(other in text for other in texts - {text}))
    return _Held(shortest, tuple(filter(str.isascii, shortest)), tuple(places))


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
    is_ascii = text.isascii()
    cut = _ASCII_TERM.findall if is_ascii else _TERM.findall
    words = cut(text[:USUAL_CHARACTERS].lower())
    if len(words) <= MOST_TERMS and len(text) > USUAL_CHARACTERS:
        # Only so much is cut into words as can be used; no word of use is longer than 40 characters.
        words = cut(text[: MOST_TERMS * LONGEST_TERM].lower())
    words = words[:MOST_TERMS]
    if not is_ascii:
        words = [each for word in words for each in (word if _UNSPACED.match(word) else (word,))][:MOST_TERMS]
    words = ["#" if word.isdigit() else word[:LONGEST_TERM] for word in words]
    pairs = list(map(" ".join, pairwise(words)))
    return [*words, *pairs, *(f"^{first}" for first in (*words[:1], *pairs[:1]))]


def term_strength(terms: Sized) -> float:
    """Of each of the terms that are known, so that a long text has no louder voice than a short one."""
    return TERM_STRENGTH / sqrt(max(1, len(terms)))


def looks(text: str) -> dict[str, float]:
    """Signals with blanks around the name, which no word has."""
    is_ascii = text.isascii()
    numbers = len(_NUMBER.findall(text))
    code = len(text) - len(text.encode().translate(None, _ASCII_CODE)) if is_ascii else sum(map(text.count, _CODE))
    strengths = {" length ": LOOKS_STRENGTH * (log1p(len(text)) / 8)}
    if "\n" in text:
        strengths[" lines "] = LOOKS_STRENGTH
    if text.rstrip().endswith(("?", "？")):  # noqa: RUF001 - as it is written in Chinese
        strengths[" question "] = LOOKS_STRENGTH
    if numbers:
        strengths |= {" number ": LOOKS_STRENGTH, " numbers ": LOOKS_STRENGTH * (min(numbers, 6) / 6)}
    if text[:1].islower():
        strengths[" lower case "] = LOOKS_STRENGTH
    if code:
        strengths[" code "] = LOOKS_STRENGTH * (min(code, 10) / 10)
    if not is_ascii:
        strengths[" letters beyond ascii "] = LOOKS_STRENGTH
    return strengths
