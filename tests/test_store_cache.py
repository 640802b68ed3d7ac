"""Answers that are kept for a while."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clocks import FakeClock
from ledgers import NOW_MS, a_database
from orchestra_router.store.base import CacheEntry
from orchestra_router.store.db import SqliteStore, cache
from orchestra_router.types import Scope

TTL_MS = 3_600_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock(), most_cache_entries=3)
    yield store
    await store.close()


def an_entry(key: str = "k1", entry_id: str = "e1", *, created_ms: int = NOW_MS) -> CacheEntry:
    return CacheEntry(
        entry_id=entry_id,
        key=key,
        scope=Scope("team", "ada", "s1"),
        body='{"text": "hello"}',
        cost_nusd=1_200,
        created_ms=created_ms,
        expires_ms=created_ms + TTL_MS,
    )


# --- answers ---------------------------------------------------------------------------------------------------


async def test_an_answer_that_was_kept_is_found_as_it_was(store: SqliteStore) -> None:
    await store.keep(an_entry())

    assert await store.cached("k1", now_ms=NOW_MS + 1) == an_entry()
    assert await store.cached("k2", now_ms=NOW_MS + 1) is None


async def test_an_answer_is_not_served_once_its_time_is_up(store: SqliteStore) -> None:
    await store.keep(an_entry())

    last = await store.cached("k1", now_ms=NOW_MS + TTL_MS - 1)
    over = await store.cached("k1", now_ms=NOW_MS + TTL_MS)

    assert last is not None
    assert over is None


async def test_a_refreshed_answer_replaces_the_old_one_and_its_id(store: SqliteStore) -> None:
    await store.keep(an_entry(entry_id="old"))

    await store.keep(replace(an_entry(entry_id="new"), body='{"text": "better"}'))

    found = await store.cached("k1", now_ms=NOW_MS)
    assert found is not None
    assert (found.entry_id, found.body) == ("new", '{"text": "better"}')
    assert await store.drop_cached(entry_id="old") == 0


async def test_a_wrong_answer_can_be_dropped_by_its_id(store: SqliteStore) -> None:
    await store.keep(an_entry("k1", "e1"))
    await store.keep(an_entry("k2", "e2"))

    assert await store.drop_cached(entry_id="e1") == 1
    assert await store.cached("k1", now_ms=NOW_MS) is None
    assert await store.cached("k2", now_ms=NOW_MS) is not None


async def test_what_has_expired_can_be_dropped_and_so_can_everything(store: SqliteStore) -> None:
    await store.keep(an_entry("k1", "e1"))
    await store.keep(an_entry("k2", "e2", created_ms=NOW_MS + 5))
    await store.keep(an_entry("k3", "e3", created_ms=NOW_MS + 5))

    assert await store.drop_cached(expired_before_ms=NOW_MS + TTL_MS) == 1
    assert await store.drop_cached() == 2


async def test_another_process_finds_the_answer_too(store: SqliteStore, tmp_path: Path) -> None:
    other = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    await store.keep(an_entry())

    found = await other.cached("k1", now_ms=NOW_MS)

    assert found == an_entry()
    await other.close()


async def test_the_oldest_answer_makes_room(store: SqliteStore) -> None:
    for number in range(1, 5):
        await store.keep(an_entry(f"k{number}", f"e{number}", created_ms=NOW_MS + number))

    found = [await store.cached(f"k{number}", now_ms=NOW_MS + 9) is not None for number in range(1, 5)]

    assert found == [False, True, True, True]


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["keep", "drop", "expire", "clear"]), st.integers(0, 9)), min_size=1, max_size=40
    )
)
def test_there_are_never_more_answers_than_allowed_and_a_kept_one_is_there(steps: list[tuple[str, int]]) -> None:
    db = a_database()
    for now, (step, number) in enumerate(steps):
        if step == "keep":
            entry = an_entry(f"k{number}", f"e{now}", created_ms=now)
            cache.keep(db, entry, most_entries=4)
            assert cache.cached(db, entry.key, now_ms=now) == entry
        else:
            cache.drop_cached(
                db,
                entry_id=f"e{number}" if step == "drop" else None,
                expired_before_ms=TTL_MS + number if step == "expire" else None,
            )
        (kept,) = db.execute("SELECT count(*) FROM cache").fetchone()
        assert kept <= 4
        assert db.execute("SELECT entries FROM cache_size").fetchone()[0] == kept
    db.close()


def test_hits_are_counted() -> None:
    db = a_database()
    cache.keep(db, an_entry(), most_entries=3)

    for _ in range(2):
        cache.cached(db, "k1", now_ms=NOW_MS)
    cache.cached(db, "k1", now_ms=NOW_MS + TTL_MS)

    assert db.execute("SELECT hits FROM cache").fetchone()[0] == 2
    db.close()
