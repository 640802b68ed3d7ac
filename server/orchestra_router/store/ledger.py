"""The SQL of the ledger. Each function is the work of one transaction.

The sums in `spend` are kept by triggers (migrations.py); nothing here writes them.
"""

import json
import sqlite3
from collections.abc import Collection, Sequence

from orchestra_router.store.alerts import watched
from orchestra_router.store.base import Denied, Hold, Limit, Settled, Settlement, Spent
from orchestra_router.store.owner import has_died

_HOLD = """
    INSERT INTO attempts (
        attempt_id, request_id, trace_id, number, access_key, user, session, day, month, task, provider, model,
        offer_id, amount_nusd, created_ms, expires_ms, owner, likely_tokens, approved_nusd, approved_by
    )
    SELECT
        :attempt_id, :request_id, :trace_id, :number, :access_key, :user, :session, :day, :month, :task, :provider,
        :model, :offer_id, :amount_nusd, :created_ms, :expires_ms, :owner, :likely_tokens, :approved_nusd,
        :approved_by
    WHERE NOT EXISTS (
        SELECT 1
        FROM json_each(:limits) AS budget
        LEFT JOIN spend
            ON spend.holder = json_extract(budget.value, '$[0]') AND spend.period = json_extract(budget.value, '$[1]')
        WHERE :amount_nusd > 0
            AND coalesce(spend.spent_nusd + spend.held_nusd, 0) + :amount_nusd
                > json_extract(budget.value, '$[2]') + :approved_nusd
    )
    RETURNING attempt_id
"""

# Of several budgets that cannot pay, the one that stays empty longest: a month before a day.
_DENIED = """
    SELECT
        json_extract(budget.value, '$[0]') AS holder,
        json_extract(budget.value, '$[1]') AS period,
        json_extract(budget.value, '$[2]') AS limit_nusd,
        coalesce(spend.spent_nusd, 0) AS spent_nusd,
        coalesce(spend.held_nusd, 0) AS held_nusd,
        min(json_extract(budget.value, '$[2]') - coalesce(spend.spent_nusd + spend.held_nusd, 0)) OVER () AS left_nusd,
        max(
            coalesce(spend.spent_nusd, 0) + :amount_nusd > json_extract(budget.value, '$[2]') + :approved_nusd
        ) OVER () AS is_spent
    FROM json_each(:limits) AS budget
    LEFT JOIN spend
        ON spend.holder = json_extract(budget.value, '$[0]') AND spend.period = json_extract(budget.value, '$[1]')
    ORDER BY
        coalesce(spend.spent_nusd + spend.held_nusd, 0) + :amount_nusd
            > json_extract(budget.value, '$[2]') + :approved_nusd DESC,
        length(json_extract(budget.value, '$[1]')),
        limit_nusd - coalesce(spend.spent_nusd + spend.held_nusd, 0)
    LIMIT 1
"""

_SETTLE = """
    UPDATE attempts SET
        state = :state, cost_nusd = :cost_nusd, cost_source = :cost_source, reported_nusd = :reported_nusd,
        computed_nusd = :computed_nusd, input_fresh = :input_fresh, cache_read = :cache_read, cache_write = :cache_write,
        cache_write_1h = :cache_write_1h, output = :output, reasoning = :reasoning, searches = :searches,
        reported_total = :reported_total, outcome = :outcome, status = :status, latency_ms = :latency_ms,
        first_token_ms = :first_token_ms, waited_ms = :waited_ms, provider_request_id = :provider_request_id,
        finished_ms = :finished_ms
    WHERE attempt_id = :attempt_id
        AND (state = 'held' AND :state <> 'held' OR state = 'uncertain' AND :state IN ('settled', 'released'))
"""

_RECLAIM = """
    UPDATE attempts SET
        state = 'uncertain', cost_nusd = amount_nusd, cost_source = 'estimate', outcome = 'unknown',
        finished_ms = :now_ms
    WHERE state = 'held'
        AND (expires_ms <= :now_ms OR owner IN (SELECT value FROM json_each(:dead)))
        AND attempt_id NOT IN (SELECT value FROM json_each(:keep))
"""


def hold(db: sqlite3.Connection, hold: Hold, limits: Sequence[Limit], *, owner: str) -> Denied | None:
    """Insert `hold` for the process `owner` if every limit can pay; one that costs nothing always can.

    Raises:
        sqlite3.IntegrityError: there is an attempt of this id, or a value is out of bounds.
    """
    values = {
        "attempt_id": hold.attempt_id,
        "request_id": hold.request_id,
        "trace_id": hold.trace_id,
        "number": hold.number,
        "access_key": hold.scope.access_key,
        "user": hold.scope.user,
        "session": hold.scope.session,
        "day": hold.period.day,
        "month": hold.period.month,
        "task": hold.task,
        "provider": hold.provider,
        "model": hold.model,
        "offer_id": hold.offer_id,
        "amount_nusd": hold.amount_nusd,
        "created_ms": hold.created_ms,
        "expires_ms": hold.expires_ms,
        "owner": owner,
        "likely_tokens": hold.likely_tokens,
        "approved_nusd": hold.approved_nusd,
        "approved_by": hold.approved_by,
        "limits": json.dumps([(limit.holder, limit.period, limit.limit_nusd) for limit in limits]),
    }
    if db.execute(_HOLD, values).fetchone() is not None:
        return None
    denied = db.execute(_DENIED, values).fetchone()
    return Denied(
        Limit(denied["holder"], denied["period"], denied["limit_nusd"]),
        spent_nusd=denied["spent_nusd"],
        held_nusd=denied["held_nusd"],
        left_nusd=denied["left_nusd"],
        in_flight=not denied["is_spent"],
    )


def settle(db: sqlite3.Connection, settlement: Settlement) -> Settled:
    usage = settlement.usage
    values = {
        "attempt_id": settlement.attempt_id,
        "state": settlement.state,
        "cost_nusd": settlement.cost_nusd,
        "cost_source": settlement.cost_source,
        "reported_nusd": settlement.reported_nusd,
        "computed_nusd": settlement.computed_nusd,
        "input_fresh": usage and usage.input_fresh,
        "cache_read": usage and usage.cache_read,
        "cache_write": usage and usage.cache_write,
        "cache_write_1h": usage and usage.cache_write_1h,
        "output": usage and usage.output,
        "reasoning": usage and usage.reasoning,
        "searches": usage and usage.searches,
        "reported_total": usage and usage.reported_total,
        "outcome": settlement.outcome,
        "status": settlement.status,
        "latency_ms": settlement.latency_ms,
        "first_token_ms": settlement.first_token_ms,
        "waited_ms": settlement.waited_ms,
        "provider_request_id": settlement.provider_request_id,
        "finished_ms": settlement.finished_ms,
    }
    if db.execute(_SETTLE, values).rowcount == 0:
        return Settled(changed=False)
    # What an attempt cost is written, whatever becomes of the alerts that follow from it.
    db.execute("SAVEPOINT alerts")
    try:
        raised = watched(db, settlement.watches, settlement.sightings, now_ms=settlement.finished_ms)
    except sqlite3.Error as error:
        db.execute("ROLLBACK TO alerts")
        return Settled(changed=True, unwatched=str(error))
    finally:
        db.execute("RELEASE alerts")
    return Settled(changed=True, alerts=raised)


def reclaim(db: sqlite3.Connection, *, now_ms: int, keep: Collection[str] = ()) -> int:
    """End what nobody will end any more, be it this process's own."""
    holders = [row[0] for row in db.execute("SELECT DISTINCT owner FROM attempts WHERE state = 'held'")]
    dead = [holder for holder in holders if has_died(holder)]
    values = {"now_ms": now_ms, "dead": json.dumps(dead), "keep": json.dumps(list(keep))}
    return db.execute(_RECLAIM, values).rowcount


def spent(db: sqlite3.Connection, holder: str, period: str) -> Spent:
    row = db.execute(
        "SELECT spent_nusd, held_nusd FROM spend WHERE holder = ? AND period = ?", (holder, period)
    ).fetchone()
    return Spent(*row) if row else Spent(0, 0)
