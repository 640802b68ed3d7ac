"""Packed bodies: whatever the pieces they come in, and however much they stand for."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router import errors
from orchestra_router.connections.unpacking import MOST_BEHIND_BYTES, PIECE_BYTES, unpacked
from orchestra_router.transport import MAX_BODY_BYTES
from test_transport import END, EVENTS, ask, ask_streaming, plain

TEXT = b'{"choices": []}' * 3_000


def _raw_deflate(data: bytes) -> bytes:
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return pack.compress(data) + pack.flush()


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _read(pieces: Iterable[bytes], encoding: str) -> list[bytes]:
    return [piece async for piece in unpacked(_each(pieces), encoding)]


def _bomb(megabytes: int) -> bytes:
    pack = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join([*(pack.compress(bytes(2**20)) for _ in range(megabytes)), pack.flush()])


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("GZip , utf-8", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", _raw_deflate(TEXT)),
        ("identity", TEXT),
        ("none", TEXT),
    ],
    ids=[
        "gzip",
        "in capitals and with a name nobody knows",
        "deflate",
        "deflate without a head",
        "not at all",
        "unknown",
    ],
)
@given(cuts=st.lists(st.integers(1, 200), max_size=20))
async def test_a_body_is_the_same_in_whatever_pieces_it_comes(encoding: str, body: bytes, cuts: list[int]) -> None:
    pieces = list[bytes]()
    rest = body
    for cut in [*cuts, len(body)]:
        pieces.append(rest[:cut])
        rest = rest[cut:]

    assert b"".join(await _read(pieces, encoding)) == TEXT


async def test_each_piece_of_what_a_few_bytes_stand_for_is_short() -> None:
    pieces = await _read([_bomb(3)], "gzip")

    assert b"".join(pieces) == bytes(3 * 2**20)
    assert max(map(len, pieces)) <= PIECE_BYTES


async def test_a_few_bytes_that_stand_for_very_many_take_no_memory() -> None:
    bomb = _bomb(200)
    tracemalloc.start()
    try:
        with pytest.raises(errors.InvalidAnswer):
            await ask(plain(200, bomb, {"content-encoding": "gzip"}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * MAX_BODY_BYTES


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate,gzip", "gzip, identity, gzip"])
async def test_what_is_packed_twice_is_not_unpacked(encoding: str) -> None:
    packed = gzip.compress(gzip.compress(END))

    with pytest.raises(errors.InvalidAnswer) as whole:
        await ask(plain(200, packed, {"content-encoding": encoding}))
    with pytest.raises(errors.InvalidAnswer) as streamed:
        await ask_streaming(plain(200, packed, {**EVENTS, "content-encoding": encoding}))

    assert {whole.value.provider_code, streamed.value.provider_code} == {"undecodable_body"}


async def test_what_follows_the_end_is_left_and_not_waited_out() -> None:
    packed = gzip.compress(TEXT)

    assert b"".join(await _read([packed + b"behind", b"it"], "gzip")) == TEXT
    with pytest.raises(httpx.DecodingError):
        await _read([packed, *[bytes(1_000)] * (MOST_BEHIND_BYTES // 1_000 + 1)], "gzip")


async def test_what_breaks_off_is_what_had_come() -> None:
    pack = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    begun = pack.compress(TEXT) + pack.flush(zlib.Z_SYNC_FLUSH)

    assert b"".join(await _read([begun], "gzip")) == TEXT
    assert b"".join(await _read([b"\x78"], "deflate")) == b""
