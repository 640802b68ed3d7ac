"""The vectors of a shelf in memory: what is nearest, what has gone, and how it grows."""

import struct
from collections.abc import Sequence

import numpy as np
import pytest

from orchestra_router.policy.cache.vectors import SMALLEST_MATRIX, Shelf, Shelves, decode
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
    add(shelf, [row(number, expires_ms=5) for number in range(1, SMALLEST_MATRIX)])
    add(shelf, [row(SMALLEST_MATRIX)])
    shelf.forget({f"e{SMALLEST_MATRIX}"})

    assert nearest(shelf, now_ms=9) == []
    assert not shelf.view.has_live(9)
    add(shelf, [row(1_000)], now_ms=9)
    assert len(shelf.view) == 1


def test_a_search_sees_the_shelf_as_it_was_when_it_began() -> None:
    shelf = Shelf(2)
    add(shelf, [row(1)])
    before = shelf.view

    add(shelf, [row(number) for number in range(2, 500)])

    assert len(before) == len(before.ids) == 1
    assert len(nearest(shelf, most=1_000)) == 499


@pytest.mark.parametrize("vector", [b"", b"1234567", struct.pack("<2f", float("nan"), 1), struct.pack("<2f", 0.5, 0)])
def test_damaged_vectors_are_named_and_left_out(vector: bytes) -> None:
    decoded = decode([row(1), ShelvedVector(2, "e2", NEVER, vector), row(3)], 2)

    assert decoded.spoilt == [2]
    assert len(decoded.matrix) == 2


def test_shelves_used_least_lately_are_let_go_of() -> None:
    shelves = Shelves(most_rows=3)
    for name in ("a", "b", "c"):
        add(shelves.add(name, 2), [row(1), row(2)])
        shelves.make_room()

    assert [name for name in "abc" if shelves.get(name) is not None] == ["c"]
