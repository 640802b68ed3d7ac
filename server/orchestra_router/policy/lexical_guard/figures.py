"""The numbers of a text as far as a glance tells them, in a tenth of the time that `parse` takes.

Where the figures of two texts are known and differ, so do their quantities, and no rule lets the answer to one pass for
the other's. Where a number may be written in more ways than one, nothing is said.
"""

import re
from collections.abc import Iterable, Mapping

from orchestra_router.policy.lexical_guard.characters import plain
from orchestra_router.policy.lexical_guard.quantities import CHANGING, SPELLED

UNKNOWN = ""
NONE = "-"
MOST_CHARACTERS = 64
"""Of what is said. What is cut off can only make two texts look comparable that are not."""

_WORD = re.compile(r"[a-z]+")
_DIGIT = re.compile(r"\d")
# Nothing else is written against them, so that each is one token.
_NUMBER = re.compile(r"[(\[]*\$?(\d+(?:\.\d+)*)%?[)\].,;:?!\u3002]*")
_PLAIN = re.compile(r"\d+(?:\.\d+)*")
_NAME = re.compile(r"[(\[]*[A-Za-z_][A-Za-z0-9_]*[)\].,;:?!\u3002]*")
# These two begin with a character, so that others are passed over fast; what must not stand before it is looked at then.
_ROMAN = re.compile(r"[IVX](?<!\w[IVX])(?:[IVX]+|(?<=[VX])|(?<=I)\W*(?=[.?!:,]|$))(?!\w)")
_QUOTED = re.compile(r"""`|"|'(?<!\w')""")
"""What is quoted is compared as it is, numbers and all."""
_SPELLED = SPELLED | {"couple", "pair", "dozen"}


def figures(text: str) -> str:
    """The numbers of `text`, written alike for all texts of the same quantities; `UNKNOWN` where it has to be parsed."""
    text = plain(text)
    words = frozenset(_WORD.findall(text.lower()))
    if not words.isdisjoint(_SPELLED) or _ROMAN.search(text):
        return UNKNOWN
    if not _DIGIT.search(text):
        return NONE
    if not words.isdisjoint(CHANGING) or _QUOTED.search(text):
        return UNKNOWN
    found: list[str] = []
    for part in text.split():
        if part.isalpha():
            continue
        if number := _NUMBER.fullmatch(part):
            found.append(number[1])
        elif _DIGIT.search(part) and not _NAME.fullmatch(part):
            return UNKNOWN
    return _said(found)


def figures_of(quantities: Mapping[str, int]) -> str:
    """The same where the text was parsed, and nothing is left to be unknown."""
    return _said(number for number, times in quantities.items() if _PLAIN.fullmatch(number) for _ in range(times))


def _said(numbers: Iterable[str]) -> str:
    return " ".join(sorted(numbers))[:MOST_CHARACTERS] or NONE
