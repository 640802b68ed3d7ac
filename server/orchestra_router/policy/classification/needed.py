"""What a text must hold for a pattern to match anywhere in it: looking for that takes a tenth of the time."""

import re
from collections.abc import Sequence
from functools import lru_cache
from re import _constants, _parser  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from typing import Any, cast

_NOTHING: frozenset[str] = frozenset()
_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}
_WIDTHLESS = {"AT", "ASSERT", "ASSERT_NOT"}


@lru_cache(maxsize=1_000)
def needed(pattern: re.Pattern[str]) -> tuple[str, ...]:
    """Texts, in small letters, one of which every match in an ASCII text holds; none where that cannot be told."""
    parsed = cast("Any", _parser.parse(pattern.pattern, pattern.flags))  # pyright: ignore[reportUnknownMemberType]
    return tuple(sorted(_of(parsed)))


def may_match(pattern: re.Pattern[str], lowered: str) -> bool:
    """Whether `pattern` can match an ASCII text whose small letters are `lowered`."""
    texts = needed(pattern)
    return not texts or any(map(lowered.__contains__, texts))


def _of(items: Any) -> frozenset[str]:
    """The best of what each part of a sequence needs: the one whose shortest text is longest."""
    choices: list[frozenset[str]] = []
    run = ""
    for operator, argument in cast("Sequence[tuple[Any, Any]]", items):
        name = str(operator)
        if name == "LITERAL":
            run += chr(argument).lower()
        elif name not in _WIDTHLESS:
            choices.append(frozenset({run}))
            run = ""
            choices.append(_inside(name, argument))
    choices.append(frozenset({run}))
    usable = [choice for choice in choices if choice and all(choice)]
    return max(usable, key=lambda choice: (min(map(len, choice)), -len(choice)), default=_NOTHING)


def _inside(name: str, argument: Any) -> frozenset[str]:
    if name in _REPEATS:
        least, _, repeated = argument
        return _of(repeated) if least else _NOTHING
    if name == "SUBPATTERN":
        return _of(argument[-1])
    if name == "BRANCH":
        branches = [_of(branch) for branch in argument[1]]
        return _NOTHING.union(*branches) if all(branches) else _NOTHING
    if name == "IN":
        # Of a set only single characters help: "[xyz]".
        return frozenset(chr(c).lower() for _, c in argument) if _are_literals(argument) else _NOTHING
    return _NOTHING


def _are_literals(members: Any) -> bool:
    return all(operator is _constants.LITERAL for operator, _ in members)  # pyright: ignore[reportUnknownMemberType]
