"""A tool as every client meets it: strict arguments, one compact result, failures in our own words."""

import json
import logging
import math
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations

from orchestra_router.asking import parsed
from orchestra_router.errors import (
    AllAttemptsFailed,
    BatchFailed,
    BudgetExceeded,
    ProviderError,
    RouterError,
)
from orchestra_router.policy.access import Caller
from orchestra_router.types import usd
from orchestra_tools.approval import granted
from orchestra_tools.results import Json, without_blanks
from orchestra_tools.running import Tell
from orchestra_tools.schema import Schema
from orchestra_tools.service import Service

logger = logging.getLogger("orchestra.tools")

ERROR_META = "orchestra/error"
MOST_FAILURES = 20
MOST_PARTIAL_CHARS = 8_000
"""Of an answer that broke off; clients cut a failure's text at about 11,000."""

A = TypeVar("A", bound=ArgModelBase)


class StrictTool(Tool):
    """The SDK's tool, but it refuses unknown arguments, and nothing it answers is written by somebody else."""

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002 - the SDK's signature
    ) -> CallToolResult | InputRequiredResult:
        service: Service = context.request_context.lifespan_context
        started = service.clock.monotonic()
        try:
            given = parsed(self.name, self.fn_metadata.arg_model, arguments)
            caller = await service.caller(context)
            approval = service.approvals.answered(context, arguments)
            try:
                with granted(approval):
                    return success(await self.fn(given, service, caller, _teller(context)))
            except BudgetExceeded as error:
                if context.input_responses is not None or arguments.get("request_id") or not caller.may("approve"):
                    raise  # a person is asked once, while the call is still there to be made, and not about his own key
                # The client's patience is for all of the call, the person's time included.
                within_s = service.config.settings.answer_within_s - (service.clock.monotonic() - started)
                answer = await service.approvals.ask(context, error, arguments, within_s=within_s)
                if answer is None:
                    raise
                if isinstance(answer, InputRequiredResult):
                    return answer
                with granted(answer, after_s=service.clock.monotonic() - started):
                    return success(await self.fn(given, service, caller, _teller(context)))
        except RouterError as error:
            return failure(error)
        except MCPError:
            raise
        except Exception:
            error_id = uuid.uuid4().hex[:12]
            logger.exception("internal error %s in %s", error_id, self.name)
            return failure(
                RouterError(f"This is a defect of Orchestra: internal error, reported under id {error_id} in its log.")
            )


def strict_tool(
    handler: Callable[[A, Service, Caller, Tell | None], Awaitable[Json]],
    arguments: type[A],
    *,
    name: str,
    title: str,
    description: str,
    schema: Schema,
    hints: ToolAnnotations,
    meta: dict[str, Any] | None = None,
) -> StrictTool:
    return StrictTool(
        fn=handler,
        name=name,
        title=title,
        description=description,
        parameters=schema,
        fn_metadata=FuncMetadata(arg_model=arguments),
        is_async=True,
        context_kwarg=None,
        annotations=hints,
        meta=meta,
    )


def success(data: Json) -> CallToolResult:
    """`data` twice: some clients show the model the text only, others the structured content only."""
    # An answer without a text is told from a text that went missing.
    text = {"text": data["text"]} if "text" in data else {}
    data = text | without_blanks(data)
    return CallToolResult(content=[_text(_dump(data))], structured_content=data)


def failure(error: RouterError) -> CallToolResult:
    """No structured content: a client may check that against a schema, and details belong in `_meta` anyway."""
    about: Json = {"code": error.code, "retry_after_s": error.retry_after_s}
    text = str(error)
    if cost_nusd := sum(attempt.cost_nusd for attempt in error.attempts):
        from orchestra_router.policy.budget import dollars  # noqa: PLC0415 - it loads the store

        unknown = any(attempt.cost_source == "estimate" for attempt in error.attempts)
        about |= {"cost_usd": usd(cost_nusd), "cost_nusd": cost_nusd, "cost_is_worst_case": unknown or None}
        text += f" The attempts {'may have' if unknown else 'have'} cost {dollars(cost_nusd)}."
    if error.partial_text:
        text += f" What had come of the answer: {error.partial_text[:MOST_PARTIAL_CHARS]}"
    if isinstance(error, BatchFailed):
        about["failures"] = [{"code": e.code, "retry_after_s": e.retry_after_s} for e in error.failures[:MOST_FAILURES]]
    if isinstance(error, AllAttemptsFailed):
        about["attempts"] = [_failed_attempt(failed) for failed in error.failures[:MOST_FAILURES]]
        if error.retry_after_s is not None:
            text += f" Worth trying again in {math.ceil(error.retry_after_s)} s."
    return CallToolResult(content=[_text(text)], is_error=True, _meta={ERROR_META: without_blanks(about)})


def _failed_attempt(error: ProviderError) -> Json:
    return {
        "deployment": error.deployment,
        "code": error.code,
        "status": error.status,
        "retry_after_s": error.retry_after_s,
        "replacement": error.replacement,
    }


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _dump(data: Json) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _teller(context: Context[Any, Any]) -> Tell | None:
    """Progress notifications, numbered upwards as the protocol wants; None when the client did not ask for them."""
    if (context.request_context.meta or {}).get("progress_token") is None:
        return None
    told = 0

    async def tell(message: str) -> None:
        nonlocal told
        told += 1
        await context.report_progress(told, message=message)

    return tell
