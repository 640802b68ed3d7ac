"""What a store tells of one person's data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

Row = Mapping[str, object]
"""One row of any table, by the names of its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much of a person was found. `running` of the attempts have not ended: what they leave is not erased yet."""

    requests: int
    attempts: int
    cache_entries: int
    cache_pairs: int
    """Prompts that were compared with others, in `cache_matches` and `cache_wrong`."""
    alerts: int
    access_keys: int
    """Keys that were for this person alone, and are revoked."""
    logged: int
    """Requests whose texts were kept."""
    audit_rows: int
    running: int


class PersonalStore(Protocol):
    """The part of a store that finds one person's data."""

    async def export_user(self, user: str, write: Callable[[str, Row], None]) -> None:
        """`write` every row about `user` with what it is ("request", "cache entry", ...), as it was at one moment.

        On another thread.
        """
        ...

    async def erase_user(self, user: str, *, now_ms: int) -> Erased:
        """Leave nothing that names `user` or holds their words. What they cost stays, and is nobody's."""
        ...

    async def rebuild(self) -> bool:
        """Leave nothing of what was deleted in the files. False: another process was in the way."""
        ...
