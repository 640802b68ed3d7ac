"""The database outlives its versions: every earlier format opens, a copy is kept, and one can be made at any time."""

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from clocks import FakeClock
from ledgers import TODAY, a_hold, kept_sums, old_hold, sums_of_rows
from orchestra_router.cli import main
from orchestra_router.errors import StoreError
from orchestra_router.store import migrations, opening
from orchestra_router.store.backup import back_up
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.migrations import APPLICATION_ID, MIGRATIONS, Step
from orchestra_router.store.opening import connect, copy_of_format

LATEST = len(MIGRATIONS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orchestra.db"


def make(path: Path, version: int) -> None:
    """A database as a program of that format left it, with a day's call in it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for step in MIGRATIONS[:version]:
            for statement in step.statements:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        old_hold(db, "old")
        db.execute("UPDATE attempts SET state = 'settled', cost_nusd = 60 WHERE attempt_id = 'old'")


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        ((version,),) = db.execute("PRAGMA user_version").fetchall()
    return int(version)


async def spent(path: Path) -> int:
    store = await SqliteStore.open(path, clock=FakeClock())
    try:
        return (await store.spent("task:coding", TODAY.day)).spent_nusd
    finally:
        await store.close()


# --- updates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, LATEST))
def test_every_earlier_format_opens_and_is_kept_as_it_was(path: Path, version: int) -> None:
    make(path, version)

    with closing(connect(path, busy_timeout_s=1)) as db:
        assert kept_sums(db) == sums_of_rows(db)

    copy = copy_of_format(path, version)
    assert (version_of(path), version_of(copy)) == (LATEST, version)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as kept:
        assert kept.execute("SELECT cost_nusd FROM attempts").fetchall() == [(60,)]


def test_a_copy_put_back_is_brought_up_again_and_the_first_copy_stays(path: Path) -> None:
    make(path, 4)
    connect(path, busy_timeout_s=1).close()
    copy = copy_of_format(path, 4)
    kept = copy.read_bytes()
    for beside in path.parent.glob("orchestra.db*"):
        beside.unlink()
    path.write_bytes(kept)

    connect(path, busy_timeout_s=1).close()

    assert version_of(path) == LATEST
    assert copy.read_bytes() == kept


def test_a_new_database_needs_no_copy(path: Path) -> None:
    connect(path, busy_timeout_s=1).close()
    connect(path, busy_timeout_s=1).close()

    assert [file.name for file in path.parent.glob("*.format-*")] == []


def test_an_update_that_fails_half_way_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path, LATEST)
    broken = Step("broken", ("CREATE TABLE half (x)", "CREATE TABLE attempts (x)"))
    monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, broken))

    with pytest.raises(sqlite3.OperationalError, match="attempts"):
        connect(path, busy_timeout_s=1)

    assert version_of(path) == LATEST
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchall() == [(0,)]
        assert db.execute("SELECT cost_nusd FROM attempts").fetchall() == [(60,)]


def test_where_no_copy_can_be_kept_the_file_is_not_touched(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(path, 4)

    def nowhere(_: Path, version: int) -> Path:
        return path.parent / "missing" / f"{version}.db"

    monkeypatch.setattr(opening, "copy_of_format", nowhere)

    with pytest.raises(StoreError, match="cannot be written"):
        connect(path, busy_timeout_s=1)

    assert version_of(path) == 4


# --- backups -------------------------------------------------------------------------------------------------


async def test_a_backup_is_whole_while_others_write(path: Path) -> None:
    store = await SqliteStore.open(path, clock=FakeClock())
    for number in range(200):
        await store.hold(a_hold(f"before-{number}", 1), [])
    made = anyio.Event()

    async def go_on() -> None:
        number = 0
        while not made.is_set():
            await store.hold(a_hold(f"while-{number}", 1), [])
            number += 1

    copy = path.with_name("copy.db")
    async with anyio.create_task_group() as group:
        group.start_soon(go_on)
        await anyio.to_thread.run_sync(back_up, path, copy)
        made.set()
    await store.close()

    with closing(connect(copy, busy_timeout_s=1)) as db:
        assert kept_sums(db) == sums_of_rows(db)
        ((before,),) = db.execute("SELECT count(*) FROM attempts WHERE attempt_id LIKE 'before-%'").fetchall()
        assert before == 200


def test_a_restored_backup_is_used_as_if_nothing_had_happened(path: Path) -> None:
    make(path, LATEST)
    back_up(path, path.with_name("copy.db"))
    path.unlink()
    path.with_name("copy.db").rename(path)

    assert anyio.run(spent, path) == 60


def test_the_command_names_the_copy_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path))
    assert main(["backup"]) == 1
    assert "nothing to back up" in capsys.readouterr().err
    make(tmp_path / "orchestra.db", LATEST)

    assert main(["backup", str(tmp_path / "copy.db"), "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(tmp_path / "copy.db"), "bytes": (tmp_path / "copy.db").stat().st_size}
    assert main(["backup", str(tmp_path / "copy.db")]) == 1
    assert "overwrites nothing" in capsys.readouterr().err
    assert [file.name for file in tmp_path.glob(".*")] == []


def test_a_damaged_database_is_not_passed_off_as_a_backup(path: Path) -> None:
    make(path, LATEST)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)

    with pytest.raises((StoreError, sqlite3.DatabaseError)):
        back_up(path, path.with_name("copy.db"))

    assert not path.with_name("copy.db").exists()


def test_vacuum_gives_space_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path))
    path = tmp_path / "orchestra.db"
    make(path, LATEST)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE filler AS SELECT randomblob(1000000) AS x")
        db.execute("DROP TABLE filler")
        db.commit()

    assert main(["vacuum", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["done"]
    assert told["after_bytes"] < told["before_bytes"] - 900_000
