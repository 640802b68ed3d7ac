"""What a call costs as the records grow: routed, answered from the cache, and a year's report, from none to a million.

    PYTHONPATH=tests uv run python tests/benchmarks/growth.py [--most 1000000] [--svg FILE] [--folder FOLDER]

Ledger rows and cache entries grow together. Each size is measured in turns with a bare httpx call, and everything is
told in those. Exits with 1 when a call at the end takes more than `MOST_TIMES` what it took at the beginning, or the report longer than `MOST_S`.
"""

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
from views import fill

from orchestra_router.bench.kinds import MODEL
from orchestra_router.bench.world import place, prompt, provider, request
from orchestra_router.config import load
from orchestra_router.router import Router, open_router

SIZES = (0, 1_000, 10_000, 100_000, 1_000_000)
CALLS = 60
MOST_TIMES = 2.0
MOST_S = 0.3
ENTRY_BYTES = 300
CACHE = """
    WITH RECURSIVE numbers (number) AS (SELECT :first UNION ALL SELECT number + 1 FROM numbers WHERE number < :last)
    INSERT INTO cache (
        key, entry_id, who, shelf, words, guard, access_key, user, session, cost_nusd, bytes, created_ms, expires_ms,
        used_ms, prompt, body
    )
    SELECT 'key ' || number, 'entry ' || number, 'scope ' || (number % 50), 'shelf ' || (number % 500),
        hex(randomblob(32)), '3', '', '', '', 1, :bytes, :now_ms, :now_ms + 1000000000000, :now_ms, 'prompt', hex(randomblob(:bytes / 2))
    FROM numbers
"""


@dataclass(frozen=True, slots=True)
class Size:
    rows: int
    bare_us: float
    routed_us: float
    hit_us: float
    report_ms: float
    database_mb: float

    @property
    def routed(self) -> float:
        return self.routed_us / self.bare_us

    @property
    def hit(self) -> float:
        return self.hit_us / self.bare_us


async def main(most: int, folder: Path) -> list[Size]:
    sizes: list[Size] = []
    with provider() as port:
        where = place(folder, port)
        config = load(
            where.environ(
                embedder="off",
                log_level="ERROR",
                cache_entries="2000000",
                cache_entries_per_scope="2000000",
                cache_mb="10000",
                keep_attempts_days="3650",
                keep_requests_days="3650",
            )
        )
        async with open_router(config):
            pass
        before = 0
        for rows in (size for size in SIZES if size <= most):
            grow(config.settings.database, before, rows)
            before = rows
            async with open_router(config) as router, httpx.AsyncClient(trust_env=False) as client:
                body = {"model": MODEL, "messages": [{"role": "user", "content": prompt(0)}]}
                await router.complete(request(prompt(0)))

                async def bare(_: int, client: httpx.AsyncClient = client, body: Mapping[str, object] = body) -> None:
                    (await client.post(where.url, json=body)).json()

                async def routed(number: int, router: Router = router, rows: int = rows) -> None:
                    await router.complete(request(prompt(rows * 1_000 + number + 1)))

                async def hit(_: int, router: Router = router) -> None:
                    await router.complete(request(prompt(0)))

                async def report(_: int, router: Router = router) -> None:
                    await router.cost_report(period="all", group_by="model")

                took = await in_turns({"bare": bare, "routed": routed, "hit": hit}, CALLS)
                reports = await in_turns({"report": report}, 5)
            size_mb = megabytes(folder)
            sizes.append(
                Size(
                    rows, took["bare"] * 1e6, took["routed"] * 1e6, took["hit"] * 1e6, reports["report"] * 1e3, size_mb
                )
            )
            print(line(sizes[-1]), flush=True)
    return sizes


async def in_turns(calls: Mapping[str, Callable[[int], Awaitable[None]]], times: int) -> dict[str, float]:
    """Median seconds of each, one after the other so that all meet the same machine."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(times):
        for name, call in calls.items():
            began = time.perf_counter()
            await call(number)
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def grow(database: Path, before: int, rows: int) -> None:
    """From `before` to `rows` requests of a year, and as many cache entries."""
    if rows == before:
        return
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        fill(db, rows, first=before)
        now_ms = time.time_ns() // 1_000_000
        db.execute("BEGIN")
        db.execute(CACHE, {"first": before + 1, "last": rows, "bytes": ENTRY_BYTES, "now_ms": now_ms})
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


HEAD = "     rows  bare us  routed us  x bare  hit us  x bare  report ms  database MB"


def line(size: Size) -> str:
    return (
        f"{size.rows:9,}  {size.bare_us:7.0f}  {size.routed_us:9.0f}  {size.routed:6.2f}  {size.hit_us:6.0f}"
        f"  {size.hit:6.2f}  {size.report_ms:9.1f}  {size.database_mb:11.0f}"
    )


def picture(sizes: list[Size]) -> str:
    """An SVG: each size's routed call and hit, in bare calls."""
    width, height, left, bottom = 640, 300, 60, 250
    most = max(1.0, *(size.routed for size in sizes)) * 1.2

    def at(place: int, value: float) -> tuple[float, float]:
        return left + place * (width - left - 40) / max(1, len(sizes) - 1), bottom - value / most * (bottom - 40)

    def curve(values: list[float], colour: str, name: str) -> str:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(place, value) for place, value in enumerate(values)))
        x, y = at(len(values) - 1, values[-1])
        dots = "".join(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>'
            for px, py in (at(place, value) for place, value in enumerate(values))
        )
        label = (
            f'<text x="{x - 4:.1f}" y="{y - 8:.1f}" text-anchor="end" fill="{colour}">{name} {values[-1]:.2f}</text>'
        )
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}{label}'

    names = "".join(
        f'<text x="{at(place, 0)[0]:.1f}" y="{bottom + 20}" text-anchor="middle">{size.rows:,}</text>'
        for place, size in enumerate(sizes)
    )
    _, one = at(0, 1.0)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
            '<rect width="100%" height="100%" fill="#fff"/>',
            '<text x="10" y="20" font-weight="bold">Time of one call, in bare httpx calls, as records grow</text>',
            f'<line x1="{left}" x2="{width - 40}" y1="{one:.1f}" y2="{one:.1f}" stroke="#888" stroke-dasharray="3 3"/>',
            f'<text x="{left - 6}" y="{one + 4:.1f}" text-anchor="end">1</text>',
            f'<line x1="{left}" x2="{width - 40}" y1="{bottom}" y2="{bottom}" stroke="#444"/>',
            names,
            f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">requests in the ledger, and as many cache entries</text>',
            curve([size.routed for size in sizes], "#2b6cb0", "routed"),
            curve([size.hit for size in sizes], "#2f855a", "from the cache"),
            "</svg>",
            "",
        )
    )


def judged(sizes: list[Size]) -> int:
    first, last = sizes[0], sizes[-1]
    print(f"a routed call: {last.routed / first.routed:.2f} times what it was, a hit {last.hit / first.hit:.2f} times")
    slow = max(size.report_ms for size in sizes) > MOST_S * 1000
    return int(slow or last.routed > MOST_TIMES * first.routed or last.hit > MOST_TIMES * first.hit)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=SIZES[-1])
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--folder", type=Path, help="where the database is made, and deleted afterwards")
    asked = parser.parse_args()
    print(HEAD)
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        found = anyio.run(main, asked.most, Path(scratch))
    if asked.svg:
        asked.svg.write_text(picture(found), encoding="utf-8")
    sys.exit(judged(found))
