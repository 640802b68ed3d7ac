"""What a batch answers: one entry for each prompt, in their order, and what all of it cost."""

from typing import TYPE_CHECKING

from orchestra_router.errors import BatchFailed, RouterError
from orchestra_router.types import Completion, usd
from orchestra_tools.approval import SINGLY, is_possible
from orchestra_tools.results import Json

if TYPE_CHECKING:  # they load the router
    from orchestra_router.batches import Batch, Outcome

MOST_SAID = 20
"""Different failures that are told in full where nothing else is."""


def completed_batch(batch: "Batch", *, notice: str) -> Json:
    """Raises: BatchFailed: none of it was answered."""
    if not batch.answers:
        raise _all_failed(batch)
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


def _all_failed(batch: "Batch") -> BatchFailed:
    places: dict[str, list[str]] = {}
    for place, outcome in enumerate(batch.outcomes):
        if isinstance(outcome, RouterError):
            places.setdefault(_said(outcome), []).append(str(place))
    said = [f"[{', '.join(where)}]: {message}" for message, where in places.items()]
    waits = [failure.retry_after_s for failure in batch.failures if failure.retry_after_s is not None]
    text = f"None of the {len(batch.failures)} prompts was answered. {' '.join(said[:MOST_SAID])}"
    if len(said) > MOST_SAID:
        text += f" And {len(said) - MOST_SAID} other failures."
    return BatchFailed(text, batch.failures, retry_after_s=min(waits, default=None))


def _said(error: RouterError) -> str:
    return f"{error} {SINGLY}" if is_possible(error) else str(error)


def _entry(outcome: "Outcome") -> Json:
    if isinstance(outcome, Completion):
        return _answered(outcome)
    if isinstance(outcome, RouterError):
        cost_nusd = sum(attempt.cost_nusd for attempt in outcome.attempts)
        return {
            "error": {"code": outcome.code, "message": _said(outcome), "retry_after_s": outcome.retry_after_s},
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
