"""What follows a failed attempt: ask again, ask the next deployment, or give up. A pure function."""

from dataclasses import dataclass
from typing import Literal

from orchestra_router.errors import ProviderError

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 8.0
PATIENCE_S = 10.0
"""A longer wait than this is not worth it while another deployment can be asked."""
KEPT_FOR_OTHERS = 3
"""Attempts that retries leave for as many other deployments: several may be out of order at once."""


@dataclass(frozen=True, slots=True)
class Verdict:
    step: Literal["again", "next", "stop"]
    wait_s: float = 0.0
    """Before asking again."""


def decide(
    error: ProviderError,
    *,
    tries: int,
    max_retries: int,
    attempts_left: int,
    seconds_left: float,
    has_next: bool,
    jitter: float,
    kept: int = 0,
    next_key: bool = False,
) -> Verdict:
    """What to do after `error`, the outcome of try number `tries` (1-based) at one deployment.

    `max_retries` bounds further tries there, `attempts_left` and `seconds_left` the whole request; `kept` of the
    attempts are for other deployments. `next_key` says that what comes next is the same deployment with another key,
    which is not waited for. `jitter` is in [0, 1). A wait that the provider named is obeyed or not waited for at all,
    never shortened.
    """
    onward = Verdict("next" if error.falls_back != "no" and has_next and attempts_left > 0 else "stop")
    allowed = max_retries if error.retries is None else min(error.retries, max_retries)
    if next_key or not error.retryable or tries > allowed:
        return onward
    if attempts_left <= kept or (error.probing and has_next):
        return onward
    wait_s = error.retry_after_s if error.retry_after_s is not None else backoff_s(tries, jitter=jitter)
    if wait_s >= seconds_left or (has_next and wait_s > PATIENCE_S):
        return onward
    return Verdict("again", wait_s)


def backoff_s(tries: int, *, jitter: float) -> float:
    """Full jitter: anywhere between nothing and a ceiling that doubles with every try."""
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (tries - 1)) * jitter
