"""The MCP server: four tools, the resources and the prompts, with what the SDK (2.3) leaves open closed."""

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import Any

from mcp import MCPError
from mcp.server import CacheHint, MCPServer
from mcp.server.caching import CacheableMethod
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.types import (
    INVALID_PARAMS,
    CompleteRequestParams,
    CompleteResult,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    Resource,
    ResourceTemplate,
)

from orchestra_tools import complete, completion, cost_report, prompts, provider_status, resources, route_task
from orchestra_tools.apps import apps
from orchestra_tools.service import Service

TOOLS = (complete.TOOL, route_task.TOOL, provider_status.TOOL, cost_report.TOOL)
TOOL_NAMES = tuple(tool.name for tool in TOOLS)
FOREVER = CacheHint(ttl_ms=3_600_000, scope="public")
"""What this version lists, it lists to everybody until it is replaced."""
CACHE_HINTS: Mapping[CacheableMethod, CacheHint] = {
    "server/discover": FOREVER,
    "tools/list": FOREVER,
    "prompts/list": FOREVER,
    "resources/list": FOREVER,
    "resources/templates/list": FOREVER,
    # A moment old is as good, and nobody else's.
    "resources/read": CacheHint(ttl_ms=5_000, scope="private"),
}
Lifespan = Callable[[MCPServer[Service]], AbstractAsyncContextManager[Service]]


class OrchestraServer(MCPServer[Service]):
    def __init__(self, *, instructions: str, lifespan: Lifespan) -> None:
        handlers, level = list(logging.root.handlers), logging.root.level
        super().__init__(
            "orchestra",
            title="Orchestra",
            version=version("orchestra-router"),
            instructions=instructions,
            tools=list(TOOLS),
            extensions=[apps()],
            lifespan=lifespan,
            cache_hints=CACHE_HINTS,
            middleware=(_known_names, _open_after_listing),
            # Nothing that is listed ever changes, so no client need listen for changes.
            subscriptions=False,
        )
        # The SDK sets up the root logger, which is for whoever started the process to do.
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        # `MCPServer.completion` hands its function no context, and so no service.
        self._lowlevel_server.add_request_handler("completion/complete", CompleteRequestParams, _completed)

    @property
    def lowlevel(self) -> Server[Service]:
        """What transports drive."""
        return self._lowlevel_server

    async def list_resources(self) -> list[Resource]:
        return [*resources.listed(), *await super().list_resources()]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        return [*resources.templates(), *await super().list_resource_templates()]

    async def read_resource(
        self, uri: Any, context: Context[Service, Any] | None = None
    ) -> list[ReadResourceContents] | InputRequiredResult:
        address = str(uri)
        if context is None or not address.startswith(resources.SCHEME):
            found = await super().read_resource(uri, context)
            return found if isinstance(found, InputRequiredResult) else list(found)
        text = await resources.read(address, context.request_context.lifespan_context, context)
        return [ReadResourceContents(content=text, mime_type=resources.MIME_TYPE)]

    async def list_prompts(self) -> list[Prompt]:
        return prompts.listed()

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[Service, Any] | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> GetPromptResult:
        try:
            return prompts.written(name, arguments or {})
        except prompts.BadArguments as error:
            raise MCPError(INVALID_PARAMS, str(error)) from None


async def _completed(ctx: ServerRequestContext[Service, Any], params: CompleteRequestParams) -> CompleteResult:
    try:
        return CompleteResult(completion=await completion.completed(ctx, params))
    except completion.UnknownReference as error:
        raise MCPError(INVALID_PARAMS, str(error)) from None


async def _known_names(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """What names nothing is an error of the protocol; the SDK answers with a result, or not at all."""
    params = ctx.params or {}
    if ctx.method == "tools/call" and (name := params.get("name")) not in TOOL_NAMES:
        raise MCPError(INVALID_PARAMS, f"Unknown tool{_quoted(name)}. Known: {', '.join(TOOL_NAMES)}.")
    if ctx.method.endswith("/list") and params.get("cursor") is not None:
        raise MCPError(INVALID_PARAMS, "There is one page only: leave `cursor` out.")
    return await call_next(ctx)


async def _open_after_listing(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A listing is answered at once; then the router is opened, before the first call needs it."""
    result = await call_next(ctx)
    if ctx.method == "tools/list":
        service: Service = ctx.lifespan_context
        service.open_soon()
    return result


def _quoted(name: object) -> str:
    """The name, if it looks like one."""
    return f" `{name}`" if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else ""
