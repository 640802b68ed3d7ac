"""The embeddings endpoint as OpenAI made it and others copied it: texts in, a vector for each out. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestra_router.deployments import Deployment
from orchestra_router.errors import InvalidAnswer
from orchestra_router.providers.failures import error_in
from orchestra_router.providers.openai_common import bearer_headers, reported_cost
from orchestra_router.providers.wire import as_count, as_list, as_object, as_text, encode, parse_object
from orchestra_router.types import Usage, WireRequest

MOST_DIMENSIONS = 8_192
SMALLEST_LENGTH = 1e-6
"""A vector shorter than that points nowhere, and cannot be made one of unit length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What came back. `usage` is None where none was sent (so: estimate it)."""

    vectors: tuple[tuple[float, ...], ...] = field(repr=False)
    """In the order of the texts, of unit length, all of the same dimensions."""
    usage: Usage | None
    cost_nusd: int | None
    """What the provider itself says it charges."""
    model: str


def build_request(deployment: Deployment, texts: Sequence[str], *, api_key: str) -> WireRequest:
    provider = deployment.provider
    body = {"model": deployment.offer.id, "input": list(texts), "encoding_format": "float"}
    return WireRequest(
        url=f"{provider.base_url.rstrip('/')}/embeddings",
        headers=bearer_headers(provider, api_key) | {"content-type": "application/json"},
        body=encode(body),
    )


def parse_response(body: bytes, *, texts: int) -> Embedded:
    """The vectors of that many `texts` in a 2xx body.

    Raises:
        ProviderError: the body carries an error (classified), or does not hold them (`InvalidAnswer`), be it that one
            is missing, too long, not of finite numbers, or of other dimensions than the rest.
    """
    document = parse_object(body)
    usage = as_object(document.get("usage"))
    prompt = as_count(usage.get("prompt_tokens"))
    counted = Usage(input_fresh=prompt, reported_total=as_count(usage.get("total_tokens"))) if prompt else None
    cost_nusd = reported_cost(usage)
    if "data" not in document:
        raise error_in(document, usage=counted, cost_nusd=cost_nusd)
    placed: dict[int, tuple[float, ...]] = {}
    for position, row in enumerate(map(as_object, as_list(document["data"]))):
        place = as_count(row.get("index"))
        placed[position if place is None else place] = _unit(as_list(row.get("embedding")))
    if sorted(placed) != list(range(texts)) or len({len(vector) for vector in placed.values()}) > 1:
        raise InvalidAnswer(usage=counted, cost_nusd=cost_nusd)
    return Embedded(
        vectors=tuple(placed[place] for place in range(texts)),
        usage=counted,
        cost_nusd=cost_nusd,
        model=as_text(document.get("model")),
    )


def _unit(values: Sequence[object]) -> tuple[float, ...]:
    """`values` at unit length; () where they are no vector."""
    if len(values) > MOST_DIMENSIONS:
        raise InvalidAnswer
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    length = math.hypot(*numbers)
    if len(numbers) != len(values) or not (SMALLEST_LENGTH < length < math.inf):
        raise InvalidAnswer
    return tuple(number / length for number in numbers)
