"""Swear words in several languages, through the usual disguises, as whole words only."""

import functools
import re
import tomllib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra_router.policy.rules.base import Action, Span

WORDS = Path(__file__).with_name("profanity.toml")
# Each letter, and what people write in its place.
_LOOKALIKES = {
    "a": "a4@àáâãä",
    "b": "b8",
    "c": "cç(",
    "e": "e3èéêë",
    "g": "g9",
    "i": "i1!|íìîï",
    "l": "l1|",
    "n": "nñ",
    "o": "o0òóôõö",
    "s": "s5$",
    "t": "t7+",
    "u": "uüùúûv",
    "z": "z2",
}


# Every letter of such a group is written as the first one, on both sides of a quick comparison.
_SAME = ("a4@àáâãä", "b8", "cç(", "e3èéêë", "g9", "il1!|íìîï", "nñ", "o0òóôõö", "s5$", "t7+", "uüùúûv", "z2")
_PLAIN = str.maketrans({other: group[0] for group in _SAME for other in group[1:]} | dict.fromkeys(" ._-\n"))
_REPEATED = re.compile(r"(.)(?=\1)")
"""Each letter but the last of several that are the same."""


@dataclass(frozen=True, slots=True)
class ProfanityRule:
    action: Action
    kind: str = "profanity"
    setting: str = "guard_profanity"

    def spans(self, text: str) -> Iterator[Span]:
        found = list(self._words(text))
        if not text.isascii():  # whose scripts set no words apart
            found += (match.span() for match in _anywhere().finditer(text))
        yield from sorted(found)

    def _words(self, text: str) -> Iterator[Span]:
        # The pattern reads a megabyte in a second, and most texts need it not at all.
        lowered = text.lower()
        plain = _REPEATED.sub("", lowered.translate(_PLAIN))
        if "*" in text or any(map(plain.__contains__, _cores())):
            yield from (match.span() for match in _pattern().finditer(text))
        elif short := [word for word in _short_words() if word in lowered]:
            yield from sorted(match.span() for word in short for match in _exact(word).finditer(text))


@functools.cache
def _table() -> Mapping[str, Mapping[str, Sequence[str]]]:
    return tomllib.loads(WORDS.read_text(encoding="utf-8"))


@functools.cache
def _cores() -> tuple[str, ...]:
    words = {word for language in _table().values() for word in language["words"]}
    return tuple({_REPEATED.sub("", word.translate(_PLAIN)) for word in words})


@functools.cache
def _exact(word: str) -> re.Pattern[str]:
    return re.compile(rf"\b{_spaced(word)}\b", re.IGNORECASE)


@functools.cache
def _short_words() -> tuple[str, ...]:
    return tuple(word for language in _table().values() for word in language["exact"])


@functools.cache
def _anywhere() -> re.Pattern[str]:
    return re.compile("|".join(word for language in _table().values() for word in language.get("anywhere", ())))


def _spaced(word: str) -> str:
    return re.escape(word).replace(r"\ ", r"\s{1,3}")


@functools.cache
def _pattern() -> re.Pattern[str]:
    """One pattern for all languages. Every repeat in it is bounded, so it takes time linear in the text."""
    choices: list[str] = []
    for language in _table().values():
        if not language["words"]:
            continue
        endings = "|".join(sorted(map(re.escape, language["endings"]), key=len, reverse=True))
        words = sorted(language["words"], key=len, reverse=True)
        choices.append(f"(?:{'|'.join(map(_disguised, words))})(?:{endings})?")
        choices += [_spelled_out(word) for word in words]
        choices += map(_spaced, language["exact"])
    return re.compile(rf"(?<![\w*@])(?:{'|'.join(choices)})(?![\w*]|['\u2019]\w{{3}})", re.IGNORECASE)


def _disguised(word: str) -> str:
    """`word` with look-alikes, letters drawn out, and stars for some of the letters in its middle."""
    first, *middle, last = word
    hidden = "".join(f"(?:{_letter(letter)}|\\*)" for letter in middle)
    return f"{_letter(first)}{hidden}(?:{_letter(last)}|\\*)"


def _spelled_out(word: str) -> str:
    """`word` with the same mark or space between all its letters: f.u.c.k"""
    name = f"gap_{zlib.crc32(word.encode())}"
    first, *rest = (re.escape(letter) for letter in word)
    return f"{first}(?P<{name}>[ ._*-]){f'(?P={name})'.join(rest)}"


def _letter(letter: str) -> str:
    return f"[{re.escape(_LOOKALIKES.get(letter, letter))}]{{1,5}}"
