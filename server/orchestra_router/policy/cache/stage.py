"""The cache as a stage of a request: looked in before anything is paid for, and written after.

Failing open: a cache that cannot be read or written costs money, but no answer.
"""

import asyncio
import functools
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from orchestra_router import ids
from orchestra_router.catalog import Catalog
from orchestra_router.config import Settings
from orchestra_router.embedding.base import EmbedderSource, Payer
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.errors import EmbedderUnavailable, StoreError
from orchestra_router.observe import logger
from orchestra_router.policy.cache import feedback
from orchestra_router.policy.cache.eligibility import eligibility, unfit
from orchestra_router.policy.cache.question import Question, question
from orchestra_router.policy.cache.semantic import NOTHING, Found, Semantics, vector_of
from orchestra_router.policy.lexical_guard import GUARD_VERSION
from orchestra_router.store.cache_records import CacheEntry, CacheLimits, CacheMatch, CacheQuestion, CacheStore
from orchestra_router.types import Answer, CacheStatus, CompletionRequest, Message, Text

_ANY = CompletionRequest(messages=(Message("user", (Text("How are you?"),)),))
SHADOW_KEPT_MS = 7 * 86_400_000
"""What would have been served is kept for somebody to judge it; what was served, as long as its entry."""


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
    def __init__(self, store: CacheStore, settings: Settings, catalog: Catalog, embedder: EmbedderSource) -> None:
        self._store = store
        self._embedder = embedder
        self._settings = settings
        self._catalog = catalog
        self._keeping: set[asyncio.Future[None]] = set()
        self._limits = CacheLimits(
            entries=settings.cache_entries,
            entries_per_scope=settings.cache_entries_per_scope,
            bytes=round(settings.cache_mb * 1_000_000),
        )
        self.semantics = Semantics(
            store,
            embedder,
            threshold=settings.cache_threshold,
            level=settings.cache_guard_level,
            limits=self._limits,
        )

    def warm(self) -> None:
        """Do what takes long the first time, on whichever thread."""
        self.question(_ANY)
        _stored()

    def question(
        self, request: CompletionRequest, known: PromptVector | None = None, *, streamed: bool = False
    ) -> Question:
        """`request`, its task known and its texts redacted, as the cache sees it.

        What `known` holds is not embedded again, if that is the very text that is compared.
        """
        settings = self._settings

        def vector(text: str) -> PromptVector:
            if known is not None and known.text == text:
                return known
            payer = Payer(request.scope) if known is None else known.payer
            return PromptVector(self._embedder, text, payer)

        eligible = eligibility(
            request, self._catalog, setting=settings.cache, ttl_s=settings.cache_ttl_s, streamed=streamed
        )
        return question(request, eligible, shared=settings.cache_scope, vector=vector)

    async def look(self, asked: Question, request: CompletionRequest, *, now_ms: int) -> Look:
        if asked.key is None:
            return Look(status="DISABLED", reason=asked.eligible.reason)
        if request.cache == "refresh" or (request.cache == "use" and request.wrong_cache_entry):
            return Look(status="REFRESH", reason="a new answer was asked for")
        try:
            # Who wants nothing paid for pays for no vector either.
            may_pay = request.cache != "only"
            return await self._look(asked, asked.key, now_ms=now_ms, compares=may_pay or self._embedder.is_free)
        except (StoreError, ValidationError) as error:
            logger.warning("the cache could not be read: %s", type(error).__name__)
            return Look(status="MISS", reason="the cache could not be read")
        except EmbedderUnavailable as error:
            logger.warning("%s", error)
            return Look(status="MISS", reason="the embedder failed")

    async def _look(self, asked: Question, key: str, *, now_ms: int, compares: bool) -> Look:
        comparable = asked.comparable
        wanted = CacheQuestion(key) if comparable is None else CacheQuestion(key, comparable.rough, comparable.figures)
        findings = await self._store.looked_up(wanted, now_ms=now_ms)
        if findings.entry is not None:
            return Look(status="HIT", hit=_hit(findings.entry, now_ms=now_ms))
        if comparable is None:
            return Look(status="MISS", reason=asked.eligible.reason or "nothing is kept for it")
        if not compares:
            return Look(status="MISS", reason="comparing by meaning would cost something")
        if not findings.comparable:
            return Look(status="MISS", reason=NOTHING)
        found = await self.semantics.find(comparable, asked.who, now_ms=now_ms)
        status = "SEMANTIC MISS" if found.compared else "MISS"
        shadow = self._settings.cache_shadow
        if found.entry is None:
            return Look(status=status, reason=found.reason)
        match = _match(found, found.entry, asked, served=not shadow, now_ms=now_ms)
        if found.reason:
            return Look(status=status, reason=found.reason, match=match if shadow else None)
        if shadow:
            return Look(status=status, reason="shadow mode", match=match)
        hit = _hit(found.entry, now_ms=now_ms, similarity=found.similarity)
        return Look(status="SEMANTIC HIT", hit=hit, match=match)

    def keep(self, asked: Question, cached: Cached, request: CompletionRequest, *, cost_nusd: int, now_ms: int) -> None:
        """Keep a whole, freely given answer. Errors, truncated and refused answers are asked again next time.

        Nobody waits for it, and whoever looks later finds it.
        """
        if asked.key is None or unfit(cached.answer):
            return
        comparable = asked.comparable
        entry = _entry(asked, asked.key, cached, request, cost_nusd=cost_nusd, now_ms=now_ms)
        vector = None if comparable is None else vector_of(entry, comparable)
        keeping = asyncio.ensure_future(self._store.keep(entry, vector, limits=self._limits, now_ms=now_ms))
        self._keeping.add(keeping)

        def kept(_: asyncio.Future[None]) -> None:
            self._keeping.discard(keeping)
            if (error := keeping.exception()) is not None:
                logger.warning("the cache could not be written: %s", type(error).__name__)
            elif comparable is not None and vector is None:
                self.semantics.embed_later(entry, comparable.vector.payer)

        keeping.add_done_callback(kept)

    def notes(self) -> tuple[str, ...]:
        """What whoever runs this should know."""
        if self._settings.cache != "semantic" or not (problem := self._embedder.state().problem):
            return ()
        return (f"The cache serves the same question and the same words only, not the same meaning. {problem}",)

    async def settled(self) -> None:
        """Returns when every kept answer that may be compared can be."""
        while self._keeping:
            await asyncio.wait(self._keeping)
        await self.semantics.chores.settled()

    async def aclose(self) -> None:
        """What is not embedded yet is left to whoever needs it."""
        while self._keeping:
            await asyncio.wait(self._keeping)
        await self.semantics.chores.aclose()

    async def wrong_for_all(self, entry_id: str, prompt: str | None, *, now_ms: int) -> bool:
        """The operator takes back anybody's entry: for `prompt`, or for all it was served for. False: not known.

        Raises:
            StoreError: the database cannot be used.
        """
        return await feedback.take_back(self._store, entry_id, who=None, asked=prompt, now_ms=now_ms)

    async def wrong(self, entry_id: str, asked: Question, *, now_ms: int) -> str:
        """Take back the entry that was served for `asked`, for good. What became of it, in a sentence."""
        try:
            known = await feedback.take_back(self._store, entry_id, who=asked.who, asked=asked.text, now_ms=now_ms)
        except StoreError as error:
            logger.warning("the cache could not be written: %s", type(error).__name__)
            return "The cache entry could not be deleted: the database cannot be written."
        if not known:
            return "There is no such cache entry of yours, or not any more."
        return f"The cache entry {entry_id} was deleted; what it answered is not served for this prompt again."


def _entry(
    asked: Question, key: str, cached: Cached, request: CompletionRequest, *, cost_nusd: int, now_ms: int
) -> CacheEntry:
    """Where others may find it; and where nobody read the prompt, that is left to who needs it."""
    rough = figures = prompt = shelf = words = guard = ""
    if (comparable := asked.comparable) is not None:
        if comparable.vector.row is not None:
            comparable.read()  # a vector's place is on a shelf
        rough, figures, prompt = comparable.rough, comparable.figures, comparable.text
        if (reading := comparable.reading) is not None:
            shelf, words, guard = reading.shelf, reading.words, str(GUARD_VERSION)
    return CacheEntry(
        entry_id=ids.drawn(),
        key=key,
        scope=request.scope,
        who=asked.who,
        body=_stored().dump_json(cached).decode(),
        cost_nusd=cost_nusd,
        created_ms=now_ms,
        expires_ms=now_ms + round(asked.eligible.ttl_s * 1000),
        task=request.task or "",
        provider=cached.provider,
        model=cached.model,
        rough=rough,
        figures=figures,
        shelf=shelf,
        words=words,
        guard=guard,
        prompt=prompt,
    )


def _match(found: Found, entry: CacheEntry, asked: Question, *, served: bool, now_ms: int) -> CacheMatch:
    return CacheMatch(
        entry_id=entry.entry_id,
        who=asked.who,
        earlier=entry.prompt,
        asked=asked.text,
        similarity=found.similarity,
        refusal=found.reason,
        served=served,
        at_ms=now_ms,
        expires_ms=entry.expires_ms if served else now_ms + SHADOW_KEPT_MS,
    )


def _hit(entry: CacheEntry, *, now_ms: int, similarity: float | None = None) -> Hit:
    return Hit(
        cached=_stored().validate_json(entry.body),
        entry_id=entry.entry_id,
        age_ms=now_ms - entry.created_ms,
        saved_nusd=entry.cost_nusd,
        similarity=similarity,
    )


@functools.cache
def _stored() -> TypeAdapter[Cached]:
    return TypeAdapter(Cached)
