"""Which answers may be served again, to whom, and for how long.

The key is the whole question: who asks, which model or task is meant, everything the model reads and every
parameter that shapes its answer. So a hit is an answer to exactly this request, of exactly this scope.
"""

import functools
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from orchestra_router.errors import StoreError
from orchestra_router.observe import logger
from orchestra_router.store.base import CacheEntry, Store
from orchestra_router.types import Answer, CompletionRequest

WEB_SEARCH_TTL_S = 300.0
"""What the web says ages faster than other answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """An answer as the cache keeps it: in redacted form, with who wrote it."""

    answer: Answer
    provider: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hit:
    cached: Cached
    entry_id: str
    age_ms: int
    saved_nusd: int


class ExactCache:
    """Failing open: a cache that cannot be read or written costs money, but no answer."""

    def __init__(self, store: Store, *, enabled: bool, ttl_s: float, scope: frozenset[str]) -> None:
        self._store = store
        self._enabled = enabled
        self._ttl_s = ttl_s
        self._scope = scope

    def key(self, request: CompletionRequest) -> str | None:
        """What an identical request shares, or None for one whose answer is never kept.

        Never kept: tool calls in the making (tools are offered), and anything the caller wants varied
        (a temperature above 0).
        """
        if not self._enabled or request.cache == "off" or request.tools or (request.temperature or 0) > 0:
            return None
        scope = request.scope
        question = {
            "who": [
                scope.access_key,
                scope.user if "user" in self._scope else "",
                scope.session if "session" in self._scope else "",
            ],
            "intent": [request.task, request.provider, request.model],
            "messages": [asdict(message) for message in request.messages],
            "schema": request.response_schema,
            "parameters": [
                request.max_tokens,
                request.temperature,
                request.top_p,
                request.stop,
                request.effort,
                request.web_search,
                request.strict_params,
            ],
        }
        return hashlib.sha256(json.dumps(question, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    async def lookup(self, key: str | None, request: CompletionRequest, *, now_ms: int) -> Hit | None:
        if key is None or request.cache == "refresh":
            return None
        try:
            entry = await self._store.cached(key, now_ms=now_ms)
            return entry and Hit(
                cached=_stored().validate_json(entry.body),
                entry_id=entry.entry_id,
                age_ms=now_ms - entry.created_ms,
                saved_nusd=entry.cost_nusd,
            )
        except (StoreError, ValidationError) as error:
            logger.warning("the cache could not be read: %s", type(error).__name__)
            return None

    async def keep(
        self, key: str | None, cached: Cached, request: CompletionRequest, *, cost_nusd: int, now_ms: int
    ) -> None:
        """Keep a whole, freely given answer. Errors, truncated and refused answers are asked again next time."""
        if key is None or cached.answer.finish != "stop" or not cached.answer.text.strip():
            return
        ttl_s = min(self._ttl_s, WEB_SEARCH_TTL_S) if request.web_search else self._ttl_s
        entry = CacheEntry(
            entry_id=secrets.token_hex(8),
            key=key,
            scope=request.scope,
            body=_stored().dump_json(cached).decode(),
            cost_nusd=cost_nusd,
            created_ms=now_ms,
            expires_ms=now_ms + round(ttl_s * 1000),
        )
        try:
            await self._store.keep(entry)
        except StoreError as error:
            logger.warning("the cache could not be written: %s", type(error).__name__)


@functools.cache
def _stored() -> TypeAdapter[Cached]:
    return TypeAdapter(Cached)
