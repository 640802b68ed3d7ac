from mcp.types import ToolAnnotations

from orchestra_router.policy.access import Caller
from orchestra_tools.apps import SHOWN
from orchestra_tools.arguments import CompleteArguments, RouteTaskArguments
from orchestra_tools.complete import outcome, start
from orchestra_tools.results import Json, planned
from orchestra_tools.running import Tell
from orchestra_tools.schema import Schema, compact_schema
from orchestra_tools.service import Service
from orchestra_tools.tool import strict_tool


async def route_task(arguments: RouteTaskArguments, service: Service, caller: Caller, tell: Tell | None) -> Json:
    request = arguments.request(max_tokens=service.config.settings.max_tokens)
    plan = planned(await (await service.router()).plan(request, caller=caller), notice=service.notice)
    if not arguments.execute:
        return plan
    return await outcome(await start(request, service, caller, tell), service, tell) | {"plan": plan}


def _schema() -> Schema:
    """What `complete` has too is explained there alone: a client pays for every word of both tools."""
    schema = compact_schema(RouteTaskArguments)
    for name, argument in schema["properties"].items():
        if name in CompleteArguments.model_fields:
            argument["description"] = "See complete."
            for detail in ("additionalProperties", "enum"):
                argument.pop(detail, None)
    for name in ("messages", "tools"):
        schema["properties"][name]["items"] = {"type": "object"}
    return schema


TOOL = strict_tool(
    route_task,
    RouteTaskArguments,
    name="route_task",
    title="Plan a route",
    description="Show which models would be asked, in order, at what cost and why. Free, unless execute is true.",
    schema=_schema(),
    hints=ToolAnnotations(
        # With `execute` it is `complete`.
        read_only_hint=False,
        destructive_hint=False,
        idempotent_hint=False,
        open_world_hint=True,
    ),
    meta=SHOWN,
)
