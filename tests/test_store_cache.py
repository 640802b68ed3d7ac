"""Answers that are kept for a while."""

import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_database
from orchestra_router.store import cache, cache_feedback
from orchestra_router.store.cache_records import (
    CacheEntry,
    CacheLimits,
    CacheMatch,
    CacheQuestion,
    CacheRates,
    CacheReading,
    CacheVector,
    ShelfQuestion,
    WrongPair,
)
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.types import Scope

TTL_MS = 3_600_000
PLENTY = CacheLimits(entries=99, entries_per_scope=99, bytes=1_000_000)
NUMBERS = count()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


def an_entry(
    key: str = "k1", entry_id: str = "e1", *, created_ms: int = NOW_MS, who: str = "ada", shelf: str = "", **more: Any
) -> CacheEntry:
    fields: dict[str, Any] = {
        "scope": Scope("team", "ada", "s1"),
        "body": '{"text": "hello"}',
        "cost_nusd": 1_200,
        "expires_ms": created_ms + TTL_MS,
        "used_ms": created_ms,
        "rough": "r" if shelf else "",
        "figures": "-" if shelf else "",
        "prompt": f"prompt of {key}" if shelf else "",
    }
    return CacheEntry(entry_id=entry_id, key=key, who=who, shelf=shelf, created_ms=created_ms, **(fields | more))


async def keep(store: SqliteStore, entry: CacheEntry, limits: CacheLimits = PLENTY) -> None:
    await store.keep(entry, None, limits=limits, now_ms=entry.created_ms)


async def exactly(store: SqliteStore, key: str, *, now_ms: int = NOW_MS) -> CacheEntry | None:
    return (await store.looked_up(CacheQuestion(key=key), now_ms=now_ms)).entry


def a_vector(entry_id: str, embedder: str = "m1", vector: bytes = b"1234") -> CacheVector:
    return CacheVector(entry_id, embedder, vector)


def on_shelf(shelf: str, *, embedder: str = "m1", seen: int = 0, **more: str) -> ShelfQuestion:
    return ShelfQuestion(rough="r", figures="-", shelf=shelf, embedder=embedder, seen=seen, **more)


def a_record(entry_id: str = "", *, created_ms: int = NOW_MS, **more: Any) -> RequestRecord:
    fields: dict[str, Any] = {"cache": "MISS", "task": "coding", "provider": "xai", "saved_nusd": 0}
    return RequestRecord(
        request_id=f"r{next(NUMBERS)}",
        trace_id="t",
        scope=Scope(user="ada"),
        period=TODAY,
        outcome="ok",
        model="m",
        cost_nusd=0,
        attempts=0,
        created_ms=created_ms,
        latency_ms=1,
        cache_entry=entry_id,
        **(fields | more),
    )


def a_match(entry_id: str = "e1", asked: str = "b", *, served: bool = True, expires_ms: int = NOW_MS + 9) -> CacheMatch:
    return CacheMatch(
        entry_id=entry_id,
        who="ada",
        earlier="a",
        asked=asked,
        similarity=0.97,
        refusal="",
        served=served,
        at_ms=NOW_MS,
        expires_ms=expires_ms,
    )


# --- answers ---------------------------------------------------------------------------------------------------


async def test_what_is_kept_is_found_by_whoever_looks_later_though_nobody_waited_for_it(store: SqliteStore) -> None:
    store.keep(an_entry(), None, limits=PLENTY, now_ms=NOW_MS)

    assert await exactly(store, "k1") == an_entry()
    assert await exactly(store, "k2") is None


async def test_an_answer_that_was_kept_is_found_as_it_was(store: SqliteStore) -> None:
    await keep(store, an_entry())

    assert await exactly(store, "k1", now_ms=NOW_MS + 1) == an_entry()
    assert await exactly(store, "k2", now_ms=NOW_MS + 1) is None


async def test_an_answer_is_not_served_once_its_time_is_up(store: SqliteStore) -> None:
    await keep(store, an_entry())

    last = await exactly(store, "k1", now_ms=NOW_MS + TTL_MS - 1)
    over = await exactly(store, "k1", now_ms=NOW_MS + TTL_MS)

    assert last is not None
    assert over is None
    assert await store.entries(["e1"], now_ms=NOW_MS + TTL_MS) == ()


async def test_a_refreshed_answer_replaces_the_old_one_and_its_id(store: SqliteStore) -> None:
    await keep(store, an_entry(entry_id="old"))

    await keep(store, an_entry(entry_id="new", body='{"text": "better"}'))

    found = await exactly(store, "k1")
    assert found is not None
    assert (found.entry_id, found.body) == ("new", '{"text": "better"}')
    assert await store.drop_cached(entry_id="old") == 0


async def test_a_wrong_answer_can_be_dropped_by_its_id(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1"))
    await keep(store, an_entry("k2", "e2"))

    assert await store.drop_cached(entry_id="e1") == 1
    assert await exactly(store, "k1") is None
    assert await exactly(store, "k2") is not None


async def test_what_has_expired_can_be_dropped_and_so_can_everything(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1"))
    await keep(store, an_entry("k2", "e2", created_ms=NOW_MS + 5))
    await keep(store, an_entry("k3", "e3", created_ms=NOW_MS + 5))

    assert await store.drop_cached(expired_before_ms=NOW_MS + TTL_MS) == 1
    assert await store.drop_cached() == 2


def test_a_look_and_a_write_take_no_more_steps_among_many_entries() -> None:
    """Counted, not timed: instructions of the database's own machine. With a full shelf, most reads are of an index."""
    glance = CacheQuestion("k", "r", "-")
    question = ShelfQuestion(
        rough="r", figures="-", shelf="s", who="ada", words="w", prompt_hash="h", embedder="a/1", seen=10**9
    )
    asks_by_words = replace(question, embedder="")
    one_more = CacheLimits(entries=10**9, entries_per_scope=10**9, bytes=10**12)

    taken: list[tuple[int, ...]] = []
    for entries in (20, 4_000):
        db = a_database()
        for number in range(entries):
            entry = an_entry(f"k{number}", f"e{number}", shelf="s", words=f"w{number}")
            unread = an_entry(f"u{number}", f"u{number}", rough="r", figures=f"1{number}")
            with db:
                cache.keep(db, entry, CacheVector(entry.entry_id, "a/1", b"1234"), limits=one_more, now_ms=NOW_MS)
                cache.keep(db, unread, None, limits=one_more, now_ms=NOW_MS)
        makes_room = CacheLimits(entries=2 * entries, entries_per_scope=2 * entries, bytes=10**12)
        taken.append(
            (
                steps(db, lambda db: cache.looked_up(db, glance, now_ms=NOW_MS)),
                steps(db, lambda db: cache.looked_up(db, glance._replace(figures=""), now_ms=NOW_MS)),
                steps(db, lambda db: cache.on_shelf(db, question, now_ms=NOW_MS)),
                steps(db, lambda db: cache.on_shelf(db, asks_by_words, now_ms=NOW_MS)),
                steps(
                    db,
                    lambda db, limits=makes_room: cache.keep(
                        db, an_entry("k", "e", shelf="s"), None, limits=limits, now_ms=NOW_MS
                    ),
                ),
            )
        )
        assert db.execute("SELECT entries FROM cache_size").fetchone()[0] == 2 * entries
        db.close()

    few, many = taken
    assert all(steps_of_many < 1.2 * steps_of_few + 20 for steps_of_few, steps_of_many in zip(few, many, strict=True))


def steps(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], object]) -> int:
    taken = count()
    db.set_progress_handler(lambda: next(taken) < 0, 1)
    work(db)
    db.set_progress_handler(None, 0)
    return next(taken)


async def test_another_process_finds_the_answer_too(store: SqliteStore, tmp_path: Path) -> None:
    other = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    await keep(store, an_entry())

    assert await exactly(other, "k1") == an_entry()
    await other.close()


async def test_what_has_expired_leaves_the_file_with_the_next_answer(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1", shelf="s"))
    await store.keep_vectors([a_vector("e1")])
    await store.record(a_record("e1", cache_match=a_match()))

    await keep(store, an_entry("k2", "e2", created_ms=NOW_MS + TTL_MS))

    assert [entry.entry_id for entry in await store.cache_entries(most=9)] == ["e2"]
    assert await store.cache_matches(most=9) == ()
    assert await store.vectors("s", "m1", after=0) == ()


# --- making room -----------------------------------------------------------------------------------------------


async def test_the_answer_that_was_not_used_for_longest_makes_room(store: SqliteStore) -> None:
    few = CacheLimits(entries=3, entries_per_scope=9, bytes=10_000)
    for number in (1, 2, 3):
        await keep(store, an_entry(f"k{number}", f"e{number}", created_ms=NOW_MS + number), few)
    await store.record(a_record("e1", created_ms=NOW_MS + 50, cache="HIT"))

    await keep(store, an_entry("k4", "e4", created_ms=NOW_MS + 60), few)

    found = [await exactly(store, f"k{number}", now_ms=NOW_MS + 99) is not None for number in range(1, 5)]
    assert found == [True, False, True, True]


async def test_an_answer_that_is_kept_for_no_time_makes_room_like_any_other(store: SqliteStore) -> None:
    few = CacheLimits(entries=1, entries_per_scope=1, bytes=1_000_000)
    await keep(store, an_entry("k1", "e1", who="bob"))
    await keep(store, an_entry("k2", "e2", who="cid", created_ms=NOW_MS + 1))

    await keep(store, an_entry("k3", "e3", created_ms=NOW_MS + 2, expires_ms=NOW_MS + 2), few)

    assert [entry.entry_id for entry in await store.cache_entries(most=9)] == ["e2"]


async def test_one_scope_that_asks_a_lot_does_not_push_out_the_others(store: SqliteStore) -> None:
    few = CacheLimits(entries=9, entries_per_scope=2, bytes=10_000)
    await keep(store, an_entry("k0", "e0", who="bob"), few)

    for number in range(1, 6):
        await keep(store, an_entry(f"k{number}", f"e{number}", created_ms=NOW_MS + number), few)

    assert {entry.entry_id for entry in await store.cache_entries(most=9)} == {"e0", "e4", "e5"}
    assert (await store.cache_contents()).scopes == 2


async def test_long_answers_leave_when_together_they_are_too_large(store: SqliteStore) -> None:
    small = CacheLimits(entries=99, entries_per_scope=99, bytes=10_000)
    for number in range(60):
        await keep(store, an_entry(f"k{number}", f"e{number}", created_ms=NOW_MS + number, body="x" * 900), small)
        assert (await store.cache_contents()).bytes <= 10_000

    assert await exactly(store, "k59") is not None
    assert await exactly(store, "k1") is None


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["keep", "embed", "wrong", "drop", "expire", "clear"]), st.integers(0, 9)),
        min_size=1,
        max_size=40,
    )
)
def test_there_are_never_more_answers_than_allowed_and_a_kept_one_is_there(steps: list[tuple[str, int]]) -> None:
    db = a_database()
    limits = CacheLimits(entries=4, entries_per_scope=3, bytes=500)
    for now, (step, number) in enumerate(steps):
        if step == "keep":
            entry = an_entry(f"k{number}", f"e{now}", created_ms=now, who=f"w{number % 2}", shelf=f"s{number % 2}")
            cache.keep(db, entry, None, limits=limits, now_ms=now)
            assert cache.looked_up(db, CacheQuestion(key=entry.key), now_ms=now).entry == entry
        elif step == "embed":
            cache.keep_vectors(db, [a_vector(f"e{number}", vector=b"x" * number)])
        elif step == "wrong":
            cache_feedback.mark_wrong(db, f"e{number}", [], now_ms=now)
        else:
            cache.drop_cached(
                db,
                entry_id=f"e{number}" if step == "drop" else None,
                expired_before_ms=TTL_MS + number if step == "expire" else None,
            )
        check_counts(db, limits)
    db.close()


def check_counts(db: sqlite3.Connection, limits: CacheLimits) -> None:
    """The counters are the sums of the rows, and every vector is an entry's."""
    rows = db.execute("SELECT who, bytes, entry_id, embedder FROM cache").fetchall()
    vectors = dict(map(tuple, db.execute("SELECT entry_id, embedder FROM cache_vectors")))
    assert len(rows) <= limits.entries
    assert tuple(db.execute("SELECT entries, bytes FROM cache_size").fetchone()) == (
        len(rows),
        sum(row["bytes"] for row in rows),
    )
    assert dict(map(tuple, db.execute("SELECT who, entries FROM cache_scopes"))) == Counter(row["who"] for row in rows)
    assert {row["entry_id"]: row["embedder"] for row in rows if row["embedder"]} == vectors


def test_hits_are_counted() -> None:
    db = a_database()
    cache.keep(db, an_entry(), None, limits=PLENTY, now_ms=NOW_MS)

    for _ in range(2):
        cache.note_use(db, a_record("e1"))
    cache.note_use(db, a_record(""))

    assert db.execute("SELECT hits FROM cache").fetchone()[0] == 2
    db.close()


# --- what may be compared --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rough", "figures", "comparable"),
    [("r", "7", True), ("r", "", True), ("r", "8", False), ("another", "7", False), ("another", "", False)],
)
async def test_a_glance_tells_where_nothing_can_be_comparable(
    store: SqliteStore, rough: str, figures: str, comparable: bool
) -> None:
    await keep(store, an_entry(rough="r", figures="7"))

    found = await store.looked_up(CacheQuestion("another", rough, figures), now_ms=NOW_MS)
    late = await store.looked_up(CacheQuestion("another", "r", "7"), now_ms=NOW_MS + TTL_MS)

    assert (found.entry, found.comparable) == (None, comparable)
    assert not late.comparable


async def test_an_entry_whose_numbers_have_to_be_read_may_be_comparable_with_any(store: SqliteStore) -> None:
    await keep(store, an_entry(rough="r", figures=""))

    for figures in ("7", "-", ""):
        assert (await store.looked_up(CacheQuestion("another", "r", figures), now_ms=NOW_MS)).comparable


async def test_once_it_is_read_it_is_known_by_its_numbers(store: SqliteStore) -> None:
    await keep(store, an_entry(rough="r", figures=""))

    await store.keep_vectors([], [CacheReading("e1", "7", "s", "w", "3")])

    found = [await store.looked_up(CacheQuestion("k2", "r", figures), now_ms=NOW_MS) for figures in ("7", "8", "")]
    assert [each.comparable for each in found] == [True, False, True]


async def test_what_is_kept_is_comparable_at_once_though_nobody_waited_for_it(store: SqliteStore) -> None:
    for number, figures in enumerate(["7", ""]):
        store.keep(an_entry(f"k{number}", f"e{number}", rough="r", figures=figures), None, limits=PLENTY, now_ms=NOW_MS)

        assert (await store.looked_up(CacheQuestion("another", "r", "7"), now_ms=NOW_MS)).comparable
        assert (await store.looked_up(CacheQuestion("another", "r", ""), now_ms=NOW_MS)).comparable


async def test_what_nobody_has_read_is_found_until_it_is_and_then_on_its_shelf(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1", rough="r", figures="-", prompt="one"))
    await keep(store, an_entry("k2", "e2", rough="r", figures="8", prompt="of other numbers"))
    before = await store.on_shelf(on_shelf("s"), now_ms=NOW_MS)

    await store.keep_vectors(
        [a_vector("e1")], [CacheReading("e1", "9", "s", "w", "3"), CacheReading("gone", "9", "s", "w", "3")]
    )
    await store.keep_vectors([], [CacheReading("e1", "9", "another", "w", "3")])
    after = await store.on_shelf(on_shelf("s"), now_ms=NOW_MS)
    by_words = await store.on_shelf(on_shelf("s", embedder="", words="w"), now_ms=NOW_MS)

    assert ([unread.entry_id for unread in before.unread], before.vectors) == (["e1"], ())
    assert (after.unread, [row.entry_id for row in after.vectors]) == ((), ["e1"])
    assert [entry.entry_id for entry in by_words.same_words] == ["e1"]


# --- vectors ---------------------------------------------------------------------------------------------------


async def test_only_vectors_that_are_new_are_read_again(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1", shelf="s"))
    await keep(store, an_entry("k2", "e2", shelf="s"))
    await store.keep_vectors([a_vector("e1", vector=b"one")])
    first = await store.on_shelf(on_shelf("s"), now_ms=NOW_MS)

    await store.keep_vectors([a_vector("e2", vector=b"two")])
    second = await store.on_shelf(on_shelf("s", seen=first.vectors[-1].number), now_ms=NOW_MS)

    assert [(row.entry_id, row.vector) for row in first.vectors] == [("e1", b"one")]
    assert [(row.entry_id, row.vector) for row in second.vectors] == [("e2", b"two")]
    assert [waiting.entry_id for waiting in first.unembedded] == ["e2"]
    assert second.unembedded == ()


async def test_vectors_of_another_embedder_or_shelf_are_not_seen(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1", shelf="s"))
    await keep(store, an_entry("k2", "e2", shelf="other"))
    await store.keep_vectors([a_vector("e1", "old model"), a_vector("e2")])

    found = await store.on_shelf(on_shelf("s"), now_ms=NOW_MS)

    assert found.vectors == ()
    assert [waiting.prompt for waiting in found.unembedded] == ["prompt of k1"]


async def test_an_entry_that_leaves_takes_its_vector_along_and_a_late_vector_finds_nobody(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1", shelf="s"))
    await store.keep_vectors([a_vector("e1")])

    await keep(store, an_entry("k1", "e2", shelf="s"))
    await store.keep_vectors([a_vector("e1")])

    assert (await store.on_shelf(on_shelf("s"), now_ms=NOW_MS)).vectors == ()


async def test_a_vector_that_cannot_be_used_is_made_anew(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1", shelf="s"))
    await store.keep_vectors([a_vector("e1")])
    (spoilt,) = (await store.on_shelf(on_shelf("s"), now_ms=NOW_MS)).vectors

    await store.drop_vectors([spoilt.number])

    found = await store.on_shelf(on_shelf("s"), now_ms=NOW_MS)
    assert (found.vectors, [waiting.entry_id for waiting in found.unembedded]) == ((), ["e1"])


# --- feedback and figures --------------------------------------------------------------------------------------


async def test_a_pair_that_was_wrong_is_remembered_both_ways_and_for_its_own_scope(store: SqliteStore) -> None:
    await keep(store, an_entry("k1", "e1", shelf="s"))
    pair = WrongPair(who="ada", asked="b", asked_hash="hb", earlier="a", earlier_hash="ha")

    assert await store.mark_wrong("e1", [pair], now_ms=NOW_MS)
    assert not await store.mark_wrong("e1", [pair], now_ms=NOW_MS)

    def asked(who: str, prompt_hash: str) -> ShelfQuestion:
        return on_shelf("s", who=who, prompt_hash=prompt_hash)

    assert (await store.on_shelf(asked("ada", "hb"), now_ms=NOW_MS)).wrong == {"ha"}
    assert (await store.on_shelf(asked("ada", "ha"), now_ms=NOW_MS)).wrong == {"hb"}
    assert (await store.on_shelf(asked("bob", "hb"), now_ms=NOW_MS)).wrong == frozenset()
    assert (await store.cache_contents()).wrong_pairs == 1


async def test_what_an_entry_was_served_for_is_known(store: SqliteStore) -> None:
    await store.record(a_record("e1", cache_match=a_match("e1", "b")))
    await store.record(a_record("", cache_match=a_match("e2", "c", served=False)))

    assert [match.asked for match in await store.cache_matches(entry_id="e1", most=9)] == ["b"]
    assert await store.cache_matches(served=False, most=9) == (a_match("e2", "c", served=False),)


async def test_rates_count_who_looked_and_what_it_saved(store: SqliteStore) -> None:
    await store.record(a_record(cache="HIT", saved_nusd=5))
    await store.record(a_record(cache="SEMANTIC HIT", saved_nusd=7))
    await store.record(a_record(cache="SEMANTIC MISS", cache_reason="number"))
    await store.record(a_record(cache="DISABLED", cache_reason="tools are offered"))

    (total,) = await store.cache_rates(first_day=TODAY.day, last_day=TODAY.day)
    reasons = await store.cache_rates(first_day=TODAY.day, last_day=TODAY.day, group_by="reason")

    assert total == CacheRates(group="", requests=3, hits=1, semantic_hits=1, misses=1, saved_nusd=12)
    assert {row.group: row.requests for row in reasons} == {"": 2, "number": 1}
