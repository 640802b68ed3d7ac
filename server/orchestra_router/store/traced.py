"""What leaves a trace: written in one transaction with the audit trail, so that there is never one without the other."""

import sqlite3
from collections.abc import Sequence

from orchestra_router.store import access_keys, adjustments, audit, cache, learned, ledger, request_log, requests, trail
from orchestra_router.store.adjustment_records import Adjustment
from orchestra_router.store.audit_records import AuditEvent
from orchestra_router.store.key_records import Throttled
from orchestra_router.store.ledger_records import Denied, Hold, Limit
from orchestra_router.store.owner import this_process
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.types import LOCAL_KEY


def hold(db: sqlite3.Connection, hold: Hold, limits: Sequence[Limit]) -> Denied | Throttled | None:
    """Set `hold` aside for this process, unless its access key or one of `limits` is in the way."""
    if hold.scope.access_key != LOCAL_KEY and (throttled := access_keys.throttled(db, hold)) is not None:
        return throttled
    denied = ledger.hold(db, hold, limits, owner=this_process())
    if denied is None and hold.approved_nusd:
        audit.append(db, trail.approved(hold))
    return denied


def record(db: sqlite3.Connection, records: Sequence[RequestRecord]) -> None:
    """Write what became of requests, and all that is counted and kept with it."""
    requests.record(db, records)
    events: list[AuditEvent] = []
    for record in records:
        learned.count_escalation(db, record)
        cache.note_use(db, record)
        if record.exchange is not None:
            request_log.keep(db, record.request_id, record.exchange, at_ms=record.created_ms)
        if record.refusal is not None:
            # Not when a hold is denied: it may be tried again, and something cheaper may be asked instead.
            events.append(trail.refused(record, record.refusal))
        events.append(trail.requested(record))
    audit.append_all(db, events)


def adjust(db: sqlite3.Connection, adjusted: Sequence[Adjustment]) -> int:
    """Let the adjustments count that still apply; returns how many."""
    written = adjustments.adjust(db, adjusted)
    if written:
        audit.append(db, trail.adjusted(written))
    return len(written)
