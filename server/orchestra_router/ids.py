"""Ids that are drawn by lot."""

import os
from collections import deque

REQUEST_BYTES = 8
TRACE_BYTES = 16
"""As W3C trace context has them."""
AT_ONCE = 64
"""Lots that are fetched together: each fetch is a call of the system, at which another thread may take its turn."""

_lots: deque[str] = deque()
"""Of `REQUEST_BYTES` each, as hexadecimal digits. Taken one by one, whatever the thread."""


def drawn(number_of_bytes: int = REQUEST_BYTES) -> str:
    """Hexadecimal digits, two a byte, with a letter among them: digits alone would look like a card's or an account's number.

    `number_of_bytes` is a multiple of `REQUEST_BYTES`.
    """
    while (found := "".join([_lot() for _ in range(number_of_bytes // REQUEST_BYTES)])).isdecimal():
        pass
    return found


def _lot() -> str:
    while True:
        try:
            return _lots.popleft()
        except IndexError:
            digits, each = os.urandom(REQUEST_BYTES * AT_ONCE).hex(), 2 * REQUEST_BYTES
            _lots.extend(digits[start : start + each] for start in range(0, len(digits), each))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lots.clear)  # two processes must not draw the same
