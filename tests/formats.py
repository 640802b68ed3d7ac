"""Deployments, requests and recorded bodies for the tests of a wire format."""

import json
from typing import Any

from mutated import WIRE, events_of
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.types import CompletionRequest, Message, Part, StreamEvent, Text, WireRequest, WireResponse

NOW_MS = 1_795_449_600_000  # 2026-11-23T16:00:00Z


def body(name: str) -> bytes:
    return (WIRE / name).read_bytes()


def load(name: str) -> Any:
    return json.loads(body(name))


def events(name: str) -> list[StreamEvent]:
    return events_of(WIRE / name)


def response(name: str, status: int, **headers: str) -> WireResponse:
    return WireResponse(
        status=status, headers={key.replace("_", "-"): value for key, value in headers.items()}, body=body(name)
    )


def deployment(provider: Provider, *, offer_id: str = "some-model", **model: Any) -> Deployment:
    able: dict[str, Any] = {"images": True, "web_search": True, "max_output_tokens": 64_000}
    return Deployment(provider=provider, model=Model(name="some-model", **able | model), offer=Offer(id=offer_id))


def ask(*messages: Message | str, **fields: Any) -> CompletionRequest:
    turns = tuple(said("user", Text(one)) if isinstance(one, str) else one for one in messages or ("Hello",))
    return CompletionRequest(messages=turns, **fields)


def said(role: Any, *parts: Part | str, state: str = "") -> Message:
    texts = tuple(Text(part) if isinstance(part, str) else part for part in parts)
    return Message(role=role, parts=texts, provider_state=state)


def sent(wire: WireRequest) -> Any:
    """The JSON in the body of `wire`."""
    assert wire.body is not None
    return json.loads(wire.body)
