"""One way to write each character, without making two texts equal that a reader or a model would tell apart."""

import unicodedata

_DROPPED = dict.fromkeys(
    [
        0x00AD,  # soft hyphen
        0xFEFF,  # byte order mark
        0x2060,  # word joiner
        0x200E,  # left-to-right mark
        0x200F,  # right-to-left mark
        0xFE0E,  # text style
        0xFE0F,  # emoji style
    ]
)
"""Invisible, and without a say in what a text means. All other invisible characters stay, and so must be the same."""
_WRITTEN_AS = (
    dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\uff07\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | {"\u00d7": "*", "÷": "/", "≤": "<=", "≥": ">=", "≠": "!=", "→": "->", "…": "...", "\u200b": " "}
    | dict.fromkeys("™®©", " ")
)
_PLAIN = str.maketrans(_WRITTEN_AS) | _DROPPED
_SAME_LETTER = ("<wide>", "<narrow>", "<noBreak>", "<compat>", "<font>")
"""Compatibility forms that are only another shape; a superscript or a fraction means something of its own."""
_RAISED = {"<super>": " ^ ", "<sub>": " _ ", "<fraction>": " ", "<circle>": " \u25cb "}


def plain(text: str) -> str:
    """`text` with one form for each character. Linear in its length."""
    if text.isascii():  # its characters have one form each
        return text
    text = text.translate(_PLAIN)
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", "".join(map(_one_form, text)))


def _one_form(character: str) -> str:
    if character < "\u0080":
        return character
    shape = unicodedata.decomposition(character).split(" ", 1)[0]
    if shape in _SAME_LETTER:
        return unicodedata.normalize("NFKC", character)
    if before := _RAISED.get(shape):
        return before + unicodedata.normalize("NFKC", character).replace("\u2044", "/") + " "
    return character
