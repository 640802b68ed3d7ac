"""Opening the database file, and what to say when it cannot be used. Nothing is ever overwritten or deleted."""

import os
import sqlite3
from pathlib import Path

from orchestra_router.errors import StoreError
from orchestra_router.store.backup import back_up
from orchestra_router.store.migrations import MIGRATIONS, ForeignDatabase, NewerDatabase, migrate

OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables (sqlite.org/stricttables.html)."""
BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another process's."""
MOST_WAL_PAGES = 8_000
"""32 MB. So many are put into the database by whoever writes next; long before, that is done while nobody waits."""


def connect(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    """A connection to the database at `path`, created (0600, its folder 0700) or migrated as needed.

    Commits wait for the disk (synchronous=FULL): with less, a power cut could forget money that was already spent,
    and the budget would grant it again. A commit costs microseconds to milliseconds, a model's answer seconds.

    Raises:
        StoreError: the file cannot be used.
        sqlite3.Error: SQLite says so; `explain` puts it into words.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(
            f"This Python has SQLite {sqlite3.sqlite_version}, and 3.37 or newer is needed."
            " Use a newer Python, from python.org or `uv python install`."
        )
    path = Path(os.path.realpath(path))
    _create(path)
    # Autocommit: only `BEGIN IMMEDIATE` opens a transaction here.
    db = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        migrate(db, keep_copy=lambda version: _keep_copy(path, version))
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {MOST_WAL_PAGES}")
    except ForeignDatabase:
        db.close()
        raise StoreError(f"{path} is the database of another program. {_AWAY}") from None
    except NewerDatabase as newer:
        db.close()
        raise StoreError(
            f"{path} was written by a newer version of Orchestra (format {newer.args[0]}, this one knows"
            f" {len(MIGRATIONS)}). Upgrade Orchestra, or set ORCHESTRA_HOME to another folder."
        ) from None
    except BaseException:
        db.close()
        raise
    return db


def connect_to_read(path: Path, file: tuple[int, int] | None, *, busy_timeout_s: float) -> sqlite3.Connection:
    """Another connection, that cannot write, to the database that `connect` has opened and whose `identity` is `file`.

    Raises:
        StoreError: it is not there any more.
        sqlite3.Error: SQLite says so.
    """
    if identity(path) != file:
        raise removed(path)
    location = Path(os.path.realpath(path)).as_uri()
    db = sqlite3.connect(f"{location}?mode=ro", uri=True, timeout=busy_timeout_s, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def copy_of_format(path: Path, version: int) -> Path:
    """Where the database is kept as it was before it was brought up from format `version`."""
    return path.with_name(f"{path.stem}.format-{version}{path.suffix}")


def _keep_copy(path: Path, version: int) -> None:
    copy = copy_of_format(path, version)
    if copy.exists():  # of an earlier try, or of a file that was put back: the first one is kept
        return
    back_up(path, copy)


def _create(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Before SQLite does, so that nobody else can ever read it; the files beside it get the same mode. One that
        # exists is not opened here: closing it would drop the locks this process may have on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.parent.is_dir():
            raise StoreError(f"{path.parent} is a file, and the database's folder has to be there. {_AWAY}") from None
        if not path.is_file():
            raise StoreError(f"{path} is a folder or a device, not a database. {_AWAY}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be created ({os.strerror(error.errno or 0)}). {_RIGHTS}") from error


def explain(error: sqlite3.Error, path: Path) -> StoreError:
    """`error` in words that name the file and the way out."""
    if is_locked(error):
        return StoreError(
            f"{path} is locked by another program. Close what holds it (a backup, a database browser), and try again.",
            retry_after_s=BUSY_TIMEOUT_S,
        )
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreError(f"{path} {_WORDS.get(_code(error), f'cannot be used ({name}). {_AWAY}')}")


def is_locked(error: sqlite3.Error) -> bool:
    """Another connection is in the way, for now."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code (the higher bits are detail); 0 for an error of Python's own module."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


_AWAY = "Move it away, or set ORCHESTRA_HOME to another folder."
_RIGHTS = "Make the file and its folder writable for you, or set ORCHESTRA_HOME to another folder."
_WORDS = {
    sqlite3.SQLITE_NOTADB: f"is not a database. {_AWAY}",
    sqlite3.SQLITE_CORRUPT: (
        "is damaged. Stop every Orchestra process and keep a copy of the file; then restore a backup,"
        " or move it away to start with an empty one (budgets then count from zero)."
    ),
    sqlite3.SQLITE_FULL: "cannot grow: its disk is full. Free some space, and try again.",
    sqlite3.SQLITE_READONLY: f"cannot be written. {_RIGHTS}",
    sqlite3.SQLITE_PERM: f"cannot be written. {_RIGHTS}",
    sqlite3.SQLITE_CANTOPEN: f"cannot be opened. {_RIGHTS}",
    sqlite3.SQLITE_IOERR: "cannot be read or written: its disk fails. Check the disk, and that the folder still exists.",
}


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at `path`, whatever its name; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def removed(path: Path) -> StoreError:
    return StoreError(
        f"The database {path} was removed or replaced while this process used it, so nothing can be spent any more."
        " Put it back, or restart to begin with the one that is there."
    )
