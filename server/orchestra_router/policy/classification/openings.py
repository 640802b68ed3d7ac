"""How a match of a pattern can begin: most words of a text begin none, and what begins nowhere is not searched for."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from re import _constants, _parser  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from typing import Any, cast

from orchestra_router.policy.classification.needed import needed, rarest
from orchestra_router.policy.small_letters import small_letters

LETTERS = 5
"""Letters at the beginning of a word that are looked at."""
MOST_OPENINGS = 2_000
"""Of one pattern. One that has more may begin with anything."""
WIDEST_RANGE = 40
_NONE: frozenset[str] = frozenset()
_REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}
_LOOKS = {"ASSERT", "ASSERT_NOT"}
_WORD_BEGINS = {"AT_BOUNDARY", "AT_BEGINNING", "AT_BEGINNING_STRING"}
_AT_A_WORD = cast("Any", (_constants.AT, _constants.AT_BOUNDARY))  # pyright: ignore[reportUnknownMemberType]
_BLANKS = [list(cast("Any", _parser.parse(blank))) for blank in (" ", r"\t", r"[ \t]", r"[\t ]")]  # pyright: ignore[reportUnknownMemberType]
_WORD_ENDS = {"AT_BOUNDARY", "AT_END", "AT_END_STRING"}


@dataclass(frozen=True, slots=True)
class Later:
    """What every match holds that begins in one way: one of the words, by their first letters, and one of the texts.

    Where there are none of a kind, that is not known.
    """

    words: frozenset[str]
    texts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Openings:
    """Every match begins with one of the `words`, or with the line that one of `lines` begins, or holds one of the `texts`.

    All are in small letters.
    """

    words: Mapping[str, Later]
    """By their first letters; fewer than `LETTERS` are all of a word."""
    lines: Mapping[str, Later]
    """The same, of words that have blanks before them which are part of the match."""
    texts: frozenset[str]
    anywhere: bool
    """Whether a match may begin with anything else, too."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """Beginnings of words: those that are as long as is looked at, or whole, and those that go on."""

    done: frozenset[str]
    going_on: frozenset[str]


class _Unknown(Exception):
    """A part of a pattern stands for more than can be listed."""


def openings(pattern: re.Pattern[str]) -> Openings:
    parsed = cast("Any", _parser.parse(pattern.pattern, pattern.flags))  # pyright: ignore[reportUnknownMemberType]
    words: dict[str, Later] = {}
    lines: dict[str, Later] = {}
    texts = _NONE
    anywhere = False
    for way in _ways(list(parsed)):
        unindented = _unindented(way)
        begins = words if len(unindented) == len(way) else lines
        try:
            first = _first_letters(unindented, pattern.flags)
        except _Unknown:
            held = needed(way)
            anywhere |= not held
            texts |= held
        else:
            later = _with_texts(_later(unindented, pattern.flags), needed(_behind_a_word(unindented)))
            for letters in first:
                known = begins.get(letters, later)
                begins[letters] = Later(_either(known.words, later.words), _either(known.texts, later.texts))
    return Openings(words, lines, texts, anywhere)


def _behind_a_word(items: Sequence[Any]) -> Sequence[Any]:
    """`items` without what stands for the word that they begin with, or the beginning of it."""
    for place, (operator, argument) in enumerate(items):
        name = str(operator)
        if name == "AT" or name in _LOOKS:
            continue
        if name != "LITERAL":
            return items[place + 1 :]
        if not _is_of_a_word(chr(argument)):
            return items[place:]
    return ()


def _with_texts(words: frozenset[str], texts: frozenset[str]) -> Later:
    """Both, but that texts which are words are looked for as words."""
    return Later(words, _NONE if words and any(map(str.isalnum, texts)) else texts)


def _either(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    return one | other if one and other else _NONE


def _ways(items: Sequence[Any], levels: int = 3) -> list[Sequence[Any]]:
    """The choices that a pattern begins with, and those that these begin with, each with what is before and after them."""
    for place, (operator, argument) in enumerate(items):
        name = str(operator)
        if name == "BRANCH" and levels > 0:
            choices = ([*items[:place], *branch, *items[place + 1 :]] for branch in argument[1])
            return [way for choice in choices for way in _ways(choice, levels - 1)]
        if name != "AT" and name not in _LOOKS and not _is_indent(name, argument):
            break
    return [items]


def _unindented(items: Sequence[Any]) -> Sequence[Any]:
    """`items` without the blanks at the beginning of a line that they may begin with."""
    match [(str(operator), argument) for operator, argument in items[:2]]:
        case [("AT", begin), (name, argument)] if str(begin) == "AT_BEGINNING" and _is_indent(name, argument):
            return [items[0], *items[2:]]
        case _:
            return items


def _is_indent(name: str, argument: Any) -> bool:
    return name in _REPEATS and argument[0] == 0 and list(argument[2]) in _BLANKS


def _first_letters(items: Sequence[Any], flags: int) -> frozenset[str]:
    """Of the words that a match of `items` can begin with. Raises: _Unknown: it may begin with something else, too."""
    at_a_word = False
    for place, (operator, argument) in enumerate(items):
        name = str(operator)
        if name == "AT":
            at_a_word |= str(argument) in _WORD_BEGINS
        elif name not in _LOOKS:
            begun = _grown(frozenset({""}), items[place:])
            # Where only ASCII counts, words begin elsewhere.
            if begun.going_on or not at_a_word or flags & re.ASCII:
                break
            return begun.done
    raise _Unknown


def _later(items: Sequence[Any], flags: int) -> frozenset[str]:
    """The first letters of a further word that every match of `items` holds, of those there are the rarest."""
    choices: list[frozenset[str]] = []
    begun = False
    for place, (operator, argument) in enumerate(items):
        name = str(operator)
        if name != "AT" and name not in _LOOKS:
            begun = True
        if name == "LITERAL" and not _is_of_a_word(chr(argument)):
            rest: list[Any] = [_AT_A_WORD, *items[place + 1 :]]
        elif name == "AT" and begun:
            rest = [*items[place:]]
        else:
            continue
        with suppress(_Unknown):
            choices.append(_first_letters(rest, flags))
    return rarest(choices)


def _grown(begun: frozenset[str], items: Iterable[Any]) -> _Begun:
    """What `begun` becomes with `items` behind it. Raises: _Unknown: too much to list."""
    done = _NONE
    for operator, argument in items:
        if not begun:
            break
        more = _with(begun, str(operator), argument)
        done, begun = done | more.done, more.going_on
        if len(done) + len(begun) > MOST_OPENINGS:
            raise _Unknown
    return _Begun(done, begun)


def _with(begun: frozenset[str], name: str, argument: Any) -> _Begun:
    if name in _LOOKS:
        return _Begun(_NONE, begun)
    if name == "AT":
        if str(argument) not in _WORD_ENDS:
            raise _Unknown
        # At the beginning of a word nothing has changed; behind one of its letters it is whole.
        return _Begun(begun - {""}, begun & {""})
    if name == "LITERAL":
        return _with_one_of(begun, (argument,))
    if name == "IN":
        return _with_one_of(begun, _members(argument))
    if name in {"SUBPATTERN", "ATOMIC_GROUP"}:
        return _grown(begun, argument[-1] if name == "SUBPATTERN" else argument)
    if name == "BRANCH":
        choices = [_grown(begun, branch) for branch in argument[1]]
        return _Begun(_NONE.union(*(one.done for one in choices)), _NONE.union(*(one.going_on for one in choices)))
    if name in _REPEATS:
        least, most, repeated = argument
        return _repeated(begun, least, min(int(most), LETTERS), repeated)
    raise _Unknown


def _repeated(begun: frozenset[str], least: int, most: int, repeated: Any) -> _Begun:
    done = _NONE
    going_on = begun if least == 0 else _NONE
    for times in range(1, most + 1):
        more = _grown(begun, repeated)
        done, begun = done | more.done, more.going_on
        if times >= min(least, most):
            going_on |= begun
    return _Begun(done, going_on)


def _with_one_of(begun: frozenset[str], codes: Iterable[int]) -> _Begun:
    done: set[str] = set()
    going_on: set[str] = set()
    for letter in {small_letters(chr(code)) for code in codes}:
        if _is_of_a_word(letter):
            for first in begun:
                (done if len(first) + 1 == LETTERS else going_on).add(first + letter)
        elif "" in begun:
            raise _Unknown  # it begins behind a word
        else:
            done |= begun
    return _Begun(frozenset(done), frozenset(going_on))


def _is_of_a_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _members(members: Iterable[Any]) -> list[int]:
    codes: list[int] = []
    for operator, argument in members:
        name = str(operator)
        if name == "LITERAL":
            codes.append(argument)
        elif name == "RANGE" and argument[1] - argument[0] < WIDEST_RANGE:
            codes += range(argument[0], argument[1] + 1)
        elif name == "CATEGORY" and str(argument) == "CATEGORY_SPACE":
            codes.append(ord(" "))
        elif name == "CATEGORY" and str(argument) == "CATEGORY_DIGIT":
            codes += range(ord("0"), ord("9") + 1)
        else:
            raise _Unknown
    return codes
