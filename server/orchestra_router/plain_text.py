"""Text of others, made harmless: what nobody can see, and what steers a terminal or the order of what is read."""

import re

# Left alone: joiners and direction marks, which scripts and emoji need; tags after a black flag, which make a flag.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]+"
)
_LINE_ENDS = dict.fromkeys(map(ord, "\t\n\r"))
_SPACES = {"\u2028": "\n", "\u2029": "\n", "\x0b": "\n", "\x0c": "\n", "\x85": "\n"}


def without_hidden(text: str) -> str:
    """`text` as it looks: without control characters (but tab and line ends), bidi overrides and what is invisible.

    One variation selector stays behind the character that it varies: emoji and CJK names have them.
    """
    if text.isascii() and text.translate(_LINE_ENDS).isprintable():
        return text
    return _HIDDEN.sub(_seen, text)


def one_line(text: str) -> str:
    """`text` on one line and unable to steer a terminal: what is not printable is spelled out (`\\x1b`)."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def lines(text: str) -> str:
    """The same, line by line."""
    return "\n".join(map(one_line, text.splitlines()))


def _seen(run: re.Match[str]) -> str:
    before = run.string[run.start() - 1 : run.start()]
    first = run[0][0]
    if before == "\U0001f3f4" and (flag := re.match("[\U000e0061-\U000e007a]{3,6}\U000e007f", run[0])):
        return flag[0]
    kept = first if not before.isspace() and _varies(first, before) else ""
    return kept + "".join(_SPACES.get(c, "") for c in run[0])


def _varies(selector: str, base: str) -> bool:
    if "\ufe00" <= selector <= "\ufe0f":
        return not base.isascii() or base in "#*0123456789"  # or at the beginning of a piece
    return "\U000e0100" <= selector <= "\U000e01ef" and base >= "\u3400"
