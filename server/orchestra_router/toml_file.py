"""Reads a TOML file that a person wrote: its values, the line of each key, and every mistake in it, not just the first.

Values never reach a message: a mistyped line may hold a key.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

MAX_BYTES = 1_000_000
"""A configuration is a few kilobytes; a larger file is some other file."""
MAX_SYNTAX_PROBLEMS = 20

_BARE_OR_QUOTED = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_BARE_OR_QUOTED}(?:[ \t]*\.[ \t]*{_BARE_OR_QUOTED})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_DOTTED})[ \t]*\]\]?[ \t]*(?:#.*)?\r?$")
_KEY = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=")
_MARK = re.compile(r"""\"{3}|'{3}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#|[\[\]{}]""")
_OPENS_BRACKET = re.compile(r"=\s*[\[{]")
_OPENS_TEXT = re.compile(r"=\s*(?:\"{3}|'{3})")
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong in the configuration, and where: a file and its line, or the environment."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class TomlFile:
    """The file at `path`; one that is not there is empty. `problems` says what of it could not be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, Any] = {}
        self.problems: list[Problem] = []
        self.is_whole = True
        """No line had to be skipped, so what is missing is really missing."""
        lines = self._read().split("\n")
        self._parse(lines)
        self.lines = _lines_of_keys(lines)
        """The path of each table and key that is written there, to its line."""

    def problem(self, location: Sequence[str | int], what: str) -> Problem:
        """`what` is wrong at a place in the values; it gets the line of the nearest key that is written there."""
        lengths = range(len(location), 0, -1)
        written = (tuple(location[:length]) for length in lengths)
        places = (place for exact in written for place in (exact, _names(exact)))
        return Problem(str(self.path), next((self.lines[place] for place in places if place in self.lines), 0), what)

    def _read(self) -> str:
        try:
            if self.path.exists() and not self.path.is_file():
                return self._unusable("it is not a file; write the settings into a text file")
            with self.path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return self._unusable(f"it cannot be read ({error.strerror}); check its permissions")
        if len(raw) > MAX_BYTES:
            return self._unusable("it is larger than 1 MB, so it can hardly be a configuration; check the path")
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            return self._unusable(
                "it is not UTF-8 text from here on; save it as UTF-8", line=raw.count(b"\n", 0, error.start) + 1
            )

    def _unusable(self, what: str, *, line: int = 0) -> str:
        self.problems.append(Problem(str(self.path), line, what))
        self.is_whole = False
        return ""

    def _parse(self, lines: list[str]) -> None:
        """Parse; after a mistake blank its line, in `lines`, and parse on, so that all of them are told at once."""
        while len(self.problems) < MAX_SYNTAX_PROBLEMS:
            try:
                self.values = tomllib.loads("\n".join(lines), parse_float=Decimal)
            except tomllib.TOMLDecodeError as error:
                self.is_whole = False
                first, last, reason = _mistake(str(error), lines)
                self.problems.append(Problem(str(self.path), first, f"not TOML: {reason}"))
                if not any(lines[first - 1 : last]):
                    return
                lines[first - 1 : last] = [""] * (last - first + 1)
            except (ValueError, ArithmeticError, RecursionError):
                self._unusable("not TOML: a number in it is too long, or its brackets are too deep")
                return
            else:
                return


def _mistake(message: str, lines: Sequence[str]) -> tuple[int, int, str]:
    """The lines (1-based, both included) that the parser's complaint is about, and the complaint in better words."""
    place = _PLACE.search(message)
    if place is None:
        last = len("\n".join(lines).rstrip().split("\n"))
        opens = _OPENS_TEXT if "string" in message else _OPENS_BRACKET
        return _opening(opens, last, lines), last, _reason(message)
    line, column = int(place[1]), int(place[2])
    text = lines[line - 1]
    begins_anew = column <= len(text) - len(text.lstrip()) + 1 and (_KEY.match(text) or _HEADER.match(text))
    if message.startswith("Unclosed") or (message.startswith("Invalid value") and begins_anew):
        # A bracket that is never closed is noticed lines later.
        opening = _opening(_OPENS_BRACKET, line, lines)
        return opening, max(opening, line - 1), "a bracket is opened here and never closed"
    return line, line, _reason(message)


def _opening(opens: re.Pattern[str], line: int, lines: Sequence[str]) -> int:
    """The last line up to `line` that opens something, else `line` itself."""
    return next((number for number in range(line, 0, -1) if opens.search(lines[number - 1])), line)


def _reason(message: str) -> str:
    """The parser's complaint without what it quotes from the file, and with what usually mends it."""
    reason = re.sub(r"""[ ]?(?:\(.*\)|'[^']{2,}'|"[^"]{2,}")""", "", message)
    if reason.startswith(("Invalid value", "Expected newline")):
        reason += "; text needs quotes"
    elif reason.startswith("Expected '=' after a key"):
        reason += "; a line is `name = value`"
    elif "Cannot overwrite" in reason or "Cannot declare" in reason:
        reason += "; this name stands here a second time"
    return reason


def _names(place: Sequence[str | int]) -> tuple[str, ...]:
    return tuple(step for step in place if isinstance(step, str))


def _lines_of_keys(lines: Sequence[str]) -> Mapping[tuple[str | int, ...], int]:
    """The path of each table and key, to the line (1-based) where it first stands; of `[[tables]]` with their numbers."""
    found: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    last: dict[tuple[str, ...], int] = {}
    depth, quote = 0, ""
    for number, line in enumerate(lines, 1):
        rest = line
        if depth == 0 and not quote:
            if header := _HEADER.match(line):
                path = _path(header[1])
                if line.lstrip().startswith("[["):
                    last[path] = last.get(path, -1) + 1
                    found.setdefault(path, number)
                table = _numbered(path, last)
                found.setdefault(table, number)
                continue
            if key := _KEY.match(line):
                found.setdefault(table + _path(key[1]), number)
                rest = line[key.end() :]
        depth, quote = _after(rest, depth, quote)
    return found


def _numbered(path: tuple[str, ...], last: Mapping[tuple[str, ...], int]) -> tuple[str | int, ...]:
    """`path` with the number of each of its `[[tables]]` behind that table's name."""
    place: list[str | int] = []
    for length, name in enumerate(path, 1):
        place.append(name)
        if path[:length] in last:
            place.append(last[path[:length]])
    return tuple(place)


def _after(text: str, depth: int, quote: str) -> tuple[int, str]:
    """How many brackets are open at the end of `text`, and which multi-line quote."""
    for match in _MARK.finditer(text):
        mark = match[0]
        if quote:
            quote = "" if mark == quote else quote
        elif mark in {'"""', "'''"}:
            quote = mark
        elif mark == "#":
            break
        elif mark in "[{":
            depth += 1
        elif mark in "]}":
            depth = max(0, depth - 1)
    return depth, quote


def _path(dotted: str) -> tuple[str, ...]:
    names: list[str] = []
    try:
        value: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)
    while isinstance(value, dict):
        ((name, value),) = cast("dict[str, Any]", value).items()
        names.append(name)
    return tuple(names)
