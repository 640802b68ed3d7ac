"""Base64 that strangers sent. An image's is megabytes long, so it is looked at in pieces, between which others have a turn."""

import string

PIECE_CHARACTERS = 256 * 1024
MOST_PADDING = 2
_BLANKS = string.whitespace.encode()
_ALPHABET = (string.ascii_letters + string.digits + "+/").encode()


def without_blanks(text: str) -> str | None:
    """`text` without the line breaks and blanks in it; None where it is no base64."""
    if not text.isascii():
        return None
    text = text.rstrip()
    kept = text.rstrip("=")
    if len(text) - len(kept) > MOST_PADDING:
        return None
    pieces: list[bytes] = []
    for start in range(0, len(kept), PIECE_CHARACTERS):
        piece = kept[start : start + PIECE_CHARACTERS].encode().translate(None, _BLANKS)
        if piece.translate(None, _ALPHABET):
            return None
        pieces.append(piece)
    return b"".join(pieces).decode() + text[len(kept) :]


def is_base64(text: str) -> bool:
    return without_blanks(text) is not None
