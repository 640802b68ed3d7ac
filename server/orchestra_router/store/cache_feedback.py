"""The SQL of looking after the cache: what is in it, what it served, what was wrong. Each is one transaction's work."""

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, replace

from orchestra_router.store.cache import ENTRY, entry_of
from orchestra_router.store.cache_records import (
    CacheContents,
    CacheEntry,
    CacheGroupBy,
    CacheMatch,
    CacheRates,
    WrongPair,
)

_ONE = f"SELECT {ENTRY} FROM cache WHERE entry_id = ?"  # noqa: S608 - names of columns
_NEWEST = f"SELECT {ENTRY} FROM cache ORDER BY used_ms DESC LIMIT ?"  # noqa: S608 - as above

# Both orders: whichever of the two is asked, the other's answer is not for it.
_WRONG = """
    INSERT INTO cache_wrong (who, asked_hash, earlier_hash, at_ms, asked, earlier)
    VALUES (:who, :asked_hash, :earlier_hash, :at_ms, :asked, :earlier),
        (:who, :earlier_hash, :asked_hash, :at_ms, :earlier, :asked)
    ON CONFLICT DO NOTHING
"""

_MATCHES = """
    SELECT entry_id, who, earlier, asked, similarity, refusal, served, at_ms, expires_ms FROM cache_matches
    WHERE (:entry_id IS NULL OR entry_id = :entry_id) AND (:served IS NULL OR served = :served)
    ORDER BY number DESC LIMIT :most
"""

# The column to group by is a bound value like any other, so no text from outside ever becomes SQL.
_RATES = """
    SELECT
        CASE :group_by
            WHEN 'provider' THEN provider
            WHEN 'task' THEN task
            WHEN 'user' THEN user
            WHEN 'day' THEN day
            WHEN 'reason' THEN cache_reason
            ELSE ''
        END AS "group",
        count(*) AS requests,
        count(*) FILTER (WHERE cache = 'HIT') AS hits,
        count(*) FILTER (WHERE cache = 'SEMANTIC HIT') AS semantic_hits,
        count(*) FILTER (WHERE cache IN ('MISS', 'SEMANTIC MISS')) AS misses,
        coalesce(sum(saved_nusd), 0) AS saved_nusd
    FROM requests
    WHERE day BETWEEN :first_day AND :last_day
        AND cache IN ('HIT', 'SEMANTIC HIT', 'MISS', 'SEMANTIC MISS')
    GROUP BY 1
    ORDER BY requests DESC, 1
"""

_CONTENTS = """
    SELECT
        (SELECT entries FROM cache_size) AS entries,
        (SELECT bytes FROM cache_size) AS bytes,
        (SELECT count(*) FROM cache_scopes) AS scopes,
        (SELECT count(*) FROM cache WHERE rough <> '') AS comparable,
        (SELECT count(*) FROM cache_vectors) AS embedded,
        (SELECT count(*) FROM cache_wrong WHERE asked_hash <= earlier_hash) AS wrong_pairs
"""


def entry(db: sqlite3.Connection, entry_id: str) -> CacheEntry | None:
    row = db.execute(_ONE, (entry_id,)).fetchone()
    return None if row is None else entry_of(row)


def newest(db: sqlite3.Connection, *, most: int) -> tuple[CacheEntry, ...]:
    """Those used last first."""
    return tuple(entry_of(row) for row in db.execute(_NEWEST, (most,)))


def matches(db: sqlite3.Connection, *, entry_id: str | None, served: bool | None, most: int) -> tuple[CacheMatch, ...]:
    """Newest first; of one entry, or served or not, where that is asked for."""
    rows = db.execute(_MATCHES, {"entry_id": entry_id, "served": served, "most": most})
    return tuple(replace(CacheMatch(**row), served=bool(row["served"])) for row in rows)


def mark_wrong(db: sqlite3.Connection, entry_id: str, pairs: Sequence[WrongPair], *, now_ms: int) -> bool:
    """Delete the entry and what it served, and keep `pairs`. False: it was gone."""
    for pair in pairs:
        db.execute(_WRONG, {**asdict(pair), "at_ms": now_ms})
    db.execute("DELETE FROM cache_matches WHERE entry_id = ?", (entry_id,))
    return db.execute("DELETE FROM cache WHERE entry_id = ?", (entry_id,)).rowcount > 0


def rates(
    db: sqlite3.Connection, *, first_day: str, last_day: str, group_by: CacheGroupBy | None
) -> tuple[CacheRates, ...]:
    rows = db.execute(_RATES, {"group_by": group_by, "first_day": first_day, "last_day": last_day})
    return tuple(CacheRates(**row) for row in rows)


def contents(db: sqlite3.Connection) -> CacheContents:
    embedders = db.execute("SELECT embedder, count(*) FROM cache_vectors GROUP BY embedder ORDER BY 2 DESC")
    return CacheContents(**db.execute(_CONTENTS).fetchone(), embedders=dict(map(tuple, embedders)))
