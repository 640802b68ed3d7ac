"""The SQL of what this installation has seen of its models. Each function is the work of one transaction.

Attempts are counted by a trigger (migrations.py), by calendar day, so that what is old can be left out.
"""

import sqlite3

from orchestra_router.store.learned_records import EscalationRow, LearnedRows, SeenRow
from orchestra_router.store.request_records import RequestRecord

_SEEN = """
    SELECT
        task, provider, model, from_ms >= 0 AS answered, sum(attempts) AS attempts, sum(latency_ms) AS latency_ms,
        sum(cost_nusd) AS cost_nusd, sum(output_tokens) AS output_tokens
    FROM learned
    WHERE day >= :first_day
    GROUP BY task, provider, model, from_ms
    ORDER BY task, provider, model, from_ms
"""

_ESCALATIONS = """
    SELECT task, prompt_kind, provider, model, sum(tried) AS tried, sum(escalated) AS escalated
    FROM escalations
    WHERE day >= :first_day
    GROUP BY task, prompt_kind, provider, model
    ORDER BY task, prompt_kind, provider, model
"""

_COUNT = """
    INSERT INTO escalations (day, task, prompt_kind, provider, model, tried, escalated)
    VALUES (:day, :task, :prompt_kind, :provider, :model, 1, :escalated)
    ON CONFLICT (day, task, prompt_kind, provider, model) DO UPDATE SET
        tried = tried + 1, escalated = escalated + excluded.escalated
"""


def learned(db: sqlite3.Connection, *, first_day: str) -> LearnedRows:
    seen = db.execute(_SEEN, {"first_day": first_day})
    escalations = db.execute(_ESCALATIONS, {"first_day": first_day})
    return LearnedRows(
        tuple(SeenRow(**row) for row in seen),
        tuple(EscalationRow(**row) for row in escalations),
    )


def count_escalation(db: sqlite3.Connection, record: RequestRecord) -> None:
    """Count `record`'s cheap step, if it had one that answered."""
    if (step := record.cheap_step) is not None:
        db.execute(
            _COUNT,
            {
                "day": record.period.day,
                "task": record.task,
                "prompt_kind": step.prompt_kind,
                "provider": step.provider,
                "model": step.model,
                "escalated": int(step.escalated),
            },
        )


def forget(db: sqlite3.Connection, *, task: str | None) -> int:
    known = db.execute(
        "SELECT coalesce(sum(attempts), 0) FROM learned WHERE :task IS NULL OR task = :task", {"task": task}
    ).fetchone()[0]
    db.execute("DELETE FROM learned WHERE :task IS NULL OR task = :task", {"task": task})
    db.execute("DELETE FROM escalations WHERE :task IS NULL OR task = :task", {"task": task})
    return int(known)
