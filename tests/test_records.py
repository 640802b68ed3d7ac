"""Nobody waits for a record; what the database does not take in time is written later, and reports know it then."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import a_record
from orchestra_router.errors import StoreError
from orchestra_router.policy import records
from orchestra_router.policy.records import Records
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.request_records import RequestRecord
from worlds import ask, open_world

LOCKED = "The database is locked."


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


class Lock:
    """In the way of the next `times` records."""

    def __init__(self, store: SqliteStore, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._record = store.record
        self.times = times
        monkeypatch.setattr(store, "record", self.record)

    async def record(self, record: RequestRecord) -> None:
        self.times -= 1
        if self.times >= 0:
            raise StoreError(LOCKED)
        await self._record(record)


async def recorded(store: SqliteStore) -> list[str]:
    return [row.subject for row in await store.audit_rows() if row.kind == "request"]


async def test_it_is_written_before_the_next_one(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Lock(store, 2, monkeypatch)
    kept = Records(store)
    for name in ("first", "second"):
        await kept.write(a_record(name))
    await kept.settled()

    lock.times = 0
    await kept.write(a_record("third"))
    await kept.settled()

    assert sorted(await recorded(store)) == ["first", "second", "third"]


async def test_it_is_written_though_others_are_always_on_their_way(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lock(store, 1, monkeypatch)
    kept = Records(store)

    for name in ("first", "second", "third", "fourth"):
        await kept.write(a_record(name))
        await asyncio.sleep(0)
    await kept.settled()

    assert "first" in await recorded(store)


async def test_an_answer_goes_out_before_its_record_is_written_and_what_is_read_later_knows_it(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(ask())
        with sqlite3.connect(world.router.config.settings.database) as db:
            on_the_disk = db.execute("SELECT count(*) FROM requests").fetchone()
        trail = await world.router.trails(completion.request_id)

    assert on_the_disk == (0,)
    assert [each.request["outcome"] for each in trail] == ["ok"]


async def test_a_request_waits_for_room_where_too_many_records_wait_for_the_database(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_UNDERWAY", 2)
    kept = Records(store)
    writing = [asyncio.create_task(kept.write(a_record(name))) for name in ("r1", "r2", "r3")]

    await asyncio.sleep(0)
    waited = [each.done() for each in writing]
    await asyncio.gather(*writing)
    await kept.settled()

    assert waited == [True, True, False]
    assert await recorded(store) == ["r1", "r2", "r3"]


async def test_a_task_cancelled_past_any_shield_while_it_waits_for_room_is_on_record(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_UNDERWAY", 1)
    kept = Records(store)
    await kept.write(a_record("r1"))
    writing = asyncio.create_task(kept.write(a_record("r2")))
    await asyncio.sleep(0)

    writing.cancel()
    await asyncio.wait({writing})
    await kept.settled()

    assert writing.cancelled()
    assert await recorded(store) == ["r1", "r2"]


async def test_a_report_whose_reader_leaves_loses_no_record_that_still_cannot_be_written(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock(), busy_timeout_s=0.01)
    kept = Records(store)
    with contextlib.closing(sqlite3.connect(tmp_path / "orchestra.db", isolation_level=None)) as another:
        another.execute("BEGIN IMMEDIATE")
        await kept.write(a_record("late"))
        await kept.settled()
        reading = asyncio.create_task(kept.catch_up())
        await asyncio.sleep(0)

        reading.cancel()
        await asyncio.wait({reading})
        await kept.settled()
        await store.attempts_of("a read that comes behind the write")
    await kept.catch_up()

    assert reading.cancelled()
    assert await recorded(store) == ["late"]
    await store.close()


async def test_it_is_written_when_the_process_ends(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    Lock(store, 1, monkeypatch)
    records = Records(store)
    await records.write(a_record("last"))

    await records.aclose()

    assert await recorded(store) == ["last"]


async def test_closing_says_how_many_could_not_be_written(store: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    kept = Records(store)
    await store.close()
    await kept.write(a_record("late"))

    await kept.aclose()

    assert "1 request(s) are not on record" in caplog.text


async def test_only_so_many_are_kept_and_the_oldest_leaves(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_UNWRITTEN", 2)
    lock = Lock(store, 1_000, monkeypatch)
    kept = Records(store)
    for name in ("r1", "r2", "r3"):
        await kept.write(a_record(name))
        await kept.settled()

    lock.times = 0
    await kept.catch_up()

    assert await recorded(store) == ["r2", "r3"]


async def test_a_report_knows_the_label_of_a_request_whose_record_was_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_world(tmp_path) as world:
        assert isinstance(world.router.store, SqliteStore)
        Lock(world.router.store, 1, monkeypatch)
        await world.router.complete(ask(metadata={"app": "docs"}))

        report = await world.router.cost_report(group_by="metadata:app")

    assert [(row.group, row.calls, row.attempts) for row in report.rows] == [("docs", 1, 1)]
    assert report.notes == ()
