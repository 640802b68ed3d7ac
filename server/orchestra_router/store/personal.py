"""The SQL of one person's data: all of it to be read, and all of it to be erased.

What cost money stays and is nobody's from then on (`NOBODY`), so that every total stays right. What holds words of the
person, or was answered to them, is deleted. A person is known by the user that a request was charged to, or by the label
`user` of its metadata. Each function is the work of one transaction, but for `rebuild`.
"""

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchestra_router.store import audit
from orchestra_router.store.erasure_schema import NOBODY
from orchestra_router.store.personal_records import Erased, Row

_REQUESTS = """
    SELECT request_id, access_key, user, created_ms, created_ms + latency_ms AS ended_ms
    FROM requests
    WHERE user = :user OR json_extract(metadata, '$.user') = :user
"""

_NAMED_IN_THE_TRAIL = """
    SELECT number
    FROM audit
    WHERE body IS NOT NULL AND instr(body, :quoted) > 0 AND (
        json_extract(body, '$.user') = :user
        OR json_extract(body, '$.metadata.user') = :user
        OR json_extract(body, '$.budget') = 'user:' || :user
        OR json_extract(body, '$.settings.user') = :user
        OR EXISTS (SELECT 1 FROM json_each(body, '$.settings.budgets.user') WHERE key = :user)
    )
    ORDER BY number
"""

_THEIR_ATTEMPTS = """
    SELECT attempt_id, state
    FROM attempts
    WHERE user = :user OR request_id IN (SELECT value FROM json_each(:requests))
"""

# In this order.
_EXPORTED = {
    "request": "SELECT * FROM requests WHERE request_id IN (SELECT value FROM json_each(:requests)) ORDER BY created_ms",
    "attempt": "SELECT * FROM attempts WHERE attempt_id IN (SELECT value FROM json_each(:attempts)) ORDER BY created_ms",
    "spend": "SELECT * FROM spend WHERE holder = 'user:' || :user ORDER BY period",
    "day": "SELECT * FROM day_sums WHERE dimension = 'user' AND value = :user ORDER BY day",
    "cell": "SELECT * FROM day_cells WHERE by_payer = 1 AND user = :user ORDER BY day",
    "failure": "SELECT * FROM day_failures WHERE user = :user ORDER BY day",
    "alert": "SELECT * FROM alerts WHERE holder = 'user:' || :user ORDER BY at_ms",
    "access key": "SELECT key_id, name, role, user, limits, created_ms, expires_ms, revoked_ms, used_ms"
    " FROM access_keys WHERE user = :user ORDER BY created_ms",
    "request log": "SELECT * FROM request_log WHERE request_id IN (SELECT value FROM json_each(:requests)) ORDER BY at_ms",
    "cache entry": "SELECT * FROM cache WHERE user = :user ORDER BY created_ms",
    "cache match": "SELECT * FROM cache_matches WHERE json_extract(who, '$[1]') = :user ORDER BY number",
    "cache feedback": "SELECT * FROM cache_wrong WHERE json_extract(who, '$[1]') = :user ORDER BY at_ms",
    "audit": "SELECT * FROM audit WHERE number IN (SELECT value FROM json_each(:trail)) ORDER BY number",
}

_ANONYMISED = (
    """
    UPDATE attempts
    SET user = iif(user = :user, :nobody, user), session = '', trace_id = '', provider_request_id = ''
    WHERE attempt_id IN (SELECT value FROM json_each(:attempts))
    """,
    """
    UPDATE requests
    SET user = iif(user = :user, :nobody, user), session = '', trace_id = '', metadata = '{}'
    WHERE request_id IN (SELECT value FROM json_each(:requests))
    """,
    """
    INSERT INTO spend (holder, period, spent_nusd, held_nusd)
    SELECT 'user:' || :nobody, period, spent_nusd, held_nusd FROM spend WHERE holder = 'user:' || :user
    ON CONFLICT (holder, period) DO UPDATE SET
        spent_nusd = spent_nusd + excluded.spent_nusd, held_nusd = held_nusd + excluded.held_nusd
    """,
    # Who is not to be named does not ask any more either.
    """
    UPDATE access_keys SET user = :nobody, name = :nobody, revoked_ms = coalesce(revoked_ms, :now_ms)
    WHERE user = :user
    """,
    "DELETE FROM request_log WHERE request_id IN (SELECT value FROM json_each(:requests))",
    "DELETE FROM spend WHERE holder = 'user:' || :user",
    "DELETE FROM day_sums WHERE dimension = 'user' AND value = :user",
    "DELETE FROM alerts WHERE holder = 'user:' || :user",
    "DELETE FROM outbox WHERE holder = 'user:' || :user",
)


def export(db: sqlite3.Connection, user: str, write: Callable[[str, Row], None]) -> None:
    """`write` every row about `user`, with what it is."""
    found = _Found(db, user)
    for kind, query in _EXPORTED.items():
        for row in db.execute(query, found.values):
            write(kind, dict(row))


def erase(db: sqlite3.Connection, user: str, *, now_ms: int) -> Erased:
    """Leave nothing that names `user` or was said by or to them; no total of money changes."""
    found = _Found(db, user)
    ((alerts,),) = db.execute("SELECT count(*) FROM alerts WHERE holder = 'user:' || ?", (user,))
    ((keys,),) = db.execute("SELECT count(*) FROM access_keys WHERE user = ?", (user,))
    ((logged,),) = db.execute(
        "SELECT count(*) FROM request_log WHERE request_id IN (SELECT value FROM json_each(:requests))", found.values
    )
    entries, pairs = _erase_cached(db, user, found.requests)
    _move_day_sums(db, user)
    for statement in _ANONYMISED:
        db.execute(statement, found.values | {"now_ms": now_ms})
    # Behind the records, whose triggers have moved what is theirs already.
    _move_sums(db, "day_cells", user)
    _move_sums(db, "day_failures", user)
    audit.erase(db, found.trail, now_ms=now_ms)
    return Erased(
        requests=len(found.requests),
        attempts=len(found.attempts),
        cache_entries=entries,
        cache_pairs=pairs,
        alerts=alerts,
        access_keys=keys,
        logged=logged,
        audit_rows=len(found.trail),
        running=sum(row["state"] == "held" for row in found.attempts),
    )


def rebuild(db: sqlite3.Connection, path: Path) -> bool:
    """Write the database anew, so that nothing deleted is left in its free space or its WAL. Outside of a transaction.

    False: another process reads or writes just now, so an older page may still be there.
    """
    # The copy that SQLite makes on the way is as private as the file; a build without this setting uses /var/tmp.
    folder = str(path.parent).replace("'", "''")
    db.execute(f"PRAGMA temp_store_directory = '{folder}'")
    try:
        db.execute("VACUUM")
        ((busy, _, _),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return False
    return not busy


class _Found:
    """Which rows are about `user`, and all of that as values for a statement."""

    def __init__(self, db: sqlite3.Connection, user: str) -> None:
        self.values = {"user": user, "nobody": NOBODY, "quoted": json.dumps(user, ensure_ascii=False)[1:-1]}
        self.requests: list[sqlite3.Row] = db.execute(_REQUESTS, self.values).fetchall()
        self.values["requests"] = json.dumps([row["request_id"] for row in self.requests])
        self.attempts: list[sqlite3.Row] = db.execute(_THEIR_ATTEMPTS, self.values).fetchall()
        self.values["attempts"] = json.dumps([row["attempt_id"] for row in self.attempts])
        self.trail = [int(row["number"]) for row in db.execute(_NAMED_IN_THE_TRAIL, self.values)]
        self.values["trail"] = json.dumps(self.trail)


def _move_day_sums(db: sqlite3.Connection, user: str) -> None:
    """Add what the reports say of `user` to what they say of nobody, column by column."""
    _add_to_nobody(db, "day_sums", "value", "dimension = 'user' AND value = ?", user)


def _move_sums(db: sqlite3.Connection, table: str, user: str) -> None:
    """The same for what the dashboard shows."""
    _add_to_nobody(db, table, "user", "user = ?", user)
    db.execute(f"DELETE FROM {table} WHERE user = ?", (user,))  # noqa: S608 - a name of ours


def _add_to_nobody(db: sqlite3.Connection, table: str, holder: str, theirs: str, user: str) -> None:
    """`holder` is the column of the key that names the user."""
    found = db.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
    key = [row["name"] for row in found if row["pk"]]
    sums = [row["name"] for row in found if not row["pk"]]
    db.execute(
        f"INSERT INTO {table} ({', '.join([*key, *sums])})"  # noqa: S608 - names of columns
        f" SELECT {', '.join('?' if name == holder else name for name in [*key, *sums])} FROM {table} WHERE {theirs}"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in sums)}",
        (NOBODY, user),
    )


def _erase_cached(db: sqlite3.Connection, user: str, requests: Iterable[sqlite3.Row]) -> tuple[int, int]:
    """Entries and pairs of prompts. Where the scope does not say whose they are, those of the time of a request go."""
    times = _times(requests)
    keys = [row["key"] for row in db.execute("SELECT key FROM cache WHERE user = ?", (user,))]
    for row in requests:
        if row["user"] != user:
            keys += _kept_meanwhile(db, row)
    matches = [
        row["number"]
        for row in db.execute("SELECT number, who, at_ms, entry_id FROM cache_matches")
        if json.loads(row["who"])[1] == user or _within(times, row["at_ms"])
    ]
    found = {"user": user, "keys": json.dumps(keys), "matches": json.dumps(matches)}
    pairs = db.execute(
        """
        DELETE FROM cache_wrong
        WHERE json_extract(who, '$[1]') = :user
            OR asked IN (
                SELECT prompt FROM cache WHERE key IN (SELECT value FROM json_each(:keys))
                UNION ALL SELECT asked FROM cache_matches WHERE number IN (SELECT value FROM json_each(:matches))
            )
            OR earlier IN (
                SELECT prompt FROM cache WHERE key IN (SELECT value FROM json_each(:keys))
                UNION ALL SELECT asked FROM cache_matches WHERE number IN (SELECT value FROM json_each(:matches))
            )
        """,
        found,
    ).rowcount
    pairs += db.execute(
        """
        DELETE FROM cache_matches
        WHERE number IN (SELECT value FROM json_each(:matches))
            OR entry_id IN (SELECT entry_id FROM cache WHERE key IN (SELECT value FROM json_each(:keys)))
        """,
        found,
    ).rowcount
    entries = db.execute("DELETE FROM cache WHERE key IN (SELECT value FROM json_each(:keys))", found).rowcount
    return entries, pairs


def _kept_meanwhile(db: sqlite3.Connection, request: sqlite3.Row) -> Iterator[str]:
    """The entries that `request` may have left: its own, and others of its scope and its time."""
    found = db.execute(
        "SELECT key FROM cache WHERE created_ms BETWEEN :created_ms AND :ended_ms AND access_key = :access_key AND user = :user",
        dict(request),
    )
    return (row["key"] for row in found)


def _times(requests: Iterable[sqlite3.Row]) -> list[tuple[int, int]]:
    """From when until when the requests ran, in order and without overlap."""
    times: list[tuple[int, int]] = []
    for start, end in sorted((row["created_ms"], row["ended_ms"]) for row in requests):
        if times and start <= times[-1][1]:
            times[-1] = times[-1][0], max(end, times[-1][1])
        else:
            times.append((start, end))
    return times


def _within(times: list[tuple[int, int]], at_ms: int) -> bool:
    place = bisect_right(times, (at_ms, at_ms))
    return any(start <= at_ms <= end for start, end in times[max(0, place - 1) : place + 1])
