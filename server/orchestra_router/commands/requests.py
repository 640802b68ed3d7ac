"""`orchestra requests list, show`: what became of requests, and of their texts what the settings keep."""

import argparse
import datetime as dt
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from orchestra_router.commands.base import Commands, listed, with_router
from orchestra_router.errors import InvalidRequest
from orchestra_router.plain_text import lines, one_line
from orchestra_router.types import usd

if TYPE_CHECKING:
    from orchestra_router.policy.trails import Trail
    from orchestra_router.router import Router

Json = dict[str, Any]
Columns = Mapping[str, object]

MOST_SHOWN = 50


def add_to(commands: Commands) -> None:
    group = commands.group("requests", "See what became of requests, and their texts where they are kept.")
    listing = group.reporting("list", _list, "List the newest requests.")
    listing.add_argument("--user", help="only those of this user")
    listing.add_argument("--most", type=int, default=MOST_SHOWN, help="how many at most")
    show = group.reporting("show", _show, "Show a request, or all of one trace: attempts, costs, kept texts.")
    show.add_argument("id", metavar="TRACE_ID", help="of a trace, or of a request")


def _list(asked: argparse.Namespace) -> int:
    if asked.most < 1:
        raise InvalidRequest("--most is at least 1.")

    async def ask(router: "Router") -> tuple[list[Columns], ZoneInfo]:
        rows = await router.store.newest_requests(user=asked.user, most=asked.most)
        return list(rows), ZoneInfo(router.config.settings.timezone)

    rows, zone = with_router(ask)
    if asked.json:
        print(json.dumps([_of(row) for row in rows], indent=2))
        return 0
    columns = (f"when ({zone})", "trace", "user", "task", "answered by", "outcome", "cache", "cost", "texts")
    shown = [
        (
            _when(row["created_ms"], zone),
            *(one_line(str(row[name])) for name in ("trace_id", "user", "task")),
            one_line(f"{row['provider']}/{row['model']}") if row["provider"] else "",
            *(str(row[name]) for name in ("outcome", "cache")),
            _dollars(row["cost_nusd"]),
            f"{row['logged_bytes']:,} B" if row["logged_bytes"] is not None else "",
        )
        for row in rows
    ]
    print(listed(columns, shown, otherwise="Nothing was asked yet."))
    return 0


def _show(asked: argparse.Namespace) -> int:
    async def ask(router: "Router") -> "tuple[tuple[Trail, ...], Mapping[object, Columns], ZoneInfo]":
        found = await router.trails(asked.id)
        kept = await router.store.exchanges(asked.id, most=len(found)) if found else ()
        return found, {row["request_id"]: row for row in kept}, ZoneInfo(router.config.settings.timezone)

    found, kept, zone = with_router(ask)
    if not found:
        raise InvalidRequest("There is no such trace or request on record, or not any more.")
    stories = [_story(trail, kept.get(trail.request.get("request_id"), {})) for trail in found]
    if asked.json:
        print(json.dumps(stories, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(_told(story, zone) for story in stories))
    return 0


def _story(trail: "Trail", texts: Columns) -> Json:
    read = {name: json.loads(str(texts[name])) for name in ("asked", "answered") if texts.get(name)}
    return {"request": _of(trail.request), "attempts": [dict(attempt) for attempt in trail.attempts], **read}


def _of(request: Columns) -> Json:
    """The columns of a request, with what is kept as JSON read."""
    read = {name: json.loads(str(request[name])) for name in ("redactions", "metadata") if name in request}
    return {**request, **read}


def _told(story: Json, zone: ZoneInfo) -> str:
    request: Json = story["request"]
    labels = ", ".join(f"{name}={value}" for name, value in request.get("metadata", {}).items())
    parts = [
        f"request {request.get('request_id', '(still running)')}  trace {request.get('trace_id', '')}",
        f"{_when(request['created_ms'], zone)} ({zone})  {request['outcome']}  {_dollars(request['cost_nusd'])}"
        f"  {request['latency_ms']} ms"
        if request
        else "",
        f"task {request['task']}" if request.get("task") else "",
        f"answered by {request['provider']}/{request['model']}: {request['reason']}" if request.get("provider") else "",
        f"cache {request['cache']}{f': {why}' if (why := request['cache_reason']) else ''}"
        if request.get("cache")
        else "",
        f"user {request['user']}" if request.get("user") else "",
        f"labels {labels}" if labels else "",
        *(
            f"attempt {attempt['number']}: {attempt['provider']}/{attempt['offer_id']} {attempt['outcome']}"
            f" {_dollars(attempt['cost_nusd'])} {attempt['latency_ms']} ms"
            for attempt in story["attempts"]
        ),
    ]
    told = "\n".join(one_line(part) for part in parts if part)
    for name in ("asked", "answered"):
        if name in story:
            told += f"\n{name}:\n" + lines(json.dumps(story[name], indent=2, ensure_ascii=False))
    return told


def _when(at_ms: object, zone: ZoneInfo) -> str:
    """In the time zone of the budgets and reports."""
    return f"{dt.datetime.fromtimestamp(int(str(at_ms)) / 1000, zone):%Y-%m-%d %H:%M:%S}"


def _dollars(amount_nusd: object) -> str:
    return f"${usd(int(str(amount_nusd))):.6f}"
