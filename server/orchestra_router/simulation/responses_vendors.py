"""Who speaks the Responses format how: what each vendor refuses, how it searches, how it counts."""

from collections.abc import Callable
from typing import Any

from orchestra_router.simulation.answering import THOUGHT_TOKENS, Outcome
from orchestra_router.simulation.chat_vendors import check_effort, check_sampling, check_strict
from orchestra_router.simulation.failures import Refused
from orchestra_router.simulation.models import PERPLEXITY_FAST_SEARCH, PERPLEXITY_PRESETS, Model
from orchestra_router.simulation.prices import dollars
from orchestra_router.simulation.responses import Item, Responses, ResponsesRequest

Find = Callable[[str], Model]


def _named(request: ResponsesRequest, find: Find) -> tuple[Model, str]:
    if request.model is None:
        raise Refused("bad_request", "Missing required parameter: 'model'.", param="model")
    return find(request.model), request.model


def _one_search(request: ResponsesRequest) -> tuple[int, str]:
    return int(any(tool.type.startswith("web_search") for tool in request.tools or ())), ""


# --- OpenAI and xAI -----------------------------------------------------------------------------------------

_OPENAI_FIELDS = frozenset(
    {
        "background",
        "context_management",
        "conversation",
        "max_tool_calls",
        "metadata",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "top_logprobs",
        "truncation",
        "user",
    }
)
"""What it takes beyond the fields of `ResponsesRequest`."""
_PERPLEXITY_ONLY = ("models", "preset", "response_format")


def _check_openai(request: ResponsesRequest) -> None:
    unknown = set(request.model_extra or ()) - _OPENAI_FIELDS
    unknown |= {name for name in _PERPLEXITY_ONLY if getattr(request, name) is not None}
    for name in sorted(unknown):
        raise Refused("bad_request", f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    for number, tool in enumerate(request.tools or ()):
        if tool.type == "function" and not tool.name:
            param = f"tools[{number}].name"
            raise Refused("bad_request", f"Missing required parameter: '{param}'.", param=param)
        if tool.strict:
            check_strict(tool.parameters or {}, param=f"tools[{number}].parameters")
    wanted = request.format
    if wanted is not None and wanted.type == "json_schema":
        if not wanted.name or wanted.schema_ is None:
            raise Refused("bad_request", "Missing required parameter: 'text.format.name'.", param="text.format.name")
        if wanted.strict:
            check_strict(wanted.schema_, param="text.format.schema")


def _check_openai_model(request: ResponsesRequest, model: Model) -> None:
    effort = request.effort or model.effort
    check_effort(effort, model, param="reasoning.effort")
    check_sampling(request.temperature, request.top_p, effort)


def _check_xai_model(request: ResponsesRequest, _model: Model) -> None:
    if request.effort not in {None, "none", "low", "medium", "high", "xhigh"}:
        raise Refused("bad_request", f"This model does not support reasoning effort '{request.effort}'.")


def _check_nothing(_request: ResponsesRequest) -> None:
    """Unknown fields are ignored."""


def _web_search_calls(outcome: Outcome) -> list[Item]:
    action = {"type": "search", "query": "simulated", "queries": ["simulated"]}
    return [
        {"id": f"ws_{outcome.id}_{number}", "type": "web_search_call", "status": "completed", "action": action}
        for number in range(outcome.tokens.searches)
    ]


def _untold(_outcome: Outcome) -> list[Item]:
    return []


def _openai_usage(outcome: Outcome) -> dict[str, Any]:
    tokens = outcome.tokens
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.written},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.total,
    }


def _xai_usage(outcome: Outcome) -> dict[str, Any]:
    """Here, unlike on its chat completions, reasoning is part of the output."""
    return _openai_usage(outcome) | {
        "num_sources_used": len(outcome.sources),
        "num_server_side_tools_used": outcome.tokens.searches,
        "server_side_tool_usage_details": {"web_search_calls": outcome.tokens.searches},
        "cost_in_usd_ticks": outcome.charge.nusd * 10,
    }


def _citations(outcome: Outcome) -> dict[str, Any]:
    return {"citations": [source.url for source in outcome.sources]}


# --- Perplexity ---------------------------------------------------------------------------------------------

_PERPLEXITY_FIELDS = frozenset({"background", "language_preference", "max_steps", "previous_response_id", "skills"})
_NOT_PERPLEXITY = ("temperature", "top_p", "text", "include", "stream_options", "tool_choice")
_PERPLEXITY_TOOLS = frozenset(
    {"web_search", "fetch_url", "people_search", "finance_search", "sandbox", "mcp", "function"}
)


def _check_perplexity(request: ResponsesRequest) -> None:
    unknown = set(request.model_extra or ()) - _PERPLEXITY_FIELDS - {"store"}
    unknown |= {name for name in _NOT_PERPLEXITY if getattr(request, name) is not None}
    for name in sorted(unknown):
        raise Refused("bad_request", f"Unknown field: {name}")
    if isinstance(request.input, list) and not all(item.type for item in request.input):
        raise Refused("bad_request", "Every input item needs a type")
    for tool in request.tools or ():
        if tool.type not in _PERPLEXITY_TOOLS:
            raise Refused("bad_request", f"Unknown tool type: {tool.type}")
    if request.effort is not None and request.effort not in set(THOUGHT_TOKENS) - {"none", "max"}:
        raise Refused("bad_request", "reasoning.effort must be minimal, low, medium, high or xhigh")


def _pick_perplexity(request: ResponsesRequest, find: Find) -> tuple[Model, str]:
    """The model, the first of `models`, or what stands behind the preset."""
    if request.model or request.models:
        name = request.model or (request.models or [""])[0]
        return find(name), name
    if request.preset not in PERPLEXITY_PRESETS:
        raise Refused("bad_request", "One of model, models and preset is required")
    return find("perplexity/sonar"), request.preset


def _fine_with_any_model(_request: ResponsesRequest, _model: Model) -> None:
    """Perplexity checks nothing that depends on the model."""


def _perplexity_searches(request: ResponsesRequest) -> tuple[int, str]:
    """A preset searches by itself, the harder the more; else the tool does, once."""
    if request.preset in PERPLEXITY_PRESETS:
        return 1 + PERPLEXITY_PRESETS.index(request.preset), ""
    kinds = [tool.search_type for tool in request.tools or () if tool.type == "web_search"]
    return int(bool(kinds)), PERPLEXITY_FAST_SEARCH if "fast" in kinds else ""


def _search_results(outcome: Outcome) -> list[Item]:
    if not outcome.sources:
        return []
    return [{"type": "search_results", "queries": ["simulated"], "results": _results(outcome)}]


def _results(outcome: Outcome) -> list[Item]:
    return [
        {"id": number, "title": source.title, "url": source.url, "snippet": source.snippet, "source": "web"}
        for number, source in enumerate(outcome.sources, start=1)
    ]


def _told_searches(outcome: Outcome) -> list[Item]:
    if not outcome.sources:
        return []
    return [
        {"type": "response.reasoning.started", "thought": "simulated"},
        {"type": "response.reasoning.search_queries", "queries": ["simulated"]},
        {"type": "response.reasoning.search_results", "results": _results(outcome)},
        {"type": "response.reasoning.stopped"},
    ]


def _perplexity_usage(outcome: Outcome) -> dict[str, Any]:
    tokens, charge = outcome.tokens, outcome.charge
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {
            "cache_read_input_tokens": tokens.cached,
            "cache_creation_input_tokens": tokens.written,
        },
        "output_tokens": tokens.output,
        "total_tokens": tokens.total,
        "tool_calls_details": {"search_web": {"invocation": tokens.searches}} if tokens.searches else {},
        "cost": {
            "currency": "USD",
            "input_cost": dollars(charge.fresh),
            "cache_read_cost": dollars(charge.cached),
            "cache_creation_cost": dollars(charge.written),
            "output_cost": dollars(charge.output),
            "tool_calls_cost": dollars(charge.searches),
            "total_cost": dollars(charge.nusd),
        },
    }


OPENAI = Responses(
    check=_check_openai,
    check_model=_check_openai_model,
    pick=_named,
    usage=_openai_usage,
    searches=_one_search,
    search_items=_web_search_calls,
    search_events=_untold,
    obfuscates=True,
)
XAI = Responses(
    check=_check_nothing,
    check_model=_check_xai_model,
    pick=_named,
    usage=_xai_usage,
    searches=_one_search,
    search_items=_web_search_calls,
    search_events=_untold,
    last_fields=_citations,
)
PERPLEXITY = Responses(
    check=_check_perplexity,
    check_model=_fine_with_any_model,
    pick=_pick_perplexity,
    usage=_perplexity_usage,
    searches=_perplexity_searches,
    search_items=_search_results,
    search_events=_told_searches,
    annotation_type="citation",
    shows_reasoning=False,
    has_parts=False,
    calls_status="requires_action",
    error_event="response.failed",
)
