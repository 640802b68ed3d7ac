"""The SQL of access keys, and what one of them may still ask. Each function is the work of one transaction."""

import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from orchestra_router.store import audit
from orchestra_router.store.audit_records import AuditEvent
from orchestra_router.store.key_records import AccessKey, KeyChange, KeySecret, Throttled, state_at
from orchestra_router.store.ledger_records import Hold
from orchestra_router.types import Limits

ACCESS_KEYS = (
    """
    CREATE TABLE access_keys (
        key_id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        user TEXT NOT NULL,
        limits TEXT NOT NULL,
        created_ms INTEGER NOT NULL CHECK (created_ms >= 0),
        expires_ms INTEGER,
        revoked_ms INTEGER,
        used_ms INTEGER
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE access_key_secrets (
        key_id TEXT NOT NULL REFERENCES access_keys (key_id),
        hash TEXT NOT NULL,
        salt TEXT NOT NULL,
        created_ms INTEGER NOT NULL CHECK (created_ms >= 0),
        until_ms INTEGER,
        PRIMARY KEY (key_id, hash)
    ) STRICT, WITHOUT ROWID
    """,
    # What a key is named in stays in the ledger, so its row stays too.
    """
    CREATE TRIGGER access_keys_stay BEFORE DELETE ON access_keys BEGIN
        SELECT RAISE(ABORT, 'an access key is revoked, never deleted');
    END
    """,
    """
    CREATE TRIGGER access_keys_stay_revoked BEFORE UPDATE OF revoked_ms ON access_keys
    WHEN OLD.revoked_ms IS NOT NULL AND NEW.revoked_ms IS NOT OLD.revoked_ms BEGIN
        SELECT RAISE(ABORT, 'a revoked access key stays revoked');
    END
    """,
    # How many tokens an attempt is expected to take: what counts of it until its usage is known.
    "ALTER TABLE attempts ADD COLUMN likely_tokens INTEGER NOT NULL DEFAULT 0 CHECK (likely_tokens >= 0)",
    # The person at this machine has no limits of that kind, and pays for no index.
    "CREATE INDEX attempts_by_access_key ON attempts (access_key, created_ms) WHERE access_key <> 'local'",
)

MINUTE_MS = 60_000

# An attempt that was never sent took no tokens.
_TOKENS = """
    CASE
        WHEN state = 'released' THEN 0
        WHEN input_fresh IS NULL THEN likely_tokens
        ELSE input_fresh + coalesce(cache_read, 0) + coalesce(cache_write, 0) + coalesce(cache_write_1h, 0)
            + coalesce(output, 0) + coalesce(reasoning, 0)
    END
"""

_LATELY = f"""
    FROM (
        SELECT request_id, created_ms, task, {_TOKENS} AS tokens
        FROM attempts INDEXED BY attempts_by_access_key
        WHERE access_key = :access_key AND access_key <> 'local' AND created_ms > :since_ms
    )
"""  # noqa: S608 - of our own text alone, as are the next ones

# A request is not in its own way; and what is embedded for it is no request.
_REQUESTS = f"SELECT count(DISTINCT request_id) {_LATELY} WHERE request_id <> :request_id AND task <> ''"
_BEGINNINGS = f"""
    SELECT min(created_ms) AS begun_ms {_LATELY}
    WHERE request_id <> :request_id AND task <> ''
    GROUP BY request_id
    ORDER BY begun_ms
    LIMIT 1 OFFSET :offset
"""
_TOKENS_IN_ORDER = f"SELECT created_ms, tokens {_LATELY} ORDER BY created_ms"

_UNDER_WAY = """
    SELECT count(DISTINCT request_id)
    FROM attempts INDEXED BY attempts_held
    WHERE state = 'held' AND expires_ms > :now_ms AND access_key = :access_key AND request_id <> :request_id
        AND task <> ''
"""


def throttled(db: sqlite3.Connection, hold: Hold) -> Throttled | None:
    """What is in the way of `hold` by the limits of its access key, as they are now; None where nothing is."""
    key = get(db, hold.scope.access_key)
    if key is None or state_at(key, hold.created_ms) != "active":
        return Throttled(what="key")
    limits = key.limits
    values = {
        "access_key": hold.scope.access_key,
        "request_id": hold.request_id,
        "now_ms": hold.created_ms,
        "since_ms": hold.created_ms - MINUTE_MS,
    }
    if hold.task:
        if (most := limits.requests_per_minute) is not None and (used := _count(db, _REQUESTS, values)) >= most:
            begun = db.execute(_BEGINNINGS, values | {"offset": used - most}).fetchone() if most else None
            free_ms = None if begun is None else begun["begun_ms"] + MINUTE_MS
            return Throttled(what="requests", limit=most, used=used, free_ms=free_ms)
        if (most := limits.concurrency) is not None and (used := _count(db, _UNDER_WAY, values)) >= most:
            return Throttled(what="concurrency", limit=most, used=used)
    if limits.tokens_per_minute is not None:
        return _out_of_tokens(db, hold, limits.tokens_per_minute, values)
    return None


def _out_of_tokens(db: sqlite3.Connection, hold: Hold, most: int, values: dict[str, Any]) -> Throttled | None:
    spent = [(row["created_ms"], row["tokens"]) for row in db.execute(_TOKENS_IN_ORDER, values)]
    used = sum(tokens for _, tokens in spent)
    if used + hold.likely_tokens <= most:
        return None
    left, free_ms = used, None
    for created_ms, tokens in spent if hold.likely_tokens <= most else ():
        left -= tokens
        if left + hold.likely_tokens <= most:
            free_ms = created_ms + MINUTE_MS
            break
    return Throttled(what="tokens", limit=most, used=used, free_ms=free_ms)


def _count(db: sqlite3.Connection, query: str, values: dict[str, Any]) -> int:
    return db.execute(query, values).fetchone()[0]


def get(db: sqlite3.Connection, key_id: str) -> AccessKey | None:
    row = db.execute("SELECT * FROM access_keys WHERE key_id = ?", (key_id,)).fetchone()
    secrets = _secrets(db, key_id)  # whether or not there is such a key, so that nobody can tell by the time it takes
    return None if row is None else _key(row, secrets)


def every(db: sqlite3.Connection) -> tuple[AccessKey, ...]:
    rows = db.execute("SELECT * FROM access_keys ORDER BY created_ms, key_id").fetchall()
    return tuple(_key(row, _secrets(db, row["key_id"])) for row in rows)


def add(db: sqlite3.Connection, key: AccessKey, event: AuditEvent) -> None:
    """Raises: sqlite3.IntegrityError: there is a key of this id."""
    db.execute(
        "INSERT INTO access_keys (key_id, name, role, user, limits, created_ms, expires_ms, revoked_ms, used_ms)"
        " VALUES (:key_id, :name, :role, :user, :limits, :created_ms, :expires_ms, :revoked_ms, :used_ms)",
        _row(key),
    )
    _write_secrets(db, key)
    audit.append(db, event)


def change(
    db: sqlite3.Connection, key_id: str, change: KeyChange, event: Callable[[AccessKey, AccessKey], AuditEvent]
) -> tuple[AccessKey, AccessKey] | None:
    before = get(db, key_id)
    if before is None:
        return None
    after = change(before)
    if after != before:
        db.execute(
            "UPDATE access_keys SET name = :name, role = :role, user = :user, limits = :limits,"
            " expires_ms = :expires_ms, revoked_ms = :revoked_ms WHERE key_id = :key_id",
            _row(after),
        )
        _write_secrets(db, after)
        audit.append(db, event(before, after))
    return before, after


def used(db: sqlite3.Connection, key_id: str, *, at_ms: int) -> None:
    db.execute("UPDATE access_keys SET used_ms = ? WHERE key_id = ?", (at_ms, key_id))


def _secrets(db: sqlite3.Connection, key_id: str) -> tuple[KeySecret, ...]:
    rows = db.execute(
        "SELECT salt, hash, created_ms, until_ms FROM access_key_secrets WHERE key_id = ? ORDER BY created_ms, hash",
        (key_id,),
    ).fetchall()
    return tuple(KeySecret(**dict(row)) for row in rows)


def _key(row: sqlite3.Row, secrets: tuple[KeySecret, ...]) -> AccessKey:
    limits: dict[str, Any] = json.loads(row["limits"])
    for name in ("providers", "models", "tasks"):
        limits[name] = tuple(limits[name])
    limits["guard"] = tuple((kind, action) for kind, action in limits["guard"])
    columns: dict[str, Any] = dict(row)
    columns["limits"] = Limits(**limits)
    return AccessKey(**columns, secrets=secrets)


def _row(key: AccessKey) -> dict[str, object]:
    values: dict[str, object] = asdict(key)
    values["limits"] = json.dumps(values["limits"])
    del values["secrets"]
    return values


def _write_secrets(db: sqlite3.Connection, key: AccessKey) -> None:
    db.execute("DELETE FROM access_key_secrets WHERE key_id = ?", (key.key_id,))
    db.executemany(
        "INSERT INTO access_key_secrets (key_id, salt, hash, created_ms, until_ms)"
        " VALUES (:key_id, :salt, :hash, :created_ms, :until_ms)",
        [asdict(secret) | {"key_id": key.key_id} for secret in key.secrets],
    )
