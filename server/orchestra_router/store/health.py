"""The SQL of what is set aside. Each function is the work of one transaction."""

import sqlite3
from dataclasses import asdict

from orchestra_router.store.base import HealthRow

_SET_ASIDE = """
    INSERT INTO health (target, cause, since_ms, until_ms, failures, catalog, replacement)
    VALUES (:target, :cause, :since_ms, :until_ms, :failures, :catalog, :replacement)
    ON CONFLICT (target) DO UPDATE SET
        cause = excluded.cause, since_ms = excluded.since_ms, until_ms = excluded.until_ms,
        failures = excluded.failures, catalog = excluded.catalog, replacement = excluded.replacement
"""


def health(db: sqlite3.Connection) -> tuple[HealthRow, ...]:
    return tuple(HealthRow(**row) for row in db.execute("SELECT * FROM health ORDER BY target"))


def set_aside(db: sqlite3.Connection, row: HealthRow) -> None:
    db.execute(_SET_ASIDE, asdict(row))


def restore(db: sqlite3.Connection, target: str) -> None:
    db.execute("DELETE FROM health WHERE target = ?", (target,))
