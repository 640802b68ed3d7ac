"""The SQL of retention. What is deleted here stays in the sums (day_sums.py, `spend`): no total changes."""

import sqlite3

CHORES = (
    """
    CREATE TABLE chores (
        name TEXT NOT NULL PRIMARY KEY,
        due_ms INTEGER NOT NULL CHECK (due_ms >= 0)
    ) STRICT, WITHOUT ROWID
    """,
)

_CLAIM = """
    INSERT INTO chores (name, due_ms) VALUES (:name, :until_ms)
    ON CONFLICT (name) DO UPDATE SET due_ms = excluded.due_ms
    WHERE due_ms <= :now_ms OR due_ms > :latest_ms
"""

# Those of a request that is not done yet stay with it: what is counted later looks for its earlier attempts.
_OLD_ATTEMPTS = """
    SELECT attempt_id
    FROM attempts
    WHERE day < ? AND state <> 'held' AND request_id NOT IN (SELECT request_id FROM attempts WHERE state = 'held')
    LIMIT ?
"""


def claim_chore(db: sqlite3.Connection, name: str, *, now_ms: int, until_ms: int, latest_ms: int) -> bool:
    """Whether `name` is due, and the caller's until `until_ms`.

    Due later than `latest_ms` nothing can be: the clock was moved back since.
    """
    values = {"name": name, "now_ms": now_ms, "until_ms": until_ms, "latest_ms": latest_ms}
    return db.execute(_CLAIM, values).rowcount == 1


def postpone_chore(db: sqlite3.Connection, name: str, *, due_ms: int) -> None:
    db.execute("UPDATE chores SET due_ms = ? WHERE name = ?", (due_ms, name))


def forget(db: sqlite3.Connection, *, attempts_before: str, requests_before: str, most: int) -> int:
    """Delete at most `most` attempts and as many requests of the days before; returns how many rows.

    What holds money stays, however old it is.
    """
    old = [row[0] for row in db.execute(_OLD_ATTEMPTS, (attempts_before, most))]
    db.executemany("DELETE FROM adjustments WHERE attempt_id = ?", ((attempt_id,) for attempt_id in old))
    db.executemany("DELETE FROM attempts WHERE attempt_id = ?", ((attempt_id,) for attempt_id in old))
    requests = db.execute(
        "DELETE FROM requests WHERE rowid IN (SELECT rowid FROM requests WHERE day < ? LIMIT ?)",
        (requests_before, most),
    )
    return len(old) + requests.rowcount
