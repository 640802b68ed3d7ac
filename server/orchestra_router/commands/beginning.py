"""`orchestra init` and `orchestra completion`: what one does once, at the beginning."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from orchestra_router.commands.base import Commands, load_config
from orchestra_router.errors import ConfigError

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.config import Config

MONTH_USD = "50"
DAY_USD = "5"


def add_to(commands: Commands, parser: argparse.ArgumentParser) -> None:
    init = commands.reporting("init", _init, "Ask three questions, and write a small orchestra.toml.")
    init.add_argument("--month-usd", metavar="USD", help="US dollars that a calendar month may cost")
    init.add_argument("--day-usd", metavar="USD", help="the same for a calendar day")
    init.add_argument("--timezone", metavar="ZONE", help="whose midnights begin a day, like Europe/Berlin")
    init.add_argument("--yes", action="store_true", help="ask nothing: what is not given is as proposed")
    completion = commands.command("completion", _completion, "Print the completion of commands for your shell.")
    completion.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"))
    completion.set_defaults(parser=parser)


def _init(asked: argparse.Namespace) -> int:
    config = load_config()
    file = config.settings.home / "orchestra.toml"
    if file.exists():
        raise ConfigError(f"{file} is there already and stays as it is. `orchestra config check` reads it.")
    ask = _proposed if asked.yes else _answered
    month = asked.month_usd or ask("US dollars a month may cost", MONTH_USD, _usd)
    day = asked.day_usd or ask("US dollars a day may cost", DAY_USD, _usd)
    zone = asked.timezone or ask("Time zone whose midnights begin a day", _timezone(os.environ), _zone)
    text = _TEMPLATE.format(month=_usd(month), day=_usd(day), zone=_zone(zone))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be written ({error.strerror}). Make its folder writable for you, or set ORCHESTRA_HOME to"
            " another."
        ) from None
    written = load_config()
    if asked.json:
        print(json.dumps({"file": str(file), "keys": len(written.keys)}, indent=2))
        return 0
    print(f"Written: {file}")
    print(_about_keys(written))
    return 0


def _about_keys(config: "Config") -> str:
    if keys := [name for provider in config.keys for name in config.keys.variables(provider)]:
        return f"Keys found: {', '.join(keys)}. Next: `orchestra install`, to add it to a client."
    return (
        "No provider's key is set. Set one, such as OPENROUTER_API_KEY, in your shell or in the client's configuration,"
        " and see `orchestra doctor`. To look around without: `orchestra demo`."
    )


def _proposed(_: str, proposal: str, check: Callable[[str], str]) -> str:
    return check(proposal)


def _answered(question: str, proposal: str, check: Callable[[str], str]) -> str:
    if not sys.stdin.isatty():
        raise ConfigError(
            "Nobody is there to answer. With `--yes`, everything is as proposed; see `orchestra init --help`."
        )
    while True:
        try:
            return check(input(f"{question} [{proposal}]: ").strip() or proposal)
        except ConfigError as error:
            print(error)


def _usd(text: str) -> str:
    try:
        amount = Decimal(text.strip().removeprefix("$").replace(",", ""))
    except InvalidOperation:
        amount = Decimal(-1)
    if not 0 <= amount < Decimal(1_000_000):
        raise ConfigError(f"An amount of US dollars is a number from 0 to a million, such as {MONTH_USD}.")
    return f"{amount.normalize():f}"


def _zone(name: str) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError("A time zone has a name like Europe/Berlin, America/New_York or UTC.") from None


def _timezone(environ: Mapping[str, str]) -> str:
    """The machine's, where it can be told; else UTC."""
    link = os.path.realpath("/etc/localtime")
    for name in (environ.get("TZ", "").lstrip(":"), link.partition("zoneinfo/")[2]):
        try:
            return _zone(name) if name else "UTC"
        except ConfigError:
            continue
    return "UTC"


def _completion(asked: argparse.Namespace) -> int:
    import shtab

    parser: argparse.ArgumentParser = asked.parser
    print(shtab.complete(parser, asked.shell))
    return 0


_TEMPLATE = """\
# Orchestra's settings. Everything not said here is as it comes: see docs/reference/settings.md, and
# `orchestra config check` after a change. Keys of providers do not belong here but into the environment.

# No call is made whose worst case goes beyond these, in US dollars, counted over everything that uses this folder.
budget_month_usd = {month}
budget_day_usd = {day}

# Whose midnights begin a day and a month.
timezone = "{zone}"

# How the model is chosen where a request does not say: task, cheapest, fastest, escalate or weighted.
# strategy = "task"

# Answers are kept and served again for so many seconds; 0.90 instead of 0.95 serves more, and is right less often.
# cache_ttl_s = 3600
# cache_threshold = 0.95

# What becomes of personal data in a prompt: redact (and put back in the answer), block, flag or off. One line a kind.
# guard_email = "redact"
# guard_name = "off"

# A local server is found by itself at its usual port. One elsewhere:
# [providers.ollama]
# base_url = "http://127.0.0.1:11434/v1"
"""
