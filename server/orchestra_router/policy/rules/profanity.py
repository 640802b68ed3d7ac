"""Swear words in several languages, through the usual disguises, as whole words only."""

import functools
import re
import tomllib
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra_router.policy.rules.base import ANYTHING, Action, Needs, Span
from orchestra_router.policy.small_letters import small_letters

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
_FIRST_OF = {ord(other): group[0] for group in _SAME for other in group}
_MARKS = "@(!|$+"
"""Those of them that stand in no word otherwise."""
_PLAIN = str.maketrans({chr(other): first for other, first in _FIRST_OF.items()} | dict.fromkeys(" ._-\n"))
_REPEATED = re.compile(r"(.)(?=\1)")
"""Each letter but the last of several that are the same."""
MOST_REMEMBERED = 10_000
"""Characters whose form is kept ready: more than any script has that words are written in."""
BEGINNING = 4
"""Letters of a word that are looked at first."""


class _Written(dict[int, str]):
    """What takes a character's place, so that words are parted by blanks: found out when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character in _MARKS or character == "*":
            written = character
        elif character.isalnum() or character == "_":
            small = small_letters(character)
            written = _FIRST_OF.get(ord(small), small)
        else:
            written = " "
        if len(self) < MOST_REMEMBERED:
            self[code] = written
        return written


_WRITTEN = _Written()
_ASCII_WRITTEN = "".join(map(_WRITTEN.__getitem__, range(128))).encode().ljust(256)
"""The same for ASCII, a byte for a byte."""
_SIGNS = (*_MARKS, "*")
_BARE = str.maketrans(dict.fromkeys(_SIGNS, " "))
_UNMARKED = str.maketrans({mark: _FIRST_OF[ord(mark)] for mark in _MARKS})
_LETTERS_APART = re.compile(r" \S \S ")


@dataclass(frozen=True, slots=True)
class ProfanityRule:
    action: Action
    kind: str = "profanity"
    setting: str = "guard_profanity"
    needs: Needs = ANYTHING

    def spans(self, text: str) -> Iterable[Span]:
        found = _words(text) if _worth_a_look(text) else []
        if not text.isascii():  # whose scripts set no words apart
            found += (match.span() for match in _anywhere().finditer(text))
        return sorted(found)


def _words(text: str) -> list[Span]:
    # The pattern reads a megabyte in a second, and most texts need it not at all.
    lowered = text.lower()
    plain = _squeezed(lowered.translate(_PLAIN))
    if "*" in text or any(map(plain.__contains__, _known().cores)):
        return [match.span() for match in _pattern().finditer(text)]
    short = [word for word in _short_words() if word in lowered]
    return [match.span() for word in short for match in _exact(word).finditer(text)]


@dataclass(frozen=True, slots=True)
class _Known:
    """The words as they are written in a quick comparison."""

    cores: frozenset[str]
    """Without endings and blanks."""
    parts: frozenset[str]
    """Without endings, as far as the first blank."""
    whole: frozenset[str]
    """The same with each of their endings, and the exact words."""
    beginnings: frozenset[str]
    """Of those, as they may be drawn out, up to `BEGINNING` letters."""
    stems: frozenset[str]
    """What may stand before the first star."""


def _worth_a_look(text: str) -> bool:
    """Whether anything may be found in `text` by the pattern, or by an exact word."""
    known = _known()
    marked = text.encode().translate(_ASCII_WRITTEN).decode() if text.isascii() else text.translate(_WRITTEN)
    bare = marked.translate(_BARE) if any(map(marked.__contains__, _SIGNS)) else marked
    words = set(bare.split())
    beginnings = known.beginnings
    begun = [word for word in words if word[:BEGINNING] in beginnings]
    if begun and not known.whole.isdisjoint(map(_squeezed, begun)):
        return True
    if bare is not marked and _is_hidden(set(marked.split()) - words, known):
        return True
    return _LETTERS_APART.search(f" {bare.replace('_', ' ')} ") is not None


def _is_hidden(marked: Collection[str], known: _Known) -> bool:
    """Whether one of the words in which marks stand for letters may be one of those that are `known`."""
    starred = [word for word in marked if "*" in word]
    if any(_may_be_starred(word, known) for word in starred):
        return True
    plain = _squeezed(" ".join(marked).translate(_UNMARKED))
    return any(map(plain.__contains__, known.parts))


def _may_be_starred(word: str, known: _Known) -> bool:
    before = word[: word.index("*")]
    return any(map(word.__contains__, _MARKS)) or _squeezed(before) in known.stems


def _squeezed(text: str) -> str:
    return _REPEATED.sub("", text)


@functools.cache
def _known() -> _Known:
    words = [(word, language["endings"]) for language in _table().values() for word in language["words"]]
    cores = {_squeezed(word.translate(_PLAIN)) for word, _ in words}
    spelled = {_squeezed(word.translate(_WRITTEN)) for word, _ in words}
    endings = [word + ending for word, endings in words for ending in ("", *endings)]
    firsts = [word.translate(_WRITTEN).split()[0] for word in (*endings, *_short_words())]
    begins = {word[:BEGINNING] for word in firsts}
    return _Known(
        cores=frozenset(cores),
        parts=frozenset(word.split()[0] for word in spelled),
        whole=frozenset(map(_squeezed, firsts)),
        beginnings=frozenset(begun for word in begins for begun in _drawn_out(word, BEGINNING)),
        stems=frozenset(word[:end] for word in spelled for end in range(1, len(word))),
    )


def _drawn_out(word: str, most: int) -> Iterator[str]:
    """How `word` may begin, with each of its letters any number of times."""
    if most == 0 or not word:
        yield ""
        return
    for times in range(1, most + 1):
        for rest in _drawn_out(word[1:], most - times):
            yield word[0] * times + rest


@functools.cache
def _table() -> Mapping[str, Mapping[str, Sequence[str]]]:
    return tomllib.loads(WORDS.read_text(encoding="utf-8"))


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
