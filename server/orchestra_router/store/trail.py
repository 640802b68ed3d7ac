"""What the audit trail says of the things that leave a trace: who, what, how it was decided, and what it cost."""

from collections.abc import Sequence

from orchestra_router.store.adjustment_records import Adjustment
from orchestra_router.store.alert_records import Alert
from orchestra_router.store.audit_records import AuditEvent
from orchestra_router.store.ledger_records import Hold
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.types import Refusal, Scope


def requested(record: RequestRecord) -> AuditEvent:
    return AuditEvent(
        at_ms=record.created_ms,
        kind="request",
        subject=record.request_id,
        body={
            **_who(record.scope),
            "trace_id": record.trace_id,
            "task": record.task,
            "outcome": record.outcome,
            "cache": record.cache,
            "provider": record.provider,
            "model": record.model,
            "why": record.reason,
            "tried": [list(attempt) for attempt in record.tried],
            "cost_nusd": record.cost_nusd,
            "found": dict(record.redactions),
            "metadata": dict(record.metadata),
        },
    )


def refused(record: RequestRecord, refusal: Refusal) -> AuditEvent:
    """A request that a budget could not pay for."""
    return AuditEvent(
        at_ms=record.created_ms,
        kind="budget",
        subject=record.request_id,
        body={
            **_who(record.scope),
            "event": "refused",
            "budget": refusal.holder,
            "period": refusal.period,
            "limit_nusd": refusal.limit_nusd,
            "spent_nusd": refusal.spent_nusd,
            "held_nusd": refusal.held_nusd,
            "wanted_nusd": refusal.wanted_nusd,
        },
    )


def approved(hold: Hold) -> AuditEvent:
    """A call over a budget that a person allowed."""
    body = {**_who(hold.scope), "event": "approved", "by": hold.approved_by, "over_nusd": hold.approved_nusd}
    return AuditEvent(at_ms=hold.created_ms, kind="budget", subject=hold.request_id, body=body)


def alerted(alert: Alert) -> AuditEvent:
    body = {"event": alert.kind, "budget": alert.holder, "period": alert.period, "threshold_nusd": alert.threshold_nusd}
    # Whose budget it is stands in the body alone, which can be erased; a subject is part of the chain for ever.
    return AuditEvent(at_ms=alert.at_ms, kind="alert", subject=alert.kind, body=body)


def adjusted(adjustments: Sequence[Adjustment]) -> AuditEvent:
    """A price fix, or a part of one: all its adjustments have one reason."""
    body = {
        "reason": adjustments[0].reason,
        "attempts": len(adjustments),
        "delta_nusd": sum(adjustment.cost_nusd - adjustment.counted_nusd for adjustment in adjustments),
    }
    return AuditEvent(at_ms=adjustments[0].at_ms, kind="price fix", subject="adjustments", body=body)


def key_event(key_id: str, event: str, *, at_ms: int, by: str = "", **details: object) -> AuditEvent:
    """What became of an access key, or of somebody who came with one. `by` is who did it, where somebody did."""
    body = {"event": event, **({"by": by} if by else {}), **details}
    return AuditEvent(at_ms=at_ms, kind="key", subject=key_id, body=body)


def _who(scope: Scope) -> dict[str, str]:
    return {"access_key": scope.access_key, "user": scope.user, "session": scope.session}
