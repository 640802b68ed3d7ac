"""MCP and HTTP servers in processes of their own, and clients that cost next to nothing."""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = (sys.executable, "-m", "orchestra_router")
BARE = (
    sys.executable,
    "-c",
    """
from mcp.server import MCPServer
server = MCPServer("bare", version="1", log_level="WARNING")
@server.tool()
async def echo(text: str) -> str:
    "Say it again."
    return text
server.run()
""",
)
"""The least that the SDK serves: one tool that does nothing."""
CLIENT = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}
LONGEST_LINE = 16 * 2**20
SETTLES_S = 1.0
"""After the first listing, until what is opened because of it is open."""


class Stdio:
    """An MCP client that writes lines and waits for the lines that answer them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, number: int, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return await answer

    def tell(self, method: str) -> None:
        self._send({"jsonrpc": "2.0", "method": method})

    async def aclose(self) -> None:
        self._reader.cancel()
        self._process.kill()
        await self._process.wait()

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        while self._process.stdout is not None and (line := await self._process.stdout.readline()):
            message = json.loads(line)
            if (waiting := self._waiting.pop(message.get("id"), None)) is not None:
                waiting.set_result(message)


@asynccontextmanager
async def stdio(command: Sequence[str], environ: Mapping[str, str]) -> AsyncGenerator[tuple[Stdio, float]]:
    """A client of the server that `command` starts, and the seconds until that had listed its tools."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=LONGEST_LINE,
    )
    client = Stdio(process)
    try:
        await client.ask(-1, "initialize", CLIENT)
        client.tell("notifications/initialized")
        await client.ask(-2, "tools/list", {})
        yield client, time.perf_counter() - began
    finally:
        await client.aclose()


@dataclass(frozen=True, slots=True)
class Served:
    """Where `orchestra serve --http` listens, and an access key that it takes."""

    url: str
    key: str


@asynccontextmanager
async def http(environ: Mapping[str, str]) -> AsyncGenerator[Served]:
    key = await _access_key(environ)
    process = await asyncio.create_subprocess_exec(
        *OURS,
        "serve",
        "--http",
        "127.0.0.1:0",
        env={**os.environ, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Served(await _url(process), key)
    finally:
        process.kill()
        await process.wait()


async def _access_key(environ: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *OURS,
        "keys",
        "create",
        "bench",
        env={**os.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await process.communicate()
    found = re.search(r"\bork_[\w.-]+", said.decode())
    if found is None:
        raise RuntimeError("No access key could be made for the benchmark.")
    return found[0]


async def _url(process: asyncio.subprocess.Process) -> str:
    said = ""
    while process.stderr is not None and (line := await process.stderr.readline()):
        said += line.decode()
        if (url := re.search(r"serves at (\S+)", said)) is not None:
            return url[1]
    raise RuntimeError(f"The server did not start: {said}")


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of a process to its listed tools, and the memory it then rests at (0: not known here)."""

    seconds: float
    megabytes: float


async def start(command: Sequence[str], environ: Mapping[str, str]) -> Start:
    async with stdio(command, environ) as (client, seconds):
        await asyncio.sleep(SETTLES_S)
        return Start(seconds, megabytes(client.pid))


def megabytes(pid: int) -> float:
    """The memory of a process; 0 where that cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0
