"""Bodies that were packed for the way, unpacked in pieces of a bounded size: a few bytes can stand for gigabytes."""

import asyncio
import zlib
from collections.abc import AsyncIterator

import httpx

PIECE_BYTES = 256 * 1024
MOST_BEHIND_BYTES = 64 * 1024
"""What may follow the end of what was packed; it is not looked at."""
ZLIB_HEAD_BYTES = 2


async def unpacked(pieces: AsyncIterator[bytes], content_encoding: str) -> AsyncIterator[bytes]:
    """What was packed into `pieces`, in pieces of `PIECE_BYTES` at most.

    Raises:
        httpx.DecodingError: it cannot be unpacked.
    """
    packed = _packed(content_encoding)
    if not packed:
        async for piece in pieces:
            yield piece
        return
    unpack = _Unpacking(packed)
    async for piece in pieces:
        left = unpack.begun(piece)
        while left:
            some, left = unpack.some(left)
            yield some
            await asyncio.sleep(0)  # others are served meanwhile
    yield unpack.rest()


def _packed(content_encoding: str) -> str:
    """Either "gzip", "deflate", or "" for not at all. Names that nobody knows are none, as for browsers."""
    found = [name for part in content_encoding.split(",") if (name := part.strip().lower()) in {"gzip", "deflate"}]
    if len(found) > 1:  # a thousand times a thousand times as large
        raise httpx.DecodingError("The body was packed more than once.")
    return found[0] if found else ""


class _Unpacking:
    def __init__(self, packed: str) -> None:
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._is_known = packed == "gzip"
        self._head = b""
        self._behind = 0

    def begun(self, piece: bytes) -> bytes:
        """`piece`, with what came before it and was too short to be understood; b"" while it still is."""
        if self._is_known:
            return piece
        self._head += piece
        if len(self._head) < ZLIB_HEAD_BYTES:
            return b""
        # Servers call both "deflate": with zlib's own head, and without.
        kind, check = self._head[0] & 0x0F, int.from_bytes(self._head[:ZLIB_HEAD_BYTES])
        has_head = kind == zlib.DEFLATED and check % 31 == 0
        self._unpack = zlib.decompressobj(zlib.MAX_WBITS if has_head else -zlib.MAX_WBITS)
        self._is_known = True
        return self._head

    def some(self, left: bytes) -> tuple[bytes, bytes]:
        """What the beginning of `left` stands for, and what is then still left."""
        if self._unpack.eof:
            self._behind += len(left)
            if self._behind > MOST_BEHIND_BYTES:
                raise httpx.DecodingError("The body goes on behind its end.")
            return b"", b""
        try:
            return self._unpack.decompress(left, PIECE_BYTES), self._unpack.unconsumed_tail
        except zlib.error as error:
            raise httpx.DecodingError(str(error)) from None

    def rest(self) -> bytes:
        """The last few bytes, once everything has come."""
        return b"" if self._unpack.eof or not self._is_known else self._unpack.flush()
