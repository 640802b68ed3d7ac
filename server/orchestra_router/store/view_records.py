"""What the dashboard asks the store for, and what it gets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Dimension = Literal["", "provider", "model", "task", "user", "access_key"]
"""What figures have one row for; "" is everything together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The part of the ledger that is looked at: calendar days, both included, and whose. None: everyone's."""

    first_day: str
    last_day: str
    access_key: str | None = None
    user: str | None = None
    """"" is whoever gave no name."""
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Totals of one time and one value of a dimension."""

    at: str
    """A day; or the number of a quarter of an hour since 1970, all zones' hours being made of those."""
    value: str
    attempts: int = 0
    failed: int = 0
    spent_nusd: int = 0
    """Settled and uncertain, adjustments included."""
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    """Recorded requests, those that the cache answered or that were refused included."""
    hits: int = 0
    misses: int = 0
    saved_nusd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """How many attempts took about equally long: from `from_ms` on, up to where the next step begins."""

    at: str = ""
    provider: str = ""
    model: str = ""
    from_ms: int
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """How often attempts at a provider, or whole requests (where it is ""), ended with one outcome other than "ok"."""

    provider: str
    outcome: str
    attempts: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRequest:
    """One request as it is on record, and its attempts, in order."""

    place: str
    """Where the list goes on behind it; for `recent_requests(before=...)`."""
    columns: Mapping[str, object]
    attempts: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What there is to pick from, used most first."""

    access_keys: tuple[str, ...]
    users: tuple[str, ...]
    tasks: tuple[str, ...]


class ViewStore(Protocol):
    """The part of the store that the dashboard reads.

    Raises everywhere: `StoreError` when the database cannot be used.
    """

    async def figures(self, cut: Cut, *, by: Dimension = "", per_quarter: bool = False) -> tuple[Figures, ...]:
        """One row per day and value of `by`, or per quarter of an hour; times without anything have none.

        Quarters are read from the records themselves: for few days, and only as long as those are kept.
        """
        ...

    async def latencies(self, cut: Cut, *, per_quarter: bool = False) -> tuple[Latencies, ...]:
        """Of the attempts that answered, per day or quarter of an hour."""
        ...

    async def latencies_by_deployment(self, cut: Cut) -> tuple[Latencies, ...]: ...

    async def failures(self, cut: Cut) -> tuple[Failures, ...]:
        """Most frequent first."""
        ...

    async def recent_requests(
        self, cut: Cut, *, since_ms: int, until_ms: int, before: str = "", only_failed: bool = False, most: int
    ) -> tuple[RecentRequest, ...]:
        """Newest first, from `since_ms` until `until_ms`, behind the place `before` ("": from the newest on)."""
        ...

    async def choices(self, *, first_day: str, last_day: str) -> Choices: ...

    async def version(self) -> int:
        """Changes when anything has been written, by whichever process; means nothing to another process."""
        ...
