"""Schemas from outside: served, or refused in words, but nothing that takes the simulated provider down."""

from typing import Any

import httpx
import pytest

from orchestra_router.simulation import simulated_world
from orchestra_router.simulation.schemas import UnusableSchema, example


def test_a_reference_to_a_definition_of_the_same_schema_is_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"where": {"$ref": "#/$defs/a~1place"}},
        "$defs": {"a/place": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }

    assert example(schema, "Oslo") == {"where": {"city": "Oslo"}}


@pytest.mark.parametrize(
    "part",
    [
        {"$ref": "#/$defs/absent"},
        {"$ref": "https://example.com/schema"},
        {"$ref": 7},
        {"$ref": "#"},
        {"type": ["null"]},
        {"type": "array", "items": 3},
        {"properties": [1]},
        True,
    ],
)
def test_what_cannot_be_served_is_named_so(part: Any) -> None:
    with pytest.raises(UnusableSchema):
        example({"type": "object", "properties": {"x": part}, "required": ["x"]}, "text")


async def test_a_provider_refuses_a_schema_it_cannot_serve() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"$ref": "#/$defs/no"}}}}}
    question = {"role": "user", "content": "use the tool"}

    async with simulated_world() as world, httpx.AsyncClient() as client:
        reply = await client.post(
            f"{world.base_urls['deepseek']}/chat/completions",
            headers={"authorization": f"Bearer {world['deepseek'].key}"},
            json={"model": "deepseek-flash", "messages": [question], "tools": [tool]},
        )

    assert reply.status_code == 400
    assert "Invalid JSON schema" in reply.text
