"""What to say when an access key has asked as much as it may. The store counts, in the transaction of each hold."""

import math

from orchestra_router.errors import AccessDenied, KeyLimitReached
from orchestra_router.store.base import Hold
from orchestra_router.store.key_records import Throttled

SOON_S = 1.0
"""When to ask again where requests under way are in the way: some are answered by then."""


def reached(throttled: Throttled, hold: Hold) -> AccessDenied | KeyLimitReached:
    """The error for a hold that the limits of its key are in the way of."""
    key = f"The access key {hold.scope.access_key}"
    if throttled.what == "key":
        return AccessDenied(f"{key} was revoked, or has expired, while this request was under way.")
    if throttled.what == "concurrency":
        error = KeyLimitReached(
            f"{key} may have {throttled.limit} requests under way at the same time, and has. Try again when one of them"
            " is done.",
            retry_after_s=SOON_S,
        )
        error.in_flight = throttled.limit > 0
        return error
    said = f"{key} may ask {throttled.limit:,} {throttled.what} a minute, and {throttled.used:,} are used up."
    if throttled.free_ms is None:
        return KeyLimitReached(f"{said} This request alone needs more. Ask for less, or for a higher limit.")
    seconds = max(1, math.ceil((throttled.free_ms - hold.created_ms) / 1000))
    return KeyLimitReached(f"{said} Try again in {seconds} s.", retry_after_s=float(seconds))
