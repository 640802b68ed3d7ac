"""The dashboard over a year of a million requests: how long each view takes, and what its sums cost while they are kept.

    uv run python tests/benchmarks/views.py [REQUESTS [FILE]]

The rows are written as they end, with every trigger, but without the disk. With FILE the database is kept there and
used again. Exits with 1 when a view takes longer than `MOST_S`.
"""

import asyncio
import datetime as dt
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from orchestra_router.config import load
from orchestra_router.policy.views import Asked, Views
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.migrations import migrate

MOST_S = 0.3
DAYS = 365
PER_TRANSACTION = 500
LAST = dt.datetime(2026, 11, 23, 18, tzinfo=dt.UTC)
MODELS = (
    # provider, model, how often, the median answer in ms, nano-dollars a token
    ("openrouter", "gpt-6-luna", 30, 900, 600),
    ("openrouter", "claude-sonnet-5", 18, 2_400, 9_000),
    ("openrouter", "claude-opus-5", 4, 5_200, 30_000),
    ("deepseek", "deepseek-v4", 22, 1_900, 500),
    ("anthropic", "claude-haiku-5", 10, 700, 2_000),
    ("together", "llama-5-70b", 5, 1_300, 900),
    ("openai", "gpt-6-sol", 4, 2_000, 12_000),
    ("gemini", "gemini-4-flash", 4, 600, 700),
    ("perplexity", "sonar-pro", 3, 3_000, 8_000),
)
TASKS = ("coding", "general_chat", "complex_reasoning", "web_search", "creative_writing")
FAILURES = ("rate_limited", "timeout", "server_failed", "connect_failed", "invalid_answer", "cancelled")
KEYS = ("local", "team", "ci")
USERS = tuple(f"user{number}" for number in range(20))


def request(number: int, requests: int, rng: random.Random) -> Iterator[tuple[str, Mapping[str, str | int]]]:
    """The rows of one request: its attempts, and what became of it."""
    at = LAST - dt.timedelta(days=DAYS) * (1 - (number + 1) / requests)
    at_ms, day = round(at.timestamp() * 1000), at.date().isoformat()
    user = USERS[min(int(rng.expovariate(0.2)), len(USERS) - 1)]
    task = rng.choice(TASKS)
    who = {
        "request_id": f"r{number}",
        "trace_id": f"t{number}",
        "access_key": rng.choice(KEYS),
        "user": user,
        "session": f"s{number // 20}",
        "day": day,
        "month": day[:7],
        "task": task,
    }
    (chosen,) = rng.choices(MODELS, [often for _, _, often, _, _ in MODELS])
    provider, model, _, median_ms, rate = chosen
    hit = rng.random() < 0.22
    outcomes = [] if hit else [*([rng.choice(FAILURES)] if rng.random() < 0.04 else []), "ok"]
    cost = latency = 0
    for place, outcome in enumerate(outcomes, start=1):
        latency = round(rng.lognormvariate(0, 0.5) * median_ms)
        fresh, output = rng.randrange(4_000), rng.randrange(900)
        cost = (fresh + 4 * output) * rate if outcome == "ok" else 0
        yield (
            "attempts",
            who
            | {
                "attempt_id": f"a{number}-{place}",
                "number": place,
                "provider": provider,
                "model": model,
                "offer_id": model,
                "amount_nusd": 2 * cost,
                "created_ms": at_ms,
                "expires_ms": at_ms + 60_000,
                "owner": "1/life/place",
                "state": "settled" if outcome == "ok" else "released",
                "cost_nusd": cost,
                "outcome": outcome,
                "latency_ms": latency,
                "input_fresh": fresh,
                "output": output,
                "finished_ms": at_ms + latency,
            },
        )
    yield (
        "requests",
        who
        | {
            "outcome": "ok",
            "cache": "HIT" if hit else "MISS",
            "provider": provider,
            "model": model,
            "cost_nusd": cost,
            "saved_nusd": 5_000_000 if hit else 0,
            "attempts": len(outcomes),
            "created_ms": at_ms,
            "latency_ms": latency,
            "redactions": "{}",
            "metadata": '{"app": "demo"}',
            "reason": "best for coding",
        },
    )


def fill(db: sqlite3.Connection, requests: int, *, first: int = 0) -> float:
    """Write the requests from the `first` on. Seconds of this processor per request, without the disk."""
    rng = random.Random(1)  # noqa: S311 - the same database every time
    spent = 0.0
    for start in range(first, requests, PER_TRANSACTION):
        rows = [
            row
            for number in range(start, min(start + PER_TRANSACTION, requests))
            for row in request(number, requests, rng)
        ]
        began = time.process_time()
        db.execute("BEGIN")
        for table, row in rows:
            names = ", ".join(row)
            db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))  # noqa: S608 - constants
        db.execute("COMMIT")
        spent += time.process_time() - began
    return spent / max(1, requests - first)


def built(path: Path, requests: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db)
        if db.execute("SELECT 1 FROM requests LIMIT 1").fetchone():
            return
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        print(f"{requests:,} requests, {1e6 * fill(db, requests):.0f} us each to write")


def seen(views: Views) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    yield "overview", views.overview
    for name, asked in (
        ("year", Asked(range="365_days")),
        ("year of a user", Asked(range="365_days", user="user0")),
        ("year of a task", Asked(range="365_days", task="coding")),
        ("year of a key", Asked(range="365_days", access_key="team")),
        ("30 days", Asked(range="30_days")),
        ("today", Asked(range="today")),
    ):
        yield f"spend by provider, {name}", lambda asked=asked: views.spend(asked, "provider")
        yield f"spend by model, {name}", lambda asked=asked: views.spend(asked, "model")
        yield f"spend by task, {name}", lambda asked=asked: views.spend(asked, "task")
        yield f"traffic, {name}", lambda asked=asked: views.traffic(asked)
        yield f"speed, {name}", lambda asked=asked: views.speed(asked)
        yield f"requests, {name}", lambda asked=asked: views.requests(asked)
        yield f"choices, {name}", lambda asked=asked: views.choices(asked)
    rare = Asked(range="365_days", user="nobody")
    yield "requests of nobody, year", lambda: views.requests(rare)
    yield "failed requests, year", lambda: views.requests(Asked(range="365_days"), only_failed=True)


class At:
    """The clock at the end of the year that is in the file."""

    def now_ms(self) -> int:
        return round(LAST.timestamp() * 1000)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def later(self, seconds: float, call: Callable[[], None]) -> Callable[[], None]:
        return asyncio.get_running_loop().call_later(seconds, call).cancel


async def timed(path: Path) -> float:
    clock = At()
    store = await SqliteStore.open(path, clock=clock)
    views = Views(store, load({"ORCHESTRA_HOME": str(path.parent)}).settings, clock)
    worst = 0.0
    for name, look in seen(views):
        took: list[float] = []
        for _ in range(3):
            began = time.process_time()
            await look()
            took.append(time.process_time() - began)
        print(f"{name:<40} {1000 * min(took):8.1f} ms")
        worst = max(worst, min(took))
    await store.close()
    return worst


def main() -> int:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder) / "orchestra.db"
        built(path, requests)
        worst = asyncio.run(timed(path))
    print(f"slowest: {1000 * worst:.0f} ms, at most {1000 * MOST_S:.0f}")
    return int(worst > MOST_S)


if __name__ == "__main__":
    sys.exit(main())
