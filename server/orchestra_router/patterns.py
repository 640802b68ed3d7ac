"""Regular expressions that somebody else wrote, compiled and searched in bounded time and memory.

Python's own engine cannot be stopped: `(a+)+$` on thirty letters takes half a minute. The `regex` package stops at a time
limit, but `((?:a{500}){500}){500}` fills the memory while it is compiled; so repeats are counted before.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

MOST_CHARACTERS = 2_000
MOST_NODES = 50_000
"""What a pattern may grow to when its counted repeats are written out: some 25 ms and 20 MB to compile."""
SEARCH_S = 0.25
"""Seconds one search may take; a fair pattern reads megabytes in that time."""

_TOKEN = re.compile(
    r"\\[pPN]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|\[:[^\]]*:\]|[^\]\\])*\]|\(\?<?[=!]|\(\?P?<[A-Za-z_]\w*>|\(\?[:>]|\(\?P=\w+\)"
    r"|\(\?[aims]+\)|\(\?[ims]*(?:-[ims]+)?:|\{(\d*)(?:,(\d*))?\}|.",
    re.DOTALL,
)


class BadPattern(ValueError):
    """Not a regular expression, or one that is too dear to try. The message ends a sentence about the pattern."""


def check(pattern: str) -> None:
    """Raises: BadPattern: `pattern` cannot be used."""
    _compiled(pattern)


def found(pattern: str, text: str) -> bool:
    """Whether `pattern` matches somewhere in `text`. Other threads run meanwhile.

    Raises:
        BadPattern: it cannot be used.
        TimeoutError: nobody knows after `SEARCH_S`.
    """
    return _compiled(pattern).search(text, timeout=SEARCH_S, concurrent=True) is not None


def spans(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    """Where `pattern` matches in `text`, from left to right, empty matches apart.

    Raises:
        BadPattern: it cannot be used.
        TimeoutError: it takes more than `SEARCH_S`.
    """
    for match in _compiled(pattern).finditer(text, timeout=SEARCH_S, concurrent=True):
        if match.end() > match.start():
            yield match.span()


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    import regex  # noqa: PLC0415 - 20 ms; few requests have a pattern

    if len(pattern) > MOST_CHARACTERS:
        raise BadPattern(f"is longer than {MOST_CHARACTERS:,} characters")
    if _nodes(pattern) > MOST_NODES:
        raise BadPattern("repeats too much: use smaller counts in its braces")
    try:
        return regex.compile(pattern, cache_pattern=False)
    except (regex.error, RecursionError) as error:
        raise BadPattern(f"is not a regular expression ({getattr(error, 'msg', 'nested too deep')})") from None


def _nodes(pattern: str) -> int:
    """How many parts `pattern` has once every `{n}` is written out.

    Raises:
        BadPattern: it uses a form that could hide a repeat from this count, or calls itself.
    """
    open_groups = [0]
    last = 0
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if text == "(" and pattern.startswith("(?", token.start()):
            raise BadPattern("has a group that begins with a form of (?...) which is not supported here")
        if text.startswith("(") and not text.endswith(")"):
            open_groups.append(0)
        elif text == ")" and len(open_groups) > 1:
            last = max(1, open_groups.pop())
            open_groups[-1] += last
        elif token[1] is not None:
            times = max(int(token[1] or 0), int(token[2] or 0), 1)
            open_groups[-1] += last * (times - 1)
            last *= times
        elif text == "{" and re.match(r"\{[^{}]*[<=]", pattern[token.start() :]):
            raise BadPattern("allows for errors ({e<=1}), which is not supported here")
        else:
            last = 1
            open_groups[-1] += 1
    return sum(open_groups)
