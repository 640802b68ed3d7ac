"""Looking for an entry whose prompt means the same.

read the words -> pre-filter -> embed -> nearest of the shelf -> what the database still has of these -> the decision,
nearest first

Where nothing on the shelf can match, nothing is embedded. Without an embedder only the very same words match. What was
kept without being read is read by whoever needs it first.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio.lowlevel
import anyio.to_thread

from orchestra_router.embedding.base import Embedder, EmbedderSource, Payer
from orchestra_router.observe import logger
from orchestra_router.policy.cache.chores import Chores, reading_of
from orchestra_router.policy.cache.matching import refusal, refusal_by_words
from orchestra_router.policy.cache.question import Comparable, prompt_hash
from orchestra_router.policy.cache.vectors import Candidate, Shelf, Shelves, decode, encode
from orchestra_router.policy.lexical_guard import parse, ready
from orchestra_router.store.cache_records import (
    MOST_VECTORS,
    CacheEntry,
    CacheLimits,
    CacheReading,
    CacheStore,
    CacheVector,
    ShelfQuestion,
    ShelvedVector,
    Unembedded,
    Unread,
)

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

T = TypeVar("T")

FEW = 16
"""Vectors that are added faster than a thread is asked to."""
MOST_CANDIDATES = 5
MOST_GHOSTS = 4
"""Times that candidates are looked for again because all were deleted by others."""
LATE = 4
"""Prompts nobody has embedded yet that are embedded on the way, with the one that is asked."""
NOTHING = "nothing comparable is kept"
MARKED_WRONG = "marked wrong before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of it. With an `entry` it may be served if `reason` is ""; else it is the nearest that was refused."""

    reason: str
    compared: bool = False
    """With at least one prompt that is kept."""
    entry: CacheEntry | None = None
    similarity: float | None = None


class Semantics:
    def __init__(
        self, store: CacheStore, source: EmbedderSource, *, threshold: float, level: int, limits: CacheLimits
    ) -> None:
        self._store = store
        self._source = source
        self._threshold = threshold
        self._level = level
        self._shelves = Shelves(most_rows=limits.entries, most_ghosts=2 * limits.entries_per_scope)
        self._embedder: Embedder | None = None
        """Once it was needed here."""
        self.chores = Chores(store, source)

    def wanted(self, asked: Comparable, who: str) -> ShelfQuestion:
        """What to ask the database, in one go."""
        reading = asked.read()
        embedder = self._embedder.identity if self._embedder is not None else self._source.state().identity
        shelf = self._shelves.get(_name(reading.shelf, embedder))
        return ShelfQuestion(
            rough=asked.rough,
            figures=asked.figures,
            shelf=reading.shelf,
            who=who,
            words=reading.words,
            prompt_hash=prompt_hash(asked.text),
            embedder=embedder,
            seen=0 if shelf is None else shelf.newest,
        )

    def embed_later(self, entry: CacheEntry, payer: Payer) -> None:
        if self._source.state().identity:
            rough = "" if entry.shelf else entry.rough
            self.chores.embed([Unembedded(entry.entry_id, entry.prompt, "", rough)], payer)

    async def find(self, asked: Comparable, who: str, *, now_ms: int) -> Found:
        """The best of what may be served for `asked`.

        Raises:
            EmbedderUnavailable: it cannot embed.
            StoreError: the database cannot be read.
        """
        await ready()
        question = self.wanted(asked, who)
        findings = await self._store.on_shelf(question, now_ms=now_ms)
        new = await self._read_by_now(findings.unread, asked.rough)
        beside = [prompt for prompt, reading in new if reading.shelf == question.shelf]
        if not question.embedder:
            wanted = (question.shelf, question.words)
            same = [reading.entry_id for _, reading in new if (reading.shelf, reading.words) == wanted]
            more = await self._store.entries(same, now_ms=now_ms) if same else ()
            return _by_words(asked, (*findings.same_words, *more), findings.wrong)
        known = self._shelves.get(_name(question.shelf, question.embedder))
        if known is None and not findings.vectors and not findings.unembedded and not beside:
            return Found(reason=NOTHING)
        payer = asked.vector.payer
        self._embedder = await self._source.get(payer)
        if self._embedder is None:
            return Found(reason=NOTHING)
        if self._embedder.identity != question.embedder:  # only now is it known which embedder that is
            question = replace(question, embedder=self._embedder.identity, seen=0)
            findings = await self._store.on_shelf(question, now_ms=now_ms)
            known = None
        # What was read by another in this moment is in both.
        unembedded = {prompt.entry_id: prompt for prompt in (*findings.unembedded, *beside)}.values()
        late = [prompt for prompt in unembedded if not prompt.embedder][:LATE]
        self.chores.embed([prompt for prompt in unembedded if prompt not in late], payer)
        shelf = await self._shelved(known, question, findings.vectors, self._embedder, now_ms=now_ms)
        if not late and not shelf.view.has_live(now_ms):
            return Found(reason=NOTHING)
        query, *rows = await asked.vector.beside([prompt.prompt for prompt in late], self._embedder)
        if asked.vector.made_by != question.embedder:
            return Found(reason=NOTHING)  # it became another in this very moment
        vectors = [
            CacheVector(each.entry_id, question.embedder, encode(row)) for each, row in zip(late, rows, strict=True)
        ]
        self.chores.keep(vectors)
        candidates = [Candidate(each.entry_id, float(row @ query)) for each, row in zip(late, rows, strict=True)]
        return await self._best(asked, shelf, query, candidates, wrong=findings.wrong, now_ms=now_ms)

    async def _read_by_now(self, unread: Sequence[Unread], rough: str) -> list[tuple[Unembedded, CacheReading]]:
        """Each with what the guard makes of it, which is written down some time soon."""
        found: list[tuple[Unembedded, CacheReading]] = []
        for entry_id, prompt in unread:
            await anyio.lowlevel.checkpoint()
            found.append((Unembedded(entry_id, prompt, ""), reading_of(entry_id, prompt, rough)))
        self.chores.keep((), [reading for _, reading in found])
        return found

    async def _shelved(
        self,
        shelf: Shelf | None,
        question: ShelfQuestion,
        rows: Sequence[ShelvedVector],
        embedder: Embedder,
        *,
        now_ms: int,
    ) -> Shelf:
        """The shelf with everything that the database has of it."""
        if shelf is None and question.seen:  # it was let go of meanwhile
            rows = await self._store.vectors(question.shelf, question.embedder, after=0)
        shelf = shelf or self._shelves.add(_name(question.shelf, question.embedder), embedder.dimensions)
        if rows:
            async with shelf.growing:  # who comes while others read waits for what they read
                await self._read(shelf, question, rows, embedder, now_ms=now_ms)
        shelf.when_read = len(shelf.view) if shelf.when_read is None else shelf.when_read
        self._shelves.make_room()
        return shelf

    async def _read(
        self,
        shelf: Shelf,
        question: ShelfQuestion,
        rows: Sequence[ShelvedVector],
        embedder: Embedder,
        *,
        now_ms: int,
    ) -> None:
        """Add `rows`, and what comes after them, a part at a time, so that others' questions come in between."""
        while rows:
            spoilt = await _off_the_loop(
                partial(_grow, shelf, rows, embedder.dimensions, now_ms=now_ms), worth_it=len(rows) > FEW
            )
            if spoilt:
                logger.warning("%d vectors of kept answers are damaged and are made anew", len(spoilt))
                await self._store.drop_vectors(spoilt)
            more = len(rows) == MOST_VECTORS
            rows = await self._store.vectors(question.shelf, question.embedder, after=shelf.newest) if more else ()

    async def _best(
        self,
        asked: Comparable,
        shelf: Shelf,
        query: "NDArray[float32]",
        beside: Sequence[Candidate],
        *,
        wrong: Collection[str],
        now_ms: int,
    ) -> Found:
        """What may be served, nearest first; else the nearest that may not, and why."""
        for _ in range(MOST_GHOSTS):
            view = shelf.view
            search = partial(view.nearest, query, threshold=self._threshold, most=MOST_CANDIDATES, now_ms=now_ms)
            near, highest = await _off_the_loop(search, worth_it=not view.is_small)
            candidates = sorted([*near, *beside], key=lambda candidate: -candidate.similarity)[:MOST_CANDIDATES]
            candidates = [each for each in candidates if each.similarity >= self._threshold]
            if not candidates:
                known = [each.similarity for each in beside]
                said = f"below {self._threshold:.2f}" if highest is None else f"{max([highest, *known]):.2f}"
                return Found(compared=True, reason=f"none is alike enough: {said}")
            entries = await self._store.entries([each.entry_id for each in candidates], now_ms=now_ms)
            if entries:
                return await self._decided(
                    asked, entries, {each.entry_id: each.similarity for each in candidates}, wrong
                )
            # All of them were deleted, by another process or to make room.
            gone = {each.entry_id for each in candidates}
            await _off_the_loop(partial(view.forget, gone), worth_it=not view.is_small)
            beside = ()
        return Found(compared=True, reason=NOTHING)

    async def _decided(
        self, asked: Comparable, entries: Sequence[CacheEntry], similarity: Mapping[str, float], wrong: Collection[str]
    ) -> Found:
        refused: Found | None = None
        for entry in sorted(entries, key=lambda entry: -similarity[entry.entry_id]):
            if refused is not None:
                await anyio.lowlevel.checkpoint()  # a long prompt takes a few milliseconds to read
            alike = similarity[entry.entry_id]
            reason = MARKED_WRONG if prompt_hash(entry.prompt) in wrong else None
            reason = reason or refusal(
                parse(entry.prompt), asked.read().parsed, alike, threshold=self._threshold, level=self._level
            )
            found = Found(compared=True, reason=reason or "", entry=entry, similarity=alike)
            if reason is None:
                return found
            refused = refused or found
        return refused or Found(compared=True, reason=NOTHING)


def vector_of(entry: CacheEntry, asked: Comparable) -> CacheVector | None:
    """The vector of `entry`, which answers `asked`, where its prompt was embedded on the way."""
    row = asked.vector.row
    return None if row is None else CacheVector(entry.entry_id, asked.vector.made_by, encode(row))


async def _off_the_loop(work: Callable[[], T], *, worth_it: bool) -> T:
    """What `work` returns; a hop to a thread takes longer than some work does."""
    return await anyio.to_thread.run_sync(work) if worth_it else work()


def _grow(shelf: Shelf, rows: Sequence[ShelvedVector], dimensions: int, *, now_ms: int) -> Sequence[int]:
    """Add `rows`. Returns the numbers of those that cannot be used."""
    decoded = decode(rows, dimensions)
    shelf.add(decoded, newest=rows[-1].number, now_ms=now_ms)
    return decoded.spoilt


def _by_words(asked: Comparable, entries: Sequence[CacheEntry], wrong: Collection[str]) -> Found:
    reason = NOTHING
    for entry in entries:
        if prompt_hash(entry.prompt) in wrong:
            reason = MARKED_WRONG
        elif (refused := refusal_by_words(parse(entry.prompt), asked.read().parsed)) is not None:
            reason = refused
        else:
            return Found(compared=True, reason="", entry=entry)
    return Found(compared=bool(entries), reason=reason)


def _name(shelf: str, embedder: str) -> str:
    return f"{shelf} {embedder}"
