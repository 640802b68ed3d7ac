"""The forward pass of all-MiniLM-L6-v2 in NumPy: six BERT layers, the mean over the pieces, unit length.

A batch is one long row of pieces: the large products run over all of them at once, and only attention looks at one
text at a time. So nothing is padded, and no text's vector depends on its neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from orchestra_router.embedding import safetensors

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

# The error function to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
_ERF_P = 0.3275911
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


@dataclass(frozen=True, slots=True)
class Linear:
    weight: "Floats"
    """Input x output: a few rows are multiplied by it almost twice as fast as by its transpose, which is stored."""
    bias: "Floats"

    def __call__(self, x: "Floats") -> "Floats":
        y = x @ self.weight
        y += self.bias
        return y


@dataclass(frozen=True, slots=True)
class Norm:
    scale: "Floats"
    shift: "Floats"

    def __call__(self, x: "Floats") -> "Floats":
        """Normalises `x` in place."""
        x -= x.mean(axis=1, keepdims=True)
        variance = (x * x).mean(axis=1, keepdims=True)
        variance += EPSILON
        x /= variance**0.5
        x *= self.scale
        x += self.shift
        return x


@dataclass(frozen=True, slots=True)
class Layer:
    looking: Linear
    """Query, key and value side by side."""
    attended: Linear
    norm_attended: Norm
    inner: Linear
    outer: Linear
    norm_outer: Norm

    def __call__(self, x: "Floats", edges: Sequence[int]) -> "Floats":
        y = self.attended(_attention(self.looking(x), edges))
        y += x
        x = self.norm_attended(y)
        y = self.outer(_gelu(self.inner(x)))
        y += x
        return self.norm_outer(y)


class MiniLM:
    def __init__(self, tensors: "Mapping[str, Floats]", *, pieces: int) -> None:
        """`pieces` is the size of the vocabulary.

        Raises:
            ValueError: the weights are not those of this model.
        """
        stored = _Stored(tensors)
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
        x = self._norm(x)
        for layer in self._layers:
            x = layer(x, edges)
        means = np.add.reduceat(x, edges[:-1], axis=0)
        # The number of pieces cancels out: a mean and a sum point the same way.
        means /= np.sqrt((means * means).sum(axis=1, keepdims=True))
        return means


def _attention(looking: "Floats", edges: Sequence[int]) -> "Floats":
    """Each text's pieces look at each other; `looking` holds their query, key and value side by side."""
    import numpy as np  # noqa: PLC0415 - loaded long ago

    seen = np.empty((len(looking), DIMENSIONS), np.float32)
    for first, last in pairwise(edges):
        q, k, v = looking[first:last].reshape(-1, 3, HEADS, HEAD_SIZE).transpose(1, 2, 0, 3)
        scores = (q * np.float32(HEAD_SIZE**-0.5)) @ k.transpose(0, 2, 1)
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        mixed = scores @ v
        mixed /= scores.sum(axis=2, keepdims=True)
        seen[first:last] = mixed.transpose(1, 0, 2).reshape(-1, DIMENSIONS)
    return seen


def _gelu(x: "Floats") -> "Floats":
    """`x` times the share of a normal distribution below it; overwrites `x`, a few rows at a time, for the cache."""
    for start in range(0, len(x), CACHED_ROWS):
        _gelu_of_few(x[start : start + CACHED_ROWS])
    return x


def _gelu_of_few(x: "Floats") -> None:
    import numpy as np  # noqa: PLC0415 - loaded long ago

    z = np.abs(x)
    z *= np.float32(0.5**0.5)
    t = z * np.float32(_ERF_P)
    t += np.float32(1)
    np.reciprocal(t, out=t)
    tail = t * np.float32(_ERF[4])
    for coefficient in reversed(_ERF[:4]):
        tail += np.float32(coefficient)
        tail *= t
    np.multiply(z, z, out=z)
    np.negative(z, out=z)
    np.exp(z, out=z)
    tail *= z
    # `tail` is 1 - erf(|x| / sqrt 2); half of it is the share beyond |x|.
    tail *= np.float32(0.5)
    np.subtract(np.float32(1), tail, out=tail, where=x > 0)
    x *= tail


class _Stored:
    """The tensors under the names they are stored by, each checked for its shape."""

    def __init__(self, tensors: "Mapping[str, Floats]") -> None:
        self._tensors = tensors

    def tensor(self, name: str, *shape: int) -> "Floats":
        found = self._tensors.get(name)
        if found is None or found.shape != shape:
            has = "nothing" if found is None else "x".join(map(str, found.shape))
            raise ValueError(f"{name} is {has} there, not {'x'.join(map(str, shape))}, so it is another model")
        return found

    def linear(self, *names: str, inputs: int = DIMENSIONS, outputs: int = DIMENSIONS) -> Linear:
        """The layers called `names` as one, their outputs side by side."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        return Linear(
            np.ascontiguousarray(np.concatenate([self.tensor(f"{name}.weight", outputs, inputs) for name in names]).T),
            np.concatenate([self.tensor(f"{name}.bias", outputs) for name in names]),
        )

    def norm(self, name: str) -> Norm:
        return Norm(self.tensor(f"{name}.weight", DIMENSIONS), self.tensor(f"{name}.bias", DIMENSIONS))

    def layer(self, name: str) -> Layer:
        return Layer(
            looking=self.linear(*(f"{name}.attention.self.{part}" for part in ("query", "key", "value"))),
            attended=self.linear(f"{name}.attention.output.dense"),
            norm_attended=self.norm(f"{name}.attention.output.LayerNorm"),
            inner=self.linear(f"{name}.intermediate.dense", outputs=INNER),
            outer=self.linear(f"{name}.output.dense", inputs=INNER),
            norm_outer=self.norm(f"{name}.output.LayerNorm"),
        )
