"""How a request ends: the answer that its caller gets, and the record of it."""

import json
from collections.abc import Callable

from orchestra_router.call import Call
from orchestra_router.deployments import Candidate
from orchestra_router.observe import Content, Finished, Stage
from orchestra_router.policy import budget
from orchestra_router.policy.cache.stage import Cached, Hit
from orchestra_router.policy.guardrails import Guarded
from orchestra_router.store.ledger_records import Period
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.types import Answer, Completion, Message, Part, Text, ToolCall, ToolResult


def signed(candidate: Candidate, answer: Answer) -> Cached:
    deployment = candidate.deployment
    return Cached(
        answer=answer, provider=deployment.provider.name, model=deployment.model.name, reason=candidate.reason
    )


def completion(written: Cached, call: Call, guarded: Guarded, *, number: int, latency_ms: int) -> Completion:
    """`number` is that of the attempt which gave the answer."""
    (paid,) = [attempt for attempt in call.attempts if attempt.number == number]
    sent = (*call.vectors, *call.attempts)
    unknown = sum([attempt.cost_nusd for attempt in sent if attempt.cost_source == "estimate"])
    if unknown and paid.cost_source != "estimate":
        call.note(
            f"{budget.dollars(unknown)} of the cost is for attempts that failed after they were sent: nobody knows"
            " what they cost, so their worst case counts."
        )
    call.answer = written.answer
    return Completion(
        request_id=call.request_id,
        trace_id=call.request.trace_id,
        answer=guarded.restore(written.answer),
        task=call.request.task or "",
        provider=written.provider,
        model=written.model,
        reason=written.reason,
        cost_nusd=call.cost_nusd,
        cost_source=paid.cost_source,
        cache=call.look.status,
        cache_reason=call.look.reason,
        attempts=tuple(call.attempts),
        notes=tuple(call.notes),
        redactions=call.found,
        latency_ms=latency_ms,
        flaw=call.flaw,
        escalation_saved_nusd=call.escalation_saved_nusd,
        wasted_nusd=call.wasted_nusd,
    )


def cached(hit: Hit, call: Call, guarded: Guarded, *, latency_ms: int) -> Completion:
    written = hit.cached
    call.answer = written.answer
    return Completion(
        request_id=call.request_id,
        trace_id=call.request.trace_id,
        answer=guarded.restore(written.answer),
        task=call.request.task or "",
        provider=written.provider,
        model=written.model,
        reason=f"cached; first answered as {written.reason}",
        cost_nusd=call.vectors_nusd,
        cost_source=call.vectors[-1].cost_source if call.vectors_nusd else "none",
        cache=call.look.status,
        cache_entry=hit.entry_id,
        cache_similarity=hit.similarity,
        cache_age_ms=hit.age_ms,
        saved_nusd=hit.saved_nusd,
        notes=tuple(call.notes),
        redactions=call.found,
        latency_ms=latency_ms,
    )


def record(
    call: Call, outcome: str, completion: Completion | None, *, period: Period, latency_ms: int
) -> RequestRecord:
    """`completion` is None where there was no answer."""
    request = call.request
    return RequestRecord(
        request_id=call.request_id,
        trace_id=request.trace_id,
        scope=request.scope,
        period=period,
        task=request.task or "",
        outcome=outcome,
        cache=call.look.status,
        cache_reason=call.look.short_reason,
        cache_entry=completion.cache_entry if completion is not None else "",
        cache_match=call.look.match,
        provider=completion.provider if completion is not None else "",
        model=completion.model if completion is not None else "",
        cost_nusd=call.cost_nusd,
        saved_nusd=completion.saved_nusd if completion is not None else 0,
        attempts=len(call.attempts),
        created_ms=call.started_ms,
        latency_ms=latency_ms,
        redactions=call.found,
        metadata=request.metadata,
        reason=completion.reason if completion is not None else "",
        tried=tuple([(attempt.deployment, attempt.outcome) for attempt in call.attempts]),
        cheap_step=call.cheap_step,
        escalation_saved_nusd=call.escalation_saved_nusd,
        wasted_nusd=call.wasted_nusd,
        refusal=call.refusal,
    )


def finished(call: Call, record: RequestRecord, *, ended: float, scrub: Callable[[str], str] | None) -> Finished:
    """What whoever watches is told. With `scrub`, which takes out what the guard lets pass, texts and all."""
    request, parent = call.request, call.parent
    ends = [*(began for _, began in call.stages[1:]), ended]
    return Finished(
        request_id=call.request_id,
        trace_id=request.trace_id,
        parent_span=parent.span_id if parent else "",
        sampled=parent.sampled if parent else True,
        outcome=record.outcome,
        task=record.task,
        cache=record.cache,
        cache_reason=record.cache_reason,
        provider=record.provider,
        model=record.model,
        cost_nusd=record.cost_nusd,
        saved_nusd=record.saved_nusd,
        started_ms=call.started_ms,
        started=call.started,
        ended=ended,
        streamed=call.on_progress is not None or call.on_text is not None,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        metadata=request.metadata,
        redactions=record.redactions,
        refusal=call.refusal,
        attempts=tuple(call.attempts),
        times=tuple(call.times),
        stages=tuple(Stage(name, began, end) for (name, began), end in zip(call.stages, ends, strict=True)),
        # Until the guard has passed it, nothing of it is anybody's business.
        content=_content(call, scrub) if scrub is not None and len(call.stages) > 1 else None,
    )


def _content(call: Call, scrub: Callable[[str], str]) -> Content:
    written = call.written
    answer = () if written is None else (Message("assistant", (Text(written.text), *written.tool_calls)),)
    return Content(_told(call.request.messages, scrub), _told(answer, scrub) if answer else "")


def _told(messages: tuple[Message, ...], scrub: Callable[[str], str]) -> str:
    """The form of `gen_ai.input.messages`."""
    told = [{"role": each.role, "parts": [_part(part, scrub) for part in each.parts]} for each in messages]
    return json.dumps(told, ensure_ascii=False)


def _part(part: Part, scrub: Callable[[str], str]) -> dict[str, str]:
    match part:
        case Text():
            return {"type": "text", "content": scrub(part.text)}
        case ToolCall():
            return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": scrub(part.arguments)}
        case ToolResult():
            return {"type": "tool_call_response", "id": part.call_id, "response": scrub(part.content)}
        case _:
            return {"type": "blob", "modality": "image"}  # nobody can redact a picture
