"""`orchestra audit ...`: whether the record of what happened is whole, and a copy of it."""

import argparse
import json
import re
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from orchestra_router.commands.base import Commands, count, with_router
from orchestra_router.errors import InvalidRequest

if TYPE_CHECKING:
    from orchestra_router.router import Router
    from orchestra_router.store.audit_records import AuditCheck

ROWS_AT_ONCE = 1_000


def add_to(commands: Commands) -> None:
    group = commands.group("audit", "Look after the record of every request, budget event, key and setting.")
    verify = group.reporting("verify", _verify, "Say whether a row of the record was changed, removed or moved.")
    verify.add_argument(
        "--known", metavar="ROW:HASH", help="a row that was noted earlier, kept where nobody can change it"
    )
    export = group.command("export", _export, "Write the record as JSON lines.")
    export.add_argument("--after", metavar="ROW", type=int, default=0, help="only what came after this row")


def _verify(asked: argparse.Namespace) -> int:
    known = _row_and_hash(asked.known)

    async def ask(router: "Router") -> "AuditCheck":
        return await router.store.verify_audit(known=known)

    check = with_router(ask)
    if asked.json:
        print(json.dumps(asdict(check) | {"whole": not check.problems}, indent=2))
    else:
        for problem in check.problems:
            print(problem)
        print(
            f"{count(check.rows, 'row')}, {'something is wrong' if check.problems else 'nothing was changed, removed or moved'}."
        )
        if check.erased:
            print(f"{check.erased} of them were erased with a person's data; other rows say which.")
        print(f"Newest row: {check.last_number}:{check.last_hash}")
        print(
            "Keep this line somewhere else: `audit verify --known` then finds a record that was written anew as a whole."
        )
    return 1 if check.problems else 0


def _export(asked: argparse.Namespace) -> int:
    async def write(router: "Router") -> None:
        after = asked.after
        while rows := await router.store.audit_rows(after=after, limit=ROWS_AT_ONCE):
            for row in rows:
                sys.stdout.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
            after = rows[-1].number

    with_router(write)
    return 0


def _row_and_hash(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    if (match := re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text)) is None:
        raise InvalidRequest("--known is a row and its hash, as `audit verify` prints them: 120:9f86d0...")
    return int(match[1]), match[2]
