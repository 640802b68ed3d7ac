"""What a client may read beside the tools: the same data under an address. Reading asks no provider and costs nothing."""

import datetime as dt
import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.types import Annotations, Resource, ResourceTemplate

from orchestra_router.errors import InvalidRequest, RouterError
from orchestra_router.policy.access import Caller
from orchestra_tools.costs import costs
from orchestra_tools.models import every_model
from orchestra_tools.results import Json, noted, status, without_blanks
from orchestra_tools.service import Service
from orchestra_tools.trails import trailed

if TYPE_CHECKING:  # it loads the store
    from orchestra_router.policy.costs import CostReport

logger = logging.getLogger("orchestra.tools")

SCHEME = "orchestra://"
MIME_TYPE = "application/json"
MOST_MODELS = 50
NAMED_DAYS = ("today", "yesterday")


@dataclass(frozen=True, slots=True)
class Readable:
    """One resource, or (with a `{part}` in its address) as many as there are values for it."""

    uri: str
    name: str
    title: str
    description: str
    priority: float
    """How much a client needs it: 0 (not at all) to 1."""
    read: Callable[[Service, Caller, str], Awaitable[Json]]
    """Given the value of the part; "" where there is none."""

    @property
    def is_template(self) -> bool:
        return "{" in self.uri

    def matched(self, uri: str) -> str | None:
        """The value of its part in `uri`; None where that is not its address."""
        if not self.is_template:
            return "" if uri == self.uri else None
        # A day and an id hold nothing that an address would have to encode.
        found = re.fullmatch(re.escape(self.uri.partition("{")[0]) + r"([A-Za-z0-9._-]{1,200})", uri)
        return found[1] if found else None


async def _providers(service: Service, caller: Caller, _: str) -> Json:
    report = status(await (await service.router()).provider_status(caller=caller), notice=service.notice)
    for provider in report["providers"]:
        provider["models"] = len(provider["models"])
    return report


async def _models(service: Service, caller: Caller, _: str) -> Json:
    router = await service.router()
    models, prices = await every_model(router, service.clock, await router.provider_status(caller=caller))
    names = {"input": "input_usd_per_mtok", "output": "output_usd_per_mtok", "context": "context_tokens"}
    rows = [{names.get(name, name): value for name, value in model.items()} for model in models]
    return {"models": rows, "prices": prices, "notes": noted(service.notice, ())}


async def _spend(service: Service, caller: Caller, day: str) -> Json:
    if day not in NAMED_DAYS and not _is_day(day):
        raise ResourceNotFoundError(f"A day is written as 2026-11-23, or is {' or '.join(NAMED_DAYS)}.")

    async def grouped(group_by: str) -> "CostReport":
        if day in NAMED_DAYS:
            return await router.cost_report(period=day, group_by=group_by, caller=caller)
        return await router.cost_report(first_day=day, last_day=day, group_by=group_by, caller=caller)

    router = await service.router()
    models = costs(await grouped("model"), notice="", most_rows=MOST_MODELS)["rows"]
    return costs(await grouped("provider"), notice=service.notice) | {"models": models}


def _is_day(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


async def _request(service: Service, caller: Caller, request_or_trace_id: str) -> Json:
    found = await (await service.router()).trails(request_or_trace_id, caller=caller)
    if not found:
        raise ResourceNotFoundError(
            "No request of yours with this trace_id or request_id is on record. Both stand in the result of `complete`."
        )
    return trailed(found) | {"notes": noted(service.notice, ())}


READABLE = (
    Readable(
        f"{SCHEME}providers",
        "providers",
        "Providers",
        "Which providers can be used now, how often and how fast they answered, and what to do about the others.",
        0.6,
        _providers,
    ),
    Readable(
        f"{SCHEME}models",
        "models",
        "Models and prices",
        "Every model at every provider: its price per million tokens, its context, its strength (1 to 5), its state.",
        0.8,
        _models,
    ),
    Readable(
        f"{SCHEME}spend/{{day}}",
        "spend",
        "Spend of a day",
        "What was spent and saved on a day (2026-11-23, today or yesterday), by provider and by model, and the budgets.",
        0.5,
        _spend,
    ),
    Readable(
        f"{SCHEME}requests/{{trace_id}}",
        "request",
        "Trail of a request",
        "Whom a request was sent to, with what outcome, at what cost, and why. Takes a trace_id or a request_id.",
        0.4,
        _request,
    ),
)


def listed() -> list[Resource]:
    return [
        Resource(
            uri=one.uri,
            name=one.name,
            title=one.title,
            description=one.description,
            mime_type=MIME_TYPE,
            annotations=_annotations(one),
        )
        for one in READABLE
        if not one.is_template
    ]


def templates() -> list[ResourceTemplate]:
    return [
        ResourceTemplate(
            uri_template=one.uri,
            name=one.name,
            title=one.title,
            description=one.description,
            mime_type=MIME_TYPE,
            annotations=_annotations(one),
        )
        for one in READABLE
        if one.is_template
    ]


async def read(uri: str, service: Service, context: Context[Any, Any]) -> str:
    """The data at `uri` as JSON.

    Raises:
        ResourceNotFoundError: there is nothing.
        ResourceError: it cannot be read; the message says why.
    """
    try:
        for one in READABLE:
            if (part := one.matched(uri)) is not None:
                data = without_blanks(await one.read(service, await service.caller(context), part))
                return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    except ResourceError:
        raise
    except InvalidRequest as error:
        raise ResourceNotFoundError(str(error)) from None
    except RouterError as error:
        raise ResourceError(str(error)) from None
    except Exception:
        error_id = uuid.uuid4().hex[:12]
        logger.exception("internal error %s in a resource", error_id)
        raise ResourceError(
            f"This is a defect of Orchestra: internal error, reported under id {error_id} in its log."
        ) from None
    raise ResourceNotFoundError(f"There is no such resource. There are: {', '.join(one.uri for one in READABLE)}.")


def _annotations(one: Readable) -> Annotations:
    return Annotations(audience=["user", "assistant"], priority=one.priority)


PARTS: Mapping[str, str] = {one.uri: one.uri.partition("{")[2].rstrip("}") for one in READABLE if one.is_template}
"""Template -> the name of its part, for completion."""
