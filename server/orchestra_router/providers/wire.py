"""Reading JSON that strangers wrote, and writing ours.

A value of the wrong type reads like a missing one: vendors leave fields out, send null, or change a type, and none
of that may end in anything but an answer or a `ProviderError`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import cast

from orchestra_router.errors import InvalidAnswer
from orchestra_router.types import Usage, nusd

JsonObject = Mapping[str, object]

MAX_COUNT = 10**12
"""A count of tokens above this is nonsense; it would not fit where counts are added up and stored."""
MAX_USD = 10**6
_compact = json.JSONEncoder(separators=(",", ":")).encode


def parse_json(body: bytes | str) -> object:
    """The value in `body`; blank lines around it are ignored.

    Raises:
        InvalidAnswer: it is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, endless digits; nested too deep
        raise InvalidAnswer from None


def parse_object(body: bytes | str) -> JsonObject:
    """The object in `body`.

    Raises:
        InvalidAnswer: it is not JSON, or not an object.
    """
    value = parse_json(body)
    if not isinstance(value, dict):
        raise InvalidAnswer
    return cast("JsonObject", value)


def as_object(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list) else ()


def as_objects(value: object) -> Sequence[JsonObject]:
    """The objects in a list; whatever else it holds is skipped."""
    return [cast("JsonObject", item) for item in as_list(value) if isinstance(item, dict)] if value else ()


def first_object(value: object) -> JsonObject:
    """The first object in a list, else {}."""
    for item in as_list(value):
        if isinstance(item, dict):
            return cast("JsonObject", item)
    return {}


def as_text(value: object) -> str:
    """`value` if it is a string, else "". Half of a surrogate pair becomes "?": it could never be encoded again."""
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def as_count(value: object) -> int | None:
    """A whole number from 0 to `MAX_COUNT`, else None: a count that is nonsense is not 0, it is unknown."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_COUNT else None


def as_nusd(value: object) -> int | None:
    """Dollars, as a JSON number, in `_nusd`; None unless it is from 0 to `MAX_USD`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return nusd(value) if 0 <= value <= MAX_USD else None  # NaN compares false


def disjoint_usage(
    prompt: int | None,
    completion: int | None,
    *,
    total: int | None = None,
    cached: int = 0,
    written: int = 0,
    reasoning: int = 0,
    searches: int = 0,
) -> Usage | None:
    """OpenAI-style counts as disjoint buckets, or None where prompt or completion is unknown (so: estimate).

    Cached and reasoning tokens are normally part of prompt and completion. Some send them beside these (xAI's chat
    completions the reasoning; gateways in front of Anthropic the cached tokens), and only `total` shows it.
    """
    if prompt is None or completion is None:
        return None
    beside = 0 if total is None else total - prompt - completion
    if reasoning and (reasoning > completion or beside in {reasoning, reasoning + cached + written}):
        completion += reasoning
        beside -= reasoning
    if cached + written > prompt or (cached + written and beside == cached + written):
        prompt += cached + written
    return Usage(
        input_fresh=prompt - cached - written,
        cache_read=cached,
        cache_write=written,
        output=completion - reasoning,
        reasoning=reasoning,
        searches=searches,
        reported_total=total,
    )


def credible(usage: Usage | None, *, said: bool) -> Usage | None:
    """`usage`, unless its zeros only stand for counts that nobody made: no prompt is empty, nor what was `said`."""
    if usage is None or not usage.input_total or (said and not usage.output_total):
        return None
    return usage


def dump(value: object) -> str:
    """What was read, as JSON text again.

    Raises:
        InvalidAnswer: it is nested too deep.
    """
    try:
        return _compact(value)
    except RecursionError:
        raise InvalidAnswer from None


def encode(body: JsonObject) -> bytes:
    return _compact(body).encode()
