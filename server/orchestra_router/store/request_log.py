"""The SQL of the request log: texts of requests and answers, where the settings ask for them. Each is one transaction's work."""

import sqlite3
from collections.abc import Mapping

from orchestra_router.store.log_records import Exchange

REQUEST_LOG = (
    """
    CREATE TABLE request_log (
        request_id TEXT NOT NULL PRIMARY KEY,
        bytes INTEGER NOT NULL CHECK (bytes >= 0),
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        asked TEXT,
        answered TEXT
    ) STRICT
    """,
    "CREATE INDEX request_log_by_age ON request_log (at_ms)",
    "CREATE TABLE request_log_size (bytes INTEGER NOT NULL CHECK (bytes >= 0)) STRICT",
    "INSERT INTO request_log_size (bytes) VALUES (0)",
    """
    CREATE TRIGGER request_log_grew AFTER INSERT ON request_log BEGIN
        UPDATE request_log_size SET bytes = bytes + NEW.bytes;
    END
    """,
    """
    CREATE TRIGGER request_log_shrank AFTER DELETE ON request_log BEGIN
        UPDATE request_log_size SET bytes = bytes - OLD.bytes;
    END
    """,
    # Without its request nobody could tell whose it is.
    """
    CREATE TRIGGER requests_take_their_log AFTER DELETE ON requests BEGIN
        DELETE FROM request_log WHERE request_id = OLD.request_id;
    END
    """,
)
"""The step of the migrations that brings it. Who asked, under which trace and labels, stands in `requests`."""

MOST_DELETED = 200
"""With one write: more than comes in, and never long."""

_OLDEST = """
    DELETE FROM request_log WHERE request_id IN (
        SELECT request_id FROM request_log WHERE at_ms < ? ORDER BY at_ms LIMIT ?
    )
"""

_EXCHANGES = """
    SELECT request_log.request_id, asked, answered
    FROM request_log JOIN requests ON requests.request_id = request_log.request_id
    WHERE request_log.request_id = :id OR trace_id = :id
    ORDER BY at_ms
    LIMIT :most
"""

_NEWEST = """
    SELECT requests.*, request_log.bytes AS logged_bytes
    FROM requests LEFT JOIN request_log ON request_log.request_id = requests.request_id
    WHERE :user IS NULL OR user = :user OR json_extract(metadata, '$.user') = :user
    ORDER BY requests.rowid DESC
    LIMIT :most
"""


def keep(db: sqlite3.Connection, request_id: str, exchange: Exchange, *, at_ms: int) -> None:
    """Keep one exchange, in place of an earlier one of the same request, and make room for it."""
    size = len((exchange.asked or "").encode()) + len((exchange.answered or "").encode())
    db.execute("DELETE FROM request_log WHERE request_id = ?", (request_id,))
    db.execute(
        "INSERT INTO request_log (request_id, bytes, at_ms, asked, answered) VALUES (?, ?, ?, ?, ?)",
        (request_id, size, at_ms, exchange.asked, exchange.answered),
    )
    for _ in range(MOST_DELETED):
        if db.execute("SELECT bytes FROM request_log_size").fetchone()[0] <= exchange.most_bytes:
            break
        db.execute(
            "DELETE FROM request_log WHERE request_id IN (SELECT request_id FROM request_log ORDER BY at_ms LIMIT 1)"
        )


def drop_before(db: sqlite3.Connection, at_ms: int, *, most: int) -> int:
    return db.execute(_OLDEST, (at_ms, most)).rowcount


def exchanges(db: sqlite3.Connection, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
    return tuple(dict(row) for row in db.execute(_EXCHANGES, {"id": request_or_trace_id, "most": most}))


def newest(db: sqlite3.Connection, *, user: str | None, most: int) -> tuple[Mapping[str, object], ...]:
    """The requests recorded last, newest first, with how many bytes of them are kept (None: none)."""
    return tuple(dict(row) for row in db.execute(_NEWEST, {"user": user, "most": most}))
