"""What is usually wrong with a machine, and not with the configuration: old packages, other copies, proxies, a full file."""

import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions, requires, version
from pathlib import Path

from orchestra_router.clients import CLIENTS, SERVER, Folders, entry_of
from orchestra_router.config import Config

LARGE_DATABASE_BYTES = 2_000_000_000
LEAST_FREE_BYTES = 200_000_000
OTHER_NAMES = {
    "CLAUDE": "ANTHROPIC",
    "GROK": "XAI",
    "PERPLEXITYAI": "PERPLEXITY",
    "PPLX": "PERPLEXITY",
    "TOGETHERAI": "TOGETHER",
}
"""What other programs call a provider in the names of their variables."""


def about_packages() -> Iterator[str]:
    """Packages that are older than what is needed, or there twice."""
    for requirement in requires("orchestra-router") or ():
        if found := re.match(r"(mcp|httpx|pydantic|aiosqlite)\b.*?>=(\d+(?:\.\d+)*)", requirement):
            name, least = found.groups()
            there = version(name)
            if _numbers(there) < _numbers(least):
                yield f"{name} is {there}, and {least} is needed: install Orchestra into an environment of its own."
    folders = {str(one.locate_file("")) for one in distributions(name="orchestra-router")}
    if len(folders) > 1:
        yield f"Two versions of Orchestra are installed ({', '.join(sorted(folders))}): uninstall one."


def about_clients(environ: Mapping[str, str]) -> Iterator[str]:
    """Clients that would start something that is not there."""
    folders = Folders.of(environ)
    for client in CLIENTS.values():
        entry = entry_of(client, client.file(folders))
        command = str(entry.get("command", "")) if entry is not None else ""
        if command and shutil.which(command, path=environ.get("PATH")) is None:
            yield (
                f"{client.title} would start `{command}`, which is not there: `orchestra install {client.name}` says what to"
                f" put in {client.file(folders)}, under `{SERVER}`."
            )


def about_keys(environ: Mapping[str, str], config: Config) -> Iterator[str]:
    """Variables that look like a provider's key under another name than the one that is read."""
    missing = {
        _plain(variable): variable
        for provider in config.catalog.providers.values()
        if provider.name not in config.keys
        for variable in provider.key_env
    }
    for name in sorted(environ):
        meant = missing.get(_plain(name)) if re.search(r"KEY|TOKEN", name.upper()) else None
        if meant is not None and meant != name and environ[name].strip():
            yield f"`{name}` is set, and nothing reads it: call it `{meant}`, if it is that key."


def about_the_network(environ: Mapping[str, str]) -> Iterator[str]:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if (named := environ.get(name)) and not Path(named).exists():
            yield f"`{name}` names {named}, which is not there, so no provider's certificate can be checked: correct or unset it."
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        if environ.get(name, "").lower().startswith("socks"):
            yield f"`{name}` names a SOCKS proxy, which is not spoken here: name an HTTP proxy, or unset it."


def about_the_data_folder(config: Config, *, now_ms: int) -> Iterator[str]:
    database = config.settings.database
    size = sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*") if file.is_file())
    if size > LARGE_DATABASE_BYTES:
        yield (
            f"{database} takes {size / 1e9:.1f} GB: keep records for fewer days (`keep_attempts_days`, `keep_requests_days`,"
            " `keep_audit_days`), then `orchestra vacuum`."
        )
    if database.parent.exists() and (free := shutil.disk_usage(database.parent).free) < LEAST_FREE_BYTES:
        yield f"Only {free / 1e6:,.0f} MB are free in {database.parent}: without space nothing can be paid for. Free some."
    if database.exists() and database.stat().st_mtime * 1000 > now_ms + 60_000:
        yield f"{database} was changed later than it is now: the clock was set back, or is wrong."


def _plain(variable: str) -> str:
    """Whose key a variable would be, however it is written: `OPENAI` of `OPENAI_KEY` and `openai_api_token`."""
    owner = re.sub(r"_|API|KEY|TOKEN", "", variable.upper())
    return OTHER_NAMES.get(owner, owner)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
