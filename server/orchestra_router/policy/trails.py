"""What became of one request, or of all that share a trace: who was asked, with what outcome, at what cost, and why.

Nobody learns from an answer whether somebody else's request exists.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestra_router.store.request_records import RequestStore
from orchestra_router.types import Scope

MOST_REQUESTS = 500
"""Of one trace: as many as a batch may have prompts."""

Columns = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Trail:
    request: Columns
    """Empty while it runs, and where it could not be recorded."""
    attempts: tuple[Columns, ...]


async def trails(store: RequestStore, request_or_trace_id: str, scope: Scope | None) -> tuple[Trail, ...]:
    """Oldest first; of `scope`'s access key alone, of everyone's where it is None."""
    requests = await store.requests_of(request_or_trace_id, most=MOST_REQUESTS)
    attempts = await store.attempts_of(request_or_trace_id)
    found: dict[object, tuple[Columns, list[Columns]]] = {row["request_id"]: (row, []) for row in requests}
    for attempt in attempts:
        found.setdefault(attempt["request_id"], ({}, []))[1].append(attempt)
    return tuple(
        Trail(request, tuple(tried))
        for request, tried in found.values()
        if scope is None or (request or tried[0])["access_key"] == scope.access_key
    )
