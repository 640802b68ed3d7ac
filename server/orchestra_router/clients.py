"""MCP clients: where each keeps its list of servers, in which form, and what Orchestra's entry there looks like.

Where the files are and what they hold is from the clients' own guides, checked 2026-11: modelcontextprotocol.io (Claude
Desktop), code.claude.com (Claude Code), code.visualstudio.com, cursor.com, developers.openai.com (Codex), docs.windsurf.com,
geminicli.com.
"""

import difflib
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from orchestra_router import key_sources
from orchestra_router.errors import ConfigError
from orchestra_router.keys import PLACEHOLDER, further, value_of
from orchestra_router.policy.redactor import Redactor

Json = dict[str, Any]

SERVER = "orchestra"
OWN = "ORCHESTRA_"
"""What the variables of Orchestra's own settings begin with."""
EXAMPLE_KEYS = ("OPENROUTER_API_KEY", "DEEPSEEK_API_KEY", "ANTHROPIC_API_KEY")
"""What stands in an entry to be filled in, where no key is known."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where this person's programs keep their settings."""

    home: Path
    settings: Path
    """`~/Library/Application Support`, `%APPDATA%`, or `~/.config`."""

    @classmethod
    def of(cls, environ: Mapping[str, str], platform: str = sys.platform) -> "Folders":
        home = Path(environ.get("HOME") or environ.get("USERPROFILE") or Path.home())
        if platform == "darwin":
            return cls(home, home / "Library" / "Application Support")
        if platform == "win32":
            return cls(home, Path(environ.get("APPDATA") or home / "AppData" / "Roaming"))
        return cls(home, Path(environ.get("XDG_CONFIG_HOME") or home / ".config"))


@dataclass(frozen=True, slots=True)
class Client:
    """One MCP client, as far as a server has to know it."""

    name: str
    title: str
    path: str
    """Its file, below `folder`."""
    then: str
    """What makes it look at the file again."""
    folder: Literal["home", "settings"] = "home"
    table: str = "mcpServers"
    form: Literal["json", "toml"] = "json"
    says_stdio: bool = False
    """Each entry names its transport."""

    def file(self, folders: Folders) -> Path:
        return (folders.home if self.folder == "home" else folders.settings) / self.path


CLIENTS = {
    client.name: client
    for client in (
        Client(
            "claude-desktop",
            "Claude Desktop",
            "Claude/claude_desktop_config.json",
            "Quit Claude Desktop, also from the menu bar or tray, and open it again.",
            folder="settings",
        ),
        Client("claude-code", "Claude Code", ".claude.json", "Start `claude` anew; `/mcp` lists it.", says_stdio=True),
        Client(
            "vscode",
            "VS Code",
            "Code/User/mcp.json",
            "Run `MCP: List Servers` from the command palette and start it.",
            folder="settings",
            table="servers",
            says_stdio=True,
        ),
        Client("cursor", "Cursor", ".cursor/mcp.json", "Open Settings, Tools & MCP, and switch it on."),
        Client(
            "codex",
            "Codex",
            ".codex/config.toml",
            "Start `codex` anew; `/mcp` lists it.",
            table="mcp_servers",
            form="toml",
        ),
        Client("windsurf", "Windsurf", ".codeium/windsurf/mcp_config.json", "Refresh the list of MCP servers."),
        Client("gemini-cli", "Gemini CLI", ".gemini/settings.json", "Start `gemini` anew; `/mcp` lists it."),
    )
}


@dataclass(frozen=True, slots=True)
class Entry:
    """How a client starts Orchestra."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)

    def masked(self) -> "Entry":
        """The same to look at: keys are named, not shown."""
        return Entry(self.command, self.args, {name: _masked(name, value) for name, value in self.env.items()})

    def for_client(self, client: Client) -> Json:
        transport = {"type": "stdio"} if client.says_stdio else {}
        return {**transport, "command": self.command, "args": list(self.args), "env": dict(self.env)}


@dataclass(frozen=True, slots=True)
class Change:
    """What would become of a client's file."""

    client: Client
    file: Path
    before: str
    after: str = field(repr=False)
    shown: str
    """The difference, without anybody's keys; empty where there is none."""

    def write(self) -> Path | None:
        """Write it, whole or not at all, and return the copy that was kept of what was there before."""
        target = self.file.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = None
        if target.exists():
            kept = target.with_name(f"{target.name}.before-orchestra-{datetime.now(UTC):%Y%m%d-%H%M%S}")
            shutil.copy2(target, kept)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        # The file may hold keys: nobody else may read it, not even while it is written.
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(self.after)
                stream.flush()
                os.fsync(stream.fileno())
            if kept is not None:
                shutil.copymode(kept, unfinished)
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return kept


def entry_for(environ: Mapping[str, str], key_variables: Sequence[str], *, simulate: bool) -> Entry:
    """The entry that starts this very program, with the keys of `key_variables` and every setting that is set here.

    A client started from a desktop has another PATH and none of a shell's variables, so both are written out. A key may
    be one of several, and may stand elsewhere: then the variable that says where is what is written.
    """
    command, args = _own_command()
    if simulate:
        return Entry(command, (*args, "serve", "--simulate"), {})
    sources = [
        source
        for first in key_variables
        for variable in (first, *further(environ, first))
        for source in key_sources.variables(variable)
    ]
    keys = {name: environ[name] for name in sources if value_of(environ, name)}
    settings = {name: environ[name] for name in sorted(environ) if name.startswith(OWN) and value_of(environ, name)}
    return Entry(command, args, (keys or dict.fromkeys(EXAMPLE_KEYS, PLACEHOLDER)) | settings)


def change(client: Client, file: Path, entry: Entry) -> Change:
    """What adding `entry` would make of `file`. Changes nothing.

    Raises:
        ConfigError: the file cannot be changed by a program; the message says what to add by hand.
    """
    before = _read(file)
    with_entry = _with_toml if client.form == "toml" else _with_json
    after = with_entry(client, file, before, entry)
    old, new = (_without_keys(client, text, entry) for text in (before, after))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(file), f"{file} (new)", lineterm="", n=2)
    # A key may stand outside of `env`, too.
    told = Redactor()("\n".join(lines))
    return Change(client, file, before, after, "" if after == before else told)


def entry_of(client: Client, file: Path) -> Json | None:
    """Orchestra's entry in the client's `file`; None where there is none, or none that can be read."""
    try:
        entry = _servers(client, _read(file)).get(SERVER)
    except ConfigError:
        return None
    return cast("Json", entry) if isinstance(entry, dict) else None


def snippet(client: Client, entry: Entry) -> str:
    """The entry as a person would add it."""
    if client.form == "toml":
        return _toml(client, entry)
    return json.dumps({client.table: {SERVER: entry.for_client(client)}}, indent=2)


def _servers(client: Client, text: str) -> Json:
    """The client's servers as its file's `text` has them; {} where it cannot be read."""
    try:
        read: object = tomllib.loads(text) if client.form == "toml" else json.loads(text)
        servers: object = cast("Json", read)[client.table]
    except (ValueError, KeyError, TypeError):
        return {}
    return cast("Json", servers) if isinstance(servers, dict) else {}


def _without_keys(client: Client, text: str, entry: Entry) -> str:
    """`text`, to look at: what the servers get by `env` and `headers` is named, not shown."""
    for server, row in _servers(client, text).items():
        for name, value in _given(row):
            told = _told(name, value, entry.env if server == SERVER else {})
            for written in (json.dumps(value), json.dumps(value, ensure_ascii=False), f"'{value}'"):
                text = text.replace(written, json.dumps(told))
    return text


def _given(row: object) -> Iterator[tuple[str, str]]:
    fields = cast("Json", row) if isinstance(row, dict) else {}
    for table in ("env", "headers"):
        values: object = fields.get(table)
        if isinstance(values, dict):
            yield from (
                (name, value) for name, value in cast("Json", values).items() if isinstance(value, str) and value
            )


# --- files ---------------------------------------------------------------------------------------------------


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read ({type(error).__name__}); nothing was changed.") from None


def _with_json(client: Client, file: Path, before: str, entry: Entry) -> str:
    try:
        read: object = json.loads(before) if before.strip() else {}
    except ValueError:
        raise _by_hand(client, file, entry, "holds comments or is no JSON") from None
    if not isinstance(read, dict):
        raise _by_hand(client, file, entry, "does not hold an object")
    whole = cast("Json", read)
    servers = whole.setdefault(client.table, {})
    if not isinstance(servers, dict):
        raise _by_hand(client, file, entry, f"holds something else under `{client.table}`")
    cast("Json", servers)[SERVER] = entry.for_client(client)
    indent = re.search(r"^([ \t]+)\S", before, flags=re.MULTILINE)
    return json.dumps(whole, indent=indent[1] if indent else 2, ensure_ascii=False) + "\n"


def _with_toml(client: Client, file: Path, before: str, entry: Entry) -> str:
    """The table goes to the end: everything above it, comments too, stays as it is."""
    try:
        servers = tomllib.loads(before).get(client.table, {})
        if servers.get(SERVER) == entry.for_client(client):
            return before
        if SERVER in servers:
            raise _by_hand(client, file, entry, f"already has an entry `{SERVER}`; replace that")
        after = f"{before.rstrip()}\n\n{_toml(client, entry)}".lstrip()
        tomllib.loads(after)
    except (tomllib.TOMLDecodeError, TypeError):
        raise _by_hand(client, file, entry, "is no TOML that a table can be added to") from None
    return after


def _toml(client: Client, entry: Entry) -> str:
    # A JSON string, and a list of them, is TOML too.
    lines = [
        f"[{client.table}.{SERVER}]",
        f"command = {json.dumps(entry.command)}",
        f"args = {json.dumps(list(entry.args))}",
    ]
    if entry.env:
        lines += ["", f"[{client.table}.{SERVER}.env]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in entry.env.items()]
    return "\n".join(lines) + "\n"


def _by_hand(client: Client, file: Path, entry: Entry, why: str) -> ConfigError:
    return ConfigError(f"{file} {why}, so it was left alone. Add this yourself:\n\n{snippet(client, entry.masked())}")


# --- the entry -----------------------------------------------------------------------------------------------


def _own_command() -> tuple[str, tuple[str, ...]]:
    """What starts the program that runs now, from any folder and with any PATH."""
    executable = Path(sys.executable)
    if "archive-v0" in executable.parts:  # made by `uvx` for this one run
        return shutil.which("uvx") or "uvx", ("orchestra-router",)
    script = executable.with_name("orchestra.exe" if sys.platform == "win32" else "orchestra")
    return (str(script), ()) if script.exists() else (str(executable), ("-m", "orchestra_router"))


def _masked(name: str, value: str) -> str:
    return value if value == PLACEHOLDER or _is_setting(name) else f"(your {name})"


def _told(name: str, value: str, new: Mapping[str, str]) -> str:
    """What is shown of a `value` in a client's file, where `new` is to come."""
    if value == new.get(name) or (name in new and _is_setting(name)):
        return _masked(name, value)
    if value == PLACEHOLDER:
        return value
    return f"(another {name})" if name in new else "(hidden)"


def _is_setting(name: str) -> bool:
    """It holds no secret."""
    return name.startswith(OWN) and re.search(r"KEY|SECRET|HEADERS", name) is None
