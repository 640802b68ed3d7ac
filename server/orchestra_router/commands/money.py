"""The commands about money that was spent: `orchestra report`, `orchestra reconcile` and `orchestra reprice`."""

import argparse
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from orchestra_router.commands.base import Commands, with_router
from orchestra_router.policy.periods import Period

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.policy.costs import CostReport
    from orchestra_router.policy.reconcile import Difference
    from orchestra_router.policy.reprice import Repricing
    from orchestra_router.router import Router


def add_to(commands: Commands) -> None:
    report = commands.reporting("report", _report, "Say what was spent.")
    report.add_argument("--period", choices=get_args(Period), help="of the calendar; today if left out")
    report.add_argument("--from", dest="first_day", metavar="DAY", help="instead of a period, e.g. 2026-11-01")
    report.add_argument("--to", dest="last_day", metavar="DAY", help="included; today if left out")
    report.add_argument(
        "--group-by",
        metavar="WHAT",
        help="provider, model, task, day, hour, user, access_key, session, or metadata:FIELD",
    )
    report.add_argument("--csv", metavar="FILE", help='for a spreadsheet; "-" prints it')

    reconcile = commands.reporting(
        "reconcile",
        _reconcile,
        "Hold a provider's exported usage (CSV or JSON) against the ledger, by UTC day and model.",
    )
    reconcile.add_argument("file", help='the export; "-" reads standard input')
    reconcile.add_argument("--provider", default="", help="whose it is, where the file does not tell")
    reprice = commands.reporting(
        "reprice", _reprice, "After a price was put right: what earlier attempts cost by the prices of today's list."
    )
    reprice.add_argument("--since", required=True, metavar="DAY", help="the first day, e.g. 2026-11-01")
    reprice.add_argument("--until", metavar="DAY", help="the last day; today if left out")
    reprice.add_argument("--model", default="", help="only this one, by our name or its provider's")
    reprice.add_argument("--reason", required=True, help="kept with every adjustment")
    reprice.add_argument("--yes", action="store_true", help="write it; without, nothing is changed")


def _report(asked: argparse.Namespace) -> int:
    from orchestra_router import report

    async def ask(router: "Router") -> "CostReport":
        found = await router.cost_report(
            period=asked.period, first_day=asked.first_day, last_day=asked.last_day, group_by=asked.group_by
        )
        for_people = asked.group_by == "access_key" and not asked.json and asked.csv is None
        return await _with_names_of_keys(found, router) if for_people else found

    _check_days(asked.first_day, asked.last_day, "--from", "--to")
    report.show(with_router(ask), as_json=asked.json, csv_to=asked.csv)
    return 0


async def _with_names_of_keys(found: "CostReport", router: "Router") -> "CostReport":
    """`found` with the name of each access key beside its id, for whoever may see the keys."""
    from orchestra_router.errors import AccessDenied

    try:
        names = {key.key_id: key.name for key in await router.keyring.every()}
    except AccessDenied:
        return found
    rows = (replace(row, group=f"{row.group} {names.get(row.group, '')}".rstrip()) for row in found.rows)
    return replace(found, rows=tuple(rows))


def _check_days(first: str | None, last: str | None, first_option: str, last_option: str) -> None:
    """Raises: InvalidRequest: one is no day, in the words of the command; whether they are in order is told elsewhere."""
    from orchestra_router.errors import InvalidRequest

    for text, option in ((first, first_option), (last, last_option)):
        try:
            dt.date.fromisoformat(text or "2026-11-23")
        except ValueError:
            raise InvalidRequest(f"{option} is a day such as 2026-11-23.") from None


def _reconcile(asked: argparse.Namespace) -> int:
    """1 where the two differ."""
    from orchestra_router.errors import InvalidRequest
    from orchestra_router.policy.exports import read
    from orchestra_router.policy.names import unknown
    from orchestra_router.policy.reconcile import compare, span
    from orchestra_router.report import read_export, show_differences

    export = read(read_export(asked.file))
    provider = asked.provider or export.kind.provider
    if not provider:
        raise InvalidRequest("The file does not tell whose export it is. Say so: --provider openai, for example.")
    if not export.lines:
        raise InvalidRequest(f"No line of the file was understood. {'; '.join(export.problems) or 'It has none'}.")
    first, last = span(export)

    async def work(router: "Router") -> "tuple[Difference, ...]":
        if provider not in router.config.catalog.providers:
            raise InvalidRequest(unknown("provider", provider, router.config.catalog.providers))
        return compare(export, await router.store.used(provider, first_day=first, last_day=last))

    differences = with_router(work)
    show_differences(export, provider, differences, as_json=asked.json)
    return 0 if all(difference.agrees for difference in differences) and not export.problems else 1


def _reprice(asked: argparse.Namespace) -> int:
    from orchestra_router.clock import SystemClock
    from orchestra_router.policy.budget import period_at
    from orchestra_router.policy.periods import given
    from orchestra_router.policy.reprice import reprice
    from orchestra_router.pricing import Pricing
    from orchestra_router.report import show_repricing

    _check_days(asked.since, asked.until, "--since", "--until")

    async def work(router: "Router") -> "Repricing":
        settings, catalog = router.config.settings, router.config.catalog
        now_ms = SystemClock().now_ms()
        first, last = given(asked.since, asked.until, today=period_at(now_ms, settings.timezone).day)
        return await reprice(
            router.store,
            catalog,
            Pricing.of(settings, checked=catalog.checked),
            first_day=first,
            last_day=last,
            model=asked.model,
            reason=asked.reason,
            now_ms=now_ms,
            write=asked.yes,
        )

    show_repricing(with_router(work), as_json=asked.json, wrote=asked.yes)
    return 0
