"""A server process and the JSON lines between it and us, raw: what no client library shows."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

Json = dict[str, Any]

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
LONGEST_LINE = 64 * 2**20
PATIENCE_S = 20
"""A test that waits longer than this has failed; nothing here is expected to take a tenth of it."""


def environment(home: os.PathLike[str], **variables: str) -> dict[str, str]:
    """A user's machine without any key: what a process needs, and our data folder in `home`."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "SYSTEMROOT", "HOME", "TEMP", "TMP"}}
    return kept | {"ORCHESTRA_HOME": os.fspath(home), "PYTHONWARNINGS": "error"} | variables


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "orchestra_router", *arguments]


@dataclass
class Wire:
    process: Process
    incoming: BufferedByteReceiveStream
    received: list[Json] = field(default_factory=list[Json])
    """Every line the server wrote, in order. A line that is not JSON fails the test that reads it."""
    errors: bytearray = field(default_factory=bytearray)
    """The server's stderr so far."""
    _silent: anyio.Event = field(default_factory=anyio.Event)
    _last_id: int = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.send_line(json.dumps({"jsonrpc": "2.0", **message}))

    async def send_line(self, line: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(line.encode() + b"\n")

    async def notify(self, method: str, **params: Any) -> None:
        await self.send({"method": method, "params": params})

    async def request(self, method: str, params: Json | None = None) -> int:
        self._last_id += 1
        await self.send({"id": self._last_id, "method": method, "params": params or {}})
        return self._last_id

    async def ask(self, method: str, params: Json | None = None) -> Json:
        return await self.answer(await self.request(method, params))

    async def answer(self, request_id: int) -> Json:
        """The answer to `request_id`; what else arrives meanwhile is kept in `received`."""
        for message in self.received:
            if message.get("id") == request_id:
                return message
        while (message := await self.read()).get("id") != request_id:
            pass
        return message

    async def read(self) -> Json:
        with anyio.fail_after(PATIENCE_S):
            line = await self.incoming.receive_until(b"\n", LONGEST_LINE)
        message: Json = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        self.received.append(message)
        return message

    async def read_rest(self) -> list[Json]:
        """Everything until the server closes its stdout."""
        count = len(self.received)
        while True:
            try:
                await self.read()
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return self.received[count:]

    async def handshake(self) -> Json:
        """Open the connection as most clients of today do."""
        client = {"name": "raw", "version": "1"}
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client}
        answer = await self.ask("initialize", params)
        await self.notify("notifications/initialized")
        return answer

    async def call(self, tool: str, arguments: Json, **meta: Any) -> int:
        return await self.request("tools/call", {"name": tool, "arguments": arguments, "_meta": meta})

    async def close_stdin(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    async def exit_code(self) -> int:
        """The code, once all that the server wrote to stderr is in `errors`."""
        with anyio.fail_after(PATIENCE_S):
            await self._silent.wait()
            return await self.process.wait()

    async def collect_errors(self) -> None:
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.errors += chunk
        self._silent.set()


@asynccontextmanager
async def serving(env: Mapping[str, str], *arguments: str) -> AsyncGenerator[Wire, None]:
    """A server process, killed if it still runs at the end."""
    process = await anyio.open_process(command(*arguments), env=env, stderr=subprocess.PIPE)
    assert process.stdout is not None
    wire = Wire(process, BufferedByteReceiveStream(process.stdout))
    async with process, anyio.create_task_group() as group:
        group.start_soon(wire.collect_errors)
        try:
            yield wire
        finally:
            if process.returncode is None:
                process.kill()


def modern(params: Json | None = None) -> Json:
    """`params` of a request as the 2026-07-28 protocol sends it: every one stands alone."""
    prefix = "io.modelcontextprotocol"
    meta = {
        f"{prefix}/protocolVersion": MODERN,
        f"{prefix}/clientInfo": {"name": "raw", "version": "1"},
        f"{prefix}/clientCapabilities": {},
    }
    params = params or {}
    return {**params, "_meta": {**params.get("_meta", {}), **meta}}
