"""The SQL of records and reports. Each function is the work of one transaction."""

import json
import sqlite3
from collections.abc import Mapping

from orchestra_router.store.base import CacheReport, GroupBy, ReportRow, RequestRecord

_RECORD = """
    INSERT INTO requests (
        request_id, trace_id, access_key, user, session, day, month, task, outcome, cache, provider, model, cost_nusd,
        saved_nusd, attempts, created_ms, latency_ms, redactions, metadata
    )
    VALUES (
        :request_id, :trace_id, :access_key, :user, :session, :day, :month, :task, :outcome, :cache, :provider, :model,
        :cost_nusd, :saved_nusd, :attempts, :created_ms, :latency_ms, :redactions, :metadata
    )
    ON CONFLICT (request_id) DO UPDATE SET
        outcome = excluded.outcome, cache = excluded.cache, provider = excluded.provider, model = excluded.model,
        cost_nusd = excluded.cost_nusd, saved_nusd = excluded.saved_nusd, attempts = excluded.attempts,
        latency_ms = excluded.latency_ms, redactions = excluded.redactions
"""

_ATTEMPTS = """
    SELECT
        attempt_id, request_id, trace_id, number, access_key, user, session, day, task, provider, model, offer_id,
        amount_nusd, created_ms, expires_ms, state, cost_nusd, cost_source, reported_nusd, input_fresh, cache_read,
        cache_write, cache_write_1h, output, reasoning, searches, reported_total, outcome, status, latency_ms,
        first_token_ms, waited_ms, provider_request_id, finished_ms
    FROM attempts
    WHERE request_id = :id OR trace_id = :id
    ORDER BY created_ms, number, rowid
"""

# The column to group by is a bound value like any other, so no text from outside ever becomes SQL.
_REPORT = """
    SELECT
        CASE :group_by
            WHEN 'provider' THEN provider
            WHEN 'model' THEN model
            WHEN 'task' THEN task
            WHEN 'day' THEN day
            WHEN 'user' THEN user
            WHEN 'access_key' THEN access_key
            ELSE ''
        END AS "group",
        count(DISTINCT request_id) AS requests,
        count(*) AS attempts,
        count(*) FILTER (WHERE state <> 'held' AND outcome <> 'ok') AS failed,
        coalesce(sum(cost_nusd), 0) AS spent_nusd,
        coalesce(sum(cost_nusd) FILTER (WHERE state = 'uncertain'), 0) AS uncertain_nusd,
        count(*) FILTER (WHERE state = 'uncertain') AS uncertain,
        coalesce(sum(amount_nusd) FILTER (WHERE state = 'held'), 0) AS held_nusd,
        coalesce(sum(input_fresh + cache_read + cache_write + cache_write_1h), 0) AS input_tokens,
        coalesce(sum(cache_read), 0) AS cached_tokens,
        coalesce(sum(output + reasoning), 0) AS output_tokens,
        coalesce(CAST(round(avg(latency_ms) FILTER (WHERE outcome = 'ok')) AS INTEGER), 0) AS mean_latency_ms
    FROM attempts
    WHERE day BETWEEN :first_day AND :last_day
    GROUP BY 1
    ORDER BY spent_nusd DESC, 1
"""

_CACHE_REPORT = """
    SELECT
        count(*) AS requests,
        count(*) FILTER (WHERE cache IN ('HIT', 'SEMANTIC HIT')) AS hits,
        count(*) FILTER (WHERE cache IN ('MISS', 'SEMANTIC MISS')) AS misses,
        coalesce(sum(saved_nusd), 0) AS saved_nusd
    FROM requests
    WHERE day BETWEEN ? AND ?
"""

_ALERTS = """
    SELECT holder, period, threshold_nusd, at_ms
    FROM alerts
    WHERE period BETWEEN :first_day AND :last_day
        OR length(period) = 7 AND period BETWEEN substr(:first_day, 1, 7) AND substr(:last_day, 1, 7)
    ORDER BY at_ms, holder, threshold_nusd
"""

_NOTHING = ReportRow(
    group="",
    requests=0,
    attempts=0,
    failed=0,
    spent_nusd=0,
    uncertain_nusd=0,
    uncertain=0,
    held_nusd=0,
    input_tokens=0,
    cached_tokens=0,
    output_tokens=0,
    mean_latency_ms=0,
)


def record(db: sqlite3.Connection, record: RequestRecord) -> None:
    """Write what became of a request; a later record of the same one replaces its outcome."""
    db.execute(
        _RECORD,
        {
            "request_id": record.request_id,
            "trace_id": record.trace_id,
            "access_key": record.scope.access_key,
            "user": record.scope.user,
            "session": record.scope.session,
            "day": record.period.day,
            "month": record.period.month,
            "task": record.task,
            "outcome": record.outcome,
            "cache": record.cache,
            "provider": record.provider,
            "model": record.model,
            "cost_nusd": record.cost_nusd,
            "saved_nusd": record.saved_nusd,
            "attempts": record.attempts,
            "created_ms": record.created_ms,
            "latency_ms": record.latency_ms,
            "redactions": json.dumps(dict(record.redactions)),
            "metadata": json.dumps(dict(record.metadata)),
        },
    )


def attempts_of(db: sqlite3.Connection, request_or_trace_id: str) -> tuple[Mapping[str, object], ...]:
    return tuple(dict(row) for row in db.execute(_ATTEMPTS, {"id": request_or_trace_id}))


def report(db: sqlite3.Connection, *, first_day: str, last_day: str, group_by: GroupBy | None) -> tuple[ReportRow, ...]:
    """One row per group that has attempts; without a group always one row, of zeros if need be."""
    rows = db.execute(_REPORT, {"group_by": group_by, "first_day": first_day, "last_day": last_day})
    return tuple(ReportRow(**row) for row in rows) or (() if group_by else (_NOTHING,))


def cache_report(db: sqlite3.Connection, *, first_day: str, last_day: str) -> CacheReport:
    """Hits and misses are the requests that looked in the cache; `requests` are all."""
    return CacheReport(**db.execute(_CACHE_REPORT, (first_day, last_day)).fetchone())


def alerts(db: sqlite3.Connection, *, first_day: str, last_day: str) -> tuple[Mapping[str, object], ...]:
    rows = db.execute(_ALERTS, {"first_day": first_day, "last_day": last_day})
    return tuple(dict(row) for row in rows)
