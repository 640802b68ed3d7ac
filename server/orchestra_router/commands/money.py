"""The commands about money that was spent: `orchestra report`."""

import argparse
from typing import TYPE_CHECKING, get_args

from orchestra_router.commands.base import Commands, with_router
from orchestra_router.policy.periods import Period

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.policy.costs import CostReport
    from orchestra_router.router import Router


def add_to(commands: Commands) -> None:
    report = commands.reporting("report", _report, "Say what was spent.")
    report.add_argument("--period", choices=get_args(Period), default="today", help="of the calendar")
    report.add_argument("--from", dest="first_day", metavar="DAY", help="instead of a period, e.g. 2026-11-01")
    report.add_argument("--to", dest="last_day", metavar="DAY", help="included; today if left out")
    report.add_argument(
        "--group-by",
        metavar="WHAT",
        help="provider, model, task, day, hour, user, access_key, session, or metadata:FIELD",
    )
    report.add_argument("--csv", metavar="FILE", help='for a spreadsheet; "-" prints it')


def _report(asked: argparse.Namespace) -> int:
    from orchestra_router import report

    async def ask(router: "Router") -> "CostReport":
        return await router.cost_report(
            period=asked.period, first_day=asked.first_day, last_day=asked.last_day, group_by=asked.group_by
        )

    report.show(with_router(ask), as_json=asked.json, csv_to=asked.csv)
    return 0
