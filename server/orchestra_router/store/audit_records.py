"""The rows of the audit trail, and what reading it finds."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """Something that happened, for the audit trail. `body` is JSON; it holds no prompt, no answer and no key."""

    at_ms: int
    kind: str
    """"request", "budget", "key", "configuration", ..."""
    subject: str
    """The id of the request, the key or whatever else it is about."""
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    number: int
    at_ms: int
    kind: str
    subject: str
    body: Mapping[str, object] | None
    """None: somebody has taken it away."""
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCheck:
    """What reading the whole trail found; nothing is wrong when there are no `problems`."""

    rows: int
    erased: int
    """Of those, whose body was erased with a person's data, which another row says."""
    last_number: int
    last_hash: str
    problems: tuple[str, ...]
