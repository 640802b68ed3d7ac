"""The audit trail: rows that each hold the hash of all before them, so that none can be changed, lost or moved unseen.

    hash = SHA-256 of (hash of the row before, number, time, kind, subject, hash of the body)

Rows whose time is over are dropped from the beginning. The chain then begins with the hash of the last one dropped, and
a new row at its end says so.

The body of a row can be erased without breaking the chain, which holds its hash only; a new row says whose. The hash is
salted, and the salt goes with the body, so that no guess at what it said can be checked.
"""

import hashlib
import json
import secrets
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from orchestra_router.store.audit_records import AuditCheck, AuditEvent, AuditRow

MOST_PROBLEMS = 100
RETENTION = "retention"
ERASURE = "erasure"
SALT_BYTES = 16
ERASED_AT_ONCE = 10_000
"""Rows that one row tells of."""

_in_order = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_as_they_come = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def append(db: sqlite3.Connection, event: AuditEvent) -> None:
    """Add `event` to the end of the chain, in the transaction of what it tells of."""
    append_all(db, (event,))


def append_all(db: sqlite3.Connection, events: Iterable[AuditEvent]) -> None:
    """Add `events` in their order."""
    number, last_hash = db.execute("SELECT last_number, last_hash FROM audit_ends").fetchone()
    rows: list[tuple[object, ...]] = []
    for event in events:
        number += 1
        body, salt = _text(event), secrets.token_hex(SALT_BYTES)
        body_hash = _digest(salt + body)
        last_hash = _chained(last_hash, number, event.at_ms, event.kind, event.subject, body_hash)
        rows.append((number, event.at_ms, event.kind, event.subject, body, salt, body_hash, last_hash))
    db.executemany(
        "INSERT INTO audit (number, at_ms, kind, subject, body, salt, body_hash, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    db.execute("UPDATE audit_ends SET last_number = ?, last_hash = ?", (number, last_hash))


def verify(db: sqlite3.Connection, *, known: tuple[int, str] | None = None) -> AuditCheck:
    """Read the whole chain. `known` is the number and hash of a row that somebody noted earlier, elsewhere."""
    first, hash_before, last, last_hash = db.execute(
        "SELECT first_number, hash_before, last_number, last_hash FROM audit_ends"
    ).fetchone() or (1, "", 0, "")
    reading = _Reading(first, hash_before)
    for row in db.execute(
        "SELECT number, at_ms, kind, subject, body, salt, body_hash, hash FROM audit ORDER BY number"
    ):
        reading.take(row)
        if len(reading.problems) >= MOST_PROBLEMS:
            break
    reading.finish(last, last_hash)
    if known is not None and known[0] < first:
        reading.problems.append(f"row {known[0]} was dropped, for its time was over: note a newer one")
    elif (
        known is not None and db.execute("SELECT 1 FROM audit WHERE (number, hash) = (?, ?)", known).fetchone() is None
    ):
        reading.problems.append(f"row {known[0]} is not the one that you know")
    return AuditCheck(
        rows=reading.rows,
        erased=reading.erased,
        last_number=last,
        last_hash=last_hash,
        problems=tuple(reading.problems[:MOST_PROBLEMS]),
    )


class _Reading:
    """What is known of the chain up to the row that was read last."""

    def __init__(self, first: int, hash_before: str) -> None:
        self.problems: list[str] = []
        self.rows = 0
        self.erased = 0
        """Rows whose body was taken away, and another row says so."""
        self._gone: list[int] = []
        """The others whose body is not there, in order."""
        self._first = self._expected = first
        self._before = hash_before
        self._dropped_up_to = 0

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
        if self._dropped_up_to != self._first - 1:
            self.problems.append(f"no row says that the time of what was before row {self._first} was over")
        self.problems += (f"the body of row {number} is gone" for number in self._gone[:MOST_PROBLEMS])

    def _take_body(self, number: int, row: sqlite3.Row) -> None:
        if row["body"] is None:
            self._gone.append(number)
        elif _digest(row["salt"] + row["body"]) != row["body_hash"]:
            self.problems.append(f"the body of row {number} was changed")
        elif row["kind"] in {RETENTION, ERASURE}:
            try:
                self._take_note(row["kind"], json.loads(row["body"]))
            except (ValueError, KeyError, TypeError):
                self.problems.append(f"the body of row {number} cannot be read")

    def _take_note(self, kind: str, body: Any) -> None:
        if kind == RETENTION:
            self._dropped_up_to = int(body["up_to"])
            return
        for first, last in body["rows"]:
            start, end = bisect_left(self._gone, first), bisect_right(self._gone, last)
            self.erased += end - start
            del self._gone[start:end]


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
        "SELECT body FROM audit WHERE subject = ? AND kind = ? ORDER BY number DESC LIMIT 1",
        (event.subject, event.kind),
    ).fetchone()
    if row is not None and row["body"] == _text(event):
        return False
    append(db, event)
    return True


def drop_before(db: sqlite3.Connection, at_ms: int, *, now_ms: int, most: int) -> int:
    """Drop at most `most` rows from the beginning, up to the first that is not older than `at_ms`. Returns how many.

    Where the clock was moved, an old row behind a newer one waits for that: a gap would break the chain.
    """
    first_rows = db.execute("SELECT number, at_ms, hash FROM audit ORDER BY number LIMIT ?", (most,))
    old = list(takewhile(lambda row: row["at_ms"] < at_ms, first_rows))
    if not old:
        return 0
    last = old[-1]
    db.execute("UPDATE audit_ends SET first_number = ?, hash_before = ?", (last["number"] + 1, last["hash"]))
    db.execute("DELETE FROM audit WHERE number <= ?", (last["number"],))
    body = {"dropped": len(old), "up_to": last["number"]}
    append(db, AuditEvent(at_ms=now_ms, kind=RETENTION, subject="audit", body=body))
    return len(old)


def erase(db: sqlite3.Connection, numbers: Sequence[int], *, now_ms: int) -> None:
    """Take away the bodies of the rows `numbers`, which are in order, and say so at the end of the chain."""
    db.executemany("UPDATE audit SET body = NULL, salt = '' WHERE number = ?", ((number,) for number in numbers))
    for start in range(0, len(numbers), ERASED_AT_ONCE):
        told = numbers[start : start + ERASED_AT_ONCE]
        body = {"erased": len(told), "rows": _ranges(told)}
        append(db, AuditEvent(at_ms=now_ms, kind=ERASURE, subject="audit", body=body))


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """[1, 2, 3, 7] as [[1, 3], [7, 7]]."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def _text(event: AuditEvent) -> str:
    return _in_order(dict(event.body))


def _chained(before: str, *values: object) -> str:
    return _digest(_as_they_come([before, *values]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _missing(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"
