"""What the tests of the MCP surface share: a configuration for simulated providers, and calls as a client makes them."""

import json
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.types import CallToolResult, TextContent

from orchestra_router.app import build_server
from orchestra_router.config import Config, load
from orchestra_router.errors import ConfigError
from orchestra_router.simulation import Reply, SimulatedWorld, simulated_config

Json = dict[str, Any]


def configured(world: SimulatedWorld, home: Path, settings: str = "", **variables: str) -> Config:
    """A configuration whose providers are those of `world`, with `settings` as further lines of its file."""
    return load(environ(world, home, settings) | variables)


def environ(world: SimulatedWorld, home: Path, settings: str = "") -> dict[str, str]:
    (home / "orchestra.toml").write_text(settings + "\n" + simulated_config(world), encoding="utf-8")
    return {"ORCHESTRA_HOME": str(home)} | world.keys


def connected(config: Config | ConfigError, mode: str = "legacy", **more: Any) -> AbstractAsyncContextManager[Client]:
    return Client(build_server(config, **more), mode=mode)


async def call(client: Client, tool: str, /, **arguments: Any) -> CallToolResult:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    return result


def text_of(result: CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, TextContent))


async def succeed(client: Client, tool: str, /, **arguments: Any) -> Json:
    """The data of a call that has to succeed; whoever reads the text reads the same."""
    result = await call(client, tool, **arguments)
    assert not result.is_error, text_of(result)
    assert result.structured_content is not None
    assert json.loads(text_of(result)) == result.structured_content
    return result.structured_content


async def fail(client: Client, tool: str, /, **arguments: Any) -> tuple[str, Json]:
    """The words and the machine-readable details of a call that has to fail."""
    result = await call(client, tool, **arguments)
    assert result.is_error, text_of(result)
    assert result.structured_content is None
    error: Json = (result.meta or {})["orchestra/error"]
    return text_of(result), error


def answering(text: str) -> Reply:
    """What a provider of chat completions sends to say `text`."""
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return Reply(body={"id": "x", "model": "deepseek", "choices": [choice], "usage": usage})
