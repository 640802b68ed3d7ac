"""Holds and settlements with everything filled in but what a test is about; and processes that make them."""

import datetime as dt
import sqlite3
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from orchestra_router.store import trail
from orchestra_router.store.alert_records import Alert
from orchestra_router.store.base import Store
from orchestra_router.store.health_records import HealthRow
from orchestra_router.store.key_records import AccessKey
from orchestra_router.store.ledger_records import AttemptState, Hold, Limit, Period, Settlement
from orchestra_router.store.migrations import migrate
from orchestra_router.store.request_records import CheapStep, RequestRecord
from orchestra_router.types import CacheStatus, CostSource, Scope, Usage

TODAY = Period("2026-11-23", "2026-11")
DAY = Limit("global", TODAY.day, 1_000)
NOW_MS = 1_795_449_600_000
PROCESS = Path(__file__).with_name("store_process.py")


def a_hold(
    attempt_id: str = "a1",
    amount_nusd: int = 100,
    *,
    request_id: str = "r1",
    number: int = 1,
    scope: Scope | None = None,
    period: Period = TODAY,
    task: str = "coding",
    provider: str = "openrouter",
    model: str = "gpt-6-luna",
    created_ms: int = NOW_MS,
    expires_ms: int = NOW_MS + 60_000,
) -> Hold:
    return Hold(
        attempt_id=attempt_id,
        request_id=request_id,
        trace_id=f"trace-of-{request_id}",
        number=number,
        scope=scope or Scope(),
        period=period,
        task=task,
        provider=provider,
        model=model,
        offer_id=f"openai/{model}",
        amount_nusd=amount_nusd,
        created_ms=created_ms,
        expires_ms=expires_ms,
    )


def ended(
    attempt_id: str = "a1",
    cost_nusd: int = 60,
    *,
    state: AttemptState = "settled",
    cost_source: CostSource = "table",
    outcome: str = "ok",
    usage: Usage | None = None,
    latency_ms: int = 0,
) -> Settlement:
    return Settlement(
        attempt_id=attempt_id,
        state=state,
        cost_nusd=cost_nusd,
        cost_source=cost_source,
        outcome=outcome,
        usage=usage,
        latency_ms=latency_ms,
        finished_ms=NOW_MS + 1,
    )


def a_record(
    request_id: str = "r1",
    cache: CacheStatus = "MISS",
    *,
    saved_nusd: int = 0,
    scope: Scope | None = None,
    created_ms: int = NOW_MS,
    metadata: Mapping[str, str] | None = None,
    escalated: bool | None = None,
    escalation_saved_nusd: int = 0,
    wasted_nusd: int = 0,
    outcome: str = "ok",
    reason: str = "",
    period: Period = TODAY,
) -> RequestRecord:
    return RequestRecord(
        request_id=request_id,
        trace_id="t1",
        scope=scope or Scope(),
        period=period,
        task="coding",
        outcome=outcome,
        reason=reason,
        cache=cache,
        provider="openrouter",
        model="gpt-6-luna",
        cost_nusd=0,
        saved_nusd=saved_nusd,
        attempts=0,
        created_ms=created_ms,
        latency_ms=12,
        redactions={"ssn": 1},
        metadata={"app": "demo"} if metadata is None else metadata,
        cheap_step=None
        if escalated is None
        else CheapStep(prompt_kind="code", provider="openrouter", model="gpt-6-luna", escalated=escalated),
        escalation_saved_nusd=escalation_saved_nusd,
        wasted_nusd=wasted_nusd,
    )


async def add_key(store: Store, key_id: str, **changes: Any) -> None:
    """An access key that nobody has the secret of."""
    key = replace(AccessKey(key_id=key_id, name=key_id, role="caller", created_ms=NOW_MS), **changes)
    await store.add_access_key(key, trail.key_event(key_id, "created", at_ms=NOW_MS))


def an_alert(*, period: str = TODAY.day, threshold_nusd: int = 100, at_ms: int = NOW_MS) -> Alert:
    return Alert(
        kind="spend", holder="global", period=period, threshold_nusd=threshold_nusd, text="Too much.", at_ms=at_ms
    )


async def raise_alert(store: Store, alert: Alert) -> None:
    """As a circuit breaker that opens does."""
    row = HealthRow(target="provider:xai", cause="server_failed", since_ms=NOW_MS, until_ms=None, trips=1)
    await store.change_health([row.target], lambda _found, _outcomes: [row], alert=alert)


def a_database() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    migrate(db)
    return db


def old_hold(db: sqlite3.Connection, attempt_id: str, *, request_id: str = "r1") -> None:
    """A hold of 100 as the first version wrote it."""
    db.execute(
        "INSERT INTO attempts (attempt_id, request_id, trace_id, number, access_key, user, session, day, month, task,"
        " provider, model, offer_id, amount_nusd, created_ms, expires_ms, owner)"
        " VALUES (?, ?, 't', 1, 'local', 'ada', '', '2026-11-23', '2026-11', 'coding', 'p', 'm', 'o', 100, ?, ?, ?)",
        (attempt_id, request_id, NOW_MS, NOW_MS + 60_000, "1/life/another machine"),
    )


def old_record(
    db: sqlite3.Connection, request_id: str, *, escalated: int | None, saved_nusd: int = 0, wasted_nusd: int = 0
) -> None:
    """A record as the version wrote it that first knew of escalations."""
    db.execute(
        "INSERT INTO requests (request_id, trace_id, access_key, user, session, day, month, task, outcome, cache, provider,"
        " model, cost_nusd, saved_nusd, attempts, created_ms, latency_ms, redactions, metadata, escalated,"
        " escalation_saved_nusd, wasted_nusd)"
        " VALUES (?, 't', 'local', '', '', '2026-11-23', '2026-11', 'coding', 'ok', 'MISS', 'openrouter', 'gpt-6-luna',"
        " 0, 0, 0, ?, 12, '{}', '{}', ?, ?, ?)",
        (request_id, NOW_MS, escalated, saved_nusd, wasted_nusd),
    )


def sums_of_rows(db: sqlite3.Connection) -> dict[tuple[str, str], tuple[int, int]]:
    """What `spend` should say, added up in Python from the attempts themselves."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    rows: Sequence[tuple[str, str, str, str, str, int, str, int, int]] = db.execute(
        "SELECT access_key, user, task, day, month, created_ms, state, amount_nusd, cost_nusd FROM attempts"
    ).fetchall()
    for access_key, user, task, day, month, created_ms, state, amount, cost in rows:
        spent = cost if state in {"settled", "uncertain"} else 0
        held = amount if state == "held" else 0
        payers = [
            "global",
            f"key:{access_key}",
            *([f"user:{user}"] if user else []),
            *([f"task:{task}"] if task else []),
        ]
        charged = [(holder, period) for holder in payers for period in (day, month)]
        charged += [("global", f"{dt.datetime.fromtimestamp(created_ms / 1000, dt.UTC):%Y-%m-%dT%H}")]
        for place in charged:
            so_far = sums.get(place, (0, 0))
            sums[place] = (so_far[0] + spent, so_far[1] + held)
        if state == "uncertain" and cost:
            sums["uncertain", day] = (sums.get(("uncertain", day), (0, 0))[0] + cost, 0)
    return sums


def kept_sums(db: sqlite3.Connection) -> dict[tuple[str, str], tuple[int, int]]:
    return {
        (holder, period): (spent, held)
        for holder, period, spent, held in db.execute("SELECT holder, period, spent_nusd, held_nusd FROM spend")
        if holder != "uncertain" or spent  # a row that has come down to 0 is as good as none
    }


class Child:
    """A process of store_process.py, ready to go."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def ready(self) -> None:
        assert await self.says() == "ready"

    async def go(self) -> None:
        await self._stdin.send(b"\n")

    async def says(self) -> str:
        return (await self._lines.receive_until(b"\n", 1_000)).decode().strip()


@asynccontextmanager
async def child(part: str, path: Path, *rest: str) -> AsyncGenerator[Child]:
    async with await anyio.open_process([sys.executable, str(PROCESS), part, str(path), *rest], stderr=None) as process:
        yield Child(process)
