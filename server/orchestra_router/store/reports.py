"""The SQL of reports. Each function is the work of one transaction."""

import sqlite3
from collections.abc import Mapping

from orchestra_router.store.ledger_records import EMBEDDING
from orchestra_router.store.report_records import CacheReport, GroupBy, ReportRow

# What is grouped by is a bound value like any other, so no text from outside ever becomes SQL.
_SUMS = """
    SELECT
        CASE :group_by WHEN 'day' THEN day WHEN 'access_key' THEN access_key ELSE value END AS "group",
        sum(requests) AS requests, sum(attempts) AS attempts, sum(failed) AS failed, sum(answered) AS answered,
        sum(latency_ms) AS latency_ms, sum(spent_nusd) AS spent_nusd, sum(uncertain_nusd) AS uncertain_nusd,
        sum(uncertain) AS uncertain, sum(adjusted_nusd) AS adjusted_nusd, sum(compared) AS compared,
        sum(reported_nusd) AS reported_nusd, sum(computed_nusd) AS computed_nusd, sum(input_fresh) AS input_fresh,
        sum(cache_read) AS cache_read, sum(cache_write) AS cache_write, sum(output) AS output,
        sum(reasoning) AS reasoning, sum(searches) AS searches, sum(calls) AS calls, sum(hits) AS hits,
        sum(misses) AS misses, sum(saved_nusd) AS saved_nusd, sum(cheap_steps) AS cheap_steps,
        sum(escalated) AS escalated, sum(escalation_saved_nusd) AS escalation_saved_nusd,
        sum(wasted_nusd) AS wasted_nusd
    FROM day_sums
    WHERE dimension = iif(:group_by IN ('provider', 'model', 'task', 'user'), :group_by, '')
        AND day BETWEEN :first_day AND :last_day
        AND (:access_key IS NULL OR access_key = :access_key)
    GROUP BY 1
"""

# Those are not in the sums: they have not ended.
_HELD = """
    SELECT
        CASE :group_by
            WHEN 'provider' THEN provider
            WHEN 'model' THEN model
            WHEN 'task' THEN task
            WHEN 'user' THEN user
            WHEN 'day' THEN day
            WHEN 'access_key' THEN access_key
            ELSE ''
        END AS "group",
        sum(
            request_id NOT GLOB :embedding AND NOT EXISTS (
                SELECT 1
                FROM attempts AS earlier
                WHERE earlier.request_id = attempts.request_id
                    AND (earlier.number, earlier.attempt_id) < (attempts.number, attempts.attempt_id)
                    AND CASE :group_by
                        WHEN 'provider' THEN earlier.provider = attempts.provider
                        WHEN 'model' THEN earlier.model = attempts.model
                        ELSE true
                    END
            )
        ) AS requests,
        count(*) AS attempts,
        sum(amount_nusd) AS held_nusd
    FROM attempts INDEXED BY attempts_held
    WHERE state = 'held' AND day BETWEEN :first_day AND :last_day
        AND (:access_key IS NULL OR access_key = :access_key)
    GROUP BY 1
"""

_RECORDS_OF_ATTEMPTS = """
    SELECT
        CASE :group_by
            WHEN 'hour' THEN CAST(attempts.created_ms / 900000 AS TEXT)
            WHEN 'session' THEN attempts.session
            ELSE coalesce((SELECT value FROM json_each(requests.metadata) WHERE key = :field), '')
        END AS "group",
        sum(attempts.number = 1 AND attempts.request_id NOT GLOB :embedding) AS requests,
        count(*) AS attempts,
        count(*) FILTER (WHERE state <> 'held' AND attempts.outcome <> 'ok') AS failed,
        count(*) FILTER (WHERE state <> 'held' AND attempts.outcome = 'ok') AS answered,
        sum(iif(state <> 'held' AND attempts.outcome = 'ok', attempts.latency_ms, 0)) AS latency_ms,
        sum(attempts.cost_nusd + coalesce(adjusted.delta_nusd, 0)) AS spent_nusd,
        sum(iif(state = 'uncertain', attempts.cost_nusd, 0)) AS uncertain_nusd,
        sum(state = 'uncertain') AS uncertain,
        sum(iif(state = 'held', amount_nusd, 0)) AS held_nusd,
        sum(coalesce(adjusted.delta_nusd, 0)) AS adjusted_nusd,
        count(computed_nusd) AS compared,
        sum(iif(computed_nusd IS NULL, 0, coalesce(reported_nusd, 0))) AS reported_nusd,
        sum(coalesce(computed_nusd, 0)) AS computed_nusd,
        sum(coalesce(input_fresh, 0)) AS input_fresh,
        sum(coalesce(cache_read, 0)) AS cache_read,
        sum(coalesce(cache_write, 0) + coalesce(cache_write_1h, 0)) AS cache_write,
        sum(coalesce(output, 0)) AS output,
        sum(coalesce(reasoning, 0)) AS reasoning,
        sum(coalesce(searches, 0)) AS searches
    FROM attempts
    LEFT JOIN requests ON :group_by = 'metadata' AND requests.request_id = attempts.request_id
    LEFT JOIN (
        SELECT attempt_id, sum(delta_nusd) AS delta_nusd
        FROM adjustments
        WHERE day BETWEEN :first_day AND :last_day
        GROUP BY attempt_id
    ) AS adjusted ON adjusted.attempt_id = attempts.attempt_id
    WHERE attempts.day BETWEEN :first_day AND :last_day
        AND (:group_by <> 'metadata' OR requests.request_id IS NOT NULL)
        AND (:access_key IS NULL OR attempts.access_key = :access_key)
    GROUP BY 1
"""

_RECORDS_OF_REQUESTS = """
    SELECT
        CASE :group_by
            WHEN 'hour' THEN CAST(created_ms / 900000 AS TEXT)
            WHEN 'session' THEN session
            ELSE coalesce((SELECT value FROM json_each(metadata) WHERE key = :field), '')
        END AS "group",
        count(*) AS calls,
        sum(cache IN ('HIT', 'SEMANTIC HIT')) AS hits,
        sum(cache IN ('MISS', 'SEMANTIC MISS')) AS misses,
        sum(saved_nusd) AS saved_nusd,
        count(escalated) AS cheap_steps,
        sum(coalesce(escalated, 0)) AS escalated,
        sum(escalation_saved_nusd) AS escalation_saved_nusd,
        sum(wasted_nusd) AS wasted_nusd
    FROM requests
    WHERE day BETWEEN :first_day AND :last_day AND (:access_key IS NULL OR access_key = :access_key)
    GROUP BY 1
"""

_CACHE_REPORT = """
    SELECT
        coalesce(sum(calls), 0) AS requests,
        coalesce(sum(hits), 0) AS hits,
        coalesce(sum(misses), 0) AS misses,
        coalesce(sum(saved_nusd), 0) AS saved_nusd
    FROM day_sums
    WHERE dimension = '' AND day BETWEEN :first_day AND :last_day
        AND (:access_key IS NULL OR access_key = :access_key)
"""

_ALERTS = """
    SELECT kind, holder, period, threshold_nusd, text, at_ms
    FROM alerts
    WHERE (
            substr(period, 1, 10) BETWEEN :first_day AND :last_day
            OR length(period) = 7 AND period BETWEEN substr(:first_day, 1, 7) AND substr(:last_day, 1, 7)
        )
        AND (:access_key IS NULL OR holder = 'key:' || :access_key)
    ORDER BY at_ms, holder, threshold_nusd
"""


def report(
    db: sqlite3.Connection,
    *,
    first_day: str,
    last_day: str,
    group_by: GroupBy | None,
    field: str = "",
    access_key: str | None = None,
) -> tuple[ReportRow, ...]:
    """One row per group that has something; without a group always one row, of zeros if need be."""
    by_records = group_by in ("hour", "session", "metadata")
    values = {
        "group_by": group_by or "",
        "field": field,
        "first_day": first_day,
        "last_day": last_day,
        "access_key": access_key,
        "embedding": f"{EMBEDDING}*",
    }
    found: dict[str, dict[str, int]] = {} if group_by else {"": {}}
    for query in (_RECORDS_OF_ATTEMPTS, _RECORDS_OF_REQUESTS) if by_records else (_SUMS, _HELD):
        for row in db.execute(query, values):
            name, *columns = row.keys()
            sums = found.setdefault(row[name], {})
            for column in columns:
                sums[column] = sums.get(column, 0) + row[column]
    rows = [ReportRow(group=group, **sums) for group, sums in found.items()]
    return tuple(sorted(rows, key=lambda row: (-row.spent_nusd, row.group)))


def cache_report(
    db: sqlite3.Connection, *, first_day: str, last_day: str, access_key: str | None = None
) -> CacheReport:
    """Hits and misses are the requests that looked in the cache; `requests` are all."""
    values = {"first_day": first_day, "last_day": last_day, "access_key": access_key}
    return CacheReport(**db.execute(_CACHE_REPORT, values).fetchone())


def alerts(
    db: sqlite3.Connection, *, first_day: str, last_day: str, access_key: str | None = None
) -> tuple[Mapping[str, object], ...]:
    rows = db.execute(_ALERTS, {"first_day": first_day, "last_day": last_day, "access_key": access_key})
    return tuple(dict(row) for row in rows)
