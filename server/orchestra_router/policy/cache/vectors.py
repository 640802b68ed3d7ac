"""The vectors of kept prompts in memory: one matrix per shelf, read from the database when first needed.

What another process adds is read with the next look. What it deletes stays here until it is found to be gone, for
nothing is served before it was read from the database again.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from orchestra_router.store.cache_records import ShelvedVector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MOST_ROWS = 100_000
"""In memory, over all shelves: 154 MB at 384 dimensions. One shelf may be larger than that."""
SMALLEST_MATRIX = 64
UNIT_LENGTH = 0.01
"""A vector whose length differs by more from 1 is damaged."""
ROUNDING = 1e-5
"""What a dot product of float32 may be off by; who is just below the threshold is decided on later, exactly."""


@dataclass(frozen=True, slots=True)
class Candidate:
    entry_id: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows as they come from the database, made numbers."""

    rows: Sequence[ShelvedVector]
    matrix: "Floats"
    """One row for each of `rows`."""
    spoilt: Sequence[int]
    """Numbers of vectors that cannot be used: of another length, or not of unit length."""


def decode(rows: Sequence[ShelvedVector], dimensions: int) -> Decoded:
    """2,000 rows take some milliseconds."""
    import numpy as np  # noqa: PLC0415 - 60 ms; imported when vectors are first compared

    whole = [row for row in rows if len(row.vector) == 4 * dimensions]
    matrix = np.frombuffer(b"".join(row.vector for row in whole), dtype="<f4").reshape(-1, dimensions)
    lengths = np.einsum("ij,ij->i", matrix, matrix)
    with np.errstate(invalid="ignore"):
        sound = np.abs(lengths - 1) < UNIT_LENGTH  # false for NaN and infinity
    kept = [row for row, fine in zip(whole, sound.tolist(), strict=True) if fine]
    numbers = {row.number for row in kept}
    return Decoded(kept, matrix[sound], [row.number for row in rows if row.number not in numbers])


def encode(vector: "Floats") -> bytes:
    return vector.astype("<f4").tobytes()


class View:
    """The rows of a shelf at one moment. Rows are only appended, and a matrix that is full is replaced by another."""

    __slots__ = ("expires", "ids", "matrix")

    def __init__(self, ids: Sequence[str], matrix: "Floats", expires: "NDArray[np.int64]") -> None:
        self.ids = ids
        self.matrix = matrix
        self.expires = expires

    def __len__(self) -> int:
        """Rows, dead ones included."""
        return len(self.expires)

    def has_live(self, now_ms: int) -> bool:
        return bool((self.expires > now_ms).any())

    def nearest(self, query: "Floats", *, threshold: float, most: int, now_ms: int) -> tuple[list[Candidate], float]:
        """The `most` nearest live rows from about `threshold` on, nearest first; and how near the nearest of all is."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        live = np.flatnonzero(self.expires > now_ms)
        if not len(live):
            return [], 0.0
        scores = self.matrix @ query
        scores = scores if len(live) == len(scores) else scores[live]
        near = np.flatnonzero(scores >= threshold - ROUNDING)
        if len(near) > most:
            near = near[np.argpartition(-scores[near], most)[:most]]
        near = near[np.argsort(-scores[near], kind="stable")]
        places: list[int] = live[near].tolist()
        similarities: list[float] = scores[near].tolist()
        found = [Candidate(self.ids[place], alike) for place, alike in zip(places, similarities, strict=True)]
        return found, float(scores.max())


class Shelf:
    """Grown by one at a time, on any thread, while others search what was there before."""

    def __init__(self, dimensions: int) -> None:
        import numpy as np  # noqa: PLC0415 - loaded long ago

        self.newest = 0
        """The number of the last vector read."""
        self.growing = anyio.Lock()
        self._matrix: Floats = np.empty((SMALLEST_MATRIX, dimensions), np.float32)
        self._expires: NDArray[np.int64] = np.zeros(SMALLEST_MATRIX, np.int64)
        self.view = View([], self._matrix[:0], self._expires[:0])

    def add(self, decoded: Decoded, *, newest: int, now_ms: int) -> None:
        """Append what is not here yet: two looks at a time may have read the same rows."""
        rows = [row for row in decoded.rows if row.number > self.newest]
        if rows:
            ids = self._with_room_for(len(rows), now_ms)
            size, end = len(ids), len(ids) + len(rows)
            self._matrix[size:end] = decoded.matrix[len(decoded.rows) - len(rows) :]
            self._expires[size:end] = [row.expires_ms for row in rows]
            self.view = View([*ids, *(row.entry_id for row in rows)], self._matrix[:end], self._expires[:end])
        self.newest = max(self.newest, newest)

    def forget(self, entry_ids: Collection[str]) -> None:
        view = self.view
        for place, entry_id in enumerate(view.ids):
            if entry_id in entry_ids:
                view.expires[place] = 0

    def _with_room_for(self, rows: int, now_ms: int) -> Sequence[str]:
        """Drop the dead once the matrix is full, and double it if that is not enough. Returns whose rows are kept."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        view = self.view
        if len(view) + rows <= len(self._matrix):
            return view.ids
        live = np.flatnonzero(view.expires > now_ms)
        capacity = max(SMALLEST_MATRIX, 2 * (len(live) + rows))
        matrix, expires = np.empty((capacity, view.matrix.shape[1]), np.float32), np.zeros(capacity, np.int64)
        matrix[: len(live)], expires[: len(live)] = view.matrix[live], view.expires[live]
        self._matrix, self._expires = matrix, expires
        kept: list[int] = live.tolist()
        return [view.ids[place] for place in kept]


class Shelves:
    """Those used last, as many as fit in memory."""

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()

    def get(self, name: str) -> Shelf | None:
        if name in self._shelves:
            self._shelves.move_to_end(name)
        return self._shelves.get(name)

    def add(self, name: str, dimensions: int) -> Shelf:
        """An empty shelf, unless somebody was faster."""
        return self.get(name) or self._shelves.setdefault(name, Shelf(dimensions))

    def make_room(self) -> None:
        """Let go of the shelves used least lately; the one used last stays."""
        rows = sum(len(shelf.view) for shelf in self._shelves.values())
        while rows > self._most_rows and len(self._shelves) > 1:
            rows -= len(self._shelves.popitem(last=False)[1].view)
