"""The simulated providers from a plain HTTP client's side: how to ask each, and how to read what it says."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from clocks import FakeClock
from orchestra_router.simulation import SimulatedWorld, simulated_world

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One wire format at one provider. `text` and `delta` find the visible text in an answer and in an event."""

    name: str
    provider: str
    path: str
    model: str
    body: Callable[[str, str], Document]
    """From a model and a prompt to the smallest request."""
    text: Callable[[Document], str]
    delta: Callable[[Document], str]
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return self.name

    def url(self, world: SimulatedWorld, *, model: str = "", stream: bool = False) -> str:
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return world.base_urls[self.provider] + self.path.format(model=model or self.model, verb=verb)

    def auth(self, world: SimulatedWorld) -> dict[str, str]:
        key = world[self.provider].key
        return {name: value.format(key=key) for name, value in self.headers.items()}

    def stream_text(self, body: str) -> str:
        """All visible text of a streamed answer."""
        return "".join(self.delta(event) for event in events(body))


def events(body: str) -> list[Document]:
    """The JSON of every server-sent event in `body`, without comments and `[DONE]`."""
    data = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    return [json.loads(text) for text in data if text != "[DONE]"]


def _chat_body(model: str, prompt: str) -> Document:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


def _chat_text(document: Document) -> str:
    return document["choices"][0]["message"]["content"]


def _chat_delta(event: Document) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])


def _responses_body(model: str, prompt: str) -> Document:
    return {"model": model, "input": [{"type": "message", "role": "user", "content": prompt}]}


def _responses_text(document: Document) -> str:
    messages = [item for item in document["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"])


def _responses_delta(event: Document) -> str:
    return event["delta"] if event["type"] == "response.output_text.delta" else ""


def _messages_body(model: str, prompt: str) -> Document:
    return {"model": model, "max_tokens": 4096, "messages": [{"role": "user", "content": prompt}]}


def _messages_text(document: Document) -> str:
    return "".join(block["text"] for block in document["content"] if block["type"] == "text")


def _messages_delta(event: Document) -> str:
    return event["delta"].get("text", "") if event["type"] == "content_block_delta" else ""


def _gemini_body(_model: str, prompt: str) -> Document:
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}


def _gemini_text(document: Document) -> str:
    parts = document["candidates"][0]["content"].get("parts", [])
    return "".join(part.get("text", "") for part in parts if not part.get("thought"))


_BEARER = {"authorization": "Bearer {key}"}


def _chat(provider: str, model: str, headers: Mapping[str, str] = _BEARER) -> Dialect:
    name = f"{provider} chat"
    return Dialect(name, provider, "/chat/completions", model, _chat_body, _chat_text, _chat_delta, headers)


def _responses(provider: str, model: str) -> Dialect:
    name = f"{provider} responses"
    return Dialect(name, provider, "/responses", model, _responses_body, _responses_text, _responses_delta, _BEARER)


OPENROUTER = _chat("openrouter", "anthropic/claude-sonnet-5.5")
OPENAI = _chat("openai", "gpt-6.1-terra")
OPENAI_RESPONSES = _responses("openai", "gpt-6.2-sol")
DEEPSEEK = _chat("deepseek", "deepseek-flash")
PERPLEXITY = _responses("perplexity", "perplexity/sonar")
TOGETHER = _chat("together", "zai-org/GLM-5.3")
XAI = _chat("xai", "grok-4.7")
XAI_RESPONSES = _responses("xai", "grok-4.3")
OLLAMA = _chat("ollama", "llama3.2:3b", {})
ANTHROPIC = Dialect(
    "anthropic messages",
    "anthropic",
    "/v1/messages",
    "claude-opus-5-5",
    _messages_body,
    _messages_text,
    _messages_delta,
    {"x-api-key": "{key}", "anthropic-version": "2026-10-21"},
)
GEMINI = Dialect(
    "gemini",
    "gemini",
    "/v1/models/{model}:{verb}",
    "gemini-3.8-flash",
    _gemini_body,
    _gemini_text,
    _gemini_text,
    {"x-goog-api-key": "{key}"},
)
DIALECTS = (
    OPENROUTER,
    OPENAI,
    OPENAI_RESPONSES,
    ANTHROPIC,
    DEEPSEEK,
    GEMINI,
    PERPLEXITY,
    TOGETHER,
    XAI,
    XAI_RESPONSES,
    OLLAMA,
)


@dataclass(slots=True)
class Loopback:
    """A running world, the clock it lives by, and a plain HTTP client."""

    world: SimulatedWorld
    clock: FakeClock
    http: httpx.AsyncClient

    async def ask(
        self, dialect: Dialect, prompt: str = "Is it worth it?", *, stream: bool = False, **more: Any
    ) -> httpx.Response:
        """Ask in `dialect`; `more` goes into the body, and a None takes a field out of it."""
        return await self.http.send(self.request(dialect, prompt, stream=stream, **more))

    def request(
        self, dialect: Dialect, prompt: str = "Is it worth it?", *, stream: bool = False, **more: Any
    ) -> httpx.Request:
        model = more.pop("model", dialect.model)
        body = dialect.body(model, prompt) | more
        if stream and dialect is not GEMINI:
            body["stream"] = True
        body = {name: value for name, value in body.items() if value is not None}
        url = dialect.url(self.world, model=model, stream=stream)
        return self.http.build_request("POST", url, headers=dialect.auth(self.world), json=body)

    async def get(self, dialect: Dialect, path: str) -> httpx.Response:
        return await self.http.get(self.world.base_urls[dialect.provider] + path, headers=dialect.auth(self.world))


@asynccontextmanager
async def open_loopback(now_ms: int | None = None) -> AsyncGenerator[Loopback]:
    """A fresh world at `now_ms` (default: 2026-11-23 16:00 UTC), and a client that is closed before it."""
    clock = FakeClock() if now_ms is None else FakeClock(now_ms)
    async with simulated_world(clock=clock) as world, httpx.AsyncClient(trust_env=False) as http:
        yield Loopback(world, clock, http)
