"""After a price fix: what attempts of the past would have cost at the prices of today's list.

"Today's list" holds dated prices: an attempt is priced by the row that was in force when it was made. Nothing written
is changed; what differs is written as an adjustment with its reason, which every sum, report and budget includes.
A second run finds nothing to adjust.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from orchestra_router.catalog import Catalog
from orchestra_router.deployments import Deployment, Model, Offer
from orchestra_router.errors import InvalidRequest
from orchestra_router.pricing import Pricing
from orchestra_router.store.adjustment_records import Adjustment, AdjustmentStore, PricedAttempt

PAGE = 500
MOST_REASON_CHARS = 300


@dataclass(slots=True)
class Repriced:
    """The attempts of one deployment that cost something else now."""

    attempts: int = 0
    before_nusd: int = 0
    after_nusd: int = 0


@dataclass(slots=True, kw_only=True)
class Repricing:
    first_day: str
    last_day: str
    looked_at: int = 0
    """Settled attempts whose usage is known."""
    unpriced: int = 0
    """Of those, how many no list has a price for any more: they stay as they are."""
    changed: dict[str, Repriced] = field(default_factory=dict[str, Repriced])
    """By deployment."""
    written: int = 0

    @property
    def delta_nusd(self) -> int:
        return sum(row.after_nusd - row.before_nusd for row in self.changed.values())


async def reprice(
    store: AdjustmentStore,
    catalog: Catalog,
    pricing: Pricing,
    *,
    first_day: str,
    last_day: str,
    model: str = "",
    reason: str,
    now_ms: int,
    write: bool,
) -> Repricing:
    """Compare, and with `write` adjust, what the attempts of these days count at.

    Raises:
        InvalidRequest: `reason` says nothing, or too much.
        StoreError: the database cannot be used. What was written before stands; asked again, the rest follows.
    """
    reason = " ".join(reason.split())
    if not 0 < len(reason) <= MOST_REASON_CHARS:
        raise InvalidRequest(
            f"Say why in `reason`, in at most {MOST_REASON_CHARS} characters: it is kept with the adjustments, and in the audit trail."
        )
    found = Repricing(first_day=first_day, last_day=last_day)
    async for page in _pages(store, first_day, last_day, model):
        adjusted = [
            adjustment
            for attempt in page
            if (adjustment := _adjustment(attempt, found, catalog, pricing, reason=reason, now_ms=now_ms)) is not None
        ]
        if write and adjusted:
            found.written += await store.adjust(adjusted)
    return found


async def _pages(
    store: AdjustmentStore, first_day: str, last_day: str, model: str
) -> AsyncGenerator[tuple[PricedAttempt, ...], None]:
    after = 0
    while page := await store.priced_attempts(
        first_day=first_day, last_day=last_day, model=model, after=after, most=PAGE
    ):
        yield page
        after = page[-1].place


def _adjustment(
    attempt: PricedAttempt, found: Repricing, catalog: Catalog, pricing: Pricing, *, reason: str, now_ms: int
) -> Adjustment | None:
    found.looked_at += 1
    deployment = _deployment(attempt, catalog)
    if deployment is None:
        found.unpriced += 1
        return None
    cost = pricing.cost(deployment, attempt.usage, at_ms=attempt.created_ms, reported_nusd=attempt.reported_nusd)
    if cost.source == "unpriced" and attempt.cost_source != "unpriced":
        found.unpriced += 1
        return None
    if cost.nusd == attempt.counted_nusd:
        return None
    row = found.changed.setdefault(deployment.key, Repriced())
    row.attempts += 1
    row.before_nusd += attempt.counted_nusd
    row.after_nusd += cost.nusd
    return Adjustment(
        attempt_id=attempt.attempt_id,
        counted_nusd=attempt.counted_nusd,
        cost_nusd=cost.nusd,
        cost_source=cost.source,
        reason=reason,
        at_ms=now_ms,
    )


def _deployment(attempt: PricedAttempt, catalog: Catalog) -> Deployment | None:
    """What was called then, also where the catalog has left the model out since; None without its provider."""
    provider = catalog.providers.get(attempt.provider)
    if provider is None:
        return None
    for deployment in catalog.deployments_at(attempt.provider):
        if deployment.offer.id == attempt.offer_id:
            return deployment
    return Deployment(provider, Model(name=attempt.model), Offer(id=attempt.offer_id))
