"""`orchestra install CLIENT`: Orchestra in a client's list of servers, shown first and written after a yes."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestra_router.commands.base import Commands, table
from orchestra_router.errors import ConfigError

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.clients import Entry, Folders


def add_to(commands: Commands) -> None:
    install = commands.reporting("install", _install, "Add Orchestra to an MCP client's configuration.")
    install.add_argument("client", nargs="?", help="such as claude-desktop; without it, all that are known are listed")
    install.add_argument("--simulate", action="store_true", help="with simulated providers: no key, no cost")
    install.add_argument("--file", type=Path, help="another file than the client's own")
    install.add_argument("--yes", action="store_true", help="write without asking")


def _install(asked: argparse.Namespace) -> int:
    from orchestra_router.clients import CLIENTS, Folders, change

    folders = Folders.of(os.environ)
    if asked.client is None:
        return _list(folders, as_json=asked.json)
    if (client := CLIENTS.get(asked.client.lower().replace(" ", "-"))) is None:
        from orchestra_router.policy import names

        raise ConfigError(names.unknown("client", asked.client, CLIENTS))
    wanted = change(client, asked.file or client.file(folders), _entry(simulate=asked.simulate))
    if not wanted.shown:
        print(f"{client.title} has it already: {wanted.file}")
        return 0
    if asked.json and not asked.yes:
        print(json.dumps({"file": str(wanted.file), "change": wanted.shown, "written": False}, indent=2))
        return 0
    if not asked.json:
        print(wanted.shown)
    if not asked.yes and not _agreed(wanted.file):
        print("Nothing was written.")
        return 1
    kept = wanted.write()
    if asked.json:
        told = {"file": str(wanted.file), "change": wanted.shown, "written": True, "kept": str(kept or "")}
        print(json.dumps(told, indent=2))
        return 0
    print(f"Written. What was there before: {kept}" if kept else "Written.")
    print(client.then)
    return 0


def _entry(*, simulate: bool) -> "Entry":
    """With every provider's key that is set here, and Portkey's."""
    from orchestra_router.clients import entry_for
    from orchestra_router.config import PORTKEY_KEY, load

    providers = load(os.environ).catalog.providers.values()
    variables = [name for provider in providers for name in provider.key_env]
    return entry_for(os.environ, [*variables, PORTKEY_KEY], simulate=simulate)


def _agreed(file: Path) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError(f"Nobody is there to say yes. With `--yes`, {file} is written without asking.")
    return input(f"Write this to {file}? [y/N] ").strip().lower() in {"y", "yes"}


def _list(folders: "Folders", *, as_json: bool) -> int:
    from orchestra_router.clients import CLIENTS

    rows = [(client.name, client.title, client.file(folders)) for client in CLIENTS.values()]
    if as_json:
        print(
            json.dumps([{"client": n, "title": t, "file": str(f), "exists": f.exists()} for n, t, f in rows], indent=2)
        )
        return 0
    print(
        table(
            ("client", "title", "file", ""), [(n, t, str(f), "" if f.exists() else "(not there)") for n, t, f in rows]
        )
    )
    print("\norchestra install CLIENT shows the change, and asks before it is written.")
    return 0
