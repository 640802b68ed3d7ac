"""The vectors of a shelf in memory: what is nearest, what has gone, and how it grows."""

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestra_router.policy.cache.vectors import BLOCK_ROWS, SMALLEST_BLOCK, Shelf, Shelves, decode, encode
from orchestra_router.store.cache_records import ShelvedVector

NEVER = 10**12


def row(number: int, *values: float, expires_ms: int = NEVER) -> ShelvedVector:
    return ShelvedVector(number, f"e{number}", expires_ms, struct.pack("<2f", *(values or (1.0, 0.0))))


def add(shelf: Shelf, rows: Sequence[ShelvedVector], *, now_ms: int = 1) -> None:
    shelf.add(decode(rows, 2), newest=rows[-1].number, now_ms=now_ms)


def nearest(shelf: Shelf, *, now_ms: int = 1, threshold: float = 0.7, most: int = 9) -> list[str]:
    query = np.asarray([1.0, 0.0], np.float32)
    found, _ = shelf.view.nearest(query, threshold=threshold, most=most, now_ms=now_ms)
    return [candidate.entry_id for candidate in found]


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_the_nearest_come_first_and_no_more_than_asked_for() -> None:
    shelf = Shelf(2)
    add(shelf, [row(1, 0.8, 0.6), row(2, 1.0, 0.0), row(3, 0.0, 1.0), row(4, 0.96, 0.28)])

    assert nearest(shelf) == ["e2", "e4", "e1"]
    assert nearest(shelf, most=1) == ["e2"]


def test_a_row_that_two_looks_read_is_there_once() -> None:
    shelf = Shelf(2)
    add(shelf, [row(1), row(2)])

    add(shelf, [row(1), row(2), row(3)])

    assert len(shelf.view) == 3
    assert shelf.newest == 3


def test_what_expired_or_was_forgotten_is_not_found_and_leaves_room() -> None:
    shelf = Shelf(2)
    add(shelf, [row(number, expires_ms=5) for number in range(1, SMALLEST_BLOCK)])
    add(shelf, [row(SMALLEST_BLOCK)])
    shelf.view.forget({f"e{SMALLEST_BLOCK}"})

    assert nearest(shelf, now_ms=9) == []
    assert not shelf.view.has_live(9)
    add(shelf, [row(1_000)], now_ms=9)
    assert len(shelf.view) == 1


def test_a_search_sees_the_shelf_as_it_was_when_it_began() -> None:
    shelf = Shelf(2)
    add(shelf, [row(1)])
    before = shelf.view

    add(shelf, [row(number) for number in range(2, 500)])

    found, _ = before.nearest(np.asarray([1.0, 0.0], np.float32), threshold=0.7, most=9, now_ms=1)
    assert [candidate.entry_id for candidate in found] == ["e1"]
    assert len(nearest(shelf, most=1_000)) == 499


@pytest.mark.parametrize("threshold", [0.5, 0.85, 0.9, 0.95])
def test_a_large_shelf_finds_exactly_what_comparing_every_row_finds(threshold: float) -> None:
    """Some rows are near, some just above and just below the threshold, most anywhere."""
    dimensions, many = 32, 2 * BLOCK_ROWS + 100
    rng = np.random.default_rng(7)
    query = unit(rng.standard_normal(dimensions))
    rows = unit(rng.standard_normal((many, dimensions)))
    aside = unit(rows - np.outer(rows @ query, query))
    cosine = np.concatenate([rng.uniform(-1, 1, many - 300), threshold + rng.uniform(-1e-3, 1e-3, 300)])[:, None]
    rows = (cosine * query + np.sqrt(1 - cosine**2) * aside).astype(np.float32)
    shelf = Shelf(dimensions)
    shelf.add(
        decode([ShelvedVector(n, f"e{n}", NEVER, encode(each)) for n, each in enumerate(rows, start=1)], dimensions),
        newest=many,
        now_ms=1,
    )

    found, _ = shelf.view.nearest(query.astype(np.float32), threshold=threshold, most=many, now_ms=1)

    alike = rows.astype(np.float64) @ query
    sure = {f"e{place + 1}" for place in np.flatnonzero(alike >= threshold)}
    maybe = {f"e{place + 1}" for place in np.flatnonzero(alike >= threshold - 1e-4)}
    assert not shelf.view.is_small
    assert sure <= {candidate.entry_id for candidate in found} <= maybe
    similarities = [candidate.similarity for candidate in found]
    assert similarities == sorted(similarities, reverse=True)


def test_a_large_shelf_grows_without_being_copied_and_lets_go_of_what_has_died() -> None:
    shelf = Shelf(2)
    for start in range(1, 2 * BLOCK_ROWS, 500):
        add(shelf, [row(number, expires_ms=5) for number in range(start, start + 500)])
    first = shelf.view

    add(shelf, [row(number) for number in range(10**5, 10**5 + BLOCK_ROWS)], now_ms=9)

    assert len(first) > 2 * BLOCK_ROWS
    assert len(shelf.view) < 2 * BLOCK_ROWS + 500
    assert len(nearest(shelf, now_ms=9, most=10**6)) == BLOCK_ROWS


@pytest.mark.parametrize("vector", [b"", b"1234567", struct.pack("<2f", float("nan"), 1), struct.pack("<2f", 0.5, 0)])
def test_damaged_vectors_are_named_and_left_out(vector: bytes) -> None:
    decoded = decode([row(1), ShelvedVector(2, "e2", NEVER, vector), row(3)], 2)

    assert decoded.spoilt == [2]
    assert len(decoded.matrix) == 2


def test_shelves_used_least_lately_are_let_go_of() -> None:
    shelves = Shelves(most_rows=3, most_ghosts=9)
    for name in ("a", "b", "c"):
        add(shelves.add(name, 2), [row(1), row(2)])
        shelves.make_room()

    assert [name for name in "abc" if shelves.get(name) is not None] == ["c"]


def test_a_shelf_that_many_were_added_to_is_read_anew_for_others_have_deleted_as_many() -> None:
    shelves = Shelves(most_rows=100, most_ghosts=3)
    shelf = shelves.add("a", 2)
    add(shelf, [row(1), row(2)])
    shelf.when_read = 2

    kept: list[bool] = []
    for number in range(3, 7):
        add(shelf, [row(number)])
        shelves.make_room()
        kept.append(shelves.get("a") is shelf)

    assert kept == [True, True, True, False]
