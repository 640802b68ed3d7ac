"""The SQL of what happened lately at each provider. It reads one index and no row, so a million attempts do no harm."""

import sqlite3
from collections import defaultdict

from orchestra_router.store.health_records import Traffic

LATEST_ANSWERS = 2_000
"""Of one provider, to take latencies from."""

_PROVIDERS = """
    WITH RECURSIVE named (provider) AS (
        SELECT min(provider) FROM attempts
        UNION ALL
        SELECT (SELECT min(provider) FROM attempts WHERE provider > named.provider)
        FROM named
        WHERE named.provider IS NOT NULL
    )
    SELECT provider FROM named WHERE provider IS NOT NULL
"""

# What a provider is to blame for: not the caller who left, nor a request that nobody would serve.
_FAILED = """
    outcome IN (
        'connect_failed', 'rate_limited', 'server_failed', 'timeout', 'invalid_answer', 'stream_broken', 'auth_failed',
        'permission_refused', 'out_of_money', 'model_gone'
    )
"""

_COUNTS = f"""
    SELECT
        offer_id,
        count(*) FILTER (WHERE day = :day) AS attempts_today,
        count(*) FILTER (WHERE day = :day AND {_FAILED}) AS failed_today,
        coalesce(sum(cost_nusd) FILTER (WHERE day = :day), 0) AS spent_today_nusd,
        count(*) FILTER (WHERE outcome = 'ok') AS answered,
        count(*) FILTER (WHERE {_FAILED}) AS failed
    FROM attempts INDEXED BY attempts_by_provider
    WHERE provider = :provider AND created_ms >= :since_ms
    GROUP BY offer_id
"""  # noqa: S608 - a constant of ours

_LATENCIES = """
    SELECT offer_id, latency_ms
    FROM attempts INDEXED BY attempts_by_provider
    WHERE provider = :provider AND created_ms >= :since_ms AND outcome = 'ok'
    ORDER BY created_ms DESC
    LIMIT :latest
"""

_LAST_ERRORS = f"""
    SELECT offer_id, outcome, max(created_ms) AS at_ms
    FROM attempts INDEXED BY attempts_by_provider
    WHERE provider = :provider AND created_ms >= :since_ms AND {_FAILED}
    GROUP BY offer_id
"""  # noqa: S608 - a constant of ours


def traffic(db: sqlite3.Connection, *, day: str, since_ms: int) -> tuple[Traffic, ...]:
    found: list[Traffic] = []
    for (provider,) in db.execute(_PROVIDERS).fetchall():
        asked = {"provider": provider, "day": day, "since_ms": since_ms, "latest": LATEST_ANSWERS}
        latencies: defaultdict[str, list[int]] = defaultdict(list)
        for offer_id, latency_ms in db.execute(_LATENCIES, asked):
            latencies[offer_id].append(latency_ms)
        errors = {offer_id: (outcome, at_ms) for offer_id, outcome, at_ms in db.execute(_LAST_ERRORS, asked)}
        for row in db.execute(_COUNTS, asked):
            last_error, last_error_ms = errors.get(row["offer_id"], ("", None))
            found.append(
                Traffic(
                    **row,
                    provider=provider,
                    latencies_ms=tuple(latencies[row["offer_id"]]),
                    last_error=last_error,
                    last_error_ms=last_error_ms,
                )
            )
    return tuple(found)
