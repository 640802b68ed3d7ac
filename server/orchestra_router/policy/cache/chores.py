"""Prompts are embedded after their answers went out, a few at a time; what is left when the process ends is left.

So are they read, if nobody needed that before.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import anyio.lowlevel

from orchestra_router.embedding.base import Embedder, EmbedderSource, Payer
from orchestra_router.errors import EmbedderUnavailable, StoreError
from orchestra_router.observe import logger
from orchestra_router.policy.cache.question import read
from orchestra_router.policy.cache.vectors import encode
from orchestra_router.policy.lexical_guard import GUARD_VERSION, ready
from orchestra_router.store.cache_records import CacheReading, CacheStore, CacheVector, Unembedded

AT_ONCE = 8
MOST_WAITING = 1_000
"""Past that the oldest is left to whoever needs it."""


class Chores:
    def __init__(self, store: CacheStore, source: EmbedderSource) -> None:
        self._store = store
        self._source = source
        self._waiting: OrderedDict[str, tuple[Unembedded, Payer]] = OrderedDict()
        """By entry, oldest first."""
        self._ready: list[CacheVector] = []
        self._read: list[CacheReading] = []
        self._worker: asyncio.Task[None] | None = None

    def embed(self, prompts: Iterable[Unembedded], payer: Payer) -> None:
        """Some time soon; nobody waits for it."""
        payer = replace(payer, deadline=None, paid=[])
        self._waiting |= {prompt.entry_id: (prompt, payer) for prompt in prompts}
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
        self._start()

    def keep(self, vectors: Iterable[CacheVector], readings: Iterable[CacheReading] = ()) -> None:
        """The same for what is there already."""
        self._ready += vectors
        self._read += readings
        self._start()

    async def settled(self) -> None:
        """Returns when nothing is left to be done."""
        if self._worker is not None:
            await asyncio.wait({self._worker})

    async def aclose(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait({self._worker})

    def _start(self) -> None:
        if (self._waiting or self._ready or self._read) and (self._worker is None or self._worker.done()):
            self._worker = asyncio.create_task(self._work())

    def _next(self) -> tuple[list[Unembedded], Payer]:
        """A few that the same payer pays for, or any where nobody has to."""
        payer = next((payer for _, payer in self._waiting.values()), Payer())
        free = self._source.is_free
        some = [prompt for prompt, who in self._waiting.values() if free or who == payer][:AT_ONCE]
        for prompt in some:
            del self._waiting[prompt.entry_id]
        return some, payer

    async def _work(self) -> None:
        try:
            while self._waiting or self._ready or self._read:
                vectors, self._ready = self._ready, []
                readings, self._read = self._read, []
                some, payer = self._next()
                readings += [await _read(prompt) for prompt in some if prompt.rough]
                vectors += await self._embedded(some, payer)
                await self._store.keep_vectors(vectors, readings)
        except (EmbedderUnavailable, StoreError) as error:
            logger.warning("kept answers could not be made comparable: %s", error)
            self._waiting.clear()
        except Exception:  # noqa: BLE001 - the edge of a task that nobody awaits; logged with its traceback
            logger.exception("kept answers could not be made comparable")

    async def _embedded(self, some: Sequence[Unembedded], payer: Payer) -> list[CacheVector]:
        """Nothing where the payer cannot pay, which says nothing of the others.

        Raises:
            EmbedderUnavailable: it cannot embed for anybody.
        """
        if not some or (embedder := await self._source.get(payer)) is None:
            return []
        try:
            # By now it is known which embedder that is.
            return await embedded(embedder, [each for each in some if each.embedder != embedder.identity])
        except EmbedderUnavailable:
            if self._source.state().problem:
                raise
            return []


def reading_of(entry_id: str, prompt: str, rough: str) -> CacheReading:
    reading = read(prompt, rough)
    return CacheReading(entry_id, reading.figures, reading.shelf, reading.words, str(GUARD_VERSION))


async def _read(unread: Unembedded) -> CacheReading:
    await ready()
    await anyio.lowlevel.checkpoint()  # others may go on in between
    return reading_of(unread.entry_id, unread.prompt, unread.rough)


async def embedded(embedder: Embedder, prompts: Sequence[Unembedded]) -> list[CacheVector]:
    """Raises: EmbedderUnavailable."""
    if not prompts:
        return []
    rows = await embedder.embed([prompt.prompt for prompt in prompts])
    made_by = embedder.identity
    return [CacheVector(prompt.entry_id, made_by, encode(row)) for prompt, row in zip(prompts, rows, strict=True)]
