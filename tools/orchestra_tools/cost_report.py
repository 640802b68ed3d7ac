from mcp.types import ToolAnnotations

from orchestra_router.policy.access import Caller
from orchestra_tools.apps import SHOWN
from orchestra_tools.arguments import CostReportArguments
from orchestra_tools.costs import costs
from orchestra_tools.results import Json
from orchestra_tools.running import Tell
from orchestra_tools.schema import compact_schema
from orchestra_tools.service import Service
from orchestra_tools.tool import strict_tool


async def cost_report(arguments: CostReportArguments, service: Service, caller: Caller, _tell: Tell | None) -> Json:
    router = await service.router()
    report = await router.cost_report(
        period=arguments.period,
        first_day=arguments.first_day,
        last_day=arguments.last_day,
        group_by=arguments.group_by,
        caller=caller,
    )
    return costs(report, notice=service.notice)


TOOL = strict_tool(
    cost_report,
    CostReportArguments,
    name="cost_report",
    title="Cost report",
    description="What was spent and saved in a period, and what the budgets still allow.",
    schema=compact_schema(CostReportArguments),
    hints=ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
    meta=SHOWN,
)
