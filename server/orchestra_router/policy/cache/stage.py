"""The cache as a stage of a request: looked in before anything is paid for, and written after.

Failing open: a cache that cannot be read or written costs money, but no answer.
"""

import functools
import secrets
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from orchestra_router.catalog import Catalog
from orchestra_router.config import Settings
from orchestra_router.errors import StoreError
from orchestra_router.observe import logger
from orchestra_router.policy.cache import feedback
from orchestra_router.policy.cache.eligibility import eligibility, unfit
from orchestra_router.policy.cache.question import Question, question
from orchestra_router.store.base import Store
from orchestra_router.store.cache_records import CacheEntry, CacheLimits, CacheMatch, CacheQuestion
from orchestra_router.types import Answer, CacheStatus, CompletionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """An answer as the cache keeps it: in redacted form, with who wrote it."""

    answer: Answer
    provider: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    cached: Cached
    entry_id: str
    age_ms: int
    saved_nusd: int
    similarity: float | None = None
    """None for an exact hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of one look in the cache."""

    status: CacheStatus
    reason: str = ""
    """Why it is no hit; what follows a colon may be of the prompts."""
    hit: Hit | None = None
    match: CacheMatch | None = None
    """The entry that answered by meaning, or would have."""

    @property
    def short_reason(self) -> str:
        """The reason without anything of the prompts."""
        return self.reason.partition(":")[0]


class Cache:
    def __init__(self, store: Store, settings: Settings, catalog: Catalog) -> None:
        self._store = store
        self._settings = settings
        self._catalog = catalog
        self._limits = CacheLimits(
            entries=settings.cache_entries,
            entries_per_scope=settings.cache_entries_per_scope,
            bytes=round(settings.cache_mb * 1_000_000),
        )

    def question(self, request: CompletionRequest) -> Question:
        """`request`, its task known and its texts redacted, as the cache sees it."""
        settings = self._settings
        eligible = eligibility(request, self._catalog, setting=settings.cache, ttl_s=settings.cache_ttl_s)
        return question(request, eligible, shared=settings.cache_scope)

    async def look(self, asked: Question, request: CompletionRequest, *, now_ms: int) -> Look:
        if asked.key is None:
            return Look(status="DISABLED", reason=asked.eligible.reason)
        if request.cache == "refresh" or (request.cache == "use" and request.wrong_cache_entry):
            return Look(status="REFRESH", reason="a new answer was asked for")
        try:
            found = await self._store.looked_up(CacheQuestion(key=asked.key), now_ms=now_ms)
            if found.entry is None:
                return Look(status="MISS", reason=asked.eligible.reason or "nothing is kept for it")
            return Look(status="HIT", hit=_hit(found.entry, now_ms=now_ms))
        except (StoreError, ValidationError) as error:
            logger.warning("the cache could not be read: %s", type(error).__name__)
            return Look(status="MISS", reason="the cache could not be read")

    async def keep(
        self, asked: Question, cached: Cached, request: CompletionRequest, *, cost_nusd: int, now_ms: int
    ) -> None:
        """Keep a whole, freely given answer. Errors, truncated and refused answers are asked again next time."""
        if asked.key is None or unfit(cached.answer):
            return
        entry = CacheEntry(
            entry_id=secrets.token_hex(8),
            key=asked.key,
            scope=request.scope,
            who=asked.who,
            body=_stored().dump_json(cached).decode(),
            cost_nusd=cost_nusd,
            created_ms=now_ms,
            expires_ms=now_ms + round(asked.eligible.ttl_s * 1000),
            task=request.task or "",
            provider=cached.provider,
            model=cached.model,
        )
        try:
            await self._store.keep(entry, None, limits=self._limits, now_ms=now_ms)
        except StoreError as error:
            logger.warning("the cache could not be written: %s", type(error).__name__)

    async def wrong(self, entry_id: str, asked: Question, *, now_ms: int) -> str:
        """Take back the entry that was served for `asked`, for good. What became of it, in a sentence."""
        try:
            known = await feedback.take_back(self._store, entry_id, who=asked.who, asked=asked.text, now_ms=now_ms)
        except StoreError as error:
            logger.warning("the cache could not be written: %s", type(error).__name__)
            return f"The cache entry {entry_id} could not be deleted: the database cannot be written."
        if not known:
            return f"There is no cache entry {entry_id} of yours, or not any more."
        return f"The cache entry {entry_id} was deleted; what it answered is not served for this prompt again."


def _hit(entry: CacheEntry, *, now_ms: int) -> Hit:
    return Hit(
        cached=_stored().validate_json(entry.body),
        entry_id=entry.entry_id,
        age_ms=now_ms - entry.created_ms,
        saved_nusd=entry.cost_nusd,
    )


@functools.cache
def _stored() -> TypeAdapter[Cached]:
    return TypeAdapter(Cached)
