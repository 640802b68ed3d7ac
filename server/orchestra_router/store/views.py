"""The SQL of the dashboard. Each function is the work of one transaction, and reads sums rather than records."""

import sqlite3
from collections import defaultdict

from orchestra_router.store.view_records import (
    Choices,
    Cut,
    Dimension,
    Failures,
    Figures,
    Latencies,
    RecentRequest,
)
from orchestra_router.store.view_schema import FAILED, STEP

MOST_CHOICES = 200

# What is grouped by is a bound value like any other, so no text from outside ever becomes SQL.
_DAY_SUMS = """
    SELECT
        day AS at,
        iif(:by = 'access_key', access_key, value) AS value,
        sum(attempts) AS attempts, sum(failed) AS failed, sum(spent_nusd) AS spent_nusd,
        sum(input_fresh + cache_read + cache_write) AS input_tokens, sum(output + reasoning) AS output_tokens,
        sum(calls) AS calls, sum(hits) AS hits, sum(misses) AS misses, sum(saved_nusd) AS saved_nusd
    FROM day_sums
    WHERE dimension = iif(:by = 'access_key', '', :by)
        AND day BETWEEN :first_day AND :last_day
        AND (:access_key IS NULL OR access_key = :access_key)
    GROUP BY 1, 2
"""

_BY = """
    CASE :by
        WHEN 'provider' THEN ROW.provider
        WHEN 'model' THEN ROW.model
        WHEN 'task' THEN ROW.task
        WHEN 'user' THEN ROW.user
        WHEN 'access_key' THEN ROW.access_key
        ELSE ''
    END
"""

# Finds each user and each of his tasks by one step in the index, so that only the days asked for are read.
_CELLS = """
    WITH RECURSIVE payer (user) AS (
        SELECT coalesce(:user, (SELECT min(user) FROM day_cells WHERE by_payer = :by_payer))
        UNION ALL
        SELECT (SELECT min(user) FROM day_cells WHERE by_payer = :by_payer AND user > payer.user)
        FROM payer
        WHERE payer.user IS NOT NULL AND :user IS NULL
    ),
    paid (user, task) AS (
        SELECT
            payer.user,
            coalesce(:task, (SELECT min(task) FROM day_cells WHERE by_payer = :by_payer AND user = payer.user))
        FROM payer
        WHERE payer.user IS NOT NULL
        UNION ALL
        SELECT
            paid.user,
            (SELECT min(task) FROM day_cells WHERE by_payer = :by_payer AND user = paid.user AND task > paid.task)
        FROM paid
        WHERE paid.task IS NOT NULL AND :task IS NULL
    ),
    cells AS (
        SELECT day_cells.*
        FROM paid CROSS JOIN day_cells
        WHERE day_cells.by_payer = :by_payer AND day_cells.user = paid.user AND day_cells.task = paid.task
            AND day_cells.day BETWEEN :first_day AND :last_day
            AND (:access_key IS NULL OR day_cells.access_key = :access_key)
    )
"""

_CELL_SUMS = f"""
    {_CELLS}
    SELECT
        day AS at,
        {_BY.replace("ROW", "cells")} AS value,
        sum(attempts) AS attempts, sum(iif(from_ms = {FAILED}, attempts, 0)) AS failed, sum(spent_nusd) AS spent_nusd,
        sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(calls) AS calls,
        sum(hits) AS hits, sum(misses) AS misses, sum(saved_nusd) AS saved_nusd
    FROM cells
    GROUP BY 1, 2
"""  # noqa: S608 - constants of ours, here and below

_DAYS_OF_LATENCIES = f"""
    {_CELLS}
    SELECT day AS at, from_ms, sum(attempts) AS answered FROM cells WHERE from_ms >= 0 GROUP BY day, from_ms
"""  # noqa: S608

_DEPLOYMENTS_OF_LATENCIES = f"""
    {_CELLS}
    SELECT provider, model, from_ms, sum(attempts) AS answered
    FROM cells WHERE from_ms >= 0 GROUP BY provider, model, from_ms
"""  # noqa: S608

_MINE = """
    ROW.day BETWEEN :first_day AND :last_day
        AND (:access_key IS NULL OR ROW.access_key = :access_key)
        AND (:user IS NULL OR ROW.user = :user)
        AND (:task IS NULL OR ROW.task = :task)
"""

_QUARTERS_OF_ATTEMPTS = f"""
    SELECT
        CAST(attempts.created_ms / 900000 AS TEXT) AS at,
        {_BY.replace("ROW", "attempts")} AS value,
        count(*) AS attempts, sum(outcome <> 'ok') AS failed,
        sum(cost_nusd + coalesce((SELECT sum(delta_nusd) FROM adjustments WHERE attempt_id = attempts.attempt_id), 0))
            AS spent_nusd,
        sum(coalesce(input_fresh, 0) + coalesce(cache_read, 0) + coalesce(cache_write, 0) + coalesce(cache_write_1h, 0))
            AS input_tokens,
        sum(coalesce(output, 0) + coalesce(reasoning, 0)) AS output_tokens
    FROM attempts
    WHERE state <> 'held' AND {_MINE.replace("ROW", "attempts")}
    GROUP BY 1, 2
"""  # noqa: S608

_QUARTERS_OF_REQUESTS = f"""
    SELECT
        CAST(created_ms / 900000 AS TEXT) AS at,
        {_BY.replace("ROW", "requests")} AS value,
        count(*) AS calls, sum(cache IN ('HIT', 'SEMANTIC HIT')) AS hits,
        sum(cache IN ('MISS', 'SEMANTIC MISS')) AS misses, sum(saved_nusd) AS saved_nusd
    FROM requests
    WHERE {_MINE.replace("ROW", "requests")}
    GROUP BY 1, 2
"""  # noqa: S608

_QUARTERS_OF_LATENCIES = f"""
    SELECT CAST(created_ms / 900000 AS TEXT) AS at, {STEP.replace("ROW", "attempts")} AS from_ms, count(*) AS answered
    FROM attempts
    WHERE state <> 'held' AND outcome = 'ok' AND {_MINE.replace("ROW", "attempts")}
    GROUP BY 1, 2
"""  # noqa: S608

_FAILURES = f"""
    SELECT provider, outcome, sum(attempts) AS attempts, 0 AS requests
    FROM day_failures WHERE {_MINE.replace("ROW", "day_failures")} GROUP BY 1, 2 HAVING sum(attempts) > 0
    UNION ALL
    SELECT '', outcome, 0, sum(requests)
    FROM day_failures WHERE {_MINE.replace("ROW", "day_failures")} GROUP BY 1, 2 HAVING sum(requests) > 0
    ORDER BY 3 DESC, 4 DESC, 1, 2
"""  # noqa: S608

# `found` reads one index and no row, however many requests it passes over.
_RECENT = """
    WITH found AS MATERIALIZED (
        SELECT rowid AS row, created_ms
        FROM requests INDEXED BY requests_by_time
        WHERE created_ms >= :since_ms AND created_ms < :until_ms
            AND (created_ms, rowid) < (:before_ms, :before_row)
            AND (:access_key IS NULL OR access_key = :access_key)
            AND (:user IS NULL OR user = :user)
            AND (:task IS NULL OR task = :task)
            AND (NOT :failed OR outcome <> 'ok')
        ORDER BY created_ms DESC, rowid DESC
        LIMIT :most
    )
    SELECT
        requests.rowid AS row, requests.request_id, requests.trace_id, requests.access_key, requests.user,
        requests.session, requests.task, requests.outcome, requests.cache, requests.cache_reason, requests.provider,
        requests.model, requests.cost_nusd, requests.saved_nusd, requests.created_ms, requests.latency_ms,
        requests.reason, requests.redactions, requests.metadata
    FROM found JOIN requests ON requests.rowid = found.row
    ORDER BY found.created_ms DESC, found.row DESC
"""

_ATTEMPTS = """
    SELECT number, provider, model, outcome, status, state, cost_nusd, cost_source, latency_ms, waited_ms
    FROM attempts WHERE request_id = ? ORDER BY number, created_ms, rowid
"""

_CHOICES = """
    SELECT iif(dimension = '', 'access_key', dimension) AS dimension, iif(dimension = '', access_key, value) AS value
    FROM day_sums
    WHERE dimension IN ('', 'user', 'task') AND day BETWEEN ? AND ?
    GROUP BY 1, 2
    ORDER BY sum(calls) DESC, 2
"""


def figures(db: sqlite3.Connection, cut: Cut, *, by: Dimension = "") -> tuple[Figures, ...]:
    """One row per day and value; days without anything have none."""
    narrow = cut.user is not None or cut.task is not None
    rows = db.execute(_CELL_SUMS if narrow else _DAY_SUMS, _values(cut) | {"by": by})
    return tuple(Figures(**row) for row in rows)


def quarters(db: sqlite3.Connection, cut: Cut, *, by: Dimension = "") -> tuple[Figures, ...]:
    """The same per quarter of an hour, from the records themselves: for few days, and as long as those are kept."""
    sums: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for query in (_QUARTERS_OF_ATTEMPTS, _QUARTERS_OF_REQUESTS):
        for row in db.execute(query, _records(cut) | {"by": by}):
            at, value, *_ = row
            sums[at, value] |= {name: row[name] for name in row.keys()[2:]}
    return tuple(Figures(at=at, value=value, **found) for (at, value), found in sums.items())


def latencies(db: sqlite3.Connection, cut: Cut, *, per_quarter: bool = False) -> tuple[Latencies, ...]:
    """Of the attempts that answered, per day or quarter of an hour."""
    rows = (
        db.execute(_QUARTERS_OF_LATENCIES, _records(cut))
        if per_quarter
        else db.execute(_DAYS_OF_LATENCIES, _values(cut))
    )
    return tuple(Latencies(**row) for row in rows)


def latencies_by_deployment(db: sqlite3.Connection, cut: Cut) -> tuple[Latencies, ...]:
    return tuple(Latencies(**row) for row in db.execute(_DEPLOYMENTS_OF_LATENCIES, _values(cut)))


def failures(db: sqlite3.Connection, cut: Cut) -> tuple[Failures, ...]:
    """Most frequent first."""
    return tuple(Failures(**row) for row in db.execute(_FAILURES, _records(cut)))


def recent(
    db: sqlite3.Connection, cut: Cut, *, since_ms: int, until_ms: int, before: str, only_failed: bool, most: int
) -> tuple[RecentRequest, ...]:
    """Newest first, from `since_ms` until `until_ms`, behind the place `before` ("": from the newest on)."""
    before_ms, _, before_row = before.partition("-")
    values = _records(cut) | {
        "since_ms": since_ms,
        "until_ms": until_ms,
        "before_ms": int(before_ms or until_ms),
        "before_row": int(before_row or 0),
        "failed": only_failed,
        "most": most,
    }
    found: list[RecentRequest] = []
    for row in db.execute(_RECENT, values).fetchall():
        columns = dict(row)
        attempts = tuple(dict(attempt) for attempt in db.execute(_ATTEMPTS, (columns["request_id"],)))
        place = f"{columns['created_ms']}-{columns.pop('row')}"
        found.append(RecentRequest(place=place, columns=columns, attempts=attempts))
    return tuple(found)


def choices(db: sqlite3.Connection, *, first_day: str, last_day: str) -> Choices:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for dimension, value in db.execute(_CHOICES, (first_day, last_day)):
        found[dimension].append(value)
    return Choices(
        access_keys=tuple(found["access_key"][:MOST_CHOICES]),
        users=tuple(found["user"][:MOST_CHOICES]),
        tasks=tuple(found["task"][:MOST_CHOICES]),
    )


def version(db: sqlite3.Connection) -> int:
    """Changes whenever another connection has written to the file (sqlite.org/pragma.html#pragma_data_version)."""
    (number,) = db.execute("PRAGMA data_version").fetchone()
    return number


def _values(cut: Cut) -> dict[str, object]:
    """For the sums: of everyone together where neither a user nor a task is picked."""
    by_payer = cut.user is not None or cut.task is not None
    return _records(cut) | {
        "by_payer": by_payer,
        "user": cut.user if by_payer else "",
        "task": cut.task if by_payer else "",
    }


def _records(cut: Cut) -> dict[str, object]:
    return {
        "first_day": cut.first_day,
        "last_day": cut.last_day,
        "access_key": cut.access_key,
        "user": cut.user,
        "task": cut.task,
    }
