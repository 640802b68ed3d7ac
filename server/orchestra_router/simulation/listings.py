"""The free calls: lists of models, and probes of a key or a balance."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from orchestra_router.simulation.models import Model

_CREATED_S = 1_760_000_000
"""When every simulated model was made: 2025-10-09."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a provider has to list: what it serves on this day, and what it has retired."""

    served: tuple[Model, ...]
    retired: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict[str, str])


Lister = Callable[[Listing], Any]


def openai(listing: Listing) -> dict[str, Any]:
    return _list({**_model(model), "shutdown_date": _day(model.ends)} for model in listing.served)


def plain(listing: Listing) -> dict[str, Any]:
    """DeepSeek, Perplexity, xAI and Ollama: OpenAI's list, without dates of their ends."""
    return _list(_model(model) for model in listing.served)


def anthropic(listing: Listing) -> dict[str, Any]:
    """Retired models stay on the list, as a record."""
    data = [_claude(model.id, model, "active" if model.ends is None else "deprecated") for model in listing.served]
    data += [_claude(id_, None, "retired") for id_ in listing.retired]
    after = listing.query.get("after_id")
    start = next((number for number, row in enumerate(data, start=1) if row["id"] == after), 0)
    limit = int(listing.query.get("limit", "20"))
    page = data[start : start + limit]
    return {
        "data": page,
        "has_more": start + limit < len(data),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _claude(id_: str, model: Model | None, lifecycle: str) -> dict[str, Any]:
    ends = model.ends if model is not None else dt.date(2026, 4, 20)
    return {
        "type": "model",
        "id": id_,
        "display_name": id_.replace("-", " ").title(),
        "created_at": "2025-10-09T00:00:00Z",
        "lifecycle": lifecycle,
        "deprecated_at": None if lifecycle == "active" else "2026-01-15T00:00:00Z",
        "retires_at": None if ends is None else f"{ends.isoformat()}T00:00:00Z",
        "line": next((line for line in ("haiku", "sonnet", "opus", "fable") if line in id_), None),
        "max_input_tokens": model.context if model is not None else None,
        "max_tokens": model.max_output if model is not None else None,
        "capabilities": None,
    }


def gemini(listing: Listing) -> dict[str, Any]:
    size = int(listing.query.get("pageSize", "50"))
    start = int(listing.query.get("pageToken", "0"))
    page = listing.served[start : start + size]
    models = [
        {
            "name": f"models/{model.id}",
            "version": "001",
            "displayName": model.id,
            "inputTokenLimit": model.context,
            "outputTokenLimit": model.max_output,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "thinking": model.effort != "none",
        }
        for model in page
    ]
    more = {"nextPageToken": str(start + size)} if start + size < len(listing.served) else {}
    return {"models": models, **more}


def openrouter(listing: Listing) -> dict[str, Any]:
    return {
        "data": [
            {
                "id": model.id,
                "canonical_slug": model.id,
                "name": model.id,
                "created": _CREATED_S,
                "context_length": model.context,
                "architecture": {
                    "modality": "text->text",
                    "input_modalities": ["text"],
                    "output_modalities": ["text"],
                    "tokenizer": "Other",
                    "instruct_type": None,
                },
                "pricing": {
                    "prompt": _per_token(model.prices[-1].input),
                    "completion": _per_token(model.prices[-1].output),
                },
                "top_provider": {
                    "context_length": model.context,
                    "max_completion_tokens": model.max_output,
                    "is_moderated": False,
                },
                "per_request_limits": None,
                "supported_parameters": ["max_tokens", "temperature", "tools", "tool_choice", "structured_outputs"],
                "default_parameters": None,
                "supported_voices": None,
                "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
                "expiration_date": _day(model.ends),
            }
            for model in listing.served
        ]
    }


def openrouter_key(_listing: Listing) -> dict[str, Any]:
    return {
        "data": {
            "label": "simulated",
            "limit": None,
            "limit_remaining": None,
            "limit_reset": None,
            "usage": 0,
            "usage_daily": 0,
            "usage_weekly": 0,
            "usage_monthly": 0,
            "is_free_tier": False,
            "is_provisioning_key": False,
        }
    }


def openrouter_credits(_listing: Listing) -> dict[str, Any]:
    return {"data": {"total_credits": 100, "total_usage": 0}}


def deepseek_balance(_listing: Listing) -> dict[str, Any]:
    balance = {"currency": "USD", "total_balance": "10.00", "granted_balance": "0.00", "topped_up_balance": "10.00"}
    return {"is_available": True, "balance_infos": [balance]}


def together(listing: Listing) -> list[dict[str, Any]]:
    return [
        {
            **_model(model),
            "type": "chat",
            "display_name": model.id,
            "organization": model.id.split("/")[0],
            "context_length": model.context,
            "pricing": {
                "input": float(model.prices[-1].input),
                "output": float(model.prices[-1].output),
                "cached_input": float(model.prices[-1].cached or model.prices[-1].input),
                "hourly": 0,
                "base": 0,
                "finetune": 0,
            },
        }
        for model in listing.served
    ]


def xai_language_models(listing: Listing) -> dict[str, Any]:
    """Prices are in ten-thousandths of a dollar per million tokens."""
    return {
        "models": [
            {
                **_model(model),
                "version": "1.0",
                "aliases": [],
                "input_modalities": ["text", "image"],
                "output_modalities": ["text"],
                "prompt_text_token_price": int(Decimal(model.prices[-1].input) * 10_000),
                "cached_prompt_text_token_price": int(Decimal(model.prices[-1].cached) * 10_000),
                "completion_text_token_price": int(Decimal(model.prices[-1].output) * 10_000),
            }
            for model in listing.served
        ]
    }


def xai_key(_listing: Listing) -> dict[str, Any]:
    return {
        "name": "simulated",
        "redacted_api_key": "xai-...simu",
        "acls": ["api-key:model:*", "api-key:endpoint:*"],
        "team_blocked": False,
        "api_key_blocked": False,
        "api_key_disabled": False,
    }


def ollama_version(_listing: Listing) -> dict[str, Any]:
    return {"version": "0.14.0"}


def _list(data: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": list(data)}


def _model(model: Model) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": _CREATED_S, "owned_by": "simulated"}


def _day(day: dt.date | None) -> str | None:
    return None if day is None else day.isoformat()


def _per_token(rate: str) -> str:
    """A rate per million tokens as a plain decimal per token."""
    return format(Decimal(rate) / 1_000_000, "f").rstrip("0")
