"""The SQL of requests on record. Each function is the work of one transaction."""

import json
import sqlite3
from collections.abc import Iterable, Mapping

from orchestra_router.store.request_records import RequestRecord

_RECORD = """
    INSERT INTO requests (
        request_id, trace_id, access_key, user, session, day, month, task, outcome, cache, provider, model, cost_nusd,
        saved_nusd, attempts, created_ms, latency_ms, redactions, metadata, cache_reason, escalated,
        escalation_saved_nusd, wasted_nusd, reason
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (request_id) DO UPDATE SET
        outcome = excluded.outcome, cache = excluded.cache, provider = excluded.provider, model = excluded.model,
        cost_nusd = excluded.cost_nusd, saved_nusd = excluded.saved_nusd, attempts = excluded.attempts,
        latency_ms = excluded.latency_ms, redactions = excluded.redactions,
        cache_reason = excluded.cache_reason, escalated = excluded.escalated,
        escalation_saved_nusd = excluded.escalation_saved_nusd, wasted_nusd = excluded.wasted_nusd,
        reason = excluded.reason
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

_REQUESTS = "SELECT * FROM requests WHERE request_id = :id OR trace_id = :id ORDER BY created_ms, rowid LIMIT :most"


def record(db: sqlite3.Connection, records: Iterable[RequestRecord]) -> None:
    """Write what became of requests; a later record of the same one replaces its outcome."""
    db.executemany(_RECORD, map(_columns, records))


def _columns(record: RequestRecord) -> tuple[object, ...]:
    scope, period = record.scope, record.period
    return (
        record.request_id,
        record.trace_id,
        scope.access_key,
        scope.user,
        scope.session,
        period.day,
        period.month,
        record.task,
        record.outcome,
        record.cache,
        record.provider,
        record.model,
        record.cost_nusd,
        record.saved_nusd,
        record.attempts,
        record.created_ms,
        record.latency_ms,
        json.dumps(dict(record.redactions)) if record.redactions else "{}",
        json.dumps(dict(record.metadata)) if record.metadata else "{}",
        record.cache_reason,
        None if record.cheap_step is None else int(record.cheap_step.escalated),
        record.escalation_saved_nusd,
        record.wasted_nusd,
        record.reason,
    )


def attempts_of(db: sqlite3.Connection, request_or_trace_id: str) -> tuple[Mapping[str, object], ...]:
    return tuple(dict(row) for row in db.execute(_ATTEMPTS, {"id": request_or_trace_id}))


def requests_of(db: sqlite3.Connection, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
    return tuple(dict(row) for row in db.execute(_REQUESTS, {"id": request_or_trace_id, "most": most}))
