"""The rows of the audit trail, and what reading it finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


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


class AuditStore(Protocol):
    """The audit trail's part of a store."""

    async def audit(self, event: AuditEvent, *, if_new: bool = False) -> None:
        """Add `event` to the audit trail; with `if_new` only where its kind and subject said something else last."""
        ...

    async def verify_audit(self, *, known: tuple[int, str] | None = None) -> AuditCheck:
        """Read the whole trail. `known`: the number and hash of a row that was noted elsewhere."""
        ...

    async def drop_audit(self, *, before_ms: int, now_ms: int, most: int) -> int:
        """Drop at most `most` rows of the trail that are older, from its beginning; returns how many."""
        ...

    async def audit_rows(self, *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]: ...
