"""What a price fix looks at, and what it changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestra_router.types import CostSource, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedRow:
    """What the ledger has for one model of a provider on one UTC day."""

    day: str
    offer_id: str
    model: str
    cost_nusd: int
    """Adjustments included."""
    uncertain_nusd: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedAttempt:
    """A settled attempt whose usage is known, with what it counts at now."""

    place: int
    """Grows from one to the next."""
    attempt_id: str
    day: str
    provider: str
    model: str
    offer_id: str
    created_ms: int
    reported_nusd: int | None
    usage: Usage
    cost_source: str
    """Of its first price."""
    counted_nusd: int
    """Adjustments included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """What an attempt counts at from `at_ms` on, in place of `counted_nusd`, and why."""

    attempt_id: str
    counted_nusd: int
    cost_nusd: int
    cost_source: CostSource
    reason: str
    at_ms: int


class AdjustmentStore(Protocol):
    """The part of a store that holds prices against what was used, and mends them."""

    async def used(self, provider: str, *, first_day: str, last_day: str) -> tuple[UsedRow, ...]:
        """By UTC day and model, as providers count. From the attempts, and so as far back as those are kept."""
        ...

    async def priced_attempts(
        self, *, first_day: str, last_day: str, model: str = "", after: int = 0, most: int
    ) -> tuple[PricedAttempt, ...]:
        """At most `most` settled attempts of known usage, those after the place `after`. `model` is any of its names."""
        ...

    async def adjust(self, adjusted: Sequence[Adjustment]) -> int:
        """Let them count, in every sum and budget; returns how many. One whose attempt counts otherwise by now is not."""
        ...
