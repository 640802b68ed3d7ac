"""A text in small letters and plain figures, alike for all that `re` takes for the same without regard to case."""

import re
import unicodedata
from re import _casefix  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from typing import cast

_WITH_DOT = "\u0130"
"""A Turkish I, the one letter whose small form is two characters."""
_OTHERS = cast("dict[int, tuple[int, ...]]", _casefix._EXTRA_CASES)  # noqa: SLF001  # pyright: ignore[reportUnknownMemberType]  # it says so nowhere else
"""Small letters that `re` takes for others, as the long s for an s."""


def _alike() -> dict[int, int]:
    groups = [[code for code in (one, *others) if chr(code).isalnum()] for one, others in _OTHERS.items()]
    return {code: min(group) for group in groups for code in group if code != min(group)}


_ALIKE = _alike()
_ODD = re.compile(f"[{''.join(map(chr, _ALIKE))}]")
_FIGURE = re.compile(r"[^\D0-9]")
"""Of another script."""


def small_letters(text: str) -> str:
    """`text` in small letters, each in its own place; the figures of all scripts are those of ASCII."""
    if text.isascii():
        return text.lower()
    lowered = text.replace(_WITH_DOT, "i").lower()
    lowered = lowered if _ODD.search(lowered) is None else lowered.translate(_ALIKE)
    return _FIGURE.sub(lambda figure: str(unicodedata.digit(figure[0])), lowered)
