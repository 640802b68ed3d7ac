"""A text as a reader sees it: full-width figures, odd dashes and blanks, and letters with nothing visible between them.

Rules look at this form, and what they find is told in places of the text itself.
"""

import re
import unicodedata

from orchestra_router.policy.rules.base import Rule, Span

_HIDDEN = (
    "\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff"
)
_ODD = re.compile(
    f"[{_HIDDEN}\u00a0\u1680\u2000-\u200a\u2010-\u2015\u202f\u205f\u2212\u2024\u3000\ufe52\ufe55\ufe58\ufe63\ufe6b"
    "\uff01-\uff5e\U0001d400-\U0001d7ff]"
)
_INVISIBLE = re.compile(f"[{_HIDDEN}]")
_FIGURE = re.compile(r"\d")
_ASCII_FIGURES = b"0123456789"
_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63")


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
            self.text, self.lowered = text, text.lower()
            self.figures = len(text) - len(text.encode().translate(None, _ASCII_FIGURES))
            return
        if _ODD.search(text) is not None:
            if _INVISIBLE.search(text) is not None:
                self._places = [place for place, character in enumerate(text) if not _INVISIBLE.match(character)]
                text = "".join(text[place] for place in self._places)
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


def _plain(character: str) -> str:
    if character.isascii() or _ODD.match(character) is None:
        return character
    if character in _DASHES:
        return "-"
    plain = unicodedata.normalize("NFKC", character)
    return plain if len(plain) == 1 else character
