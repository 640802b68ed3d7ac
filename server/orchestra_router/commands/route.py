"""`orchestra route ...`: how requests find their way."""

import argparse
import json
from typing import TYPE_CHECKING, Any, get_args

from orchestra_router.commands import route_eval
from orchestra_router.commands.base import Commands, count, load_config, table, with_router
from orchestra_router.errors import InvalidRequest
from orchestra_router.types import CompletionRequest, Strategy

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.router import Router

Json = dict[str, Any]


def add_to(commands: Commands) -> None:
    group = commands.group("route", "See how requests are routed.")
    plan = group.reporting("plan", _plan, "Show who would be asked, in order, at what cost and why. Free.")
    plan.add_argument("prompt", help="what would be asked")
    plan.add_argument("--task", help="guessed from the prompt where it is not named")
    plan.add_argument("--provider", help="only this one")
    plan.add_argument("--model", help="this one, wherever it is served")
    plan.add_argument("--strategy", choices=get_args(Strategy), help="else the setting `strategy`")
    plan.add_argument("--max-cost-usd", type=float, metavar="USD", help="what the call may cost")
    plan.add_argument(
        "--metadata",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a label that rules may match; again for more",
    )
    measure = group.reporting("eval", route_eval.run, "Measure how well tasks are recognised on labelled prompts.")
    measure.add_argument("file", help='JSON lines: {"prompt": "...", "label": "coding", "alt": ["general_chat"]}')
    measure.add_argument("--rules", action="store_true", help="by the words alone, without the embedder")
    group.reporting("learned", _learned, "Show what this installation has seen of its models.")
    forget = group.reporting("forget", _forget, "Forget what was learned.")
    forget.add_argument("task", nargs="?", help="only of this task")


def _plan(asked: argparse.Namespace) -> int:
    from orchestra_tools.results import planned, without_blanks

    request = _request(asked)

    async def ask(router: "Router") -> Json:
        return without_blanks(planned(await router.plan(request), notice=""))

    plan = with_router(ask)
    if asked.json:
        print(json.dumps(plan, indent=2))
        return 0
    rule = f", rule {plan['rule']!r}" if "rule" in plan else ""
    print(f"{plan['task']} ({plan['task_reason']}); strategy {plan['strategy']}{rule}")
    columns = ("", "deployment", "strength", "expected", "at most", "time", "answered", "health", "why")
    lines = [
        (
            *(str(place), f"{c['provider']}/{c['model']}", str(c["strength"])),
            *(f"${c['expected_usd']:.6f}", f"${c['worst_usd']:.6f}"),
            *(f"{c['expected_ms']} ms" if "expected_ms" in c else "", f"{c['success']:.0%}" if "success" in c else ""),
            *(c["health"], c["reason"]),
        )
        for place, c in enumerate(plan["route"], 1)
    ]
    print(table(columns, lines))
    if "excluded" in plan:
        print(table(("not asked", ""), [(item["deployment"], item["reason"]) for item in plan["excluded"]]))
    for note in plan.get("notes", ()):
        print(note)
    return 0


def _request(asked: argparse.Namespace) -> CompletionRequest:
    """Raises: InvalidRequest: `complete` would not take it either."""
    from pydantic import ValidationError

    from orchestra_router.asking import CompleteArguments
    from orchestra_router.explain import explain

    given = {name: getattr(asked, name) for name in ("prompt", "task", "provider", "model", "strategy", "max_cost_usd")}
    if asked.metadata:
        given["metadata"] = dict(map(_label, asked.metadata))
    try:
        arguments = CompleteArguments.model_validate({name: it for name, it in given.items() if it is not None})
    except ValidationError as error:
        raise InvalidRequest(explain("route plan", CompleteArguments, error)) from None
    return arguments.request(max_tokens=load_config().settings.max_tokens)


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidRequest("--metadata is a name and a value, like app=docs.")
    return name, value


def _learned(asked: argparse.Namespace) -> int:
    from orchestra_tools.results import learned, without_blanks

    async def ask(router: "Router") -> Json:
        return learned(await router.learned())

    known = with_router(ask)
    if asked.json:
        print(json.dumps(without_blanks(known), indent=2))
        return 0
    if not known["seen"]:
        print("Nothing was seen yet: no request has been answered in the last two weeks.")
        return 0
    lines = [
        (
            *(row["task"], row["deployment"], str(row["attempts"]), f"{row['answered'] / row['attempts']:.0%}"),
            *((f"{row['median_ms']} ms", f"${row['mean_usd']:.6f}") if row["answered"] else ("", "")),
        )
        for row in known["seen"]
    ]
    print(table(("task", "deployment", "attempts", "answered", "median time", "mean cost"), lines))
    for row in known["escalations"]:
        print(
            f"{row['task']}, {row['prompts']}: {row['escalated']} of {row['tried']} answers of {row['deployment']}"
            " went one step up"
        )
    return 0


def _forget(asked: argparse.Namespace) -> int:
    async def ask(router: "Router") -> int:
        return await router.forget_learned(asked.task)

    forgotten = with_router(ask)
    if asked.json:
        print(json.dumps({"attempts": forgotten, "task": asked.task or ""}, indent=2))
        return 0
    print(
        f"Forgotten: {count(forgotten, 'attempt')}{f' of {asked.task}' if asked.task else ''}. The ledger is as it was."
    )
    return 0
