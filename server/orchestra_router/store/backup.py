"""A copy of the database, whole and of one moment, while others go on using it."""

import os
import sqlite3
from pathlib import Path

from orchestra_router.errors import StoreError

PAGES_AT_ONCE = 2_000
"""About 8 MB: between two such steps other processes may write."""


def back_up(database: Path, copy: Path) -> int:
    """Write a copy of `database` to `copy`, readable by its owner only, and return its size in bytes.

    It holds everything that was committed when it was finished; it is there whole or not at all.

    Raises:
        StoreError: there is nothing to copy, `copy` is there already, or it cannot be written.
        sqlite3.Error: SQLite says so.
    """
    if not database.is_file():
        raise StoreError(f"There is no database {database} yet, so there is nothing to back up.")
    if copy.exists():
        raise StoreError(f"{copy} exists already, and a backup overwrites nothing. Name another file.")
    unfinished = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"{copy} cannot be written ({os.strerror(error.errno or 0)}). Name another file.") from error
    source = target = None
    try:
        source = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
        target = sqlite3.connect(unfinished)
        source.backup(target, pages=PAGES_AT_ONCE)
        # A copy stands alone: no WAL beside it that could be left behind.
        target.execute("PRAGMA journal_mode = DELETE")
        ((found,),) = target.execute("PRAGMA quick_check(1)").fetchall()
        if found != "ok":
            raise StoreError(f"{database} is damaged ({found}), and so would be its copy. Restore an earlier backup.")
        target.close()
        size = unfinished.stat().st_size
        unfinished.replace(copy)
    finally:
        for connection in (source, target):
            if connection is not None:
                connection.close()
        unfinished.unlink(missing_ok=True)
    return size
