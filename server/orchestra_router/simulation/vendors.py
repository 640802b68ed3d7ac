"""The nine simulated providers, a row each: where, with which key, in which formats, with which models."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from orchestra_router.simulation import chat_vendors, embeddings, listings, models, responses_vendors
from orchestra_router.simulation.embeddings import Embeddings
from orchestra_router.simulation.gemini import Gemini
from orchestra_router.simulation.listings import Lister
from orchestra_router.simulation.messages import Messages
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.wire import Call, Format

Headers = Callable[[str, int], dict[str, str]]
"""From a request id and the time (ms) to the headers of every answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    name: str
    base_path: str
    """What a client's base URL ends in."""
    key_env: str = ""
    """The variable that holds the key; empty: no key."""
    auth: Literal["bearer", "anthropic", "gemini", "none"] = "bearer"
    wrong_key: Literal["auth", "bad_request"] = "auth"
    """How a key that is not known is refused; none at all is always `auth`."""
    models: tuple[Model, ...]
    formats: Mapping[str, Format]
    """By path; `{model}` and `{verb}` stand for Gemini's."""
    lists: Mapping[str, Lister]
    counters: Mapping[str, Callable[[Call], bytes]] = field(default_factory=dict[str, Callable[[Call], bytes]])
    """Paths that count tokens, for free."""
    embeddings: Mapping[str, Embeddings] = field(default_factory=dict[str, Embeddings])
    """By path."""
    public: frozenset[str] = frozenset()
    """Lists that need no key."""
    retired: tuple[str, ...] = ()
    """Models it served once."""
    unknown_status: int | None = None
    """The status for a model it never served, where that differs from one it retired."""
    unknown_code: str | None = None
    ended: Mapping[str, str] = field(default_factory=dict[str, str])
    """Paths that are gone, with what is said there."""
    caches: tuple[int, int] | None = None
    """Fewest tokens it caches, and the block it counts in; None: it tells of no cache, and charges for none."""
    headers: Headers = lambda _id, _now_ms: {}


def _openai_headers(request_id: str, _now_ms: int) -> dict[str, str]:
    return {
        "x-request-id": request_id,
        "openai-processing-ms": "1",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-reset-tokens": "30ms",
    }


def _anthropic_headers(request_id: str, now_ms: int) -> dict[str, str]:
    reset = dt.datetime.fromtimestamp(now_ms // 1000 + 1, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = {"request-id": request_id, "anthropic-organization-id": "simulated"}
    for kind, limit in (
        ("requests", 4000),
        ("tokens", 2_000_000),
        ("input-tokens", 1_600_000),
        ("output-tokens", 400_000),
    ):
        headers[f"anthropic-ratelimit-{kind}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{kind}-remaining"] = str(limit - 1)
        headers[f"anthropic-ratelimit-{kind}-reset"] = reset
    return headers


def _xai_headers(request_id: str, _now_ms: int) -> dict[str, str]:
    return {
        "x-request-id": request_id,
        "x-ratelimit-limit-requests": "480",
        "x-ratelimit-remaining-requests": "479",
        "x-ratelimit-limit-tokens": "4000000",
        "x-ratelimit-remaining-tokens": "3999000",
    }


def _together_headers(request_id: str, _now_ms: int) -> dict[str, str]:
    limits = {"x-ratelimit-limit": "600", "x-ratelimit-remaining": "599", "x-ratelimit-reset": "1"}
    return {"x-request-id": request_id, **limits}


def _openrouter_headers(request_id: str, _now_ms: int) -> dict[str, str]:
    return {"x-generation-id": f"gen-{request_id}"}


VENDORS: tuple[Vendor, ...] = (
    Vendor(
        name="openrouter",
        base_path="/api/v1",
        key_env="OPENROUTER_API_KEY",
        models=models.OPENROUTER,
        formats={"/api/v1/chat/completions": chat_vendors.OPENROUTER},
        lists={
            "/api/v1/models": listings.openrouter,
            "/api/v1/key": listings.openrouter_key,
            "/api/v1/credits": listings.openrouter_credits,
        },
        public=frozenset({"/api/v1/models"}),
        caches=(1024, 128),
        headers=_openrouter_headers,
    ),
    Vendor(
        name="openai",
        base_path="/v1",
        key_env="OPENAI_API_KEY",
        models=models.OPENAI,
        formats={"/v1/chat/completions": chat_vendors.OPENAI, "/v1/responses": responses_vendors.OPENAI},
        lists={"/v1/models": listings.openai},
        embeddings={"/v1/embeddings": embeddings.OPENAI},
        caches=(1024, 128),
        headers=_openai_headers,
    ),
    Vendor(
        name="anthropic",
        base_path="",
        key_env="ANTHROPIC_API_KEY",
        auth="anthropic",
        models=models.ANTHROPIC,
        formats={"/v1/messages": Messages()},
        lists={"/v1/models": listings.anthropic},
        counters={"/v1/messages/count_tokens": Messages().count},
        retired=("claude-3-haiku-20240307", "claude-3-opus-20240229", "claude-3-sonnet-20240229"),
        caches=(512, 1),
        headers=_anthropic_headers,
    ),
    Vendor(
        name="deepseek",
        base_path="",
        key_env="DEEPSEEK_API_KEY",
        models=models.DEEPSEEK,
        formats={
            "/chat/completions": chat_vendors.DEEPSEEK,
            "/v1/chat/completions": chat_vendors.DEEPSEEK,
        },
        lists={
            "/models": listings.plain,
            "/v1/models": listings.plain,
            "/user/balance": listings.deepseek_balance,
        },
        caches=(64, 64),
    ),
    Vendor(
        name="gemini",
        base_path="",
        key_env="GEMINI_API_KEY",
        auth="gemini",
        models=models.GEMINI,
        formats={
            "/v1/models/{model}:{verb}": Gemini(),
            "/v1beta/models/{model}:{verb}": Gemini(),
        },
        lists={"/v1/models": listings.gemini, "/v1beta/models": listings.gemini},
        caches=(1024, 128),
    ),
    Vendor(
        name="perplexity",
        base_path="/v1",
        key_env="PERPLEXITY_API_KEY",
        models=models.PERPLEXITY,
        formats={"/v1/responses": responses_vendors.PERPLEXITY, "/v1/agent": responses_vendors.PERPLEXITY},
        lists={"/v1/models": listings.plain},
        ended=dict.fromkeys(("/chat/completions", "/v1/chat/completions"), "Sonar is now the Agent API"),
        caches=(1024, 128),
    ),
    Vendor(
        name="together",
        base_path="/v1",
        key_env="TOGETHER_API_KEY",
        models=models.TOGETHER,
        formats={"/v1/chat/completions": chat_vendors.TOGETHER},
        lists={"/v1/models": listings.together},
        retired=(
            "meta-llama/Llama-3-8b-chat-hf",
            "meta-llama/Llama-3-70b-chat-hf",
            "togethercomputer/CodeLlama-34b-Instruct",
        ),
        unknown_status=404,
        unknown_code="model_not_found",
        headers=_together_headers,
    ),
    Vendor(
        name="xai",
        base_path="/v1",
        key_env="XAI_API_KEY",
        wrong_key="bad_request",  # seen 2025-06 to 2026-03
        models=models.XAI,
        formats={"/v1/chat/completions": chat_vendors.XAI, "/v1/responses": responses_vendors.XAI},
        lists={
            "/v1/models": listings.plain,
            "/v1/language-models": listings.xai_language_models,
            "/v1/api-key": listings.xai_key,
        },
        caches=(1024, 128),
        headers=_xai_headers,
    ),
    Vendor(
        name="ollama",
        base_path="/v1",
        auth="none",
        models=models.OLLAMA,
        formats={"/v1/chat/completions": chat_vendors.OLLAMA},
        lists={"/v1/models": listings.plain, "/api/version": listings.ollama_version},
        embeddings={"/v1/embeddings": embeddings.OLLAMA},
    ),
)
