"""A text as a reader sees it: full-width figures, odd dashes and blanks, and letters with nothing visible between them.

Rules look at this form, and what they find is told in places of the text itself.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from orchestra_router.policy.rules.base import Rule, Span

_CONTROLS = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
_ASCII_CONTROLS = bytes([*range(9), *range(14, 32), 127])
_STRUCK = "\u0305\u0332\u0333\u0335-\u0338\u033f\u20d0-\u20f0"
"""What strikes a character out, underlines it or makes a key of it."""
_HIDDEN = (
    f"{_CONTROLS}{_STRUCK}\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_OVER = "\u0300-\u036f"
"""Accents, which figures and dashes have none of."""
_ODD_DASHES = "\u058a\u05be\u1400\u1806\u2043\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0\ufe31\ufe32"
_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63" + _ODD_DASHES)
_WITH_FIGURES = ((0x80, 0x3400), (0xA600, 0xAC00), (0x10000, 0x12000), (0x16100, 0x16E00), (0x1CC00, 0x1FC00))
"""Where characters stand that are one figure: of other scripts, in circles, raised, lowered."""
_TAGS = re.compile("[\U000e0020-\U000e007e]{9,}")
"""ASCII that nobody sees and a model reads. Flags take fewer in a row."""
_FIGURE = re.compile(r"\d")
_ASCII_FIGURES = b"0123456789"


class _Patterns(NamedTuple):
    odd: re.Pattern[str]
    """What is seen as something else, or not at all."""
    invisible: re.Pattern[str]


@functools.cache
def _patterns() -> _Patterns:
    """Made when the first text beyond ASCII is met: looking for figures takes some milliseconds."""
    codes = (code for begin, end in _WITH_FIGURES for code in range(begin, end))
    figures = "".join(character for character in map(chr, codes) if unicodedata.digit(character, None) is not None)
    return _Patterns(
        re.compile(
            f"[{_HIDDEN}{_OVER}{figures}{_ODD_DASHES}\u00a0\u1680\u2000-\u200a\u2010-\u2015\u202f\u205f\u2212\u2024\u3000\ufe52"
            "\ufe55\ufe58\ufe63\ufe6b\uff01-\uff5e\U0001d400-\U0001d7ff]"
        ),
        re.compile(f"(?<=[0-9{figures}-])[{_HIDDEN}{_OVER}]+|[{_HIDDEN}]+"),
    )


class _Plain(dict[int, str]):
    """What takes a character's place, found out when it is first met."""

    def __missing__(self, code: int) -> str:
        plain = self[code] = _plain(chr(code))
        return plain


_PLAIN = _Plain()


class Seen:
    __slots__ = ("_places", "figures", "lowered", "text")

    def __init__(self, text: str) -> None:
        self._places: list[int] | None = None
        """Where each character stands in the text itself; None where it is the same."""
        if text.isascii():
            data = text.encode()
            self.figures = len(data) - len(data.translate(None, _ASCII_FIGURES))
            if len(data.translate(None, _ASCII_CONTROLS)) == len(data):
                self.text, self.lowered = text, text.lower()
                return
        patterns = _patterns()
        if patterns.odd.search(text) is not None:
            text = _TAGS.sub(_untagged, text)
            if patterns.invisible.search(text) is not None:
                self._places = list(_visible(text))
                text = "".join([text[place] for place in self._places])
            text = text.translate(_PLAIN)
        self.text, self.lowered = text, text.lower()
        self.figures = len(_FIGURE.findall(text))

    @property
    def longest_run(self) -> int:
        """Characters without a blank between them."""
        return max(map(len, self.text.split()), default=0)

    def spans(self, rule: Rule) -> tuple[Span, ...]:
        """Where `rule` finds something, if the text holds what it needs. Raises as it does."""
        found = tuple(rule.spans(self.text))
        if self._places is None:
            return found
        return tuple((self._places[start], self._places[end - 1] + 1) for start, end in found if end > start)


def _visible(text: str) -> Iterator[int]:
    """The places of what a reader sees."""
    place = 0
    for hidden in _patterns().invisible.finditer(text):
        yield from range(place, hidden.start())
        place = hidden.end()
    yield from range(place, len(text))


def _untagged(tags: re.Match[str]) -> str:
    return "".join([chr(ord(tag) - 0xE0000) for tag in tags[0]])


def _plain(character: str) -> str:
    if character.isascii() or _patterns().odd.match(character) is None:
        return character
    if character in _DASHES:
        return "-"
    figure = unicodedata.digit(character, None)
    if figure is not None:
        return str(figure)
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character
