"""One request to one deployment over a real connection, as the router sends it."""

import pytest

from orchestra_router.deployments import Deployment
from orchestra_router.providers import registry
from orchestra_router.transport import StreamTimeouts, Transport
from orchestra_router.types import Answer, CompletionRequest, Tool

PATIENT_S = 20.0
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
WEATHER = Tool(
    "get_weather",
    "Weather of the next days",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
)


async def ask_of(
    transport: Transport,
    deployment: Deployment,
    request: CompletionRequest,
    *,
    key: str,
    stream: bool = False,
    timeout_s: float = PATIENT_S,
) -> Answer:
    """The answer. A stream's pieces have to add up to its text, if it came in pieces."""
    adapter, wire = registry.build_request(deployment, request, api_key=key, stream=stream)
    if not stream:
        return await transport.ask(adapter, wire, timeout_s=timeout_s)
    pieces: list[str] = []

    async def on_text(text: str) -> None:
        pieces.append(text)

    timeouts = StreamTimeouts(first_s=timeout_s, idle_s=timeout_s, total_s=timeout_s)
    answer = await transport.ask_streaming(adapter, wire, timeouts=timeouts, on_text=on_text)
    assert "".join(pieces) in {answer.text, ""}
    return answer
