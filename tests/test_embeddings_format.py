"""The embeddings endpoint on the wire: asked over real sockets, read whatever comes back."""

import json
import math
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from clocks import FakeClock
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.errors import InvalidAnswer, ModelGone, RateLimited
from orchestra_router.providers import embeddings, openai_common
from orchestra_router.providers.embeddings import Embedded, parse_response
from orchestra_router.simulation import SimulatedWorld, simulated_world
from orchestra_router.transport import Transport

SMALL = "text-embedding-3-small"


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world(clock=FakeClock()) as providers:
        yield providers


async def embed(world: SimulatedWorld, provider: str, model: str, *texts: str) -> Embedded:
    deployment = Deployment(
        Provider(name=provider, base_url=world.base_urls[provider]), Model(name=model), Offer(id=model)
    )
    transport = Transport(FakeClock())
    try:
        wire = embeddings.build_request(deployment, texts, api_key=world[provider].key)
        response = await transport.send(wire, timeout_s=5)
    finally:
        await transport.aclose()
    if response.status >= 400:
        raise openai_common.parse_error(response, now_ms=0)
    return parse_response(response.body, texts=len(texts))


def body(*rows: object, **fields: Any) -> bytes:
    data = [{"index": index, "embedding": row} for index, row in enumerate(rows)]
    return json.dumps({"data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}} | fields).encode()


@pytest.mark.parametrize(("provider", "model", "size"), [("openai", SMALL, 1536), ("ollama", "nomic-embed-text", 768)])
async def test_each_text_has_its_vector_of_unit_length(
    world: SimulatedWorld, provider: str, model: str, size: int
) -> None:
    found = await embed(world, provider, model, "Reset the router", "The router: reset", "Grow plants")

    first, same, other = found.vectors
    assert len(first) == size
    assert math.hypot(*other) == pytest.approx(1)
    assert sum(a * b for a, b in zip(first, same, strict=True)) == pytest.approx(1)
    assert sum(a * b for a, b in zip(first, other, strict=True)) < 0.5
    assert found.usage is not None
    assert [bill.tokens.input for bill in world[provider].bills] == [found.usage.input_total]


async def test_a_model_that_is_not_served_and_a_limit_are_told_apart(world: SimulatedWorld) -> None:
    with pytest.raises(ModelGone):
        await embed(world, "ollama", "unpulled", "a text")
    world["openai"].script(world["openai"].error(429))
    with pytest.raises(RateLimited):
        await embed(world, "openai", SMALL, "a text")


def test_vectors_in_another_order_are_put_in_place() -> None:
    rows = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 0]}]

    assert parse_response(body(data=rows), texts=2).vectors == ((1, 0), (0, 1))


@pytest.mark.parametrize(
    "spoilt",
    [
        body([1, 0]),
        body([1, 0], [1, 0, 0]),
        body([1, 0], []),
        body([1, 0], [0, 0]),
        body([1, 0], ["1", 0]),
        body([1, 0], None),
        body([1, 0], [math.nan, 1]),
        body([1, 0], [math.inf, 1]),
        body([1, 0], [0, 1], [1, 1]),
        body(data=[{"index": 0, "embedding": [1, 0]}, {"index": 0, "embedding": [0, 1]}]),
        body(data={}),
        b"[]",
    ],
)
def test_what_does_not_hold_the_vectors_that_were_asked_for_is_no_answer(spoilt: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        parse_response(spoilt, texts=2)
