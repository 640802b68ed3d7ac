"""`orchestra export --user U` and `orchestra erase --user U`: what is kept about one person, and the end of it."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from orchestra_router.commands.base import Commands, with_router
from orchestra_router.errors import InvalidRequest

if TYPE_CHECKING:
    from orchestra_router.config import Config
    from orchestra_router.router import Router
    from orchestra_router.store.personal_records import Erased, Row


def add_to(commands: Commands) -> None:
    export = commands.command("export", _export, "Write everything that is kept about a user, as JSON lines.")
    erase = commands.reporting("erase", _erase, "Erase everything that names a user or holds their words.")
    for command in (export, erase):
        command.add_argument(
            "--user", required=True, metavar="USER", help="as in the reports; also those that only a label `user` names"
        )
    erase.add_argument("--yes", action="store_true", help="do not ask")


def _export(asked: argparse.Namespace) -> int:
    user = _name(asked.user)

    def write(kind: str, row: "Row") -> None:
        sys.stdout.write(json.dumps({"record": kind, **_readable(row)}, ensure_ascii=False) + "\n")

    async def export(router: "Router") -> None:
        await router.store.export_user(user, write)

    with_router(export)
    return 0


def _readable(row: "Row") -> dict[str, object]:
    """`row` without what is no text: the vectors that prompts are compared by stand beside the prompts."""
    return {name: value for name, value in row.items() if not isinstance(value, bytes)}


def _erase(asked: argparse.Namespace) -> int:
    from orchestra_router.clock import SystemClock  # noqa: PLC0415 - few commands need it

    user = _name(asked.user)
    if not asked.yes:
        _confirm(user)

    async def erase(router: "Router") -> "tuple[Erased, bool, _Left]":
        erased = await router.store.erase_user(user, now_ms=SystemClock().now_ms())
        return erased, await router.store.rebuild(), _Left.of(user, router.config)

    erased, rebuilt, left = with_router(erase)
    if asked.json:
        print(json.dumps({**asdict(erased), "rebuilt": rebuilt, **asdict(left)}, indent=2))
    else:
        print("\n".join(_told(erased, left, rebuilt=rebuilt)))
    return 0 if rebuilt and not erased.running else 1


def _name(user: str) -> str:
    if not user or not user.isprintable() or len(user) > 1_000:
        raise InvalidRequest("--user is the name of a user, as it stands in the reports.")
    return user


def _confirm(user: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison] - a caller may have closed it
        raise InvalidRequest("Nothing was erased: there is nobody to ask. Say --yes if you are sure.")
    print(f"Everything that names {user}, or was said by or to them, goes for good; what it cost stays in the totals.")
    if input("Type the name again to erase it: ") != user:
        raise InvalidRequest("Nothing was erased.")


@dataclass(frozen=True, slots=True)
class _Left:
    """What is not erased, for it is the owner's: settings that name the user, and copies of the database."""

    settings: list[str]
    copies: list[str]

    @classmethod
    def of(cls, user: str, config: "Config") -> "_Left":
        settings, database = config.settings, config.settings.database
        named = {"user": settings.user == user, "budgets.user": user in settings.budgets.user}
        copies = sorted(str(file) for file in database.parent.glob(f"{database.stem}.*{database.suffix}"))
        return cls([name for name, is_named in named.items() if is_named], copies)


def _told(erased: "Erased", left: _Left, *, rebuilt: bool) -> list[str]:
    lines = [
        f"Made anonymous: {erased.requests} requests and {erased.attempts} attempts. What they cost still counts, for nobody.",
        f"Deleted: {erased.logged} requests' texts, {erased.cache_entries} cached answers, {erased.cache_pairs} compared prompts, {erased.alerts} alerts.",
        f"Revoked: {erased.access_keys} access keys that were for this user alone.",
        f"Erased from the audit trail: {erased.audit_rows} rows, which stay in the chain without what they said.",
    ]
    if rebuilt:
        lines.append("The database was rebuilt, so nothing of it is left in its files.")
    else:
        lines.append(
            "The database could not be rebuilt, for another process uses it: what was deleted may still lie in its free"
            " space. End the others and run this again."
        )
    if erased.running:
        lines.append(f"{erased.running} requests of this user are still running. Run this again when they have ended.")
    lines += [f"The copy {file} was not touched. Delete it if it is not needed." for file in left.copies]
    lines += [
        f"The setting `{name}` still names this user. Change it, or it will be recorded again."
        for name in left.settings
    ]
    return lines
