"""The vectors of kept prompts in memory: one matrix per shelf, read from the database when first needed.

What another process adds is read with the next look. What it deletes stays here until it is found to be gone, for
nothing is served before it was read from the database again.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


class Shelf:
    def __init__(self, dimensions: int) -> None:
        import numpy as np  # noqa: PLC0415 - as above

        self.newest = 0
        """The number of the last vector read."""
        self._size = 0
        self._ids: list[str] = []
        self._matrix: Floats = np.empty((SMALLEST_MATRIX, dimensions), np.float32)
        self._expires: NDArray[np.int64] = np.zeros(SMALLEST_MATRIX, np.int64)

    def __len__(self) -> int:
        """Rows, dead ones included."""
        return self._size

    def add(self, decoded: Decoded, *, newest: int, now_ms: int) -> None:
        """Append what is not here yet: two looks at a time may have read the same rows."""
        first = next((place for place, row in enumerate(decoded.rows) if row.number > self.newest), None)
        self.newest = max(self.newest, newest)
        if first is None:
            return
        rows = decoded.rows[first:]
        self._make_room(len(rows), now_ms)
        end = self._size + len(rows)
        self._matrix[self._size : end] = decoded.matrix[first:]
        self._expires[self._size : end] = [row.expires_ms for row in rows]
        self._ids += [row.entry_id for row in rows]
        self._size = end

    def forget(self, entry_ids: Collection[str]) -> None:
        for place, entry_id in enumerate(self._ids):
            if entry_id in entry_ids:
                self._expires[place] = 0

    def has_live(self, now_ms: int) -> bool:
        return bool((self._expires[: self._size] > now_ms).any())

    def view(self) -> "View":
        """What can be searched on another thread: rows are only appended, and a matrix that is full is replaced."""
        return View(self._ids, self._matrix[: self._size], self._expires[: self._size])

    def _make_room(self, rows: int, now_ms: int) -> None:
        """Drop the dead once the matrix is full, and double it if that is not enough."""
        import numpy as np  # noqa: PLC0415 - as above

        if self._size + rows <= len(self._matrix):
            return
        live = np.flatnonzero(self._expires[: self._size] > now_ms)
        capacity = max(SMALLEST_MATRIX, 2 * (len(live) + rows))
        matrix, expires = np.empty((capacity, self._matrix.shape[1]), np.float32), np.zeros(capacity, np.int64)
        matrix[: len(live)], expires[: len(live)] = self._matrix[live], self._expires[live]
        self._ids = [self._ids[place] for place in live.tolist()]
        self._matrix, self._expires, self._size = matrix, expires, len(live)


@dataclass(frozen=True, slots=True)
class View:
    ids: Sequence[str]
    matrix: "Floats"
    expires: "NDArray[np.int64]"

    def nearest(self, query: "Floats", *, threshold: float, most: int, now_ms: int) -> tuple[list[Candidate], float]:
        """The `most` nearest live rows from about `threshold` on, nearest first; and how near the nearest of all is."""
        import numpy as np  # noqa: PLC0415 - as above

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
        rows = sum(map(len, self._shelves.values()))
        while rows > self._most_rows and len(self._shelves) > 1:
            rows -= len(self._shelves.popitem(last=False)[1])
