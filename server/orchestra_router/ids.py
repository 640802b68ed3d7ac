"""Ids that are drawn by lot."""

import secrets

REQUEST_BYTES = 8
TRACE_BYTES = 16
"""As W3C trace context has them."""


def drawn(number_of_bytes: int = REQUEST_BYTES) -> str:
    """Hexadecimal digits, two a byte, with a letter among them: digits alone would look like a card's or an account's number."""
    while (found := secrets.token_hex(number_of_bytes)).isdecimal():
        pass
    return found
