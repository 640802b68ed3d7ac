"""The embedder on this machine: loaded on first need, and run beside the event loop, one batch at a time."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

from orchestra_router import garbage
from orchestra_router.embedding import blas, weights
from orchestra_router.embedding.base import NO_PAYER, EmbedderState, Payer
from orchestra_router.embedding.minilm import DIMENSIONS, MiniLM
from orchestra_router.embedding.weights import Weights
from orchestra_router.embedding.wordpiece import WordPiece
from orchestra_router.errors import EmbedderUnavailable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

PIECES_AT_ONCE = 64
"""A longer batch is computed in parts, so that a prompt that waits for its own vector gets its turn in between; more
pieces at once are hardly faster."""


class LocalEmbedder:
    """all-MiniLM-L6-v2 with these weights."""

    dimensions = DIMENSIONS

    def __init__(self, wordpiece: WordPiece, model: MiniLM, *, identity: str) -> None:
        self.identity = identity
        self._wordpiece = wordpiece
        self._model = model
        self._turn = anyio.CapacityLimiter(1)

    @classmethod
    def load(cls, found: Weights) -> "LocalEmbedder":
        """Takes some tenths of a second, so not on the event loop.

        Raises:
            EmbedderUnavailable: the weights are damaged, another model's, or NumPy is missing.
        """
        try:
            wordpiece, model, identity = _loaded(found, weights.stamps(found))
        except ImportError:
            raise EmbedderUnavailable(
                "The embedder needs NumPy, which is not installed: install orchestra-router[semantic]."
            ) from None
        except (OSError, ValueError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise EmbedderUnavailable(
                f"The weights in {found.folder} cannot be used: {reason}. {weights.FIX}"
            ) from None
        return cls(wordpiece, model, identity=identity)

    async def embed(self, texts: Sequence[str]) -> "NDArray[float32]":
        """See `Embedder`."""
        import numpy as np  # noqa: PLC0415 - 60 ms; loaded with the weights

        rows = np.empty((len(texts), DIMENSIONS), np.float32)
        done = 0
        while done < len(texts):
            part = await anyio.to_thread.run_sync(self._embed_some, texts[done:], limiter=self._turn)
            rows[done : done + len(part)] = part
            done += len(part)
        return rows

    def _embed_some(self, texts: Sequence[str]) -> "NDArray[float32]":
        """As many of `texts`, from the first on, as make one part."""
        return self._model.embed(list(_until_full(self._wordpiece.ids(text) for text in texts)))


@lru_cache(maxsize=1)
def _loaded(found: Weights, _stamps: tuple[tuple[int, int], ...]) -> tuple[WordPiece, MiniLM, str]:
    """Once for the process, as long as the files stay as they are."""
    blas.use_one_thread()
    identity = weights.verify(found)
    wordpiece = WordPiece.load(found.folder / weights.VOCABULARY)
    return wordpiece, MiniLM.load(found.folder / weights.WEIGHTS, pieces=len(wordpiece)), identity


def _until_full(texts: Iterator[list[int]]) -> Iterator[list[int]]:
    pieces = 0
    for ids in texts:
        yield ids
        pieces += len(ids)
        if pieces >= PIECES_AT_ONCE:
            return


class EmbedderSettings(Protocol):
    """What of the settings concerns the embedder."""

    @property
    def home(self) -> Path: ...

    @property
    def embedder(self) -> str: ...

    @property
    def embedder_path(self) -> Path | None: ...


class LazyEmbedder:
    """The process's local embedder, loaded by whoever needs it first."""

    is_free = True

    def __init__(self, home: Path, named: Path | None, *, wanted: bool) -> None:
        """Where none is `wanted`, there is none, and that is no problem."""
        self._home = home
        self._named = named
        self._wanted = wanted
        self._found: Weights | None = None
        self._embedder: LocalEmbedder | None = None
        self._state: EmbedderState | None = None
        self._loading = anyio.Lock()

    @classmethod
    def of(cls, settings: "EmbedderSettings") -> "LazyEmbedder":
        return cls(settings.home, settings.embedder_path, wanted=settings.embedder == "local")

    async def get(self, payer: Payer = NO_PAYER) -> LocalEmbedder | None:  # noqa: ARG002 - it costs nothing
        """The embedder; None when there is none, and `state` says why. Tried once: a failure is not repeated."""
        if self._state is None:
            self._find()
        async with self._loading:
            if self._embedder is None:
                await self._load()
        return self._embedder

    def state(self) -> EmbedderState:
        """What is active, or would be at the first need. Loads nothing, and looks for the files only once."""
        return self._state or self._find()

    def _find(self) -> EmbedderState:
        state = EmbedderState()
        if self._wanted:
            try:
                self._found = weights.find(self._home, self._named)
                state = EmbedderState(identity=self._found.identity or weights.MODEL, source=str(self._found.folder))
            except EmbedderUnavailable as error:
                state = EmbedderState(problem=str(error))
        self._state = state
        return state

    async def _load(self) -> None:
        if (found := self._found) is None:
            return
        try:
            with garbage.loading():
                self._embedder = await anyio.to_thread.run_sync(LocalEmbedder.load, found)
            self._state = EmbedderState(identity=self._embedder.identity, source=str(found.folder))
        except EmbedderUnavailable as error:
            self._found, self._state = None, EmbedderState(problem=str(error))
