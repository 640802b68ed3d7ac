"""The SQL of what is set aside. Each function is the work of one transaction."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import Any

from orchestra_router.store import alerts
from orchestra_router.store.alert_records import Alert
from orchestra_router.store.health_records import HealthChange, HealthRow, Outcome, SharedAllowance, Standing, Window
from orchestra_router.store.owner import has_died
from orchestra_router.types import Allowance, AllowanceKind

_FIELDS = tuple(field.name for field in fields(HealthRow))

_ROW = f"SELECT {', '.join(_FIELDS)} FROM health WHERE target = ?"  # noqa: S608 - our own names

_WRITE = """
    INSERT INTO health (
        target, cause, since_ms, until_ms, trips, catalog, replacement, closed, probe_id, probe_process, probe_until_ms
    )
    VALUES (
        :target, :cause, :since_ms, :until_ms, :trips, :catalog, :replacement, :closed, :probe_id, :probe_process,
        :probe_until_ms
    )
    ON CONFLICT (target) DO UPDATE SET
        cause = excluded.cause, since_ms = excluded.since_ms, until_ms = excluded.until_ms, trips = excluded.trips,
        catalog = excluded.catalog, replacement = excluded.replacement, closed = excluded.closed,
        probe_id = excluded.probe_id, probe_process = excluded.probe_process, probe_until_ms = excluded.probe_until_ms
"""

_OUTCOMES = """
    SELECT request_id, created_ms, outcome, status, input_fresh IS NOT NULL AS counted
    FROM attempts
    WHERE provider = :provider AND created_ms >= :since_ms AND (:offer_id IS NULL OR offer_id = :offer_id)
        AND state <> 'held'
    ORDER BY created_ms DESC, rowid DESC
    LIMIT :most
"""

_STANDING = f"""
    SELECT TRUE, {", ".join(_FIELDS)} FROM health
    UNION ALL
    SELECT FALSE, target, kind, remaining, most, reset_ms, at_ms, NULL, NULL, NULL, NULL, NULL
    FROM allowances
"""  # noqa: S608 - as above
"""One statement, for every plan asks it, and mostly there is nothing. The first column is whether it is of `health`."""

_KEEP_ALLOWANCE = """
    INSERT INTO allowances (target, kind, remaining, most, reset_ms, at_ms)
    VALUES (:target, :kind, :remaining, :most, :reset_ms, :at_ms)
    ON CONFLICT (target, kind) DO UPDATE SET
        remaining = excluded.remaining, most = excluded.most, reset_ms = excluded.reset_ms, at_ms = excluded.at_ms
"""

MOST_OUTCOMES = 60
"""More attempts than a window of requests is made of."""


def health(db: sqlite3.Connection) -> Standing:
    rows: list[HealthRow] = []
    allowances: list[SharedAllowance] = []
    for is_health, *values in db.execute(_STANDING):
        if is_health:
            rows.append(_without_dead_probe(_health_row(*values)))
        else:
            allowances.append(_allowance(*values[:6]))
    return Standing(tuple(rows), tuple(allowances))


def change_health(
    db: sqlite3.Connection,
    targets: Sequence[str],
    change: HealthChange,
    *,
    window: Window | None,
    alert: Alert | None = None,
) -> Mapping[str, HealthRow]:
    found = [db.execute(_ROW, (target,)).fetchone() for target in targets]
    rows = {row["target"]: _without_dead_probe(_health_row(*row)) for row in found if row is not None}
    changed = change(rows, _outcomes(db, window) if window is not None else ())
    db.executemany(_WRITE, [asdict(row) for row in changed])
    if changed and alert is not None:
        alerts.raise_once(db, alert)
    return rows | {row.target: row for row in changed}


def keep_allowances(db: sqlite3.Connection, allowances: Sequence[SharedAllowance]) -> None:
    """Write what is nearly used up, and forget what has come back meanwhile."""
    for one in allowances:
        values = asdict(one.allowance) | {"target": one.target, "at_ms": one.at_ms}
        db.execute(_KEEP_ALLOWANCE, values)
        db.execute("DELETE FROM allowances WHERE reset_ms <= ?", (one.at_ms,))


def restore(db: sqlite3.Connection, target: str) -> None:
    db.execute("DELETE FROM health WHERE target = ?", (target,))


@lru_cache(maxsize=1_000)
def _allowance(
    target: str, kind: AllowanceKind, remaining: int, most: int | None, reset_ms: int, at_ms: int
) -> SharedAllowance:
    return SharedAllowance(target, Allowance(kind=kind, remaining=remaining, most=most, reset_ms=reset_ms), at_ms)


@lru_cache(maxsize=1_000)
def _health_row(*values: Any) -> HealthRow:
    """`values` are in the order of the fields. Most rows are read again and again, unchanged."""
    row = HealthRow(**dict(zip(_FIELDS, values, strict=True)))
    return replace(row, closed=bool(row.closed))


def _without_dead_probe(row: HealthRow) -> HealthRow:
    if row.probe_id and has_died(row.probe_process):
        return replace(row, probe_id="", probe_process="", probe_until_ms=0)
    return row


def _outcomes(db: sqlite3.Connection, window: Window) -> tuple[Outcome, ...]:
    found = (Outcome(**columns) for columns in db.execute(_OUTCOMES, asdict(window) | {"most": MOST_OUTCOMES}))
    return tuple(replace(outcome, counted=bool(outcome.counted)) for outcome in found)
