"""The SQL of alerts: each is raised once, whichever process notices. Each function is the work of one transaction.

A trigger (migrations.py) puts every new alert into the outbox, where it waits until somebody has delivered it.
"""

import json
import sqlite3
import statistics
from collections.abc import Iterator, Sequence

from orchestra_router.store import audit, trail
from orchestra_router.store.alert_records import Alert, Delivery, Seen, Watch

_REACHED = """
    SELECT watch.key AS place, spend.spent_nusd
    FROM json_each(:watches) AS watch
    JOIN spend
        ON spend.holder = json_extract(watch.value, '$[0]') AND spend.period = json_extract(watch.value, '$[1]')
    WHERE spend.spent_nusd > 0
        AND spend.spent_nusd >= json_extract(watch.value, '$[2]')
        AND NOT EXISTS (
            SELECT 1
            FROM alerts
            WHERE alerts.kind = json_extract(watch.value, '$[3]')
                AND alerts.holder = spend.holder
                AND alerts.period = spend.period
                AND alerts.threshold_nusd = json_extract(watch.value, '$[2]')
        )
"""

# Of one watch. Nearly always none is reached, and then no more is asked.
_IS_REACHED = "EXISTS (SELECT 1 FROM spend WHERE holder = ? AND period = ? AND spent_nusd >= ?)"

_EARLIER = """
    SELECT spent_nusd
    FROM spend
    WHERE holder = ? AND period >= ? AND period < ? AND length(period) = length(?) AND spent_nusd > 0
"""
LEAST_HOURS = 24
"""Hours with any spend before there is a usual one."""

_SEE = """
    INSERT INTO seen (subject, value, at_ms) VALUES (:subject, :value, :at_ms)
    ON CONFLICT (subject) DO UPDATE SET value = excluded.value, at_ms = excluded.at_ms
"""

_CLAIM = """
    UPDATE outbox SET claimed_until_ms = :claimed_until_ms, claim = :claim
    WHERE delivery_id = (
        SELECT delivery_id FROM outbox
        -- What is due much later than anything is ever put off was put off before the clock went back.
        WHERE max(due_ms, claimed_until_ms) NOT BETWEEN :now_ms + 1 AND :now_ms + 3600000
        ORDER BY at_ms, delivery_id
        LIMIT 1
    )
    RETURNING delivery_id, kind, holder, period, threshold_nusd, text, at_ms, tries
"""


def watched(
    db: sqlite3.Connection, watches: Sequence[Watch], sightings: Sequence[Seen], *, now_ms: int
) -> tuple[Alert, ...]:
    """The alerts that are to be given now, and by this caller.

    Raises:
        sqlite3.Error: that cannot be told, and nothing is written.
    """
    if not (sightings or _is_any_reached(db, watches)):
        return ()
    db.execute("SAVEPOINT alerts")
    try:
        found = [*_reached(db, watches, now_ms=now_ms), *_changed(db, sightings, now_ms=now_ms)]
        return tuple(alert for alert in found if raise_once(db, alert))
    except sqlite3.Error:
        db.execute("ROLLBACK TO alerts")
        raise
    finally:
        db.execute("RELEASE alerts")


def raise_once(db: sqlite3.Connection, alert: Alert) -> bool:
    """Whether this is the first time."""
    first = (
        db.execute(
            "INSERT INTO alerts (holder, period, threshold_nusd, at_ms, kind, text) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (alert.holder, alert.period, alert.threshold_nusd, alert.at_ms, alert.kind, alert.text),
        ).rowcount
        == 1
    )
    if first:
        audit.append(db, trail.alerted(alert))
    return first


def claim(db: sqlite3.Connection, *, by: str, now_ms: int, until_ms: int) -> Delivery | None:
    """The next alert to deliver, for `by` alone until `until_ms`."""
    row = db.execute(_CLAIM, {"claim": by, "now_ms": now_ms, "claimed_until_ms": until_ms}).fetchone()
    if row is None:
        return None
    alert = Alert(**{name: row[name] for name in ("kind", "holder", "period", "threshold_nusd", "text", "at_ms")})
    return Delivery(delivery_id=row["delivery_id"], alert=alert, tries=row["tries"])


def delivered(db: sqlite3.Connection, delivery_id: str, *, by: str) -> None:
    db.execute("DELETE FROM outbox WHERE delivery_id = ? AND claim = ?", (delivery_id, by))


def postpone(db: sqlite3.Connection, delivery_id: str, *, by: str, due_ms: int) -> None:
    db.execute(
        "UPDATE outbox SET tries = tries + 1, due_ms = ?, claimed_until_ms = 0, claim = ''"
        " WHERE delivery_id = ? AND claim = ?",
        (due_ms, delivery_id, by),
    )


def next_delivery_ms(db: sqlite3.Connection) -> int | None:
    """When somebody has to look again; None while nothing waits."""
    due_ms: int | None = db.execute("SELECT min(max(due_ms, claimed_until_ms)) FROM outbox").fetchone()[0]
    return due_ms


def drop_undelivered(db: sqlite3.Connection, *, raised_before_ms: int) -> int:
    return db.execute("DELETE FROM outbox WHERE at_ms < ?", (raised_before_ms,)).rowcount


def _is_any_reached(db: sqlite3.Connection, watches: Sequence[Watch]) -> bool:
    if not watches:
        return False
    any_of_them = " OR ".join([_IS_REACHED] * len(watches))
    # From a threshold of nothing on, there has to be something.
    values = [value for watch in watches for value in (watch.holder, watch.period, watch.threshold_nusd or 1)]
    return bool(db.execute(f"SELECT {any_of_them}", values).fetchone()[0])


def _reached(db: sqlite3.Connection, watches: Sequence[Watch], *, now_ms: int) -> Iterator[Alert]:
    facts = [[watch.holder, watch.period, watch.threshold_nusd, watch.kind] for watch in watches]
    reached: list[tuple[int, int]] = db.execute(_REACHED, {"watches": json.dumps(facts)}).fetchall()
    for place, spent_nusd in reached:
        watch = watches[place]
        if watch.times_usual and not _is_unusual(db, watch, spent_nusd):
            continue
        yield Alert(
            kind=watch.kind,
            holder=watch.holder,
            period=watch.period,
            threshold_nusd=watch.threshold_nusd,
            text=watch.text,
            at_ms=now_ms,
        )


def _is_unusual(db: sqlite3.Connection, watch: Watch, spent_nusd: int) -> bool:
    """The usual is the median of the periods with any spend, so that one wild hour does not make the next one usual."""
    rows: list[tuple[int]] = db.execute(_EARLIER, (watch.holder, watch.since, watch.period, watch.period)).fetchall()
    return len(rows) >= LEAST_HOURS and spent_nusd > watch.times_usual * statistics.median_high(row[0] for row in rows)


def _changed(db: sqlite3.Connection, sightings: Sequence[Seen], *, now_ms: int) -> Iterator[Alert]:
    for seen in sightings:
        before = db.execute("SELECT value FROM seen WHERE subject = ?", (seen.subject,)).fetchone()
        if before is not None and before["value"] == seen.value:
            continue
        db.execute(_SEE, {"subject": seen.subject, "value": seen.value, "at_ms": now_ms})
        if before is not None:
            yield Alert(
                kind=seen.kind,
                holder=seen.subject,
                period=seen.day,
                threshold_nusd=0,
                text=f"{seen.about} changed from {before['value']} to {seen.value}",
                at_ms=now_ms,
            )
