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

SMALLEST_BLOCK = 64
BLOCK_ROWS = 4_096
"""So many rows of 384 dimensions are 6 MB, and are searched in less than a millisecond."""
HEAD_SHARE = 6
"""A sixth of the dimensions is compared first. It rules out almost every row that is not alike, and exactly so: what
the others can add to the product is the product of their lengths at most."""
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


class Block:
    """Rows side by side, only ever appended to. A row whose answer is gone expires at 0."""

    __slots__ = ("expires", "head", "ids", "tail", "tail_length")

    def __init__(self, dimensions: int, capacity: int) -> None:
        import numpy as np  # noqa: PLC0415 - loaded long ago

        width = max(1, dimensions // HEAD_SHARE)
        self.ids: list[str] = []
        self.head: Floats = np.empty((capacity, width), np.float32)
        self.tail: Floats = np.empty((capacity, dimensions - width), np.float32)
        self.tail_length: Floats = np.empty(capacity, np.float32)
        self.expires: NDArray[np.int64] = np.empty(capacity, np.int64)

    @property
    def room(self) -> int:
        return len(self.expires) - len(self.ids)

    def append(self, rows: Sequence[ShelvedVector], matrix: "Floats") -> None:
        import numpy as np  # noqa: PLC0415 - loaded long ago

        start, end = len(self.ids), len(self.ids) + len(rows)
        width = self.head.shape[1]
        tail = self.tail[start:end]
        self.head[start:end], tail[:] = matrix[:, :width], matrix[:, width:]
        self.tail_length[start:end] = np.sqrt(np.einsum("ij,ij->i", tail, tail))
        self.expires[start:end] = [row.expires_ms for row in rows]
        self.ids += [row.entry_id for row in rows]

    def grown(self, capacity: int, now_ms: int) -> "Block":
        """Another with the rows that are live."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        live = np.flatnonzero(self.expires[: len(self.ids)] > now_ms)
        width, rest, size = self.head.shape[1], self.tail.shape[1], len(live)
        grown = Block(width + rest, capacity)
        grown.head[:size], grown.tail[:size] = self.head[live], self.tail[live]
        grown.tail_length[:size], grown.expires[:size] = self.tail_length[live], self.expires[live]
        grown.ids = [self.ids[place] for place in live.tolist()]
        return grown

    def alike(
        self, query: "Floats", rows: int, *, least: float | None, now_ms: int
    ) -> "tuple[NDArray[np.intp], Floats]":
        """Places of live ones among the first `rows`, and their similarity: all, or all from `least` on and some more."""
        import numpy as np  # noqa: PLC0415 - loaded long ago

        head, tail = np.split(query, [self.head.shape[1]])
        scores: Floats = self.head[:rows] @ head
        live = self.expires[:rows] > now_ms
        if least is not None:
            bound = self.tail_length[:rows] * np.sqrt(tail @ tail)
            bound += scores
            places = np.flatnonzero((bound >= least) & live)
            if len(places) * HEAD_SHARE < rows:
                few: Floats = self.tail[places] @ tail
                few += scores[places]
                return places, few
        scores += self.tail[:rows] @ tail
        places = np.flatnonzero(live)
        return places, scores[places]


class View:
    """The rows of a shelf at one moment: the first so many of each of its blocks."""

    __slots__ = ("_parts", "_size")

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._parts = [(block, len(block.ids)) for block in blocks]
        self._size = sum(rows for _, rows in self._parts)

    def __len__(self) -> int:
        """Rows, dead ones included."""
        return self._size

    @property
    def is_small(self) -> bool:
        """It is searched so fast that no thread is worth while."""
        return self._size <= BLOCK_ROWS

    def has_live(self, now_ms: int) -> bool:
        return any((block.expires[:rows] > now_ms).any() for block, rows in self._parts)

    def nearest(
        self, query: "Floats", *, threshold: float, most: int, now_ms: int
    ) -> tuple[list[Candidate], float | None]:
        """The `most` nearest live rows from about `threshold` on, nearest first; and how near the nearest of all is.

        In a large view nobody looks closely at those that are far away, so that is None there.
        """
        import numpy as np  # noqa: PLC0415 - loaded long ago

        least = None if self.is_small else threshold - ROUNDING
        found: list[Candidate] = []
        highest = 0.0
        for block, rows in self._parts:
            places, scores = block.alike(query, rows, least=least, now_ms=now_ms)
            if len(scores):
                highest = max(highest, float(scores.max()))
            near = np.flatnonzero(scores >= threshold - ROUNDING)
            if len(near) > most:
                near = near[np.argpartition(-scores[near], most)[:most]]
            where: list[int] = places[near].tolist()
            similarities: list[float] = scores[near].tolist()
            found += [Candidate(block.ids[at], alike) for at, alike in zip(where, similarities, strict=True)]
        found.sort(key=lambda candidate: -candidate.similarity)
        return found[:most], highest if least is None else None

    def forget(self, entry_ids: Collection[str]) -> None:
        """For who has a later view, too."""
        for block, rows in self._parts:
            for place, entry_id in enumerate(block.ids[:rows]):
                if entry_id in entry_ids:
                    block.expires[place] = 0


class Shelf:
    """Grown by one at a time, on any thread, while others search what was there before."""

    def __init__(self, dimensions: int) -> None:
        self.newest = 0
        """The number of the last vector read."""
        self.growing = anyio.Lock()
        self.when_read: int | None = None
        """How many rows it had once it was read; None until then."""
        self._dimensions = dimensions
        self._blocks = [Block(dimensions, SMALLEST_BLOCK)]
        self.view = View(self._blocks)

    def add(self, decoded: Decoded, *, newest: int, now_ms: int) -> None:
        """Append what is not here yet: two looks at a time may have read the same rows."""
        rows = [row for row in decoded.rows if row.number > self.newest]
        matrix = decoded.matrix[len(decoded.rows) - len(rows) :]
        while rows:
            block = self._with_room(now_ms)
            taken = min(block.room, len(rows))
            block.append(rows[:taken], matrix[:taken])
            rows, matrix = rows[taken:], matrix[taken:]
        self.view = View(self._blocks)
        self.newest = max(self.newest, newest)

    def _with_room(self, now_ms: int) -> Block:
        """The last block; once that is full, what has died is dropped and a larger, or another, is made."""
        last = self._blocks[-1]
        if last.room:
            return last
        if len(last.expires) < BLOCK_ROWS:  # it is the only one
            self._blocks = [last.grown(2 * len(last.expires), now_ms)]
        else:
            live = [block for block in self._blocks if (block.expires > now_ms).any()]
            self._blocks = [*live, Block(self._dimensions, BLOCK_ROWS)]
        return self._blocks[-1]


class Shelves:
    """Those used last, as many as fit in memory."""

    def __init__(self, *, most_rows: int, most_ghosts: int) -> None:
        """`most_rows` over all shelves. Of one, `most_ghosts` may be added before it is read anew: by then others have
        deleted about as many.
        """
        self._most_rows = most_rows
        self._most_ghosts = most_ghosts
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()

    def get(self, name: str) -> Shelf | None:
        if name in self._shelves:
            self._shelves.move_to_end(name)
        return self._shelves.get(name)

    def add(self, name: str, dimensions: int) -> Shelf:
        """An empty shelf, unless somebody was faster."""
        return self.get(name) or self._shelves.setdefault(name, Shelf(dimensions))

    def make_room(self) -> None:
        """Let go of the shelves used least lately, and of the one used last if it is to be read anew."""
        rows = sum(len(shelf.view) for shelf in self._shelves.values())
        while rows > self._most_rows and len(self._shelves) > 1:
            rows -= len(self._shelves.popitem(last=False)[1].view)
        last, shelf = next(reversed(self._shelves.items()))
        if shelf.when_read is not None and len(shelf.view) > shelf.when_read + self._most_ghosts:
            del self._shelves[last]
