"""What a batch answers: one entry for each prompt, in their order, and what all of it cost."""

from typing import TYPE_CHECKING

from orchestra_router.errors import RouterError
from orchestra_router.types import Completion, usd
from orchestra_tools.results import Json

if TYPE_CHECKING:  # they load the router
    from orchestra_router.batches import Batch, Outcome


def completed_batch(batch: "Batch", *, notice: str) -> Json:
    return {
        "results": [_entry(outcome) for outcome in batch.outcomes],
        "answered": len(batch.answers),
        "failed": len(batch.failures),
        "cost_usd": usd(batch.cost_nusd),
        "cost_nusd": batch.cost_nusd,
        "saved_usd": usd(saved) if (saved := sum(answer.saved_nusd for answer in batch.answers)) else None,
        "notes": [notice] if notice else [],
        "request_id": batch.request_id,
    }


def _entry(outcome: "Outcome") -> Json:
    if isinstance(outcome, Completion):
        return _answered(outcome)
    if isinstance(outcome, RouterError):
        cost_nusd = sum(attempt.cost_nusd for attempt in outcome.attempts)
        return {
            "error": {"code": outcome.code, "message": str(outcome), "retry_after_s": outcome.retry_after_s},
            "cost_usd": usd(cost_nusd) if cost_nusd else None,
        }
    return {"same_as": outcome.place}


def _answered(completion: Completion) -> Json:
    answer = completion.answer
    return {
        "text": answer.text,
        "tool_calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in answer.tool_calls],
        "finish": answer.finish if answer.finish != "stop" else "",
        "citations": [{"url": citation.url, "title": citation.title} for citation in answer.citations],
        "provider": completion.provider,
        "model": completion.model,
        "cost_usd": usd(completion.cost_nusd),
        "cache": completion.cache if completion.saved_nusd else "",
        "flaw": completion.flaw,
        "notes": list(completion.notes),
    }
