"""In which order writes reach the database's thread, and who is told when."""

import sqlite3
import threading
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import anyio
import pytest

from orchestra_router.store.connection import CHECKPOINT_EVERY, TOGETHER, Connection


def in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE seen (what TEXT NOT NULL UNIQUE) STRICT")
    return db


@pytest.fixture
async def connection() -> AsyncGenerator[Connection]:
    connection = Connection(in_memory)
    await connection.start()
    yield connection
    await connection.close()


def see(db: sqlite3.Connection, *what: str) -> None:
    db.executemany("INSERT INTO seen (what) VALUES (?)", [(each,) for each in what])


def see_all(db: sqlite3.Connection, what: Sequence[str]) -> None:
    see(db, "+".join(what))


def everything(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT what FROM seen ORDER BY rowid")]


def always(_: object) -> bool:
    return True


async def test_what_is_urgent_comes_first_and_what_can_wait_together(connection: Connection) -> None:
    connection.write_together(see_all, "a")
    connection.write(lambda db: see(db, "in turn"))
    connection.write_together(see_all, "b")
    connection.write_later(lambda db: see(db, "later"))
    connection.write_first(lambda db: see(db, "urgent"), always)

    assert await connection.read(everything) == ["urgent", "a+b", "in turn", "later"]


async def test_who_waits_for_what_is_urgent_is_told_before_the_rest_is_carried_out(connection: Connection) -> None:
    go_on = threading.Event()

    def wait(_: sqlite3.Connection, __: Sequence[int]) -> None:
        go_on.wait()

    rest = [connection.write_together(wait, number) for number in range(TOGETHER)]
    with anyio.fail_after(5):
        await connection.write_first(lambda db: see(db, "urgent"), always)

    assert not any(each.done() for each in rest)
    go_on.set()
    await connection.drained()
    assert all(each.done() for each in rest)


async def test_what_is_not_final_is_done_again_behind_what_was_asked_for_before(connection: Connection) -> None:
    connection.write_later(lambda db: see(db, "before"))

    assert await connection.write_first(everything, bool) == ["before"]


async def test_what_a_caller_has_left_is_not_done_again(connection: Connection) -> None:
    """He asked for the end of it, and that is carried out already."""
    tries: list[int] = []
    left = connection.write_first(lambda _: tries.append(1), bool)
    left.cancel()
    connection.write_later(lambda db: see(db, "end"))

    await connection.drained()

    assert tries == [1]


async def test_what_nobody_waits_for_is_carried_out_soon_though_nothing_else_happens(connection: Connection) -> None:
    with anyio.fail_after(5):
        await connection.write_together(see_all, "a")

    assert await connection.read(everything) == ["a"]


async def test_one_that_cannot_be_written_fails_alone(connection: Connection) -> None:
    def see_each(db: sqlite3.Connection, what: Sequence[str]) -> None:
        see(db, *what)

    written = [connection.write_together(see_each, what) for what in ("a", "b", "a", "c")]

    assert await connection.read(everything) == ["a", "b", "c"]
    assert [type(each.exception()) for each in written] == [type(None), type(None), sqlite3.IntegrityError, type(None)]


@pytest.mark.parametrize("is_denied", [False, True], ids=["on its own", "behind what is denied"])
async def test_the_log_of_writes_does_not_grow_with_their_number(tmp_path: Path, *, is_denied: bool) -> None:
    file = tmp_path / "some.db"

    def in_a_file() -> sqlite3.Connection:
        db = sqlite3.connect(file, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("CREATE TABLE seen (what TEXT NOT NULL UNIQUE) STRICT")
        return db

    connection = Connection(in_a_file)
    await connection.start()
    sizes: list[int] = []
    for _ in range(4):
        for _ in range(CHECKPOINT_EVERY):
            written = connection.write_later(lambda db: db.execute("DELETE FROM seen") and see(db, "a"))
            if is_denied:
                await connection.write_first(lambda _: None, bool)
            await written
        await connection.read(everything)
        sizes.append(file.with_name("some.db-wal").stat().st_size)
    await connection.close()

    assert sizes[-1] == sizes[0]


async def test_closing_carries_out_what_was_asked_for_just_before() -> None:
    connection = Connection(in_memory)
    await connection.start()
    connection.write_later(lambda db: see(db, "a"))
    async with anyio.create_task_group() as reading:

        async def read() -> None:
            assert await connection.read(everything) == ["a"]

        reading.start_soon(read)
        reading.start_soon(connection.close)
