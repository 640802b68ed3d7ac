"""Every error code, as the page that documents it. A test holds the page to it."""

import re
from collections.abc import Iterator

from orchestra_router import errors
from orchestra_router.errors import ProviderError, RouterError
from orchestra_router.http.refusals import refused

SET_ASIDE = {"nothing": "", "provider": "the provider", "key": "the key", "deployment": "the model there"}
NEXT = {"next": "yes", "larger_context": "where more fits", "no": "no"}
MONEY = {"release": "nothing", "uncertain": "its worst case"}


def reference() -> str:
    """Markdown: what a caller is told, then what one attempt can meet."""
    told = [
        (f"`{kind.code}`", str(refused(kind("")).status), meaning)
        for kind, meaning in _with_meanings()
        if not issubclass(kind, ProviderError) and kind.__init__ is RouterError.__init__
    ]
    told.append((f"`{errors.AllAttemptsFailed.code}`", "502", _meanings()["AllAttemptsFailed"]))
    met = [
        (
            f"`{kind.code}`",
            meaning,
            "yes" if kind.retryable else "",
            NEXT[kind.falls_back],
            SET_ASIDE[kind.cools],
            MONEY[kind.money],
        )
        for kind, meaning in _with_meanings()
        if issubclass(kind, ProviderError) and kind is not ProviderError
    ]
    return "\n\n".join(
        (
            "## What a request is answered\n\nOver HTTP with this status; over MCP as a result with `isError`, the code in `_meta`.",
            _table(("code", "HTTP", "meaning"), _once(told)),
            "## What one attempt meets\n\nIn the `attempts` of a result, and in the reports.",
            _table(("code", "meaning", "asked again", "next asked", "set aside", "counts without a bill"), _once(met)),
        )
    )


def _with_meanings() -> Iterator[tuple[type[RouterError], str]]:
    for name, meaning in _meanings().items():
        yield getattr(errors, name), meaning


def _meanings() -> dict[str, str]:
    """Class -> what it says in the tree at the top of `errors`."""
    return dict(re.findall(r"[├└]── (\w+) +(\S.*)", errors.__doc__ or ""))


def _once(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One row a code: a more particular kind of the same is told alike."""
    return list({row[0]: row for row in reversed(rows)}.values())[::-1]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
