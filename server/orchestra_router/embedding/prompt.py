"""The vector of one prompt: computed when somebody first wants it, and never twice."""

from typing import TYPE_CHECKING

import anyio

from orchestra_router.embedding.local import LazyEmbedder
from orchestra_router.errors import EmbedderUnavailable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


class PromptVector:
    def __init__(self, embedder: LazyEmbedder, text: str) -> None:
        self._embedder = embedder
        self._text = text
        self._row: NDArray[float32] | None = None
        self._computing = anyio.Lock()

    async def get(self, *, made_by: str = "") -> "NDArray[float32] | None":
        """The vector, of unit length; None where there is no embedder, or another than the one in `made_by`."""
        embedder = await self._embedder.get()
        if embedder is None or (made_by and embedder.identity != made_by):
            return None
        async with self._computing:
            if self._row is None:
                try:
                    (self._row,) = await embedder.embed([self._text])
                except EmbedderUnavailable:
                    return None
        return self._row
