"""What one call costs, counted and not timed, so that it is the same on every machine. The bounds are in a file.

A count that grows on purpose is put into `data/cost_per_call.toml` with the change that makes it grow.
"""

import sys
import tomllib
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import pytest

from orchestra_router.bench.world import place, prompt, provider, request
from orchestra_router.config import load
from orchestra_router.price_lists import warm
from orchestra_router.router import Router, open_router
from orchestra_router.store.connection import Connection
from orchestra_router.store.db import SqliteStore

BOUNDS = tomllib.loads((Path(__file__).parent / "data" / "cost_per_call.toml").read_text(encoding="utf-8"))
CALLS = 10
WARM = 5


@dataclass(slots=True)
class Counts:
    """Of one call, on average."""

    hops: float = 0
    """To a database thread and back."""
    statements: float = 0
    functions: float = 0
    """Called in Python, on the event loop's thread; those in C count too."""
    peak_kb: float = 0
    """Of memory, above what was there before."""


@asynccontextmanager
async def router_on(folder: Path) -> AsyncGenerator[Router]:
    """A router with everything on, but for the embedder, and a provider in another process."""
    with provider() as port:
        warm()
        async with open_router(load(place(folder, port).environ(embedder="off", log_level="ERROR"))) as router:
            yield router


async def counted(router: Router, call: Callable[[int], Awaitable[object]], monkeypatch: pytest.MonkeyPatch) -> Counts:
    for number in range(WARM):
        await call(number)
    counts = Counts()
    go = Connection._go  # pyright: ignore[reportPrivateUsage]

    def counting(self: Connection) -> None:
        counts.hops += 1
        go(self)

    def ran(_: str) -> None:
        counts.statements += 1

    def profiled(_frame: FrameType, event: str, _argument: object) -> None:
        counts.functions += event in {"call", "c_call"}

    assert isinstance(router.store, SqliteStore)
    await trace(router.store, ran)
    with monkeypatch.context() as patched:
        patched.setattr(Connection, "_go", counting)
        sys.setprofile(profiled)
        try:
            for number in range(WARM, WARM + CALLS):
                await call(number)
        finally:
            sys.setprofile(None)
    await trace(router.store, None)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(WARM + CALLS, WARM + 2 * CALLS):
        await call(number)
    counts.peak_kb = (tracemalloc.get_traced_memory()[1] - before) / 1024
    tracemalloc.stop()
    return Counts(counts.hops / CALLS, counts.statements / CALLS, counts.functions / CALLS, counts.peak_kb)


async def trace(store: SqliteStore, callback: Callable[[str], None] | None) -> None:
    await store._hops._connection.read(lambda db: db.set_trace_callback(callback))  # pyright: ignore[reportPrivateUsage]
    store._hops._glance.read(lambda db: db.set_trace_callback(callback))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("kind", ["routed", "model named", "exact hit"])
async def test_a_call_costs_no_more_than_it_did(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with router_on(tmp_path) as router:

        async def call(number: int) -> object:
            if kind == "exact hit":
                return await router.complete(request(prompt(0)))
            named = {"provider": "together", "model": "glm-5.3"} if kind == "model named" else {}
            return await router.complete(request(prompt(number), **named))

        counts = asdict(await counted(router, call, monkeypatch))

    assert counts.keys() == BOUNDS[kind].keys()
    assert {name: count for name, count in counts.items() if count > BOUNDS[kind][name]} == {}, counts
