"""What the commands share: how one is added, the router they ask, and the tables they print."""

import argparse
import difflib
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NoReturn, TypeVar

import anyio

from orchestra_router.plain_text import one_line

if TYPE_CHECKING:
    from orchestra_router.config import Config
    from orchestra_router.router import Router

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

T = TypeVar("T")
Run = Callable[[argparse.Namespace], int]
"""Does what was asked for and prints what came of it; returns the exit code."""


class Parser(argparse.ArgumentParser):
    """Says of a word it does not know what may have been meant."""

    def error(self, message: str) -> NoReturn:
        if choice := re.match(r"(argument .*): invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL):
            what, word, known = choice.groups()
            if near := difflib.get_close_matches(word.lower(), re.findall(r"[\w-]+", known), n=2):
                message = f"{what}: invalid choice: {word!r}. Did you mean {' or '.join(near)}?"
        elif number := re.match(r"(argument .*): invalid (int|float) value: (.*)", message, re.DOTALL):
            what, kind, word = number.groups()
            message = f"{what}: {word} is no {'whole ' if kind == 'int' else ''}number"
        super().error(message)

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """Refuse `words`, which are no arguments of this command."""
        options = re.findall(r"--[\w-]+", self.format_usage())
        near = difflib.get_close_matches(words[0].partition("=")[0], options, n=2)
        meant = f". Did you mean {' or '.join(near)}?" if near else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{meant}")


class Commands:
    """The commands of `orchestra`, or those of one group (`orchestra cache ...`)."""

    def __init__(self, parser: argparse.ArgumentParser, *, required: bool, group: str = "") -> None:
        """Where one is not `required`, the parser's own defaults say what runs without any."""
        self._group = group
        self._added = parser.add_subparsers(title="commands", metavar="command", required=required)

    def command(self, name: str, run: Run, text: str) -> argparse.ArgumentParser:
        added = self._added.add_parser(name, help=text, description=text)
        added.set_defaults(run=run, command=f"{self._group}{name}", own=added)
        return added

    def reporting(self, name: str, run: Run, text: str) -> argparse.ArgumentParser:
        """A command whose findings a program may want too."""
        added = self.command(name, run, text)
        added.add_argument("--json", action="store_true", help="for programs")
        return added

    def group(self, name: str, text: str) -> "Commands":
        return Commands(self._added.add_parser(name, help=text, description=text), required=True, group=f"{name} ")


def load_config() -> "Config":
    """Raises: ConfigError."""
    from orchestra_router.config import load

    return load(os.environ)


def with_router(work: Callable[["Router"], Awaitable[T]]) -> T:
    """What `work` makes of a router over the user's own configuration, opened for it and closed again.

    Raises:
        ConfigError: the configuration cannot be used.
        StoreError: the database cannot be used.
    """
    from orchestra_router.router import open_router

    async def run() -> T:
        async with open_router(load_config()) as router:
            return await work(router)

    return anyio.run(run)


def count(number: int, thing: str) -> str:
    """`1 answer`, `2 answers`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def dollars(amount_nusd: int) -> str:
    """With as many digits as say something: few calls come to a cent."""
    from orchestra_tools.costs import dollars as shown

    return shown(amount_nusd)


def listed(columns: Sequence[str], rows: Sequence[Sequence[str]], *, otherwise: str) -> str:
    """A table of `rows`; what to say where there are none."""
    return table(columns, rows) if rows else otherwise


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # What providers and callers named must not steer the terminal.
    lines = [tuple(map(one_line, cells)) for cells in (columns, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
