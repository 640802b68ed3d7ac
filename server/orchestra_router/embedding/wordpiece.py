"""Text to WordPiece ids, as `bert-base-uncased` cuts it: lower case, no accents, words, then the longest known pieces.

A text that spells a special token (`[SEP]`) is a text: its brackets are punctuation.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

MOST_PIECES = 256
"""What the model was trained to read, `[CLS]` and `[SEP]` included. The rest of a text is not read."""
READ_CHARACTERS = 8_192
"""Several times what 256 pieces of any text take, unless it is mostly blank; bounds the time a text can take."""
LONGEST_WORD = 100
"""A longer run of letters is one unknown word."""
_PUNCTUATION = r"!-/:-@\[-`{-~"
_ASCII_WORDS = re.compile(rf"[{_PUNCTUATION}]|[^\s{_PUNCTUATION}]+")
_ASCII_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# The blocks of Chinese characters, which stand for words by themselves. Kana and Hangul do not.
_IDEOGRAPHS = re.compile(
    "([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f])"
)
_DROPPED = frozenset({"Cc", "Cf", "Co", "Cs"})


class WordPiece:
    def __init__(self, vocabulary: Sequence[str]) -> None:
        """`vocabulary` in the order of its ids.

        Raises:
            KeyError: it lacks a special token.
        """
        self._ids: Mapping[str, int] = {piece: number for number, piece in enumerate(vocabulary)}
        self._unknown, self._first, self._last = (self._ids[name] for name in ("[UNK]", "[CLS]", "[SEP]"))
        self._longest = max(len(piece) for piece in vocabulary)

    @classmethod
    def load(cls, path: Path) -> "WordPiece":
        """Raises: OSError, UnicodeDecodeError, KeyError."""
        lines = StringIO(path.read_text(encoding="utf-8").rstrip("\n"))
        # One by one, so that other threads have their turn in between: all at once take milliseconds.
        return cls([line.removesuffix("\n") for line in lines])

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, text: str) -> list[int]:
        """The ids of `text` between `[CLS]` and `[SEP]`, `MOST_PIECES` at most."""
        found = [self._first]
        for word in _words(text[:READ_CHARACTERS]):
            found += self._pieces(word)
            if len(found) >= MOST_PIECES:
                break
        return [*found[: MOST_PIECES - 1], self._last]

    def _pieces(self, word: str) -> list[int]:
        whole = self._ids.get(word)
        if whole is not None:
            return [whole]
        if len(word) > LONGEST_WORD:
            return [self._unknown]
        found: list[int] = []
        start, prefix = 0, ""
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = self._ids.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return [self._unknown]
            found.append(piece)
            start, prefix = end, "##"
        return found


def _words(text: str) -> Iterator[str]:
    """Words and single punctuation marks."""
    if text.isascii():
        return (match[0] for match in _ASCII_WORDS.finditer(_ASCII_CONTROLS.sub("", text).lower()))
    return _unicode_words(text)


def _unicode_words(text: str) -> Iterator[str]:
    # A control, private or half a character: dropped, as in the original. What Unicode lacks is kept there too.
    kept = "".join(c if c.isascii() else _cleaned(c) for c in _ASCII_CONTROLS.sub("", text))
    plain = "".join(
        c for c in unicodedata.normalize("NFD", _IDEOGRAPHS.sub(r" \1 ", kept)) if unicodedata.category(c) != "Mn"
    )
    for word in plain.lower().split():
        start = 0
        for place, character in enumerate(word):
            if _is_punctuation(character):
                if start < place:
                    yield word[start:place]
                yield character
                start = place + 1
        if start < len(word):
            yield word[start:]


def _cleaned(character: str) -> str:
    if character.isspace():
        return " "
    return "" if character == "\ufffd" or unicodedata.category(character) in _DROPPED else character


def _is_punctuation(character: str) -> bool:
    if character.isascii():
        return not character.isalnum()
    return unicodedata.category(character)[0] == "P"
