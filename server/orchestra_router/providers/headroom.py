"""What a provider says is left of its rate limits, from the headers of any answer. A pure function.

OpenAI, OpenRouter, DeepSeek's hosts   x-ratelimit-remaining-tokens: 149984      x-ratelimit-reset-tokens: 6m0s
xAI                                    x-ratelimit-remaining-requests: 479       (no reset)
Together                               x-ratelimit-remaining: 599                x-ratelimit-reset: 1
Anthropic                              anthropic-ratelimit-input-tokens-remaining, -reset: 2026-11-23T16:00:01Z
"""

import re
from collections.abc import Mapping

from orchestra_router.providers.failures import wait_s
from orchestra_router.types import Allowance, AllowanceKind

UNSTATED_RESET_S = 10.0
"""Where no header says when more will be allowed, what is left is believed for so long."""
LONGEST_RESET_S = 86_400.0
_REMAINING = re.compile(r"(?:x|anthropic)-ratelimit-(?:[a-z]+-)*remaining(?:-[a-z]+)*")
_COUNT = re.compile(r"\d{1,15}")


def allowances(headers: Mapping[str, str], *, now_ms: int) -> tuple[Allowance, ...]:
    """What `headers` (names in lower case) say is left, one allowance for each limit; () where they say nothing."""
    found: list[Allowance] = []
    for name, value in headers.items():
        if "remaining" not in name or not _REMAINING.fullmatch(name) or (remaining := _count(value)) is None:
            continue
        seconds = wait_s(headers.get(name.replace("remaining", "reset")), now_ms=now_ms)
        seconds = UNSTATED_RESET_S if seconds is None else min(seconds, LONGEST_RESET_S)
        found.append(
            Allowance(
                kind=_kind(name),
                remaining=remaining,
                most=_count(headers.get(name.replace("remaining", "limit"))),
                reset_ms=now_ms + round(seconds * 1000),
            )
        )
    return tuple(found)


def _kind(name: str) -> AllowanceKind:
    if "token" not in name:
        return "requests"
    return "input_tokens" if "input" in name else "output_tokens" if "output" in name else "tokens"


def _count(value: str | None) -> int | None:
    return int(value) if value is not None and _COUNT.fullmatch(value.strip()) else None
