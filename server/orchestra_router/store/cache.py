"""The SQL of the cache: what is looked up and kept while requests are answered. Each function is one transaction's work."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from orchestra_router.store.cache_records import (
    MOST_VECTORS,
    CacheEntry,
    CacheFindings,
    CacheLimits,
    CacheQuestion,
    CacheReading,
    CacheVector,
    ShelfFindings,
    ShelfQuestion,
    ShelvedVector,
    Unembedded,
    Unread,
)
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.types import Scope

NOTHING_FOUND = CacheFindings(None, comparable=False)
SOMETHING_COMPARABLE = CacheFindings(None, comparable=True)
MOST_UNEMBEDDED = 16
MOST_UNREAD = 16
MOST_SAME_WORDS = 5
MOST_DELETED = 200
"""With one write, for any one reason: more than come in, and never long. A limit that was lowered is reached in steps,
and so is an empty cache."""

ENTRY = """
    entry_id, key, who, rough, figures, shelf, words, guard, embedder, access_key, user, session, task, provider, model, cost_nusd, hits,
    created_ms, expires_ms, used_ms, prompt, body
"""

# One statement, for each begins with a look at what other connections have written: the exact hit, else a row without
# anything in it where something comparable is kept.
_LOOKED_UP = f"""
    SELECT {ENTRY} FROM cache WHERE key = ?1 AND expires_ms > ?2
    UNION ALL
    SELECT {", ".join("NULL" for _ in ENTRY.split(","))} WHERE :COMPARABLE:
    LIMIT 1
"""  # noqa: S608 - names of columns
# One range of the index after the other: a list of two becomes a table first.
_COMPARABLE = " OR ".join(
    f"EXISTS (SELECT 1 FROM cache WHERE rough = ?3 AND rough <> '' AND figures = {figures} AND expires_ms > ?2)"  # noqa: S608 - our own text
    for figures in ("?4", "''")
)
# Which of them are live is left to the next question: not to go through many that are not.
_COMPARABLE_WITH_ANY = "EXISTS (SELECT 1 FROM cache WHERE rough = ?3 AND rough <> '')"
_AMONG_FIGURES = _LOOKED_UP.replace(":COMPARABLE:", _COMPARABLE)
_AMONG_ANY = _LOOKED_UP.replace(":COMPARABLE:", _COMPARABLE_WITH_ANY)

_KEEP = """
    INSERT INTO cache (
        key, entry_id, who, rough, figures, shelf, words, guard, access_key, user, session, task, provider, model, cost_nusd, bytes,
        created_ms, expires_ms, used_ms, prompt, body
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET
        entry_id = excluded.entry_id, who = excluded.who, rough = excluded.rough, figures = excluded.figures,
        shelf = excluded.shelf, words = excluded.words, guard = excluded.guard, embedder = '', access_key = excluded.access_key, user = excluded.user,
        session = excluded.session, task = excluded.task, provider = excluded.provider, model = excluded.model,
        cost_nusd = excluded.cost_nusd, hits = 0, bytes = excluded.bytes, created_ms = excluded.created_ms,
        expires_ms = excluded.expires_ms, used_ms = excluded.used_ms, prompt = excluded.prompt, body = excluded.body
"""

# By its own index, which is short: by the other one all that are read are gone through, too.
_UNREAD = """
    SELECT entry_id, prompt FROM cache INDEXED BY cache_unread
    WHERE rough = ? AND rough <> '' AND figures IN (?, '') AND shelf = '' AND expires_ms > ?
    LIMIT ?
"""

_READ = """
    UPDATE cache
    SET figures = CASE figures WHEN '' THEN :figures ELSE figures END, shelf = :shelf, words = :words, guard = :guard
    WHERE entry_id = :entry_id AND shelf = ''
"""

# Nothing for an entry that is gone by now.
_KEEP_VECTOR = """
    INSERT INTO cache_vectors (entry_id, shelf, embedder, expires_ms, vector)
    SELECT entry_id, shelf, ?, expires_ms, ? FROM cache WHERE entry_id = ? AND shelf <> ''
"""

_VECTORS = """
    SELECT number, entry_id, expires_ms, vector FROM cache_vectors
    WHERE shelf = ? AND embedder = ? AND number > ?
    ORDER BY number LIMIT ?
"""

# Both ranges of one index. As one query with OR, or with <>, the whole shelf is read.
_UNEMBEDDED = """
    SELECT * FROM (
        SELECT entry_id, prompt, embedder FROM cache
        WHERE shelf = :shelf AND shelf <> '' AND embedder < :embedder AND expires_ms > :now_ms LIMIT :most
    )
    UNION ALL
    SELECT * FROM (
        SELECT entry_id, prompt, embedder FROM cache
        WHERE shelf = :shelf AND shelf <> '' AND embedder > :embedder AND expires_ms > :now_ms LIMIT :most
    )
    LIMIT :most
"""

_MATCHED = """
    INSERT INTO cache_matches (entry_id, who, similarity, refusal, served, at_ms, expires_ms, earlier, asked)
    VALUES (:entry_id, :who, :similarity, :refusal, :served, :at_ms, :expires_ms, :earlier, :asked)
"""

# Nearly always there is room, and then nothing more is asked.
_ROOM = """
    SELECT
        (SELECT min(expires_ms) FROM cache) <= :now_ms OR (SELECT min(expires_ms) FROM cache_matches) <= :now_ms,
        entries > :entries OR bytes > :bytes
            OR (SELECT entries FROM cache_scopes WHERE who = :who) > :entries_per_scope
    FROM cache_size
"""

_OVER_THE_SCOPES_LIMIT = """
    DELETE FROM cache WHERE key IN (
        SELECT key FROM cache WHERE who = :who ORDER BY used_ms
        LIMIT min(:at_once, max(0, coalesce((SELECT entries FROM cache_scopes WHERE who = :who), 0) - :most))
    )
"""

_OVER_THE_LIMIT = """
    DELETE FROM cache WHERE key IN (
        SELECT key FROM cache ORDER BY used_ms
        LIMIT min(:at_once, max(0, (SELECT entries FROM cache_size) - :most))
    )
"""


def looked_up(db: sqlite3.Connection, question: CacheQuestion, *, now_ms: int) -> CacheFindings:
    key, rough, figures = question
    found = (
        db.execute(_AMONG_FIGURES, (key, now_ms, rough, figures))
        if figures
        else db.execute(_AMONG_ANY, (key, now_ms, rough))
    )
    row = found.fetchone()
    if row is None:
        return NOTHING_FOUND
    return SOMETHING_COMPARABLE if row["entry_id"] is None else CacheFindings(entry_of(row), comparable=False)


def on_shelf(db: sqlite3.Connection, question: ShelfQuestion, *, now_ms: int) -> ShelfFindings:
    # First, for who reads a prompt puts it on a shelf: so none is missed between the two.
    unread = tuple(map(Unread._make, db.execute(_UNREAD, (question.rough, question.figures, now_ms, MOST_UNREAD))))
    wrong = db.execute(
        "SELECT earlier_hash FROM cache_wrong WHERE who = ? AND asked_hash = ?", (question.who, question.prompt_hash)
    )
    if not question.embedder:
        return ShelfFindings(
            unread=unread,
            same_words=_same_words(db, question, now_ms=now_ms),
            wrong=frozenset(row[0] for row in wrong),
        )
    unembedded = db.execute(
        _UNEMBEDDED,
        {"shelf": question.shelf, "embedder": question.embedder, "now_ms": now_ms, "most": MOST_UNEMBEDDED},
    )
    return ShelfFindings(
        unread=unread,
        vectors=vectors(db, question.shelf, question.embedder, after=question.seen),
        unembedded=tuple(Unembedded(*row) for row in unembedded),
        wrong=frozenset(row[0] for row in wrong),
    )


def vectors(db: sqlite3.Connection, shelf: str, embedder: str, *, after: int) -> tuple[ShelvedVector, ...]:
    """Those with a number above `after`, oldest first, `MOST_VECTORS` at most."""
    rows = db.execute(_VECTORS, (shelf, embedder, after, MOST_VECTORS))
    return tuple(ShelvedVector(*row) for row in rows)


def entries(db: sqlite3.Connection, entry_ids: Sequence[str], *, now_ms: int) -> tuple[CacheEntry, ...]:
    """Those of `entry_ids` that may still be served, in no order."""
    holes = ", ".join("?" * len(entry_ids))
    rows = db.execute(
        f"SELECT {ENTRY} FROM cache WHERE entry_id IN ({holes}) AND expires_ms > ?",  # noqa: S608 - question marks
        (*entry_ids, now_ms),
    )
    return tuple(entry_of(row) for row in rows)


def keep(
    db: sqlite3.Connection, entry: CacheEntry, vector: CacheVector | None, *, limits: CacheLimits, now_ms: int
) -> None:
    scope = entry.scope
    db.execute(
        _KEEP,
        (
            entry.key,
            entry.entry_id,
            entry.who,
            entry.rough,
            entry.figures,
            entry.shelf,
            entry.words,
            entry.guard,
            scope.access_key,
            scope.user,
            scope.session,
            entry.task,
            entry.provider,
            entry.model,
            entry.cost_nusd,
            len(entry.body.encode()) + len(entry.prompt.encode()),
            entry.created_ms,
            entry.expires_ms,
            entry.created_ms,
            entry.prompt,
            entry.body,
        ),
    )
    if vector is not None:
        keep_vectors(db, (vector,))
    room = {
        "now_ms": now_ms,
        "entries": limits.entries,
        "bytes": limits.bytes,
        "entries_per_scope": limits.entries_per_scope,
        "who": entry.who,
    }
    some_expired, crowded = db.execute(_ROOM, room).fetchone()
    if some_expired:
        _drop_expired(db, now_ms)
    if crowded:
        _make_room(db, entry.who, limits)


def keep_readings(db: sqlite3.Connection, readings: Iterable[CacheReading]) -> None:
    """Each as its entry's, if that is still there and nobody was faster."""
    db.executemany(_READ, [reading._asdict() for reading in readings])


def keep_vectors(db: sqlite3.Connection, vectors: Iterable[CacheVector]) -> None:
    """Each takes the place of its entry's vector, if the entry is still there."""
    for vector in vectors:
        db.execute("DELETE FROM cache_vectors WHERE entry_id = ?", (vector.entry_id,))
        db.execute(_KEEP_VECTOR, (vector.embedder, vector.vector, vector.entry_id))


def drop_vectors(db: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Of those that cannot be used; their entries wait to be embedded again."""
    db.executemany("DELETE FROM cache_vectors WHERE number = ?", [(number,) for number in numbers])


def drop_cached(db: sqlite3.Connection, *, entry_id: str | None, expired_before_ms: int | None) -> int:
    if entry_id is not None:
        return db.execute("DELETE FROM cache WHERE entry_id = ?", (entry_id,)).rowcount
    if expired_before_ms is not None:
        return _drop_expired(db, expired_before_ms)
    db.execute("DELETE FROM cache_matches")
    return db.execute("DELETE FROM cache WHERE key IN (SELECT key FROM cache LIMIT ?)", (MOST_DELETED,)).rowcount


def note_use(db: sqlite3.Connection, record: RequestRecord) -> None:
    """What the cache did for the request of `record`."""
    if record.cache_entry:
        db.execute(
            "UPDATE cache SET hits = hits + 1, used_ms = max(used_ms, ?) WHERE entry_id = ?",
            (record.created_ms, record.cache_entry),
        )
    if record.cache_match is not None:
        db.execute(_MATCHED, asdict(record.cache_match))


def entry_of(row: sqlite3.Row) -> CacheEntry:
    """Of a row with the columns of `ENTRY`."""
    # fmt: off
    (
        entry_id, key, who, rough, figures, shelf, words, guard, embedder, access_key, user, session, task, provider,
        model, cost_nusd, hits, created_ms, expires_ms, used_ms, prompt, body,
    ) = row
    # fmt: on
    return CacheEntry(
        entry_id=entry_id,
        key=key,
        scope=Scope(access_key, user, session),
        who=who,
        body=body,
        cost_nusd=cost_nusd,
        created_ms=created_ms,
        expires_ms=expires_ms,
        task=task,
        provider=provider,
        model=model,
        rough=rough,
        figures=figures,
        shelf=shelf,
        words=words,
        guard=guard,
        prompt=prompt,
        embedder=embedder,
        hits=hits,
        used_ms=used_ms,
    )


def _same_words(db: sqlite3.Connection, question: ShelfQuestion, *, now_ms: int) -> tuple[CacheEntry, ...]:
    rows = db.execute(
        f"SELECT {ENTRY} FROM cache WHERE shelf = ? AND shelf <> '' AND words = ? AND expires_ms > ?"  # noqa: S608 - names of columns
        " ORDER BY created_ms DESC LIMIT ?",
        (question.shelf, question.words, now_ms, MOST_SAME_WORDS),
    )
    return tuple(entry_of(row) for row in rows)


def _make_room(db: sqlite3.Connection, who: str, limits: CacheLimits) -> None:
    db.execute(_OVER_THE_SCOPES_LIMIT, {"who": who, "most": limits.entries_per_scope, "at_once": MOST_DELETED})
    db.execute(_OVER_THE_LIMIT, {"most": limits.entries, "at_once": MOST_DELETED})
    for _ in range(MOST_DELETED):
        if db.execute("SELECT bytes FROM cache_size").fetchone()[0] <= limits.bytes:
            break
        db.execute("DELETE FROM cache WHERE key IN (SELECT key FROM cache ORDER BY used_ms LIMIT 1)")


def _drop_expired(db: sqlite3.Connection, now_ms: int) -> int:
    db.execute(
        "DELETE FROM cache_matches WHERE number IN (SELECT number FROM cache_matches WHERE expires_ms <= ? LIMIT ?)",
        (now_ms, MOST_DELETED),
    )
    return db.execute(
        "DELETE FROM cache WHERE key IN (SELECT key FROM cache WHERE expires_ms <= ? LIMIT ?)", (now_ms, MOST_DELETED)
    ).rowcount
