"""Reports over a year of a million attempts: how long each grouping takes, and what the sums cost while they are kept.

    uv run python tests/benchmarks/reports.py [ATTEMPTS]

Exits with 1 when a report that is read from the sums takes longer than `MOST_S`.
"""

import datetime as dt
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from orchestra_router.store import ledger, reports
from orchestra_router.store.ledger_records import Hold, Period, Settlement
from orchestra_router.store.migrations import migrate
from orchestra_router.store.report_records import GroupBy, ReportRow
from orchestra_router.types import Scope, Usage

MOST_S = 0.3
DAYS = 365
PER_TRANSACTION = 20
LAST = dt.date(2026, 11, 23)
PROVIDERS = ("openrouter", "deepseek", "anthropic", "together", "openai", "gemini", "perplexity", "xai")
TASKS = ("coding", "general_chat", "complex_reasoning", "web_search", "creative_writing")
SUMS: tuple[GroupBy | None, ...] = (None, "provider", "model", "task", "day", "user", "access_key")
RECORDS: tuple[GroupBy, ...] = ("hour", "session")


def attempt(number: int, attempts: int, rng: random.Random) -> tuple[Hold, Settlement]:
    at = dt.datetime.combine(LAST, dt.time(), dt.UTC) - dt.timedelta(days=DAYS) * (1 - number / attempts)
    at_ms = round(at.timestamp() * 1000)
    day = at.date().isoformat()
    provider = rng.choice(PROVIDERS)
    cost = rng.randrange(10**7)
    hold = Hold(
        attempt_id=f"a{number}",
        request_id=f"r{number}",
        trace_id=f"t{number}",
        number=1,
        scope=Scope(rng.choice(("local", "team", "ci")), f"user{rng.randrange(20)}", f"s{number // 20}"),
        period=Period(day, day[:7]),
        task=rng.choice(TASKS),
        provider=provider,
        model=f"{provider}-{rng.randrange(4)}",
        offer_id="id",
        amount_nusd=2 * cost,
        created_ms=at_ms,
        expires_ms=at_ms + 60_000,
    )
    usage = Usage(input_fresh=rng.randrange(4_000), cache_read=rng.randrange(4_000), output=rng.randrange(900))
    settlement = Settlement(
        attempt_id=hold.attempt_id,
        state="settled",
        cost_nusd=cost,
        cost_source="table",
        usage=usage,
        latency_ms=rng.randrange(9_000),
        finished_ms=at_ms + 900,
    )
    return hold, settlement


def fill(db: sqlite3.Connection, attempts: int) -> float:
    """Seconds of this processor per attempt, held and settled, without the disk."""
    rng = random.Random(1)  # noqa: S311 - the same database every time
    began = time.process_time()
    for number in range(attempts):
        if number % PER_TRANSACTION == 0:
            db.commit()
            db.execute("BEGIN")
        hold, settlement = attempt(number, attempts, rng)
        ledger.hold(db, hold, [], owner="1/life/place")
        ledger.settle(db, settlement)
    db.commit()
    return (time.process_time() - began) / attempts


def main() -> int:
    attempts = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    worst = 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(Path(folder) / "a.db", isolation_level=None)) as db,
    ):
        db.row_factory = sqlite3.Row
        migrate(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        print(f"{attempts:,} attempts, {1e6 * fill(db, attempts):.0f} us each to hold and settle")
        for group_by in (*SUMS, *RECORDS):
            took: list[float] = []
            rows: tuple[ReportRow, ...] = ()
            for _ in range(3):
                began = time.process_time()
                rows = reports.report(db, first_day="2025-01-01", last_day="2026-12-31", group_by=group_by)
                took.append(time.process_time() - began)
            kind = "sums" if group_by in SUMS else "records"
            print(f"{group_by or 'total':<12} {kind:<8} {len(rows):>6} rows  {1000 * min(took):8.1f} ms")
            worst = max(worst, min(took)) if kind == "sums" else worst
    return int(worst > MOST_S)


if __name__ == "__main__":
    sys.exit(main())
