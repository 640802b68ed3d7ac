"""`orchestra backup` and `orchestra vacuum`: care of the database, while others go on using it."""

import argparse
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from orchestra_router.commands.base import Commands, load_config, with_router

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above


def add_to(commands: Commands) -> None:
    backup = commands.reporting("backup", _backup, "Copy the database, whole, while others go on using it.")
    backup.add_argument("file", type=Path, nargs="?", help="the copy; else one with today's date beside the database")
    commands.reporting("vacuum", _vacuum, "Give the space of deleted records back to the disk.")


def _backup(asked: argparse.Namespace) -> int:
    from orchestra_router.store.backup import back_up
    from orchestra_router.store.opening import explain

    database = load_config().settings.database
    copy = asked.file or database.with_name(
        f"{database.stem}.backup-{datetime.now(UTC):%Y%m%d-%H%M%S}{database.suffix}"
    )
    try:
        size = back_up(database, copy)
    except sqlite3.Error as error:
        raise explain(error, database) from error
    if asked.json:
        print(json.dumps({"file": str(copy), "bytes": size}, indent=2))
    else:
        print(
            f"{copy}, {size / 1_000_000:,.1f} MB. To restore it: end every Orchestra process, and put it in the place of"
        )
        print(f"{database} (without the files -wal and -shm beside that).")
    return 0


def _vacuum(asked: argparse.Namespace) -> int:
    path = load_config().settings.database
    before = path.stat().st_size if path.exists() else 0
    done = with_router(lambda router: router.store.rebuild())
    after = path.stat().st_size
    if asked.json:
        print(json.dumps({"before_bytes": before, "after_bytes": after, "done": done}, indent=2))
    elif done:
        print(f"{before / 1_000_000:,.1f} MB before, {after / 1_000_000:,.1f} MB now.")
    else:
        print("Another process uses the database just now. Nothing is wrong; try again, or end that process first.")
    return 0 if done else 1
