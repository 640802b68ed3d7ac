"""What the request log keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What was asked and answered, as the provider saw it and with everything personal taken out; JSON."""

    asked: str | None
    """None: it is not to be kept."""
    answered: str | None
    most_bytes: int
    """All that is kept may take so much; the oldest goes first."""


class LogStore(Protocol):
    """The request log's part of a store."""

    async def exchanges(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        """What is kept of the texts of one request, or of those of one trace, oldest first."""
        ...

    async def newest_requests(self, *, user: str | None = None, most: int) -> tuple[Mapping[str, object], ...]:
        """As plain columns, newest first, with `logged_bytes`: how much is kept of the texts, None for nothing."""
        ...

    async def drop_exchanges(self, *, before_ms: int, most: int) -> int:
        """Drop at most `most` texts that are older; returns how many."""
        ...
