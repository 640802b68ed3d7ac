"""Standard input and output as the client's alone, and its lines readable where it cut a text in the middle of a character."""

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
    """UTF-8 text. Closing it leaves the buffer open, from which a thread may still read."""

    def __init__(self, buffer: BinaryIO) -> None:
        super().__init__(buffer, encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Leave it to the process to close: a thread may be reading."""


@contextmanager
def claimed_stdin() -> Generator[TextIO]:
    """The client's lines, on a descriptor that only we know: whoever else reads stdin meanwhile finds it empty."""
    if sys.platform == "win32":
        yield Lines(sys.stdin.buffer)
        return
    nothing = os.open(os.devnull, os.O_RDONLY)
    with _claimed(0, nothing) as own:
        # Never closed: a thread may still wait in it, and the number must not come to mean another file.
        yield Lines(os.fdopen(own, "rb", closefd=False))


@contextmanager
def claimed_stdout() -> Generator[int]:
    """A descriptor for our lines that only we know: what others print meanwhile goes to stderr. Not for Windows."""
    try:
        elsewhere = os.dup(2)
    except OSError:  # whoever started us has closed it
        elsewhere = os.open(os.devnull, os.O_WRONLY)
    with _claimed(1, elsewhere) as own:
        yield own


@contextmanager
def _claimed(standard: int, instead: int) -> Generator[int]:
    """Where `standard` led, while that leads to `instead`, which is closed."""
    if sys.platform == "win32":
        raise NotImplementedError
    own = fcntl.fcntl(standard, fcntl.F_DUPFD_CLOEXEC, 3)
    os.dup2(instead, standard)
    os.close(instead)
    try:
        yield own
    finally:
        os.dup2(own, standard)
