"""`orchestra route ...`: how requests find their way."""

import argparse
import json
from typing import TYPE_CHECKING, Any, get_args

from orchestra_router.commands import route_eval
from orchestra_router.commands.base import Commands, load_config, table, with_router
from orchestra_router.types import CompletionRequest, Message, Strategy, Text

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.router import Router

Json = dict[str, Any]


def add_to(commands: Commands) -> None:
    group = commands.group("route", "See how requests are routed.")
    plan = group.reporting("plan", _plan, "Show who would be asked, in order, at what cost and why. Free.")
    plan.add_argument("prompt")
    plan.add_argument("--task", help="guessed from the prompt where it is not named")
    plan.add_argument("--strategy", choices=get_args(Strategy))
    measure = group.reporting("eval", route_eval.run, "Measure how well tasks are recognised on labelled prompts.")
    measure.add_argument("file", help='JSON lines: {"prompt": "...", "label": "coding", "alt": ["general_chat"]}')
    measure.add_argument("--rules", action="store_true", help="by the words alone, without the embedder")
    group.reporting("learned", _learned, "Show what this installation has seen of its models.")
    forget = group.reporting("forget", _forget, "Forget what was learned.")
    forget.add_argument("task", nargs="?", help="only of this task")


def _plan(asked: argparse.Namespace) -> int:
    from orchestra_tools.results import planned, without_blanks

    request = CompletionRequest(
        messages=(Message("user", (Text(asked.prompt),)),),
        task=asked.task,
        strategy=asked.strategy,
        max_tokens=load_config().settings.max_tokens,
    )

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
    print(f"Forgotten: {forgotten} attempts{f' of {asked.task}' if asked.task else ''}. The ledger is as it was.")
    return 0
