"""Histories of a ledger: attempts that end in every way, what is found out later, and what a price fix makes of them."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from ledgers import NOW_MS, TODAY, a_hold, a_record, ended
from orchestra_router.store import ledger, requests
from orchestra_router.store.ledger_records import AttemptState, Period
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.types import CacheStatus, Scope, Usage

YESTERDAY = Period("2026-11-22", "2026-11")


@dataclass(frozen=True)
class Step:
    """An attempt, how it ends, what is found out later, and what a price fix makes of it."""

    request: int
    provider: str
    task: str
    scope: Scope
    period: Period
    state: AttemptState
    cost: int
    late_cost: int | None
    fixed_cost: int | None
    usage: Usage | None
    outcome: str
    latency_ms: int
    cache: CacheStatus | None
    escalated: bool | None
    saved: int
    wasted: int


counts = st.integers(0, 1_000)
steps = st.lists(
    st.builds(
        Step,
        request=st.integers(0, 3),
        provider=st.sampled_from(["openrouter", "xai"]),
        task=st.sampled_from(["", "coding"]),
        scope=st.builds(Scope, access_key=st.sampled_from(["local", "team"]), user=st.sampled_from(["", "ada"])),
        period=st.sampled_from([TODAY, YESTERDAY]),
        state=st.sampled_from(["held", "settled", "released", "uncertain"]),
        cost=st.integers(0, 100),
        late_cost=st.none() | st.integers(0, 100),
        fixed_cost=st.none() | st.integers(0, 100),
        usage=st.none() | st.builds(Usage, input_fresh=counts, cache_read=counts, cache_write_1h=counts, output=counts),
        outcome=st.sampled_from(["ok", "timeout"]),
        latency_ms=st.sampled_from([0, 99, 100, 12_799, 72_000, 10**6]),
        cache=st.none() | st.sampled_from(["HIT", "MISS", "DISABLED"]),
        escalated=st.none() | st.booleans(),
        saved=st.integers(-10, 100),
        wasted=st.integers(0, 10),
    ),
    max_size=12,
)


def play(db: sqlite3.Connection, history: Sequence[Step]) -> None:
    for number, step in enumerate(history, start=1):
        attempt_id = f"a{number}"
        hold = a_hold(
            attempt_id,
            request_id=f"r{step.request}",
            number=number,
            provider=step.provider,
            model=f"{step.provider}-1",
            task=step.task,
            scope=step.scope,
            period=step.period,
        )
        ledger.hold(db, hold, [], owner="")
        if step.cache is not None:
            requests.record(db, [recorded(step)])
        if step.state == "held":
            continue
        cost = 0 if step.state == "released" else step.cost
        settlement = ended(
            attempt_id, cost, state=step.state, outcome=step.outcome, usage=step.usage, latency_ms=step.latency_ms
        )
        ledger.settle(db, settlement)
        if step.state == "uncertain" and step.late_cost is not None:
            ledger.settle(db, ended(attempt_id, step.late_cost, usage=step.usage))
        if step.state == "settled" and step.fixed_cost not in (None, cost):
            adjust(db, attempt_id, step.period.day, delta=step.fixed_cost - cost, cost=step.fixed_cost)


def recorded(step: Step) -> RequestRecord:
    record = a_record(
        f"r{step.request}",
        step.cache or "DISABLED",
        saved_nusd=step.cost,
        scope=step.scope,
        escalated=step.escalated,
        escalation_saved_nusd=step.saved if step.escalated is False else 0,
        wasted_nusd=step.wasted,
    )
    return replace(record, period=step.period, task=step.task, provider=step.provider, model=f"{step.provider}-1")


def adjust(db: sqlite3.Connection, attempt_id: str, day: str, *, delta: int, cost: int) -> None:
    db.execute(
        "INSERT INTO adjustments (attempt_id, day, delta_nusd, cost_nusd, cost_source, reason, at_ms)"
        " VALUES (?, ?, ?, ?, 'table', 'a test', ?)",
        (attempt_id, day, delta, cost, NOW_MS),
    )
