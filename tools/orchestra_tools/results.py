"""What the tools answer: plain JSON, the answer first, nothing empty."""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from orchestra_router.deployments import Candidate, Plan, in_force
from orchestra_router.policy.guardrails import is_id
from orchestra_router.types import Attempt, Completion, Usage, usd

if TYPE_CHECKING:  # they load the catalog and the prices
    from orchestra_router.policy.learning import Learned
    from orchestra_router.policy.status import ProviderStatus, StatusReport, Use

Json = dict[str, Any]
_NESTED = frozenset({dict, list, tuple})


def without_blanks(data: Json) -> Json:
    """`data` without nulls, empty texts, lists and objects, at every depth; zeros and false stay."""
    small: Json = {}
    for key, value in data.items():
        kept = _small(value) if type(value) in _NESTED else value
        if kept or isinstance(kept, int | float):
            small[key] = kept
    return small


def _small(value: Any) -> Any:
    if type(value) is dict:
        return without_blanks(cast("Json", value))
    return [_small(item) if type(item) in _NESTED else item for item in value]


def completed(completion: Completion, *, notice: str) -> Json:
    """Who answered what, why that route, what it cost, and what was tried."""
    answer = completion.answer
    return {
        "text": answer.text,
        "tool_calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in answer.tool_calls],
        "finish": answer.finish,
        "citations": [{"url": citation.url, "title": citation.title} for citation in answer.citations],
        "provider": completion.provider,
        "model": completion.model,
        # The provider's word: repeated only where it can be nothing but an id.
        "model_id": answer.model if answer.model != completion.model and is_id(answer.model) else "",
        "task": completion.task,
        "reason": completion.reason,
        "cost_usd": usd(completion.cost_nusd),
        "cost_nusd": completion.cost_nusd,
        "cost_source": completion.cost_source,
        "usage": _usage(answer.usage),
        "cache": completion.cache,
        "cache_reason": completion.cache_reason,
        "cache_entry": completion.cache_entry,
        "cache_similarity": completion.cache_similarity and round(completion.cache_similarity, 4),
        "cache_age_s": None if completion.cache_age_ms is None else completion.cache_age_ms / 1000,
        "saved_usd": usd(completion.saved_nusd) if completion.saved_nusd else None,
        "flaw": completion.flaw,
        "escalation_saved_usd": usd(completion.escalation_saved_nusd) if completion.escalation_saved_nusd else None,
        "wasted_usd": usd(completion.wasted_nusd) if completion.wasted_nusd else None,
        "attempts": [_attempt(attempt) for attempt in completion.attempts],
        "notes": noted(notice, completion.notes),
        "redactions": dict(completion.redactions),
        "retires": answer.retires,
        # Wanted back with a tool's result, and then only: it can be longer than the answer.
        "provider_state": answer.provider_state if answer.tool_calls else "",
        "latency_ms": completion.latency_ms,
        "request_id": completion.request_id,
        "trace_id": completion.trace_id,
    }


def still_running(request_id: str, last_word: str) -> Json:
    return {
        "status": "running",
        "request_id": request_id,
        "progress": last_word,
        "next": "The answer is not ready yet and is not lost: call `complete` with only this `request_id` for it.",
    }


def planned(plan: Plan, *, notice: str) -> Json:
    return {
        "task": plan.task,
        "task_reason": plan.task_reason,
        "strategy": plan.strategy,
        "rule": plan.rule,
        "route": [_candidate(candidate, plan.at_ms) for candidate in plan.route],
        "excluded": [{"deployment": excluded.deployment, "reason": excluded.reason} for excluded in plan.excluded],
        "notes": noted(notice, plan.notes),
    }


def _candidate(candidate: Candidate, at_ms: int) -> Json:
    prices = candidate.deployment.offer.prices
    price = in_force(prices, dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).date()) if prices else None
    return {
        "provider": candidate.deployment.provider.name,
        "model": candidate.deployment.model.name,
        "model_id": candidate.deployment.offer.id,
        "reason": candidate.reason,
        "step": candidate.step,
        "expected_usd": usd(candidate.expected_nusd),
        "worst_usd": usd(candidate.worst_nusd),
        "usd_per_mtok": None if price is None else [float(price.input), float(price.output)],
        "expected_ms": candidate.expected_ms,
        "slow_ms": candidate.slow_ms,
        # What choices go by besides price and time: the catalog's 1 to 5, and the share answered here.
        "strength": candidate.deployment.model.strength,
        "success": None if candidate.success is None else round(candidate.success, 3),
        "health": candidate.health,
    }


def learned(known: "Learned") -> Json:
    """What was seen of each model at each task, and how often a cheap step's answer would not do."""
    return {
        "seen": [
            {
                "task": task,
                "deployment": f"{provider}/{model}",
                "attempts": seen.attempts,
                "answered": seen.answered,
                "median_ms": seen.median_ms,
                "slow_ms": seen.slow_ms,
                "mean_usd": None if seen.mean_cost_nusd is None else usd(seen.mean_cost_nusd),
                "mean_output_tokens": seen.mean_output_tokens,
            }
            for (task, provider, model), seen in known.by_task.items()
        ],
        "escalations": [
            {
                "task": row.task,
                "prompts": row.prompt_kind,
                "deployment": f"{row.provider}/{row.model}",
                "tried": row.tried,
                "escalated": row.escalated,
            }
            for row in known.rows.escalations
        ],
    }


def _attempt(attempt: Attempt) -> Json:
    return {
        "deployment": attempt.deployment,
        "outcome": attempt.outcome,
        "status": attempt.status if attempt.outcome != "ok" else None,
        "cost_usd": usd(attempt.cost_nusd),
        "latency_ms": attempt.latency_ms,
        "waited_ms": attempt.waited_ms or None,
        "rejected": attempt.rejected,
    }


def _usage(usage: Usage | None) -> Json:
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input_total,
        "cached_tokens": usage.cache_read or None,
        "output_tokens": usage.output_total,
        "reasoning_tokens": usage.reasoning or None,
        "searches": usage.searches or None,
    }


def status(report: "StatusReport", *, notice: str) -> Json:
    return {
        "providers": [_provider(provider) for provider in report.providers],
        "embedder": report.embedder,
        "notes": noted(notice, report.notes),
    }


def _provider(provider: "ProviderStatus") -> Json:
    return {
        "name": provider.name,
        "title": provider.title if provider.title.lower() != provider.name else "",
        "state": provider.state,
        "detail": provider.detail,
        "fix": provider.fix,
        **_breaker(provider.breaker, provider.until_ms),
        **_use(provider.use),
        "models": [
            {
                "id": model.id,
                "name": model.name if model.name != model.id else "",
                "state": model.state,
                "detail": model.detail,
                "replacement": model.replacement,
                "retires": model.retires,
                **_breaker(model.breaker, model.until_ms),
                "rate_limit_left": {one.kind: one.remaining for one in model.left},
                **_use(model.use),
            }
            for model in provider.models
        ],
    }


def _breaker(state: str, until_ms: int | None) -> Json:
    return {"breaker": state if state != "closed" else "", "until": moment(until_ms)}


def _use(use: "Use") -> Json:
    """Nothing of what was not used."""
    today = use.attempts_today > 0
    return {
        "attempts_today": use.attempts_today if today else None,
        "failed_today": use.failed_today if today else None,
        "spent_today_usd": usd(use.spent_today_nusd) if today else None,
        "attempts_7d": use.attempts or None,
        "success_7d": round(use.success, 4) if use.success is not None else None,
        "p50_ms": use.median_ms,
        "p95_ms": use.slow_ms,
        "last_error": use.last_error,
        "last_error_at": moment(use.last_error_ms),
    }


def moment(at_ms: int | None) -> str:
    """A time in UTC, to the second; "" for none."""
    return "" if at_ms is None else dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).isoformat(timespec="seconds")


def noted(notice: str, notes: Sequence[str]) -> list[str]:
    return [notice, *notes] if notice else list(notes)
