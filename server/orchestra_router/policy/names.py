"""What is said of a name that nobody knows: a key pasted into the wrong field is not repeated."""

import difflib
from collections.abc import Iterable

from orchestra_router.policy.guardrails import is_id

LONGEST_REPEATED = 32
"""Characters of a name that is repeated; what is longer may well be a key."""

SHORTEST_PART = 3
"""Characters of a part of a name by which it is found: `sonnet`."""


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """The message for a name that nobody knows, with what may have been meant. The guard has seen `given`."""
    return f"Unknown {what}{repeated(given)}. {meant(given, known)}"


def repeated(given: str) -> str:
    """` 'given'`, where it is plainly a short name; else ""."""
    return f" {given!r}" if len(given) <= LONGEST_REPEATED and is_id(given) else ""


def meant(given: str, known: Iterable[str]) -> str:
    names = sorted(known)
    inside = [name for name in names if len(given) >= SHORTEST_PART and given.lower() in name]
    if close := difflib.get_close_matches(given.lower(), names, n=3) or inside[:3]:
        return f"Did you mean {' or '.join(close)}?"
    return f"Known: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}."
