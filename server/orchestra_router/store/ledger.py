"""The SQL of the ledger. Each function is the work of one transaction.

The sums in `spend` are kept by triggers (migrations.py); nothing here writes them.
"""

import json
import sqlite3
from collections.abc import Collection, Sequence

from orchestra_router.store.alerts import watched
from orchestra_router.store.ledger_records import Denied, Hold, Limit, Settled, Settlement, Spent
from orchestra_router.store.owner import has_died
from orchestra_router.types import Usage

_HOLD = """
    INSERT INTO attempts (
        attempt_id, request_id, trace_id, number, access_key, user, session, day, month, task, provider, model,
        offer_id, amount_nusd, created_ms, expires_ms, owner, likely_tokens, approved_nusd, approved_by
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Of one budget. The last value is the most that may be gone before.
_CANNOT_PAY = "coalesce((SELECT spent_nusd + held_nusd FROM spend WHERE holder = ? AND period = ?), 0) > ?"

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
        state = ?2, cost_nusd = ?3, cost_source = ?4, reported_nusd = ?5, computed_nusd = ?6, outcome = ?7, status = ?8,
        latency_ms = ?9, first_token_ms = ?10, waited_ms = ?11, provider_request_id = ?12, finished_ms = ?13,
        input_fresh = ?14, cache_read = ?15, cache_write = ?16, cache_write_1h = ?17, output = ?18, reasoning = ?19,
        searches = ?20, reported_total = ?21
    WHERE attempt_id = ?1
        AND (state = 'held' AND ?2 <> 'held' OR state = 'uncertain' AND (?2 = 'settled' OR ?2 = 'released'))
"""
_NO_USAGE = (None,) * 8

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
    if hold.amount_nusd > 0 and _cannot_pay(db, hold, limits):
        return _denied(db, hold, limits)
    scope, period = hold.scope, hold.period
    db.execute(
        _HOLD,
        (
            hold.attempt_id,
            hold.request_id,
            hold.trace_id,
            hold.number,
            scope.access_key,
            scope.user,
            scope.session,
            period.day,
            period.month,
            hold.task,
            hold.provider,
            hold.model,
            hold.offer_id,
            hold.amount_nusd,
            hold.created_ms,
            hold.expires_ms,
            owner,
            hold.likely_tokens,
            hold.approved_nusd,
            hold.approved_by,
        ),
    )
    return None


def _cannot_pay(db: sqlite3.Connection, hold: Hold, limits: Sequence[Limit]) -> bool:
    if not limits:
        return False
    beyond = hold.approved_nusd - hold.amount_nusd
    values = [value for limit in limits for value in (limit.holder, limit.period, limit.limit_nusd + beyond)]
    any_of_them = " OR ".join([_CANNOT_PAY] * len(limits))
    return bool(db.execute(f"SELECT {any_of_them}", values).fetchone()[0])


def _denied(db: sqlite3.Connection, hold: Hold, limits: Sequence[Limit]) -> Denied:
    values = {
        "amount_nusd": hold.amount_nusd,
        "approved_nusd": hold.approved_nusd,
        "limits": json.dumps([(limit.holder, limit.period, limit.limit_nusd) for limit in limits]),
    }
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
    tokens = _NO_USAGE if usage is None else _columns(usage)
    values = (
        settlement.attempt_id,
        settlement.state,
        settlement.cost_nusd,
        settlement.cost_source,
        settlement.reported_nusd,
        settlement.computed_nusd,
        settlement.outcome,
        settlement.status,
        settlement.latency_ms,
        settlement.first_token_ms,
        settlement.waited_ms,
        settlement.provider_request_id,
        settlement.finished_ms,
        *tokens,
    )
    if db.execute(_SETTLE, values).rowcount == 0:
        return Settled(changed=False)
    # What an attempt cost is written, whatever becomes of the alerts that follow from it.
    try:
        raised = watched(db, settlement.watches, settlement.sightings, now_ms=settlement.finished_ms)
    except sqlite3.Error as error:
        return Settled(changed=True, unwatched=str(error))
    return Settled(changed=True, alerts=raised)


def _columns(usage: Usage) -> tuple[int | None, ...]:
    return (
        usage.input_fresh,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
        usage.searches,
        usage.reported_total,
    )


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
