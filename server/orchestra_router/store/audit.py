"""The audit trail: rows that each hold the hash of all before them, so that none can be changed, lost or moved unseen.

    hash = SHA-256 of (hash of the row before, number, time, kind, subject, hash of the body)

A body can be erased, for the person it tells of; its hash stays, and so does the chain. Rows whose time is over are
dropped from the beginning, and the chain then begins with the hash of the last one dropped.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence

from orchestra_router.store.base import AuditCheck, AuditEvent, AuditRow

MOST_PROBLEMS = 100
ERASED = "erased"
RETENTION = "retention"


def append(db: sqlite3.Connection, event: AuditEvent) -> None:
    """Add `event` to the end of the chain, in the transaction of what it tells of."""
    number, before = db.execute("SELECT last_number, last_hash FROM audit_ends").fetchone()
    number += 1
    body = _text(event)
    body_hash = _digest(body)
    chained = _chained(before, number, event.at_ms, event.kind, event.subject, body_hash)
    db.execute(
        "INSERT INTO audit (number, at_ms, kind, subject, body, body_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, event.at_ms, event.kind, event.subject, body, body_hash, chained),
    )
    db.execute("UPDATE audit_ends SET last_number = ?, last_hash = ?", (number, chained))


def verify(db: sqlite3.Connection, *, known: tuple[int, str] | None = None) -> AuditCheck:
    """Read the whole chain. `known` is the number and hash of a row that somebody noted earlier, elsewhere."""
    first, hash_before, last, last_hash = db.execute(
        "SELECT first_number, hash_before, last_number, last_hash FROM audit_ends"
    ).fetchone() or (1, "", 0, "")
    reading = _Reading(first, hash_before)
    for row in db.execute("SELECT number, at_ms, kind, subject, body, body_hash, hash FROM audit ORDER BY number"):
        reading.take(row)
        if len(reading.problems) >= MOST_PROBLEMS:
            break
    reading.finish(last, last_hash)
    if known is not None and db.execute("SELECT 1 FROM audit WHERE (number, hash) = (?, ?)", known).fetchone() is None:
        reading.problems.append(f"row {known[0]} is not the one that you know")
    return AuditCheck(
        rows=reading.rows, last_number=last, last_hash=last_hash, problems=tuple(reading.problems[:MOST_PROBLEMS])
    )


class _Reading:
    """What is known of the chain up to the row that was read last."""

    def __init__(self, first: int, hash_before: str) -> None:
        self.problems: list[str] = []
        self.rows = 0
        self._expected = first
        self._before = hash_before
        self._bodiless: set[int] = set()
        self._said_to_be_erased: set[int] = set()

    def take(self, row: sqlite3.Row) -> None:
        number = row["number"]
        if number > self._expected:
            self.problems.append(_missing(self._expected, number - 1))
        elif number < self._expected:
            self.problems.append(f"row {number} should not be there")
        elif _chained(self._before, *row[:4], row["body_hash"]) != row["hash"]:
            self.problems.append(f"row {number} was changed, or one before it")
        self._take_body(number, row)
        self.rows += 1
        self._expected, self._before = number + 1, row["hash"]

    def finish(self, last: int, last_hash: str) -> None:
        if self._expected <= last:
            self.problems.append(_missing(self._expected, last))
        elif self._expected > last + 1 or (self.rows and self._before != last_hash):
            self.problems.append("the end is not the one that was noted: rows were added or changed there")
        for number in sorted(self._bodiless - self._said_to_be_erased):
            self.problems.append(f"the body of row {number} is gone, and no row says that it was erased")

    def _take_body(self, number: int, row: sqlite3.Row) -> None:
        if row["body"] is None:
            self._bodiless.add(number)
        elif _digest(row["body"]) != row["body_hash"]:
            self.problems.append(f"the body of row {number} was changed")
        elif row["kind"] == ERASED:
            self._said_to_be_erased.update(json.loads(row["body"]).get("rows", ()))


def rows(db: sqlite3.Connection, *, after: int, limit: int) -> tuple[AuditRow, ...]:
    """At most `limit` rows behind number `after`, in their order."""
    found = db.execute("SELECT * FROM audit WHERE number > ? ORDER BY number LIMIT ?", (after, limit))
    return tuple(
        AuditRow(
            number=row["number"],
            at_ms=row["at_ms"],
            kind=row["kind"],
            subject=row["subject"],
            body=None if row["body"] is None else json.loads(row["body"]),
            hash=row["hash"],
        )
        for row in found
    )


def append_news(db: sqlite3.Connection, event: AuditEvent) -> bool:
    """Add `event`, unless the newest row of its kind and subject says the same. Returns whether it was added."""
    row = db.execute(
        "SELECT body_hash FROM audit WHERE subject = ? AND kind = ? ORDER BY number DESC LIMIT 1",
        (event.subject, event.kind),
    ).fetchone()
    if row is not None and row["body_hash"] == _digest(_text(event)):
        return False
    append(db, event)
    return True


def erase(db: sqlite3.Connection, numbers: Sequence[int], *, why: str, at_ms: int) -> None:
    """Take the bodies of these rows away, and say so in a row of its own."""
    if not numbers:
        return
    db.executemany("UPDATE audit SET body = NULL WHERE number = ?", [(number,) for number in numbers])
    append(db, AuditEvent(at_ms=at_ms, kind=ERASED, subject="audit", body={"rows": sorted(numbers), "why": why}))


def about(db: sqlite3.Connection, name: str, value: str) -> Iterator[int]:
    """The numbers of the rows whose body has `value` under `name`."""
    for row in db.execute(
        "SELECT number FROM audit WHERE body IS NOT NULL AND json_extract(body, '$.' || ?) = ?", (name, value)
    ):
        yield row["number"]


def drop_before(db: sqlite3.Connection, at_ms: int, *, now_ms: int) -> int:
    """Drop the rows from the beginning that are older than `at_ms`. Returns how many."""
    row = db.execute("SELECT number, hash FROM audit WHERE at_ms < ? ORDER BY number DESC LIMIT 1", (at_ms,)).fetchone()
    if row is None:
        return 0
    db.execute("UPDATE audit_ends SET first_number = ?, hash_before = ?", (row["number"] + 1, row["hash"]))
    dropped = db.execute("DELETE FROM audit WHERE number <= ?", (row["number"],)).rowcount
    body = {"dropped": dropped, "up_to": row["number"]}
    append(db, AuditEvent(at_ms=now_ms, kind=RETENTION, subject="audit", body=body))
    return dropped


def _text(event: AuditEvent) -> str:
    return json.dumps(dict(event.body), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _chained(before: str, *values: object) -> str:
    return _digest(json.dumps([before, *values], separators=(",", ":"), ensure_ascii=False))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _missing(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"
