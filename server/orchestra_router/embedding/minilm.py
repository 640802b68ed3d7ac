"""The forward pass of all-MiniLM-L6-v2 in NumPy: six BERT layers, the mean over the pieces, unit length.

A batch is one long row of pieces: the large products run over all of them at once, and only attention looks at one
text at a time. So nothing is padded, and no text's vector depends on its neighbours.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from orchestra_router.embedding import blas, safetensors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

DIMENSIONS = 384
HEADS = 12
HEAD_SIZE = DIMENSIONS // HEADS
INNER = 1536
LAYERS = 6
POSITIONS = 512
EPSILON = 1e-12
CACHED_ROWS = 24
STRIP = 32
"""Columns that are multiplied at a time, where the BLAS is fast at small products."""
SMALL_PRODUCT = 1_000_000
"""Up to this many multiplications OpenBLAS takes a product for a small one, and copies nothing before."""

# -log(p / (1 - p)) / x as a polynomial of x * x, where p is the share of a normal distribution below x: our own
# minimax fit for |x| <= 5, weighed by its effect on x * p, which it gives to 1e-6. Beyond, that is x or nothing.
_LOGIT = (-1.595745921, -0.07272983342, 1.147108104e-4, 9.479632718e-5, -5.624972800e-6, 1.142187216e-7)
_LOGIT_UP_TO = 25.0


@dataclass(frozen=True, slots=True)
class Linear:
    strips: "Floats"
    """Strips x inputs x columns of a strip. What is stored is the transpose; a few rows are multiplied by this almost
    twice as fast."""
    bias: "Floats"
    most_rows: int
    """Multiplied at a time."""

    @classmethod
    def of(cls, weight: "Floats", bias: "Floats", *, in_strips: bool) -> "Linear":
        """`weight` is outputs x inputs, as it is stored."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        outputs, inputs = weight.shape
        width = STRIP if in_strips else outputs
        most_rows = SMALL_PRODUCT // (inputs * width) if in_strips else sys.maxsize
        strips = np.ascontiguousarray(weight.reshape(-1, width, inputs).transpose(0, 2, 1))
        return cls(strips, bias, most_rows)

    def __call__(self, x: "Floats", y: "Floats") -> "Floats":
        """Into `y`, which is returned."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        count, _, width = self.strips.shape
        for start in range(0, len(x), self.most_rows):
            rows = y[start : start + self.most_rows]
            out = rows.reshape(len(rows), count, width).transpose(1, 0, 2)
            np.matmul(x[start : start + self.most_rows], self.strips, out=out)
        y += self.bias
        return y


@dataclass(frozen=True, slots=True)
class Norm:
    scale: "Floats"
    shift: "Floats"

    def __call__(self, x: "Floats") -> "Floats":
        """Normalises `x` in place."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        x -= np.add.reduce(x, axis=1, keepdims=True) / np.float32(DIMENSIONS)
        spread = np.einsum("ij,ij->i", x, x)[:, None]
        spread /= np.float32(DIMENSIONS)
        spread += np.float32(EPSILON)
        x /= np.sqrt(spread, out=spread)
        x *= self.scale
        x += self.shift
        return x


class Room:
    """What the layers write into, one after the other."""

    def __init__(self, pieces: int) -> None:
        import numpy as np  # noqa: PLC0415 - loaded long ago

        self.looking = np.empty((pieces, 3 * DIMENSIONS), np.float32)
        self.seen = np.empty((pieces, DIMENSIONS), np.float32)
        self.inner = np.empty((pieces, INNER), np.float32)
        self.spare = np.empty((pieces, DIMENSIONS), np.float32)


@dataclass(frozen=True, slots=True)
class Layer:
    looking: Linear
    """Query, key and value side by side; the query is scaled."""
    attended: Linear
    norm_attended: Norm
    inner: Linear
    outer: Linear
    norm_outer: Norm

    def __call__(self, x: "Floats", edges: Sequence[int], room: Room) -> None:
        """Overwrites `x`."""
        y = self.attended(_attention(self.looking(x, room.looking), edges, room.seen), room.spare)
        y += x
        self.norm_attended(y)
        self.outer(_gelu(self.inner(y, room.inner)), x)
        x += y
        self.norm_outer(x)


class MiniLM:
    def __init__(self, tensors: "Mapping[str, Floats]", *, pieces: int, in_strips: bool | None = None) -> None:
        """`pieces` is the size of the vocabulary; `in_strips` how to multiply, None: as is fastest here.

        Raises:
            ValueError: the weights are not those of this model.
        """
        stored = _Stored(tensors, in_strips=blas.is_fast_at_small_products() if in_strips is None else in_strips)
        self._words = stored.tensor("embeddings.word_embeddings.weight", pieces, DIMENSIONS)
        self._positions = (
            stored.tensor("embeddings.position_embeddings.weight", POSITIONS, DIMENSIONS)
            + stored.tensor("embeddings.token_type_embeddings.weight", 2, DIMENSIONS)[0]
        )
        self._norm = stored.norm("embeddings.LayerNorm")
        self._layers = [stored.layer(f"encoder.layer.{number}") for number in range(LAYERS)]

    @classmethod
    def load(cls, path: Path, *, pieces: int) -> "MiniLM":
        """Raises: OSError, ValueError."""
        with safetensors.tensors(path) as tensors:
            return cls(tensors, pieces=pieces)

    def embed(self, texts: Sequence[Sequence[int]]) -> "Floats":
        """A row for each of `texts`, each the ids of its pieces, never none, at most `POSITIONS`."""
        import numpy as np  # noqa: PLC0415 - 60 ms; imported when the first text is embedded

        edges = [0, *np.cumsum([len(ids) for ids in texts]).tolist()]
        x = self._words[np.concatenate([np.asarray(ids) for ids in texts])]
        for first, last in pairwise(edges):
            x[first:last] += self._positions[: last - first]
        self._norm(x)
        room = Room(len(x))
        with np.errstate(over="ignore"):  # in `_gelu`, where 1 / infinity is right
            for layer in self._layers:
                layer(x, edges, room)
        means = np.add.reduceat(x, edges[:-1], axis=0)
        # The number of pieces cancels out: a mean and a sum point the same way.
        means /= np.sqrt((means * means).sum(axis=1, keepdims=True))
        return means


def _attention(looking: "Floats", edges: Sequence[int], seen: "Floats") -> "Floats":
    """Each text's pieces look at each other; `looking` holds their query, key and value side by side. Into `seen`."""
    import numpy as np  # noqa: PLC0415 - loaded long ago

    for first, last in pairwise(edges):
        q, k, v = looking[first:last].reshape(-1, 3, HEADS, HEAD_SIZE).transpose(1, 2, 0, 3)
        scores = q @ k.transpose(0, 2, 1)
        scores -= np.maximum.reduce(scores, axis=2, keepdims=True)
        np.exp(scores, out=scores)
        mixed = seen[first:last].reshape(-1, HEADS, HEAD_SIZE).transpose(1, 0, 2)
        np.matmul(scores, v, out=mixed)
        mixed /= np.add.reduce(scores, axis=2, keepdims=True)
    return seen


def _gelu(x: "Floats") -> "Floats":
    """`x` times the share of a normal distribution below it; overwrites `x`, a few rows at a time, for the cache."""
    for start in range(0, len(x), CACHED_ROWS):
        _gelu_of_few(x[start : start + CACHED_ROWS])
    return x


def _gelu_of_few(x: "Floats") -> None:
    import numpy as np  # noqa: PLC0415 - loaded long ago

    square = x * x
    np.minimum(square, np.float32(_LOGIT_UP_TO), out=square)
    odds = square * np.float32(_LOGIT[-1])
    for coefficient in _LOGIT[-2:0:-1]:
        odds += np.float32(coefficient)
        odds *= square
    odds += np.float32(_LOGIT[0])
    odds *= x
    np.exp(odds, out=odds)
    odds += np.float32(1)
    x /= odds


class _Stored:
    """The tensors under the names they are stored by, each checked for its shape."""

    def __init__(self, tensors: "Mapping[str, Floats]", *, in_strips: bool) -> None:
        self._tensors = tensors
        self._in_strips = in_strips

    def tensor(self, name: str, *shape: int) -> "Floats":
        found = self._tensors.get(name)
        if found is None or found.shape != shape:
            has = "nothing" if found is None else "x".join(map(str, found.shape))
            raise ValueError(f"{name} is {has} there, not {'x'.join(map(str, shape))}, so it is another model")
        return found

    def linear(self, name: str, *, inputs: int = DIMENSIONS, outputs: int = DIMENSIONS) -> Linear:
        weight, bias = self.tensor(f"{name}.weight", outputs, inputs), self.tensor(f"{name}.bias", outputs)
        return Linear.of(weight, bias, in_strips=self._in_strips)

    def looking(self, name: str) -> Linear:
        """Query, key and value as one."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        parts = [f"{name}.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self.tensor(f"{part}.weight", DIMENSIONS, DIMENSIONS) for part in parts])
        bias = np.concatenate([self.tensor(f"{part}.bias", DIMENSIONS) for part in parts])
        for scaled in (weight, bias):
            scaled[:DIMENSIONS] *= np.float32(HEAD_SIZE**-0.5)
        return Linear.of(weight, bias, in_strips=self._in_strips)

    def norm(self, name: str) -> Norm:
        return Norm(self.tensor(f"{name}.weight", DIMENSIONS), self.tensor(f"{name}.bias", DIMENSIONS))

    def layer(self, name: str) -> Layer:
        return Layer(
            looking=self.looking(f"{name}.attention.self"),
            attended=self.linear(f"{name}.attention.output.dense"),
            norm_attended=self.norm(f"{name}.attention.output.LayerNorm"),
            inner=self.linear(f"{name}.intermediate.dense", outputs=INNER),
            outer=self.linear(f"{name}.output.dense", inputs=INNER),
            norm_outer=self.norm(f"{name}.output.LayerNorm"),
        )
