from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp.types import ToolAnnotations

from orchestra_router import ids
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.access import Caller
from orchestra_router.types import Completion, CompletionRequest, changed
from orchestra_tools import approval
from orchestra_tools.arguments import CompleteArguments
from orchestra_tools.batch_results import completed_batch
from orchestra_tools.pages import Place, answer_page, batch_page
from orchestra_tools.results import Json, completed, still_running
from orchestra_tools.running import Call, Tell
from orchestra_tools.schema import compact_schema
from orchestra_tools.service import Service
from orchestra_tools.tool import strict_tool

if TYPE_CHECKING:  # it loads the router
    from orchestra_router.batches import Batch


async def complete(arguments: CompleteArguments, service: Service, caller: Caller, tell: Tell | None) -> Json:
    place = None
    if arguments.request_id is None:
        max_tokens = service.config.settings.max_tokens
        if arguments.prompts:
            call = await start_batch(arguments.requests(max_tokens=max_tokens), service, caller)
        else:
            call = await start(arguments.request(max_tokens=max_tokens), service, caller, tell)
    elif arguments.model_fields_set == {"request_id"}:
        place = Place.of(arguments.request_id)
        call = service.running.find(place.request_id, caller.scope)
    else:
        raise InvalidRequest("`request_id` collects the answer of an earlier call: give it alone, or leave it out.")
    return await outcome(call, service, tell, place)


async def start(request: CompletionRequest, service: Service, caller: Caller, tell: Tell | None) -> Call:
    router = await service.router()
    request = changed(request, request_id=ids.drawn(), approval=approval.given())

    async def work(tell_waiting: Tell) -> Completion:
        # Without a listener there is no progress to make, and the answer need not be streamed.
        return await router.complete(request, caller=caller, on_progress=tell_waiting if tell else None)

    return service.running.start(request.request_id, caller.scope, work)


async def start_batch(requests: Sequence[CompletionRequest], service: Service, caller: Caller) -> Call:
    router = await service.router()
    request_id = ids.drawn()

    async def work(tell_waiting: Tell) -> "Batch":
        return await router.batch(requests, request_id=request_id, caller=caller, on_progress=tell_waiting)

    return service.running.start(request_id, caller.scope, work)


async def outcome(call: Call, service: Service, tell: Tell | None, place: Place | None = None) -> Json:
    """The answer, or a page of it; or how to collect it when the client would lose patience first."""
    settings = service.config.settings
    answer = await service.running.answer(call, tell, within_s=settings.answer_within_s - approval.waited_s())
    if answer is None:
        return still_running(call.request_id, call.last_word)
    place = place or Place(call.request_id)
    if isinstance(answer, Completion):
        data = answer_page(completed(answer, notice=service.notice), place, most=settings.answer_page_chars)
    else:
        data = batch_page(completed_batch(answer, notice=service.notice), place, most=settings.answer_page_chars)
    if data.get("more"):
        service.running.keep(call)
    return data


TOOL = strict_tool(
    complete,
    CompleteArguments,
    name="complete",
    title="Ask a model",
    description=(
        "Answer a prompt with the cheapest suitable language model."
        " Costs money; the result says who wrote it, what it cost and why."
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
