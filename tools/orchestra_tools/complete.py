import secrets
from dataclasses import replace

from mcp.types import ToolAnnotations

from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.access import LOCAL
from orchestra_router.types import Completion, CompletionRequest
from orchestra_tools import approval
from orchestra_tools.arguments import CompleteArguments
from orchestra_tools.results import Json, completed, still_running
from orchestra_tools.running import Call, Tell
from orchestra_tools.schema import compact_schema
from orchestra_tools.service import Service
from orchestra_tools.tool import strict_tool


async def complete(arguments: CompleteArguments, service: Service, tell: Tell | None) -> Json:
    if arguments.request_id is None:
        call = await start(arguments.request(max_tokens=service.config.settings.max_tokens), service, tell)
    elif arguments.model_fields_set == {"request_id"}:
        call = service.running.find(arguments.request_id, LOCAL)
    else:
        raise InvalidRequest("`request_id` collects the answer of an earlier call: give it alone, or leave it out.")
    return await outcome(call, service, tell)


async def start(request: CompletionRequest, service: Service, tell: Tell | None) -> Call:
    router = await service.router()
    request = replace(request, request_id=secrets.token_hex(8), scope=LOCAL, approval=approval.given())

    async def work(tell_waiting: Tell) -> Completion:
        # Without a listener there is no progress to make, and the answer need not be streamed.
        return await router.complete(request, on_progress=tell_waiting if tell else None)

    return service.running.start(request.request_id, request.scope, work)


async def outcome(call: Call, service: Service, tell: Tell | None) -> Json:
    """The answer, or how to collect it when the client would lose patience first."""
    completion = await service.running.answer(call, tell, within_s=service.config.settings.answer_within_s)
    if completion is None:
        return still_running(call.request_id, call.last_word)
    return completed(completion, notice=service.notice)


TOOL = strict_tool(
    complete,
    CompleteArguments,
    name="complete",
    title="Ask a model",
    description=(
        "Answer a prompt with the cheapest suitable language model."
        " Costs money; the result says which model wrote it, what it cost and why."
    ),
    schema=compact_schema(CompleteArguments),
    hints=ToolAnnotations(
        # Spends money, and asks companies on the internet; but it changes and deletes nothing of the user's.
        read_only_hint=False,
        destructive_hint=False,
        idempotent_hint=False,
        open_world_hint=True,
    ),
)
