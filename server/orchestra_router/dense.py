"""How many values there are in JSON that nobody has read yet.

Python reads JSON without giving other threads a turn: a megabyte of text takes a millisecond, a megabyte of empty lists half a
second. So what may be read is bounded by its values. Counting looks at a piece at a time, between which others have theirs.
"""

import re

PIECE_BYTES = 64 * 1024
_QUOTE = ord('"')
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


def has_more_values(text: bytes, most: int) -> bool:
    """Whether `text` holds more than `most` lists, objects, strings, names and commas together. It need not be JSON."""
    found, place = 0, 0
    while place < len(text):
        quote = text.find(b'"', place)
        end = quote if quote >= 0 else len(text)
        for start in range(place, end, PIECE_BYTES):
            stop = min(end, start + PIECE_BYTES)
            found += sum(text.count(mark, start, stop) for mark in (b",", b"[", b"{"))
            if found > most:
                return True
        if quote < 0:
            return False
        found += 1
        place = _behind_string(text, quote + 1)
    return found > most


def _behind_string(text: bytes, place: int) -> int:
    while place < len(text):
        match = _IN_STRING.match(text, place, place + PIECE_BYTES)
        end = place if match is None else match.end()
        if end < len(text) and text[end] == _QUOTE:
            return end + 1
        if end == place:  # a backslash, and nothing after it
            return len(text)
        place = end
    return len(text)
