"""Who speaks chat completions how: what each vendor refuses, how hard it thinks, how it counts.

The rules are those of the vendors' documentation and of what their users meet.
"""

from typing import Any

from orchestra_router.simulation.answering import THOUGHT_TOKENS, Outcome
from orchestra_router.simulation.chat import Chat, ChatRequest
from orchestra_router.simulation.failures import Refused
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.prices import dollars
from orchestra_router.simulation.schemas import open_object

# --- usage, as each vendor counts ---------------------------------------------------------------------------


def _openai_usage(outcome: Outcome) -> dict[str, Any]:
    """Prompt with what was cached and written, completion with the reasoning."""
    tokens = outcome.tokens
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.total,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cached,
            "audio_tokens": 0,
            **({"cache_write_tokens": tokens.written} if outcome.ask.model.prices[0].written else {}),
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _openrouter_usage(outcome: Outcome) -> dict[str, Any]:
    cost = dollars(outcome.charge.nusd)
    return _openai_usage(outcome) | {
        "cost": cost,
        "is_byok": False,
        "cost_details": {"upstream_inference_cost": cost},
        "server_tool_use_details": {"web_search_requests": outcome.tokens.searches},
    }


def _deepseek_usage(outcome: Outcome) -> dict[str, Any]:
    tokens = outcome.tokens
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.total,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "prompt_cache_hit_tokens": tokens.cached,
        "prompt_cache_miss_tokens": tokens.fresh,
    }


def _bare_usage(outcome: Outcome) -> dict[str, Any]:
    """Together and Ollama: no details."""
    tokens = outcome.tokens
    return {"prompt_tokens": tokens.input, "completion_tokens": tokens.output, "total_tokens": tokens.total}


def _xai_usage(outcome: Outcome) -> dict[str, Any]:
    """Reasoning stands beside the completion, not in it; the cost is in ticks of a ten-billionth of a dollar."""
    tokens = outcome.tokens
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.visible,
        "total_tokens": tokens.total,
        "prompt_tokens_details": {
            "text_tokens": tokens.input,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": tokens.cached,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
        "num_sources_used": len(outcome.sources),
        "cost_in_usd_ticks": outcome.charge.nusd * 10,
    }


# --- what each refuses --------------------------------------------------------------------------------------

_OPENAI_FIELDS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "top_logprobs",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""What it takes beyond the fields of `ChatRequest`."""
_OTHERS_FIELDS = ("thinking", "reasoning", "plugins", "search_parameters")
"""Fields of `ChatRequest` that are other vendors' own."""


def _openai_effort(request: ChatRequest, model: Model) -> str:
    return request.reasoning_effort or model.effort


def check_effort(effort: str, model: Model, *, param: str) -> None:
    """OpenAI: an effort it knows, and not one that this model cannot do."""
    if effort not in THOUGHT_TOKENS or (model.always_thinks and effort in {"none", "minimal"}):
        message = f"Unsupported value: '{param}' does not support '{effort}' with this model."
        raise Refused("bad_request", message, param=param, code="unsupported_value")


def check_strict(schema: dict[str, Any], *, param: str) -> None:
    """OpenAI's strict mode wants every object closed and every property required."""
    if where := open_object(schema, all_required=True):
        message = f"Invalid schema: at '{where}', 'additionalProperties' must be false and all properties required."
        raise Refused("bad_request", message, param=param, code="invalid_json_schema")


def _check_openai(request: ChatRequest, model: Model) -> None:
    unknown = set(request.model_extra or ()) - _OPENAI_FIELDS
    unknown |= {name for name in _OTHERS_FIELDS if getattr(request, name) is not None}
    for name in sorted(unknown):
        raise Refused("bad_request", f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    _check_reasoning(request, model)
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise Refused("bad_request", "Missing required parameter.", param="response_format.json_schema")
        if wanted.json_schema.strict:
            check_strict(wanted.json_schema.schema_, param="response_format")
    _check_json_is_mentioned(request)
    for tool in request.functions:
        if tool.strict:
            check_strict(tool.parameters, param="tools")


def _check_reasoning(request: ChatRequest, model: Model) -> None:
    """What a model that reasons does not take, and what one that does not."""
    for name in ("max_tokens", "stop") if model.reasons else ("reasoning_effort",):
        if getattr(request, name) is not None:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            raise Refused("bad_request", message, param=name, code="unsupported_parameter")
    effort = _openai_effort(request, model)
    check_effort(effort, model, param="reasoning_effort")
    check_sampling(request.temperature, request.top_p, effort)
    if request.functions and effort != "none" and model.id.startswith("gpt-6"):  # refused since gpt-5.4
        message = f"Function tools with reasoning_effort are not supported for {model.id} in /v1/chat/completions."
        raise Refused("bad_request", f"{message} Use /v1/responses instead.", param="reasoning_effort")


def check_sampling(temperature: float | None, top_p: float | None, effort: str) -> None:
    """OpenAI's reasoning models sample at 1, unless they do not reason."""
    for name, value in (("temperature", temperature), ("top_p", top_p)):
        if value is not None and value != 1 and effort != "none":
            message = f"Unsupported value: '{name}' does not support {value} with this model. Only 1 is supported."
            raise Refused("bad_request", message, param=name, code="unsupported_value")


def _check_json_is_mentioned(request: ChatRequest) -> None:
    if request.response_format is None or request.response_format.type != "json_object":
        return
    if not any("json" in message.text.lower() for message in request.messages):
        message = "The prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."
        raise Refused("bad_request", message, param="messages")


def _thinks_at_deepseek(request: ChatRequest) -> bool:
    return request.thinking is None or request.thinking.type != "disabled"


def _check_deepseek(request: ChatRequest, model: Model) -> None:
    _check_json_is_mentioned(request)
    if request.response_format is not None and request.response_format.type == "json_schema":
        raise Refused("bad_request", "This response_format type is unavailable now")
    for tool in request.tools or ():
        if tool.type != "function":
            raise Refused("bad_request", f"tools: unknown variant `{tool.type}`, expected `function`", status=422)
    if _thinks_at_deepseek(request) and any(
        message.role == "assistant" and message.reasoning_content is None for message in request.messages
    ):
        message = "The `reasoning_content` in the thinking mode must be passed back to the API."
        raise Refused("bad_request", message)
    if model.id == "deepseek-v4-pro" and any(message.images for message in request.messages):
        raise Refused("bad_request", "unknown variant `image_url`, expected `text`", status=422)


def _deepseek_effort(request: ChatRequest, model: Model) -> str:
    return (request.reasoning_effort or model.effort) if _thinks_at_deepseek(request) else "none"


def _check_xai(request: ChatRequest, _model: Model) -> None:
    if request.search_parameters is not None:
        message = "Live search is deprecated. Please switch to the Agent Tools API."
        raise Refused("bad_request", message, status=410, code="The requested resource is gone")
    extra = request.model_extra or {}
    refused = {"stop": request.stop, **{name: extra.get(name) for name in ("frequency_penalty", "presence_penalty")}}
    for name, value in refused.items():
        if value:
            raise Refused("bad_request", f"Argument not supported on this model: {name}")
    if request.reasoning_effort not in {None, "none", "low", "medium", "high", "xhigh"}:
        raise Refused("bad_request", f"This model does not support reasoning_effort '{request.reasoning_effort}'.")


def _reasoning_effort(request: ChatRequest, model: Model) -> str:
    """At xAI and Ollama: OpenAI's field, with an effort they do not know left at their own."""
    effort = request.reasoning_effort or model.effort
    return effort if effort in THOUGHT_TOKENS else model.effort


def _switched_effort(request: ChatRequest, model: Model) -> str:
    """OpenRouter and Together: `reasoning` with an effort or a switch, or OpenAI's field."""
    switch = request.reasoning
    if switch is not None and switch.enabled is False:
        return "none"
    effort = (switch.effort if switch is not None else None) or request.reasoning_effort or model.effort
    return effort if effort in THOUGHT_TOKENS else model.effort


def _check_nothing(_request: ChatRequest, _model: Model) -> None:
    """Unsupported parameters are dropped in silence."""


# --- what each shows ----------------------------------------------------------------------------------------


def _citing(outcome: Outcome) -> dict[str, Any]:
    annotations = [
        {
            "type": "url_citation",
            "url_citation": {"url": source.url, "title": source.title, "start_index": 0, "end_index": 0},
        }
        for source in outcome.sources
    ]
    return {"refusal": None, "annotations": annotations}


def _service_tier(_outcome: Outcome) -> dict[str, Any]:
    return {"service_tier": "default", "system_fingerprint": None}


def _upstream(outcome: Outcome) -> dict[str, Any]:
    return {"id": f"gen-{outcome.id}", "provider": outcome.ask.model.made_by, "system_fingerprint": None}


def _citations(outcome: Outcome) -> dict[str, Any]:
    return {"citations": [source.url for source in outcome.sources]}


def _reasoning_content(text: str) -> dict[str, Any]:
    return {"reasoning_content": text}


def _reasoning(text: str) -> dict[str, Any]:
    return {"reasoning": text}


def _reasoning_details(text: str) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "text": text, "signature": "simulated", "format": "unknown", "index": 0}
    return {"reasoning": text, "reasoning_details": [detail]}


OPENAI = Chat(
    provider="openai",
    check=_check_openai,
    effort=_openai_effort,
    usage=_openai_usage,
    head_fields=_service_tier,
    message_fields=_citing,
    obfuscates=True,
)
OPENROUTER = Chat(
    provider="openrouter",
    check=_check_nothing,
    effort=_switched_effort,
    usage=_openrouter_usage,
    usage_in_stream="own_chunk",
    head_fields=_upstream,
    message_fields=_citing,
    thought_fields=_reasoning_details,
    finish_fields=("finish_reason", "native_finish_reason"),
    comment=b": OPENROUTER PROCESSING\n\n",
    error_in_chunk=True,
)
DEEPSEEK = Chat(
    provider="deepseek",
    check=_check_deepseek,
    effort=_deepseek_effort,
    usage=_deepseek_usage,
    usage_in_stream="last_chunk",
    max_tokens_fields=("max_tokens",),
    thought_fields=_reasoning_content,
    comment=b": keep-alive\n\n",
    padding=b"\n\n",
)
TOGETHER = Chat(
    provider="together",
    check=_check_nothing,
    effort=_switched_effort,
    usage=_bare_usage,
    usage_in_stream="last_chunk",
    max_tokens_fields=("max_tokens",),
    thought_fields=_reasoning,
    stop_reason="eos",
)
XAI = Chat(
    provider="xai",
    check=_check_xai,
    effort=_reasoning_effort,
    usage=_xai_usage,
    usage_in_stream="last_chunk",
    last_fields=_citations,
    thought_fields=_reasoning_content,
    calls_reason="",
)
OLLAMA = Chat(
    provider="ollama",
    check=_check_nothing,
    effort=_reasoning_effort,
    usage=_bare_usage,
    max_tokens_fields=("max_tokens",),
    thought_fields=_reasoning,
)
