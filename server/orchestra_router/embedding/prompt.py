"""The vector of one prompt: computed when somebody first wants it, and never twice."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from orchestra_router.embedding.base import NO_PAYER, Embedder, EmbedderSource, Payer
from orchestra_router.errors import EmbedderUnavailable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


class PromptVector:
    def __init__(self, embedder: EmbedderSource, text: str, payer: Payer = NO_PAYER) -> None:
        self.text = text
        self.payer = payer
        self.made_by = ""
        """The identity of the embedder that computed it; "" until one has."""
        self._embedder = embedder
        self._row: NDArray[float32] | None = None
        self._computing: anyio.Lock | None = None

    @property
    def row(self) -> "NDArray[float32] | None":
        """The vector, of unit length; None as long as nobody needed it."""
        return self._row

    async def get(self, *, made_by: str = "") -> "NDArray[float32] | None":
        """The vector; None where there is no embedder, or another than the one in `made_by`."""
        embedder = await self._embedder.get(self.payer)
        if embedder is None or (made_by and embedder.identity != made_by):
            return None
        try:
            return (await self.beside((), embedder))[0]
        except EmbedderUnavailable:
            return None

    async def beside(self, others: Sequence[str], embedder: Embedder) -> "Sequence[NDArray[float32]]":
        """The vector, then one for each of `others`; what has to be computed is computed in one go.

        Raises:
            EmbedderUnavailable: it cannot embed.
        """
        self._computing = self._computing or anyio.Lock()
        async with self._computing:
            if self._row is not None and self.made_by == embedder.identity:
                return [self._row, *(await embedder.embed(others) if others else ())]
            rows = list(await embedder.embed([self.text, *others]))
            self._row, self.made_by = rows[0], embedder.identity
            return rows
