"""What was spent and saved, as reports have it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

GroupBy = Literal["provider", "model", "task", "day", "hour", "user", "access_key", "session", "metadata"]
"""What a report has one row for. Of `metadata`, one field's values. Hours, sessions and metadata are read from the
records themselves, and so known for as long as those are kept; the rest stands in sums that are kept for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """Totals of one group, or of everything when `group` is ""."""

    group: str = ""
    requests: int = 0
    """Distinct requests that had an attempt in this group, counted where their first one is."""
    attempts: int = 0
    failed: int = 0
    answered: int = 0
    latency_ms: int = 0
    """Of the attempts that answered, together."""
    spent_nusd: int = 0
    """Settled and uncertain, adjustments included."""
    uncertain_nusd: int = 0
    uncertain: int = 0
    """Attempts whose outcome is unknown."""
    held_nusd: int = 0
    adjusted_nusd: int = 0
    """What later price fixes changed: in `spent_nusd` already."""
    compared: int = 0
    """Attempts that their provider put a price on, and ours can be held against it."""
    reported_nusd: int = 0
    """What the providers said those cost."""
    computed_nusd: int = 0
    """What our prices say they cost."""
    input_fresh: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    """Reasoning excluded."""
    reasoning: int = 0
    searches: int = 0
    calls: int = 0
    """Recorded requests, those that the cache answered or that were refused included."""
    hits: int = 0
    misses: int = 0
    saved_nusd: int = 0
    """What the hits would have cost."""
    cheap_steps: int = 0
    """Requests that a cheap model answered first, a stronger one standing by."""
    escalated: int = 0
    """Of those, where the stronger one had to be asked."""
    escalation_saved_nusd: int = 0
    """What the stronger ones would likely have cost more, where they were not asked; below 0 if they were cheaper."""
    wasted_nusd: int = 0
    """Of the spend: for answers that another was used in place of."""

    @property
    def input_total(self) -> int:
        return self.input_fresh + self.cache_read + self.cache_write

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning

    @property
    def mean_latency_ms(self) -> int:
        """Of the attempts that answered."""
        return round(self.latency_ms / self.answered) if self.answered else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReport:
    requests: int
    hits: int
    misses: int
    saved_nusd: int


class ReportStore(Protocol):
    """The part of a store that adds up."""

    async def report(
        self,
        *,
        first_day: str,
        last_day: str,
        group_by: GroupBy | None = None,
        field: str = "",
        access_key: str | None = None,
    ) -> tuple[ReportRow, ...]:
        """Totals over calendar days, both included; one row per group, dearest first. `field` is the metadata's.

        With `access_key`, of what was asked with that one only, here as in the next two.

        A group of `hour` is the number of a quarter of an hour since 1970: all zones' hours are made of those.
        """
        ...

    async def cache_report(self, *, first_day: str, last_day: str, access_key: str | None = None) -> CacheReport: ...

    async def alerts(
        self, *, first_day: str, last_day: str, access_key: str | None = None
    ) -> tuple[Mapping[str, object], ...]: ...
