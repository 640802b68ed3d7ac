"""The SQL of adjustments: what a price fix makes of settled attempts; and of what a provider was used for."""

import sqlite3
from collections.abc import Sequence

from orchestra_router.store.adjustment_records import Adjustment, PricedAttempt, UsedRow
from orchestra_router.types import Usage

_PRICED = """
    SELECT
        attempts.rowid AS place, attempt_id, day, provider, model, offer_id, created_ms, reported_nusd,
        input_fresh, cache_read, cache_write, cache_write_1h, output, reasoning, searches, cost_source,
        cost_nusd + coalesce(
            (SELECT sum(delta_nusd) FROM adjustments WHERE adjustments.attempt_id = attempts.attempt_id), 0
        ) AS counted_nusd
    FROM attempts
    WHERE rowid > :after
        AND day BETWEEN :first_day AND :last_day
        AND state = 'settled'
        AND input_fresh IS NOT NULL
        AND (:model = '' OR :model IN (model, offer_id))
    ORDER BY rowid
    LIMIT :most
"""

# Nothing, if another process has adjusted the attempt meanwhile.
_ADJUST = """
    INSERT INTO adjustments (attempt_id, day, delta_nusd, cost_nusd, cost_source, reason, at_ms)
    SELECT attempt_id, day, :cost_nusd - :counted_nusd, :cost_nusd, :cost_source, :reason, :at_ms
    FROM attempts
    WHERE attempt_id = :attempt_id
        AND state = 'settled'
        AND :counted_nusd = cost_nusd + coalesce(
            (SELECT sum(delta_nusd) FROM adjustments WHERE attempt_id = :attempt_id), 0
        )
"""

_USED = """
    SELECT
        date(created_ms / 1000, 'unixepoch') AS day,
        offer_id,
        model,
        sum(cost_nusd + coalesce(
            (SELECT sum(delta_nusd) FROM adjustments WHERE adjustments.attempt_id = attempts.attempt_id), 0
        )) AS cost_nusd,
        sum(iif(state = 'uncertain', cost_nusd, 0)) AS uncertain_nusd,
        sum(
            coalesce(input_fresh, 0) + coalesce(cache_read, 0) + coalesce(cache_write, 0) + coalesce(cache_write_1h, 0)
            + coalesce(output, 0) + coalesce(reasoning, 0)
        ) AS tokens
    FROM attempts
    WHERE provider = :provider
        AND state IN ('settled', 'uncertain')
        AND created_ms >= CAST(strftime('%s', :first_day) AS INTEGER) * 1000
        AND created_ms < CAST(strftime('%s', :last_day, '+1 day') AS INTEGER) * 1000
    GROUP BY 1, 2, 3
"""


def used(db: sqlite3.Connection, provider: str, *, first_day: str, last_day: str) -> tuple[UsedRow, ...]:
    values = {"provider": provider, "first_day": first_day, "last_day": last_day}
    return tuple(UsedRow(**dict(row)) for row in db.execute(_USED, values))


def priced_attempts(
    db: sqlite3.Connection, *, first_day: str, last_day: str, model: str, after: int, most: int
) -> tuple[PricedAttempt, ...]:
    values = {"first_day": first_day, "last_day": last_day, "model": model, "after": after, "most": most}
    return tuple(
        PricedAttempt(
            place=row["place"],
            attempt_id=row["attempt_id"],
            day=row["day"],
            provider=row["provider"],
            model=row["model"],
            offer_id=row["offer_id"],
            created_ms=row["created_ms"],
            reported_nusd=row["reported_nusd"],
            usage=Usage(
                input_fresh=row["input_fresh"],
                cache_read=row["cache_read"],
                cache_write=row["cache_write"],
                cache_write_1h=row["cache_write_1h"],
                output=row["output"],
                reasoning=row["reasoning"],
                searches=row["searches"],
            ),
            cost_source=row["cost_source"],
            counted_nusd=row["counted_nusd"],
        )
        for row in db.execute(_PRICED, values)
    )


def adjust(db: sqlite3.Connection, adjustments: Sequence[Adjustment]) -> tuple[Adjustment, ...]:
    """Write those that still start from what their attempt counts at; returns which."""
    return tuple(
        adjustment
        for adjustment in adjustments
        if db.execute(
            _ADJUST,
            {
                "attempt_id": adjustment.attempt_id,
                "counted_nusd": adjustment.counted_nusd,
                "cost_nusd": adjustment.cost_nusd,
                "cost_source": adjustment.cost_source,
                "reason": adjustment.reason,
                "at_ms": adjustment.at_ms,
            },
        ).rowcount
    )
