"""`orchestra keys ...`: the access keys that colleagues and programs ask with."""

import argparse
import datetime as dt
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from orchestra_router.commands.base import Commands, listed, with_router
from orchestra_router.errors import InvalidRequest
from orchestra_router.plain_text import one_line

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.policy.keyring import NewKey, Terms
    from orchestra_router.router import Router
    from orchestra_router.store.key_records import AccessKey
    from orchestra_router.types import Limits

Json = dict[str, Any]

ROLE_NAMES = ("admin", "operator", "caller", "viewer")
UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
NONE = "none"
OPTIONS = {
    "providers": "provider",
    "models": "model",
    "tasks": "task",
    "day_usd": "daily",
    "month_usd": "monthly",
    "requests_per_minute": "rpm",
    "tokens_per_minute": "tpm",
    "concurrency": "concurrency",
    "guard": "guard",
}
"""Each limit, as it is told, and the option that sets it."""


def add_to(commands: Commands) -> None:
    group = commands.group("keys", "Look after the access keys that others ask with.")
    create = group.reporting("create", _create, "Make a key. Its secret is shown once, here.")
    create.add_argument("name", help="whose it is, for people: 'Ada, laptop'")
    _add_terms(create, role="caller if left out")
    group.reporting("list", _list, "List the keys: roles, states, when they were last used, limits.")
    show = group.reporting("show", _show, "Show one key with its limits.")
    edit = group.reporting("edit", _edit, "Change a key; what is not named stays, and `none` takes a limit away.")
    rotate = group.reporting("rotate", _rotate, "Give a key a new secret; the old one works for a while.")
    revoke = group.reporting("revoke", _revoke, "Refuse a key from now on, everywhere and for good.")
    for command in (show, edit, rotate, revoke):
        command.add_argument("id", help="the key's public id, as `orchestra keys list` shows it")
    edit.add_argument("--name", help="whose it is")
    _add_terms(edit, role="what it may do")
    rotate.add_argument("--overlap", default="24h", metavar="TIME", help="how long the old secret works (%(default)s)")


def _add_terms(command: argparse.ArgumentParser, *, role: str) -> None:
    command.add_argument("--role", choices=ROLE_NAMES, help=role)
    command.add_argument("--user", metavar="USER", help="everything is asked for this person")
    for what in ("provider", "model", "task"):
        command.add_argument(
            f"--{what}", action="append", metavar="NAME", help=f"only this {what}, or those like 'a*'; again for more"
        )
    command.add_argument("--daily", metavar="USD", help="US dollars a calendar day may cost")
    command.add_argument("--monthly", metavar="USD", help="the same for a calendar month")
    command.add_argument("--rpm", metavar="N", help="requests a minute that ask a provider")
    command.add_argument("--tpm", metavar="N", help="tokens a minute, prompts and answers together")
    command.add_argument("--concurrency", metavar="N", help="requests that may be under way at the same time")
    command.add_argument("--expires", metavar="WHEN", help="a time from now, like 90d, or a day, like 2027-01-31")
    command.add_argument(
        "--guard",
        action="append",
        metavar="KIND=ACTION",
        help="stricter than the settings: email=block; again for more",
    )


def _create(asked: argparse.Namespace) -> int:
    from orchestra_router.policy.keyring import Terms

    async def work(router: "Router") -> "NewKey":
        return await router.keyring.create(_changed(Terms(name=asked.name), asked))

    return _shown_once(with_router(work), asked)


def _list(asked: argparse.Namespace) -> int:
    async def ask(router: "Router") -> "tuple[AccessKey, ...]":
        return await router.keyring.every()

    keys = [_key(key) for key in with_router(ask)]
    if asked.json:
        print(json.dumps(keys, indent=2))
        return 0
    columns = ("id", "name", "role", "user", "state", "last used", "expires", "limits")
    rows = [
        (
            *(key[name] for name in ("id", "name", "role", "user", "state")),
            *(key[name] or "never" for name in ("used", "expires")),
            _limits_told(key["limits"]),
        )
        for key in keys
    ]
    print(listed(columns, rows, otherwise="There is no access key yet. `orchestra keys create NAME` makes one."))
    return 0


def _show(asked: argparse.Namespace) -> int:
    async def ask(router: "Router") -> "AccessKey":
        return await router.keyring.get(asked.id)

    return _told(with_router(ask), asked)


def _edit(asked: argparse.Namespace) -> int:
    async def work(router: "Router") -> "AccessKey":
        return await router.keyring.edit(asked.id, lambda terms: _changed(terms, asked))

    return _told(with_router(work), asked)


def _rotate(asked: argparse.Namespace) -> int:
    overlap_s = _seconds(asked.overlap, "--overlap", otherwise="; 0s is none")

    async def work(router: "Router") -> "NewKey":
        return await router.keyring.rotate(asked.id, overlap_s=overlap_s)

    return _shown_once(with_router(work), asked)


def _revoke(asked: argparse.Namespace) -> int:
    async def work(router: "Router") -> "AccessKey":
        return await router.keyring.revoke(asked.id)

    return _told(with_router(work), asked)


# --- what is asked for -----------------------------------------------------------------------------------------


def _changed(terms: "Terms", asked: argparse.Namespace) -> "Terms":
    """`terms` with what the command names."""
    named: Json = {name: value for name in ("name", "role", "user") if (value := getattr(asked, name)) is not None}
    if asked.user == NONE:
        named["user"] = ""
    if asked.expires is not None:
        named["expires_ms"] = None if asked.expires == NONE else _moment(asked.expires)
    return replace(terms, limits=_limits(terms.limits, asked), **named)


def _limits(limits: "Limits", asked: argparse.Namespace) -> "Limits":
    named: Json = {}
    for option, field in (("provider", "providers"), ("model", "models"), ("task", "tasks")):
        if (names := getattr(asked, option)) is not None:
            named[field] = () if names == [NONE] else tuple(names)
    given: tuple[tuple[str, str, Callable[[str, str], int]], ...] = (
        ("daily", "day_nusd", _nusd),
        ("monthly", "month_nusd", _nusd),
        ("rpm", "requests_per_minute", _number),
        ("tpm", "tokens_per_minute", _number),
        ("concurrency", "concurrency", _number),
    )
    for option, field, read in given:
        if (text := getattr(asked, option)) is not None:
            named[field] = None if text == NONE else read(text, f"--{option}")
    if asked.guard is not None:
        named["guard"] = () if asked.guard == [NONE] else tuple(_guard(text) for text in asked.guard)
    return replace(limits, **named)


def _nusd(text: str, option: str) -> int:
    from decimal import Decimal, InvalidOperation

    from orchestra_router.types import nusd

    try:
        amount = Decimal(text)
        if 0 <= amount <= 1_000_000_000:
            return nusd(amount)
    except InvalidOperation:
        pass
    raise InvalidRequest(f"{option} is an amount in US dollars, like 5 or 0.50.")


def _number(text: str, option: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text):
        raise InvalidRequest(f"{option} is a whole number, like 60.")
    return int(text)


def _guard(text: str) -> tuple[str, str]:
    kind, _, action = text.partition("=")
    if action.strip() == "off":
        raise InvalidRequest(
            "--guard is never looser than the settings, so `off` would change nothing. Say flag, redact or block."
        )
    return kind.strip(), action.strip()


def _seconds(text: str, option: str, *, otherwise: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise InvalidRequest(f"{option} is a time like 30m, 24h or 90d{otherwise}.")
    return int(match[1]) * UNITS_S[match[2]]


def _moment(text: str) -> int:
    """The end of the time from now that `text` is, or the beginning of the day, in UTC."""
    from orchestra_router.clock import SystemClock

    try:
        day = dt.datetime.fromisoformat(text)
    except ValueError:
        seconds = _seconds(text, "--expires", otherwise=", or a day like 2027-01-31")
        return SystemClock().now_ms() + round(seconds * 1000)
    return round((day if day.tzinfo else day.replace(tzinfo=dt.UTC)).timestamp() * 1000)


# --- what is said ----------------------------------------------------------------------------------------------


def _shown_once(made: "NewKey", asked: argparse.Namespace) -> int:
    if asked.json:
        print(json.dumps(_key(made.key) | {"secret": made.secret}, indent=2))
        return 0
    print(made.secret)
    # Not among what a script keeps of it: KEY=$(orchestra keys create NAME).
    print(f"Shown once: give it to whoever is to ask with it. Its public id is {made.key.key_id}.", file=sys.stderr)
    return 0


def _told(key: "AccessKey", asked: argparse.Namespace) -> int:
    told = _key(key)
    if asked.json:
        print(json.dumps(told, indent=2))
        return 0
    secrets = told.pop("secrets")
    told["limits"] = _limits_told(told["limits"]) or "none of its own"
    told["secret"] = ", ".join(f"of {each['created']}, until {each['until'] or 'it is rotated'}" for each in secrets)
    for name, value in told.items():
        if value:
            print(f"{name:<8} {one_line(value)}")
    return 0


def _key(key: "AccessKey") -> Json:
    from orchestra_router.clock import SystemClock
    from orchestra_router.policy.keyring import limits_said
    from orchestra_router.store.key_records import state_at
    from orchestra_router.types import usd

    limits = limits_said(key.limits)
    for name, field in (("day_usd", "day_nusd"), ("month_usd", "month_nusd")):
        if field in limits:
            limits[name] = usd(limits.pop(field))
    return {
        "id": key.key_id,
        "name": key.name,
        "role": key.role,
        "user": key.user,
        "state": state_at(key, SystemClock().now_ms()),
        "created": _time(key.created_ms),
        "expires": _time(key.expires_ms),
        "revoked": _time(key.revoked_ms),
        "used": _time(key.used_ms),
        "secrets": [{"created": _time(each.created_ms), "until": _time(each.until_ms)} for each in key.secrets],
        "limits": limits,
    }


def _limits_told(limits: Json) -> str:
    """The limits of a key by the options that set them."""
    return " ".join(f"{option}={_briefly(limits[name])}" for name, option in OPTIONS.items() if name in limits)


def _briefly(limit: Any) -> str:
    match limit:
        case dict():
            return ",".join(f"{kind}={action}" for kind, action in cast("dict[str, str]", limit).items())
        case int() | float():
            return f"{limit:.12g}"
        case _:
            return ",".join(limit)


def _time(at_ms: int | None) -> str:
    return "" if at_ms is None else dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat(timespec="seconds")
