"""What each tool accepts: the arguments of a request (`orchestra_router.asking`), and what is of MCP alone."""

from typing import Annotated

from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from pydantic import Field

from orchestra_router import asking
from orchestra_router.asking import STRICT, Id, SoundArguments
from orchestra_router.policy.periods import Period

MAX_GROUP_CHARS = 80


class CompleteArguments(asking.CompleteArguments, ArgModelBase):
    request_id: Annotated[Id | None, Field(description="Alone: collects a running call, or an answer's rest.")] = None


class RouteTaskArguments(asking.RoutingArguments, ArgModelBase):
    execute: Annotated[bool, Field(description="Also run it; spends money.")] = False


class ProviderStatusArguments(ArgModelBase):
    model_config = STRICT

    provider: Annotated[Id | None, Field(description="Only this one, e.g. xai.")] = None
    probe: Annotated[bool, Field(description="Ask each provider now (free).")] = False


class CostReportArguments(SoundArguments, ArgModelBase):
    model_config = STRICT

    period: Annotated[Period | None, Field(description="Of the calendar; today when absent.")] = None
    first_day: Annotated[str | None, Field(description="Instead of period, e.g. 2026-11-01.")] = None
    last_day: Annotated[str | None, Field(description="Included; today when absent.")] = None
    group_by: Annotated[
        str | None,
        Field(
            max_length=MAX_GROUP_CHARS,
            description="provider, model, task, day, hour, user, access_key, session, or metadata:FIELD.",
        ),
    ] = None
