"""Servers that say exactly the bytes a test wants, over real sockets."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Answer = Callable[[bytes], bytes | None]
"""From the head of a request to what is sent back; None closes the connection."""


@dataclass(slots=True)
class RawServer:
    port: int = 0
    connections: int = 0
    heads: list[bytes] = field(default_factory=list[bytes])
    """Of all requests, as they came."""


@asynccontextmanager
async def raw_server(answer: Answer | bytes = OK, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[RawServer]:
    """A server on loopback that answers each request, whose body is short, with `answer`."""
    seen = RawServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        while (head := await head_of(reader)) is not None:
            seen.heads.append(head)
            said = answer if isinstance(answer, bytes) else answer(head)
            if said is None:
                break
            writer.write(said)
        writer.close()

    async with _listening(serve, tls) as seen.port:
        yield seen


@asynccontextmanager
async def hasty_server(answer: bytes, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[RawServer]:
    """A server that gives `answer` to the head of a connection's first request, and reads nothing more."""
    seen = RawServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        seen.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await asyncio.Event().wait()

    async with _listening(serve, tls) as seen.port:
        yield seen


@asynccontextmanager
async def tunnelling_proxy(answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> AsyncGenerator[RawServer]:
    """A proxy that answers CONNECT with `answer`, and if that is a 200 passes everything on."""
    seen = RawServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        head = await head_of(reader)
        if head is None:
            writer.close()
            return
        seen.heads.append(head)
        writer.write(answer)
        if b" 200 " not in answer:
            writer.close()
            return
        # The name is the proxy's to look up; in a test every name is this machine.
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, to_upstream), _pass_on(upstream, writer))

    async with _listening(serve, None) as seen.port:
        yield seen


async def head_of(reader: asyncio.StreamReader) -> bytes | None:
    """The head of the next request, its body read too; None where the client is gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    await reader.readexactly(int(length.partition(b":")[2]))
    return head


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def _listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], tls: ssl.SSLContext | None
) -> AsyncGenerator[int]:
    serving: set[asyncio.Task[None]] = set()

    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            serving.discard(task)

    server = await asyncio.start_server(each, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(serving):
            task.cancel()
        if serving:
            await asyncio.wait(serving)
        await server.wait_closed()
        await asyncio.sleep(0)  # the sockets are closed at the loop's next turn
