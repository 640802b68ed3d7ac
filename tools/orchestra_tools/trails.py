"""The trail of a request as plain data."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from orchestra_router.types import usd
from orchestra_tools.results import Json, moment

if TYPE_CHECKING:  # they load the store
    from orchestra_router.policy.trails import Columns, Trail


def trailed(trails: Sequence["Trail"]) -> Json:
    return {"requests": [_request(trail) for trail in trails]}


def _request(trail: "Trail") -> Json:
    row = trail.request
    about = row or trail.attempts[0]
    return {
        "request_id": about["request_id"],
        "trace_id": about["trace_id"],
        "at": moment(cast("int", about["created_ms"])),
        "task": about["task"],
        "outcome": row.get("outcome", "not recorded yet"),
        **{name: row.get(name) for name in ("provider", "model", "reason", "cache", "cache_reason", "latency_ms")},
        "cost_usd": _dollars(row.get("cost_nusd")),
        "saved_usd": _dollars(row.get("saved_nusd") or None),
        "wasted_usd": _dollars(row.get("wasted_nusd") or None),
        "redactions": _object(row.get("redactions")),
        "metadata": _object(row.get("metadata")),
        **{name: about[name] for name in ("access_key", "user", "session")},
        "attempts": [_attempt(attempt) for attempt in trail.attempts],
    }


def _attempt(row: "Columns") -> Json:
    state = row["state"]
    return {
        "deployment": f"{row['provider']}/{row['model']}",
        "outcome": "running" if state == "held" else row["outcome"],
        "status": row["status"] if row["outcome"] != "ok" else None,
        "cost_usd": _dollars(row["cost_nusd"]),
        "cost_source": row["cost_source"] if state != "held" else "",
        "held_usd": _dollars(row["amount_nusd"]) if state == "held" else None,
        "cost_is_worst_case": state == "uncertain" or None,
        "input_tokens": _sum(row, "input_fresh", "cache_read", "cache_write", "cache_write_1h"),
        "output_tokens": _sum(row, "output", "reasoning"),
        "latency_ms": row["latency_ms"],
        "waited_ms": row["waited_ms"] or None,
    }


def _sum(row: "Columns", *names: str) -> int | None:
    known = [cast("int", row[name]) for name in names if row[name] is not None]
    return sum(known) if known else None


def _dollars(amount_nusd: object) -> float | None:
    return None if amount_nusd is None else usd(cast("int", amount_nusd))


def _object(text: object) -> Json:
    return cast("Json", json.loads(cast("str", text))) if text else {}
