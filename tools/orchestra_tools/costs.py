"""A cost report as plain data, and as a small table that a model can repeat."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestra_router.types import usd
from orchestra_tools.results import Json, noted

if TYPE_CHECKING:  # they load the prices and the store
    from orchestra_router.policy.costs import CostReport, Projection
    from orchestra_router.store.report_records import ReportRow

MOST_ROWS = 50
"""Given as data; the rest is one line of how many and how much."""
MOST_LINES = 12
"""Of the table."""
MOST_NAME_CHARS = 60


def costs(report: "CostReport", *, notice: str, most_rows: int = MOST_ROWS) -> Json:
    everything = report.period == "all"
    rest = report.rows[most_rows:]
    return {
        "period": report.period,
        "first_day": "" if everything else report.first_day,
        "last_day": "" if everything else report.last_day,
        "timezone": report.timezone,
        "table": _table(report),
        "total": row_data(report.total),
        "group_by": report.group_by,
        "rows": [{"group": row.group or "(none)", **row_data(row)} for row in report.rows[:most_rows]],
        "more": {"rows": len(rest), "spent_usd": usd(_spent(rest))} if rest else {},
        "budgets": [
            {
                "holder": budget.holder,
                "period": budget.period,
                "limit_usd": usd(budget.limit_nusd),
                "spent_usd": usd(budget.spent_nusd),
                "held_usd": usd(budget.held_nusd) if budget.held_nusd else None,
                "left_usd": usd(budget.left_nusd),
            }
            for budget in report.budgets
        ],
        "cache": {
            "requests": report.cache.requests,
            "hits": report.cache.hits,
            "misses": report.cache.misses,
            "saved_usd": usd(report.cache.saved_nusd),
        },
        "projection": _projection(report.projection),
        "alerts": [_alert(alert) for alert in report.alerts],
        "notes": noted(notice, report.notes),
    }


def row_data(row: "ReportRow") -> Json:
    """One row: counts and exact money first; what is zero in most reports only where it is not."""
    return {
        "requests": row.requests,
        "attempts": row.attempts,
        "failed": row.failed,
        "spent_usd": usd(row.spent_nusd),
        "spent_nusd": row.spent_nusd,
        "uncertain": row.uncertain or None,
        "uncertain_nusd": row.uncertain_nusd or None,
        "held_nusd": row.held_nusd or None,
        "adjusted_nusd": row.adjusted_nusd or None,
        "provider_says_usd": usd(row.reported_nusd) if row.compared else None,
        "prices_say_usd": usd(row.computed_nusd) if row.compared else None,
        "input_tokens": row.input_total,
        "fresh_tokens": row.input_fresh if row.input_fresh != row.input_total else None,
        "cached_tokens": row.cache_read or None,
        "cache_write_tokens": row.cache_write or None,
        "output_tokens": row.output_total,
        "reasoning_tokens": row.reasoning or None,
        "searches": row.searches or None,
        "mean_latency_ms": row.mean_latency_ms or None,
        "cache_hits": row.hits or None,
        "saved_usd": usd(row.saved_nusd) if row.saved_nusd else None,
        "escalation": _escalation(row),
    }


def escalation_columns(total: "ReportRow") -> Mapping[str, Callable[["ReportRow"], str]]:
    """Of a table with this `total`: none where nobody escalates."""
    return _ESCALATION if _escalates(total) else {}


def _escalates(row: "ReportRow") -> bool:
    return bool(row.cheap_steps or row.wasted_nusd)


def _escalation(row: "ReportRow") -> Json:
    if not _escalates(row):
        return {}
    return {
        "cheap_answers": row.cheap_steps,
        "went_up": row.escalated,
        "saved_usd": usd(row.escalation_saved_nusd),
        "wasted_usd": usd(row.wasted_nusd),
    }


def dollars(amount_nusd: int) -> str:
    """For a table: cents, and as many more digits as a small amount needs to show two of its own."""
    amount = usd(amount_nusd)
    digits = 2 if amount_nusd == 0 or abs(amount) >= 1 else 4 if abs(amount) >= 0.01 else 6
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{digits}f}"


_ESCALATION: Mapping[str, Callable[["ReportRow"], str]] = {
    "went up": lambda row: f"{row.escalated:,} of {row.cheap_steps:,}",
    "escalation saved": lambda row: dollars(row.escalation_saved_nusd),
    "wasted": lambda row: dollars(row.wasted_nusd),
}


def _table(report: "CostReport") -> str:
    """Markdown, the total last."""
    shown, rest = report.rows[:MOST_LINES], report.rows[MOST_LINES:]
    also = escalation_columns(report.total)
    named = [(_cell(row.group or "(none)"), row) for row in shown]
    if rest:
        named.append((f"{len(rest)} more", added(rest)))
    named.append(("total", report.total))
    lines = [(name, *_figures(row), *(figure(row) for figure in also.values())) for name, row in named]
    head = (report.group_by or "", "spent", "attempts", "failed", "tokens in", "tokens out", "saved", *also)
    rule = ("---", *["---:"] * (len(head) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))


def _figures(row: "ReportRow") -> tuple[str, ...]:
    counts = (row.attempts, row.failed, row.input_total, row.output_total)
    return (dollars(row.spent_nusd), *(f"{count:,}" for count in counts), dollars(row.saved_nusd))


def _cell(name: str) -> str:
    """`name`, which a caller may have chosen, as one cell of a table."""
    plain = "".join(char if char.isprintable() else " " for char in name)
    short = plain if len(plain) <= MOST_NAME_CHARS else f"{plain[: MOST_NAME_CHARS - 1]}…"
    return short.replace("\\", "\\\\").replace("|", "\\|")


def added(rows: Sequence["ReportRow"]) -> "ReportRow":
    """The figures of a table's last line but one."""
    from orchestra_router.store.report_records import ReportRow  # noqa: PLC0415 - there are rows, so it is loaded

    return ReportRow(
        attempts=sum(row.attempts for row in rows),
        failed=sum(row.failed for row in rows),
        spent_nusd=_spent(rows),
        input_fresh=sum(row.input_total for row in rows),
        output=sum(row.output_total for row in rows),
        saved_nusd=sum(row.saved_nusd for row in rows),
        cheap_steps=sum(row.cheap_steps for row in rows),
        escalated=sum(row.escalated for row in rows),
        escalation_saved_nusd=sum(row.escalation_saved_nusd for row in rows),
        wasted_nusd=sum(row.wasted_nusd for row in rows),
    )


def _spent(rows: Sequence["ReportRow"]) -> int:
    return sum(row.spent_nusd for row in rows)


def _projection(projection: "Projection | None") -> Json:
    if projection is None:
        return {}
    return {
        "month": projection.month,
        "spent_usd": usd(projection.spent_nusd),
        "projected_usd": round(usd(projection.projected_nusd), 6),
        "method": projection.method,
    }


def _alert(alert: Mapping[str, Any]) -> Json:
    at = dt.datetime.fromtimestamp(alert["at_ms"] / 1000, dt.UTC)
    return {
        "kind": alert["kind"],
        "text": alert["text"],
        "holder": alert["holder"],
        "period": alert["period"],
        "threshold_usd": usd(alert["threshold_nusd"]) if alert["threshold_nusd"] else None,
        "at": at.isoformat(timespec="seconds"),
    }
