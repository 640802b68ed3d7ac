"""What a store tells of one person's data."""

from collections.abc import Mapping
from dataclasses import dataclass

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
