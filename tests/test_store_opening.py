"""A database that cannot be used is left exactly as it is, and the message says what to do."""

import os
import sqlite3
import stat
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_hold, child, ended, kept_sums, old_hold, sums_of_rows
from orchestra_router.errors import StoreError
from orchestra_router.store import opening
from orchestra_router.store.alert_records import Watch
from orchestra_router.store.connection import Connection
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.hops import Hops
from orchestra_router.store.ledger_records import Spent
from orchestra_router.store.migrations import APPLICATION_ID, MIGRATIONS

NOBODY = 65534
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "orchestra.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(path, clock=FakeClock(), busy_timeout_s=0.05)
    try:
        yield store
    finally:
        await store.close()


def make(path: Path) -> None:
    """A database that was used, and closed."""

    async def use() -> None:
        async with opened(path) as store:
            await store.hold(a_hold("a1", 100), [])

    anyio.run(use)


def refusal(path: Path) -> str:
    """Why it cannot be opened."""

    async def use() -> None:
        async with opened(path):
            pass

    with pytest.raises(StoreError) as refused:
        anyio.run(use)
    return str(refused.value)


async def fill(store: SqliteStore) -> None:
    for number in range(1_000):
        await store.hold(a_hold(f"a{number}", 1), [])


@contextmanager
def unprivileged() -> Generator[None]:
    """Root may write everywhere; so, as root, be nobody for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@posix_only
async def test_a_new_database_and_its_folder_are_for_their_owner_only(path: Path) -> None:
    async with opened(path) as store:
        await store.hold(a_hold(), [])

        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (path.parent, *path.parent.iterdir())}

    assert modes == {"home": 0o700, "orchestra.db": 0o600, "orchestra.db-wal": 0o600, "orchestra.db-shm": 0o600}


async def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    async with opened(path) as store:
        await store.hold(a_hold("a1", 100), [])
        await store.settle(ended("a1", 60))

    async with opened(path) as store:
        assert await store.spent("global", TODAY.day) == Spent(60, 0)


async def test_several_processes_can_make_the_file_at_once(path: Path) -> None:
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(child("open", path)) for _ in range(3)]
        for each in children:
            await each.ready()
        for each in children:
            await each.go()

        assert [await each.says() for each in children] == ["opened"] * 3


async def test_opening_waits_for_another_process_that_reads_a_file_without_a_wal_yet(path: Path) -> None:
    async with opened(path):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("PRAGMA journal_mode = DELETE")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM spend").fetchall()

        class ReaderEnds(FakeClock):
            async def sleep(self, seconds: float) -> None:
                await super().sleep(seconds)
                reader.close()

        clock = ReaderEnds()
        store = await SqliteStore.open(path, clock=clock)

    assert len(clock.slept) == 1
    assert await store.hold(a_hold(), []) is None
    await store.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("my diary\n" * 100)

    message = refusal(path)

    assert message == f"{path} is not a database. Move it away, or set ORCHESTRA_HOME to another folder."
    assert path.read_text() == "my diary\n" * 100


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()

    message = refusal(path)

    assert message.startswith(f"{path} is the database of another program.")
    assert path.read_bytes() == before


def test_a_newer_versions_database_is_refused_and_left_alone(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    message = refusal(path)

    assert message.startswith(f"{path} was written by a newer version of Orchestra")
    assert "Upgrade Orchestra" in message
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


def test_a_folder_in_the_files_place_is_named(path: Path) -> None:
    path.mkdir(parents=True)

    assert refusal(path).startswith(f"{path} is a folder or a device, not a database.")


def test_a_file_in_the_folders_place_is_named(path: Path) -> None:
    path.parent.write_text("")

    assert refusal(path).startswith(f"{path.parent} is a file, and the database's folder has to be there.")


@posix_only
def test_a_folder_that_cannot_be_written_is_named_with_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "orchestra.db"
        Path(folder).chmod(0o555)

        with unprivileged():
            message = refusal(path)

    assert message.startswith(f"{path} cannot be created (Permission denied). Make the file and its folder writable")


@posix_only
def test_a_file_that_cannot_be_written_is_named_with_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve() / "orchestra.db"
        make(path)
        path.chmod(0o444)
        Path(folder).chmod(0o777)

        with unprivileged():
            message = refusal(path)

        Path(folder).chmod(0o700)
    assert message.startswith(f"{path} cannot be written. Make the file and its folder writable")


def test_damage_is_noticed_on_opening(path: Path) -> None:
    make(path)
    header = path.read_bytes()[:4096]
    path.write_bytes(header + b"\xff" * (path.stat().st_size - 4096))

    assert refusal(path).startswith(f"{path} is damaged. Stop every Orchestra process and keep a copy")


async def test_damage_is_noticed_later_and_does_not_take_the_process_down(path: Path) -> None:
    async with opened(path) as store:
        await store.hold(a_hold(), [])
    with closing(sqlite3.connect(path)) as db:
        (page_size,) = db.execute("PRAGMA page_size").fetchone()
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'attempts'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * page_size)
        file.write(b"\xff" * page_size)

    async with opened(path) as store:
        with pytest.raises(StoreError, match="is damaged"):
            await store.settle(ended())
        with pytest.raises(StoreError, match="is damaged"):
            await store.report(first_day=TODAY.day, last_day=TODAY.day)
        assert (await store.health()).rows == ()


async def test_a_full_disk_is_named_and_nothing_is_half_written(path: Path) -> None:
    def on_a_small_disk() -> sqlite3.Connection:
        db = opening.connect(path, busy_timeout_s=0.05)
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
        return db

    connection = Connection(on_a_small_disk)
    await connection.start()
    store = SqliteStore(Hops(connection, path, busy_timeout_s=0.05))

    with pytest.raises(StoreError, match="cannot grow: its disk is full"):
        await fill(store)

    (held,) = await store.report(first_day=TODAY.day, last_day=TODAY.day)
    assert 0 < held.attempts < 1_000
    assert await store.spent("global", TODAY.day) == Spent(0, held.attempts)
    await store.close()


async def test_a_lock_that_stays_is_named_and_when_it_goes_all_is_well(path: Path) -> None:
    async with opened(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as browser:
            browser.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="is locked by another program") as locked:
                await store.hold(a_hold(), [])
            readable = await store.spent("global", TODAY.day)

        after = await store.hold(a_hold(), [])

    assert locked.value.retry_after_s is not None
    assert readable == Spent(0, 0)
    assert after is None


def test_a_locked_database_is_named_on_opening(path: Path) -> None:
    make(path)

    with closing(sqlite3.connect(path, isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")

        assert refusal(path).startswith(f"{path} is locked by another program.")


async def test_a_closed_store_says_so(path: Path) -> None:
    async with opened(path) as store:
        pass

    await store.close()

    with pytest.raises(StoreError, match="has been closed"):
        await store.reclaim(now_ms=NOW_MS)


async def test_a_database_that_is_removed_under_a_running_process_stops_all_spending(path: Path) -> None:
    async with opened(path) as store:
        await store.hold(a_hold(attempt_id="before"), ())
        for file in await anyio.to_thread.run_sync(lambda: list(path.parent.iterdir())):
            file.unlink()

        with pytest.raises(StoreError, match="removed or replaced"):
            await store.hold(a_hold(attempt_id="after"), ())


# --- two versions on one file ------------------------------------------------------------------------------------


@contextmanager
def older_version(path: Path, steps: int) -> Generator[sqlite3.Connection]:
    """A process of a version that knew `steps` steps, with the file open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for step in MIGRATIONS[:steps]:
            for statement in step.statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {steps}")
        yield db


def old_settle(db: sqlite3.Connection, attempt_id: str, state: str, cost_nusd: int) -> None:
    db.execute("UPDATE attempts SET state = ?, cost_nusd = ? WHERE attempt_id = ?", (state, cost_nusd, attempt_id))


async def test_sums_are_right_after_an_update_of_the_file_and_while_an_older_version_goes_on(path: Path) -> None:
    path.parent.mkdir()
    with older_version(path, 4) as older:
        for attempt_id in ("settled", "uncertain", "released", "held"):
            old_hold(older, attempt_id)
        old_settle(older, "settled", "settled", 60)
        old_settle(older, "uncertain", "uncertain", 100)
        old_settle(older, "released", "released", 0)
        before = kept_sums(older)

        async with opened(path) as newer:
            after_update = kept_sums(older), sums_of_rows(older)
            old_hold(older, "later")
            old_settle(older, "held", "settled", 30)
            old_settle(older, "uncertain", "settled", 40)
            await newer.hold(a_hold("new", 10), [])
            await newer.settle(ended("later", 70))
            in_the_end = kept_sums(older), sums_of_rows(older)
            spent = await newer.spent("task:coding", TODAY.day)

    assert after_update[0] == after_update[1]
    assert before.items() <= after_update[0].items()
    assert in_the_end[0] == in_the_end[1]
    assert spent == Spent(60 + 40 + 30 + 70, 10)


async def test_an_alert_of_an_older_version_is_not_told_again_and_is_delivered_too(path: Path) -> None:
    path.parent.mkdir()
    with older_version(path, 4) as older:
        async with opened(path) as newer:
            older.execute(
                "INSERT INTO alerts (holder, period, threshold_nusd, at_ms) VALUES ('global', ?, 100, ?)"
                " ON CONFLICT DO NOTHING",
                (TODAY.day, NOW_MS),
            )

            await newer.hold(a_hold(), [])
            watch = Watch(kind="spend", holder="global", period=TODAY.day, threshold_nusd=100, text="Too much.")
            settled = await newer.settle(replace(ended(cost_nusd=300), watches=(watch,)))
            delivery = await newer.claim(by="me", now_ms=NOW_MS, until_ms=NOW_MS + 1)

    assert settled.alerts == ()
    assert delivery is not None
    assert (delivery.alert.kind, delivery.alert.holder) == ("spend", "global")


async def test_alerts_of_every_kind_go_on_while_an_older_version_has_the_file_open(path: Path) -> None:
    """Before the kind was a part of the key."""
    path.parent.mkdir()
    raised = (
        "INSERT INTO alerts (holder, period, threshold_nusd, at_ms, kind, text) VALUES ('global', ?, ?, ?, ?, 'Hm.')"
        " ON CONFLICT DO NOTHING"
    )
    steps = [step.name for step in MIGRATIONS].index("kind of an alert in its key")
    with older_version(path, steps) as older:
        older.execute(raised, (TODAY.day, 100, NOW_MS, "budget"))
        older.execute("DELETE FROM outbox")  # it was delivered

        async with opened(path) as newer:
            older.execute(raised, (TODAY.day, 100, NOW_MS, "budget"))
            older.execute(raised, (TODAY.day, 200, NOW_MS, "budget"))
            await newer.hold(a_hold(), [])
            watch = Watch(kind="spend", holder="global", period=TODAY.day, threshold_nusd=100, text="Too much.")
            told = await newer.settle(replace(ended(cost_nusd=300), watches=(watch, replace(watch, kind="budget"))))
            alerts = await newer.alerts(first_day=TODAY.day, last_day=TODAY.day)
            deliveries = [await newer.claim(by="me", now_ms=NOW_MS, until_ms=NOW_MS + 1) for _ in range(3)]

    assert [alert.kind for alert in told.alerts] == ["spend"]
    assert sorted((str(alert["kind"]), alert["threshold_nusd"]) for alert in alerts) == [
        ("budget", 100),
        ("budget", 200),
        ("spend", 100),
    ]
    waiting = [(each.alert.kind, each.alert.threshold_nusd) for each in deliveries if each is not None]
    assert sorted(waiting) == [("budget", 200), ("spend", 100)]
