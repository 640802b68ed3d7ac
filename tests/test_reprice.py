"""A price was wrong and is put right: what was spent before is adjusted, and nothing that was written is changed."""

import datetime as dt
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_hold, ended
from orchestra_router.catalog import Catalog
from orchestra_router.config import load
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.reprice import Repricing, reprice
from orchestra_router.pricing import Pricing
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import Hold, Period
from orchestra_router.store.report_records import GroupBy
from orchestra_router.types import Scope, Usage

USAGE = Usage(input_fresh=1_000, cache_read=4_000, output=100)
PRICES = """
[providers.example]
base_url = "https://llm.example.com/v1"
[models.large]
at.example = {{ id = "large-2", prices = [{{ input = {input}, output = 10, cache_read = 0.5 }}] }}
"""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


def catalog(home: Path, price: float) -> Catalog:
    (home / "orchestra.toml").write_text(PRICES.format(input=price), encoding="utf-8")
    return load({"ORCHESTRA_HOME": str(home)}).catalog


def large(attempt_id: str, period: Period = TODAY, *, provider: str = "example", model: str = "large") -> Hold:
    scope = Scope(user="ada")
    hold = a_hold(attempt_id, 10**9, period=period, scope=scope, request_id=attempt_id, provider=provider, model=model)
    return replace(hold, offer_id="large-2" if model == "large" else "small-1")


async def run(
    store: SqliteStore,
    prices: Catalog,
    *,
    write: bool = True,
    model: str = "",
    reason: str = "the input price was wrong",
) -> Repricing:
    return await reprice(
        store,
        prices,
        Pricing(unpriced_usd_per_mtok=Decimal(50), checked=dt.date(2026, 11, 1)),
        first_day="2026-11-01",
        last_day=TODAY.day,
        model=model,
        reason=reason,
        now_ms=NOW_MS,
        write=write,
    )


async def spent(store: SqliteStore) -> set[int]:
    """What every sum that the attempts of today are in says."""
    groups: tuple[GroupBy | None, ...] = (None, "provider", "user", "session")
    rows = [await store.report(first_day=TODAY.day, last_day=TODAY.day, group_by=group) for group in groups]
    budgets = [await store.spent(holder, TODAY.day) for holder in ("global", "key:local", "user:ada")]
    return {row.spent_nusd for (row,) in rows} | {budget.spent_nusd for budget in budgets}


async def test_spend_is_adjusted_everywhere_once_and_no_row_is_changed(store: SqliteStore, tmp_path: Path) -> None:
    await store.hold(large("a1"), [])
    await store.settle(ended("a1", 5_000_000, usage=USAGE))
    before = await store.attempts_of("a1")
    prices = catalog(tmp_path, 4)  # 4 x 1,000 + 0.5 x 4,000 + 10 x 100 = 7,000 dollars for a million of these

    tried = await run(store, prices, write=False)
    unchanged = await spent(store)
    done = await run(store, prices)
    again = await run(store, prices)

    assert (tried.delta_nusd, tried.written, unchanged) == (2_000_000, 0, {5_000_000})
    assert (done.delta_nusd, done.written) == (2_000_000, 1)
    assert (again.changed, again.written) == ({}, 0)
    assert await spent(store) == {7_000_000}
    assert await store.attempts_of("a1") == before


async def test_a_second_fix_starts_from_the_first(store: SqliteStore, tmp_path: Path) -> None:
    await store.hold(large("a1"), [])
    await store.settle(ended("a1", 5_000_000, usage=USAGE))

    await run(store, catalog(tmp_path, 4))
    back = await run(store, catalog(tmp_path, 2))

    assert back.delta_nusd == -2_000_000
    assert await spent(store) == {5_000_000}


async def test_only_what_is_asked_for_and_known_is_adjusted(store: SqliteStore, tmp_path: Path) -> None:
    cases = {
        "an older day": (large("a1", Period("2026-10-31", "2026-10")), ended("a1", 1, usage=USAGE)),
        "no usage": (large("a2"), ended("a2", 1)),
        "nobody knows": (large("a3"), ended("a3", 10**9, state="uncertain", cost_source="estimate")),
        "another model": (large("a4", model="small"), ended("a4", 1, usage=USAGE)),
        "a provider that is gone": (large("a5", provider="gone"), ended("a5", 1, usage=USAGE)),
    }
    for hold, settlement in cases.values():
        await store.hold(hold, [])
        await store.settle(settlement)

    done = await run(store, catalog(tmp_path, 4), model="large")

    assert (done.looked_at, done.unpriced, done.written) == (1, 1, 0)


async def test_why_is_still_known_when_the_attempt_is_not_kept_any_more(store: SqliteStore, tmp_path: Path) -> None:
    for attempt_id in ("a1", "a2"):
        await store.hold(large(attempt_id), [])
        await store.settle(ended(attempt_id, 5_000_000, usage=USAGE))

    found = await run(store, catalog(tmp_path, 4))
    await run(store, catalog(tmp_path, 4))  # finds nothing, and leaves no trace
    await store.forget(attempts_before="2027-01-01", requests_before="2027-01-01", most=10)

    (row,) = await store.audit_rows()
    assert await store.attempts_of("a1") == ()
    assert row.kind == "price fix"
    assert row.body == {"reason": "the input price was wrong", "attempts": 2, "delta_nusd": found.delta_nusd}


async def test_a_reason_is_needed(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Say why"):
        await run(store, catalog(tmp_path, 4), reason="  ")
