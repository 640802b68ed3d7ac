"""What a text must hold for a pattern to match anywhere in it: looking for that takes a tenth of the time."""

from collections.abc import Iterable, Sequence
from re import _constants  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from typing import Any, cast

from orchestra_router.policy.small_letters import small_letters

_NOTHING: frozenset[str] = frozenset()
_FIGURES = frozenset("0123456789")
_ANY_FIGURE = cast("Any", [(_constants.CATEGORY, _constants.CATEGORY_DIGIT)])  # pyright: ignore[reportUnknownMemberType]
_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}
_WIDTHLESS = {"AT", "ASSERT", "ASSERT_NOT"}


def needed(items: Any) -> frozenset[str]:
    """Texts in small letters, one of which every match of parsed `items` holds; none where that cannot be told.

    The best of what its parts need: the one whose shortest text is longest.
    """
    choices: list[frozenset[str]] = []
    run = ""
    for operator, argument in cast("Sequence[tuple[Any, Any]]", items):
        name = str(operator)
        if name == "LITERAL":
            run += small_letters(chr(argument))
        elif name not in _WIDTHLESS:
            choices.append(frozenset({run}))
            run = ""
            choices.append(_inside(name, argument))
    choices.append(frozenset({run}))
    return rarest(choices)


def rarest(choices: Iterable[frozenset[str]]) -> frozenset[str]:
    """Of `choices` the one that a text holds least often, as far as lengths tell."""
    usable = [choice for choice in choices if choice and all(choice)]
    return max(usable, key=lambda choice: (min(map(len, choice)), -len(choice)), default=_NOTHING)


def _inside(name: str, argument: Any) -> frozenset[str]:
    if name in _REPEATS:
        least, _, repeated = argument
        return needed(repeated) if least else _NOTHING
    if name == "SUBPATTERN":
        return needed(argument[-1])
    if name == "BRANCH":
        branches = [needed(branch) for branch in argument[1]]
        return _NOTHING.union(*branches) if all(branches) else _NOTHING
    if name == "IN":
        # Of a set only single characters help: "[xyz]", "\d".
        if argument == _ANY_FIGURE:
            return _FIGURES
        return frozenset(small_letters(chr(c)) for _, c in argument) if _are_literals(argument) else _NOTHING
    return _NOTHING


def _are_literals(members: Any) -> bool:
    return all(operator is _constants.LITERAL for operator, _ in members)  # pyright: ignore[reportUnknownMemberType]
