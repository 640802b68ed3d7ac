"""The client's lines on stdin, readable also where a client cut a text in the middle of a character."""

import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import BinaryIO, TextIO

if sys.platform != "win32":
    import fcntl

_ESCAPE = re.compile(
    r"""
    \\u d[89ab][0-9a-f]{2} \\u d[c-f][0-9a-f]{2}  # a pair: one character
    | (?P<half> \\u d[89a-f][0-9a-f]{2} )
    | \\.                                          # any other escape, so that \\ud83d is text
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MAYBE_HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


def mended(line: str) -> str:
    """`line`, JSON, with U+FFFD for each half of a surrogate pair that stands alone.

    JavaScript cuts texts between the halves and escapes what is left; the parser of the SDK (2.3) refuses the line, and
    nobody would ever answer it.
    """
    if not _MAYBE_HALF.search(line):
        return line
    return _ESCAPE.sub(lambda match: r"\ufffd" if match["half"] else match[0], line)


class Lines(TextIOWrapper):
    """UTF-8 text whose lines are mended. Closing it leaves the buffer open, from which a thread may still read."""

    def __init__(self, buffer: BinaryIO) -> None:
        super().__init__(buffer, encoding="utf-8", errors="replace")

    def readline(self, size: int = -1, /) -> str:
        return mended(super().readline(size))

    def close(self) -> None:
        """Leave it to the process to close: a thread may be reading."""


@contextmanager
def claimed_stdin() -> Generator[TextIO]:
    """The client's lines, on a descriptor that only we know: whoever else reads stdin meanwhile finds it empty."""
    if sys.platform == "win32":
        yield Lines(sys.stdin.buffer)
        return
    own = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        # Never closed: a thread may still wait in it, and the number must not come to mean another file.
        yield Lines(os.fdopen(own, "rb", closefd=False))
    finally:
        os.dup2(own, 0)
