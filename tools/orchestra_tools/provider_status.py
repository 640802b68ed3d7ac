from mcp.types import ToolAnnotations

from orchestra_router.policy.access import Caller
from orchestra_tools.apps import SHOWN
from orchestra_tools.arguments import ProviderStatusArguments
from orchestra_tools.results import Json, status
from orchestra_tools.running import Tell
from orchestra_tools.schema import compact_schema
from orchestra_tools.service import Service
from orchestra_tools.tool import strict_tool


async def provider_status(
    arguments: ProviderStatusArguments, service: Service, caller: Caller, _tell: Tell | None
) -> Json:
    router = await service.router()
    report = await router.provider_status(arguments.provider, probe=arguments.probe, caller=caller)
    return status(report, notice=service.notice)


TOOL = strict_tool(
    provider_status,
    ProviderStatusArguments,
    name="provider_status",
    title="Provider status",
    description="Which providers and models can be used now; of the others why not, and what to do.",
    schema=compact_schema(ProviderStatusArguments),
    hints=ToolAnnotations(
        # A probe goes out to the providers, and puts what answers again back into rotation.
        read_only_hint=False,
        destructive_hint=False,
        idempotent_hint=True,
        open_world_hint=True,
    ),
    meta=SHOWN,
)
