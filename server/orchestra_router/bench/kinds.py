"""What is measured: a bare call, the same call through the router, and what the router may save, each in its own world."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx

from orchestra_router.bench import servers
from orchestra_router.bench.measure import Call, Kind
from orchestra_router.bench.provider import CHUNKS
from orchestra_router.bench.world import Place, place, prompt, request
from orchestra_router.config import load
from orchestra_router.connections.pool import Pool
from orchestra_router.embedding.base import NO_PAYER
from orchestra_router.router import Router, open_router

BARE = "bare httpx call"
BARE_CHUNK = "bare httpx, a streamed chunk"
EMPTY_TOOL = "MCP stdio, an empty tool of the bare SDK"
MANY = (1, 16, 64, 256)
NEIGHBOURS = 1_000
AT_ONCE = 50
MODEL = "zai-org/GLM-5.3"
TASK = "general_chat"
WORDS = ("mountain", "river", "garden", "window", "letter", "engine", "bottle", "market", "island", "bridge")
KEPT, REWORDED = "How do I reset my router password?", "How can I reset the password of my router?"


@asynccontextmanager
async def kinds(folder: Path, port: int, *, semantic: bool, servers_too: bool) -> AsyncGenerator[Sequence[Kind]]:
    """Everything that can be measured here. `semantic`: with an embedder; `servers_too`: with servers of our own."""
    async with AsyncExitStack() as stack:
        here = place(folder / "router", port)
        found = [await _bare(stack, here)]
        router = await stack.enter_async_context(_router(here, embedder="off"))
        found += await _routed(router)
        if semantic:
            found += await _semantic(stack, folder, port)
        found += await _others(stack, here)
        if servers_too:
            found += await _over_stdio(stack, folder, port)
            found += await _over_http(stack, folder, port)
        yield found


@asynccontextmanager
async def _router(where: Place, **settings: str) -> AsyncGenerator[Router]:
    async with open_router(load(where.environ(log_level="ERROR", **settings))) as router:
        yield router


async def _bare(stack: AsyncExitStack, where: Place) -> Kind:
    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=600))

    async def call(number: int) -> None:
        await _chat(client, where.url, "key", number)

    return Kind(BARE, call, MANY)


async def _chat(client: httpx.AsyncClient, url: str, key: str, number: int) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt(number)}]}
    response = await client.post(url, json=body, headers={"authorization": f"Bearer {key}"})
    response.raise_for_status().json()


async def _routed(router: Router) -> list[Kind]:
    async def routed(number: int) -> None:
        await router.complete(request(prompt(number)))

    async def pinned(number: int) -> None:
        await router.complete(request(prompt(number), provider="together", model="glm-5.3"))

    async def hit(_: int) -> None:
        await router.complete(request(prompt(0)))

    async def falls_back(number: int) -> None:
        asked = request(
            prompt(number), provider="xai", model="grok-4.3", fallback_providers=("together",), max_retries=0
        )
        await router.complete(asked)

    await hit(0)
    return [
        Kind("routed, everything on", routed, MANY),
        Kind("routed, model named", pinned, MANY),
        Kind("exact hit", hit, MANY),
        Kind("fallback after a 429", falls_back, (1, 16)),
    ]


async def _semantic(stack: AsyncExitStack, folder: Path, port: int) -> list[Kind]:
    """A router that compares by meaning, over a partition of `NEIGHBOURS` prompts of the same kind."""
    router = await stack.enter_async_context(_router(place(folder / "semantic", port)))
    if await router.embedder.get(NO_PAYER) is None:
        return []
    for start in range(0, NEIGHBOURS, AT_ONCE):
        await asyncio.gather(*(_described(router, number) for number in range(start, start + AT_ONCE)))
    await router.complete(request(KEPT, task=TASK))
    await router.cache.settled()

    async def among_neighbours(number: int) -> None:
        await _described(router, NEIGHBOURS + number)

    async def hit(_: int) -> None:
        found = await router.complete(request(REWORDED, task=TASK))
        if found.cache != "SEMANTIC HIT":
            raise RuntimeError(f"The other wording was not served: {found.cache}, {found.cache_reason}")

    return [
        Kind(f"routed among {NEIGHBOURS:,} neighbours", among_neighbours, (1,), weight=0.25),
        Kind("semantic hit", hit, (1,), weight=0.25),
    ]


async def _described(router: Router, number: int) -> None:
    """A prompt that is never the same, and may be compared with all others of its kind: no digits, no names."""
    things = " and the ".join(WORDS[int(digit)] for digit in str(number + 1_000))
    await router.complete(request(f"please describe the {things}", task=TASK))


async def _others(stack: AsyncExitStack, where: Place) -> list[Kind]:
    """Other clients, where they are installed, on the same bare call."""
    base_url, found = where.url.removesuffix("/chat/completions"), list[Kind]()

    def messages(number: int) -> Any:
        return [{"role": "user", "content": prompt(number)}]

    if find_spec("openai"):
        from openai import AsyncOpenAI  # noqa: PLC0415 - if it is there

        client: Any = await stack.enter_async_context(AsyncOpenAI(base_url=base_url, api_key="key"))

        async def with_openai(number: int) -> None:
            await client.chat.completions.create(model=MODEL, messages=messages(number))

        found.append(Kind("openai SDK, a bare call", with_openai, MANY))
    if find_spec("litellm"):
        litellm: Any = import_module("litellm")

        async def with_litellm(number: int) -> None:
            await litellm.acompletion(
                model=f"openai/{MODEL}", api_base=base_url, api_key="key", messages=messages(number)
            )

        found.append(Kind("litellm, a bare call", with_litellm, MANY))
    if find_spec("any_llm"):
        any_llm: Any = import_module("any_llm")
        chat: Any = any_llm.AnyLLM.create("openai", api_key="key", api_base=base_url)

        async def with_any_llm(number: int) -> None:
            await chat.acompletion(model=MODEL, messages=messages(number))

        found.append(Kind("any-llm, a bare call", with_any_llm, MANY))
    return found


async def _over_stdio(stack: AsyncExitStack, folder: Path, port: int) -> list[Kind]:
    here = place(folder / "stdio", port)
    environ = here.environ(embedder="off", log_level="ERROR")
    bare, _ = await stack.enter_async_context(servers.stdio(servers.BARE, environ))
    ours, _ = await stack.enter_async_context(servers.stdio(servers.OURS, environ))

    async def empty(number: int) -> None:
        await bare.ask(number, "tools/call", {"name": "echo", "arguments": {"text": "x"}})

    async def routed(number: int) -> None:
        _check(await ours.ask(number, "tools/call", _tool_call(number)))

    return [
        Kind(EMPTY_TOOL, empty, (1, 16), own_process=False),
        Kind("MCP stdio, a routed call", routed, (1, 16), own_process=False),
    ]


async def _over_http(stack: AsyncExitStack, folder: Path, port: int) -> list[Kind]:
    here = place(folder / "http", port)
    served = await stack.enter_async_context(servers.http(here.environ(embedder="off", log_level="ERROR")))
    # Our own connections: of a client that is slow itself, the figures would say as much as of the server.
    client = await stack.enter_async_context(httpx.AsyncClient(transport=Pool(), timeout=60))
    plain = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=60))
    mcp = await _mcp_session(client, served)

    async def gateway(number: int) -> None:
        await _chat(client, f"{served.url}/v1/chat/completions", served.key, number)

    def streamed(url: str, key: str) -> Call:
        async def call(number: int) -> None:
            await _stream(plain, url, key, number)

        return call

    return [
        Kind("gateway call", gateway, MANY, own_process=False),
        Kind("MCP over HTTP, a routed call", mcp, (1, 16, 64), own_process=False),
        Kind(BARE_CHUNK, streamed(here.url, "key"), (1,), weight=0.2),
        Kind("gateway, a streamed chunk", streamed(f"{served.url}/v1/chat/completions", served.key), (1,), weight=0.2),
    ]


async def _stream(client: httpx.AsyncClient, url: str, key: str, number: int) -> None:
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": prompt(number)}]}
    chunks = 0
    async with client.stream("POST", url, json=body, headers={"authorization": f"Bearer {key}"}) as response:
        async for line in response.aiter_lines():
            chunks += line.startswith("data: ")
    if response.status_code != 200 or chunks < 2:
        raise RuntimeError(f"A stream of {CHUNKS} chunks came as {chunks}, with status {response.status_code}.")


async def _mcp_session(client: httpx.AsyncClient, served: servers.Served) -> Call:
    headers = {"authorization": f"Bearer {served.key}", "accept": "application/json, text/event-stream"}

    async def post(message: dict[str, Any]) -> httpx.Response:
        response = await client.post(f"{served.url}/mcp", json={"jsonrpc": "2.0", **message}, headers=headers)
        return response.raise_for_status()

    begun = await post({"id": 0, "method": "initialize", "params": servers.CLIENT})
    if session := begun.headers.get("mcp-session-id"):
        headers["mcp-session-id"] = session
    headers["mcp-protocol-version"] = servers.CLIENT["protocolVersion"]  # pyright: ignore[reportArgumentType]
    await post({"method": "notifications/initialized"})

    async def call(number: int) -> None:
        response = await post({"id": number, "method": "tools/call", "params": _tool_call(number)})
        text = response.text
        _check(json.loads(text if text.startswith("{") else text.partition("data: ")[2].split("\n", 1)[0]))

    return call


def _tool_call(number: int) -> dict[str, Any]:
    return {"name": "complete", "arguments": {"prompt": prompt(number)}}


def _check(answer: dict[str, Any]) -> None:
    if "error" in answer or answer["result"].get("isError"):
        raise RuntimeError(f"The tool failed: {answer}")
