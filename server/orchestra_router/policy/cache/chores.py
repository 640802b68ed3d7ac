"""Prompts are embedded after their answers went out, a few at a time; what is left when the process ends is left."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from orchestra_router.embedding.base import Embedder, EmbedderSource
from orchestra_router.errors import EmbedderUnavailable, StoreError
from orchestra_router.observe import logger
from orchestra_router.policy.cache.vectors import encode
from orchestra_router.store.base import Store
from orchestra_router.store.cache_records import CacheVector, Unembedded

AT_ONCE = 8
MOST_WAITING = 1_000
"""Past that the oldest is left to whoever needs it."""


class Chores:
    def __init__(self, store: Store, source: EmbedderSource) -> None:
        self._store = store
        self._source = source
        self._waiting: OrderedDict[str, Unembedded] = OrderedDict()
        """By entry, oldest first."""
        self._ready: list[CacheVector] = []
        self._worker: asyncio.Task[None] | None = None

    def embed(self, prompts: Iterable[Unembedded]) -> None:
        """Some time soon; nobody waits for it."""
        self._waiting |= {prompt.entry_id: prompt for prompt in prompts}
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
        self._start()

    def keep(self, vectors: Iterable[CacheVector]) -> None:
        """The same for vectors that are there already."""
        self._ready += vectors
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
        if (self._waiting or self._ready) and (self._worker is None or self._worker.done()):
            self._worker = asyncio.create_task(self._work())

    def _next(self) -> list[Unembedded]:
        """A few that the same payer pays for."""
        payer = next((prompt.payer for prompt in self._waiting.values()), None)
        some = [prompt for prompt in self._waiting.values() if prompt.payer == payer][:AT_ONCE]
        for prompt in some:
            del self._waiting[prompt.entry_id]
        return some

    async def _work(self) -> None:
        try:
            while self._waiting or self._ready:
                vectors, self._ready = self._ready, []
                some = self._next()
                if some and (embedder := await self._source.get(some[0].payer)) is not None:
                    # By now it is known which embedder that is.
                    vectors += await embedded(embedder, [each for each in some if each.embedder != embedder.identity])
                await self._store.keep_vectors(vectors)
        except (EmbedderUnavailable, StoreError) as error:
            logger.warning("kept answers could not be made comparable: %s", error)
            self._waiting.clear()
        except Exception:  # noqa: BLE001 - the edge of a task that nobody awaits; logged with its traceback
            logger.exception("kept answers could not be made comparable")


async def embedded(embedder: Embedder, prompts: Sequence[Unembedded]) -> list[CacheVector]:
    """Raises: EmbedderUnavailable."""
    if not prompts:
        return []
    rows = await embedder.embed([prompt.prompt for prompt in prompts])
    return [
        CacheVector(prompt.entry_id, embedder.identity, encode(row)) for prompt, row in zip(prompts, rows, strict=True)
    ]
