"""The SQL of the cache. Each function is the work of one transaction."""

import sqlite3

from orchestra_router.store.base import CacheEntry
from orchestra_router.types import Scope

_KEEP = """
    INSERT INTO cache (key, entry_id, access_key, user, session, body, cost_nusd, created_ms, expires_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        entry_id = excluded.entry_id, access_key = excluded.access_key, user = excluded.user,
        session = excluded.session, body = excluded.body, cost_nusd = excluded.cost_nusd, hits = 0,
        created_ms = excluded.created_ms, expires_ms = excluded.expires_ms
"""

_DROP_OLDEST = """
    DELETE FROM cache WHERE key IN (
        SELECT key FROM cache ORDER BY created_ms LIMIT max(0, (SELECT entries FROM cache_size) - ?)
    )
"""


def cached(db: sqlite3.Connection, key: str, *, now_ms: int) -> CacheEntry | None:
    row = db.execute(
        "UPDATE cache SET hits = hits + 1 WHERE key = ? AND expires_ms > ? RETURNING *", (key, now_ms)
    ).fetchone()
    if row is None:
        return None
    return CacheEntry(
        entry_id=row["entry_id"],
        key=row["key"],
        scope=Scope(row["access_key"], row["user"], row["session"]),
        body=row["body"],
        cost_nusd=row["cost_nusd"],
        created_ms=row["created_ms"],
        expires_ms=row["expires_ms"],
    )


def keep(db: sqlite3.Connection, entry: CacheEntry, *, most_entries: int) -> None:
    db.execute(
        _KEEP,
        (
            entry.key,
            entry.entry_id,
            entry.scope.access_key,
            entry.scope.user,
            entry.scope.session,
            entry.body,
            entry.cost_nusd,
            entry.created_ms,
            entry.expires_ms,
        ),
    )
    db.execute(_DROP_OLDEST, (most_entries,))


def drop_cached(db: sqlite3.Connection, *, entry_id: str | None, expired_before_ms: int | None) -> int:
    if entry_id is not None:
        return db.execute("DELETE FROM cache WHERE entry_id = ?", (entry_id,)).rowcount
    if expired_before_ms is not None:
        return db.execute("DELETE FROM cache WHERE expires_ms <= ?", (expired_before_ms,)).rowcount
    return db.execute("DELETE FROM cache").rowcount
