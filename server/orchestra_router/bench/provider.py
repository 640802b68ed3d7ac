"""The provider that a benchmark asks: a process of its own on loopback, which answers at once.

`python -m orchestra_router.bench.provider` prints its port, and answers until its stdin is closed.
"""

import asyncio
import json
import os
import sys
import threading
from typing import cast

CHUNKS = 200
"""Of a streamed answer."""
WORDS = "word " * 100


def _response(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _answer() -> bytes:
    message = {"role": "assistant", "content": WORDS}
    usage = {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = {"id": "b", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    return _response("200 OK", json.dumps(body).encode())


def _stream() -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = [{"delta": {"content": "word "}, "index": 0, "finish_reason": None} for _ in range(CHUNKS)]
    last: dict[str, object] = {"delta": {}, "index": 0, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": CHUNKS, "total_tokens": 20 + CHUNKS}
    events = [json.dumps({"id": "b", "object": "chat.completion.chunk", "model": "m", "choices": [p]}) for p in pieces]
    events.append(json.dumps({"id": "b", "object": "chat.completion.chunk", "choices": [last], "usage": usage}))
    sent = [f"data: {event}\n\n".encode() for event in (*events, "[DONE]")]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in sent) + b"0\r\n\r\n"


ANSWER, STREAM = _answer(), _stream()
BUSY = _response("429 Too Many Requests", b'{"error": {"code": "rate_limit_exceeded"}}', "retry-after-ms: 1")


class _Connection(asyncio.Protocol):
    """Reads just enough HTTP to tell one request from the next."""

    def __init__(self) -> None:
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            _, _, length = head.partition(b"content-length:")
            whole = end + 4 + int(length.split(b"\r\n", 1)[0] or 0)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            if b" /busy" in head.split(b"\r\n", 1)[0]:
                self._transport.write(BUSY)
            else:
                self._transport.write(STREAM if b'"stream": true' in body or b'"stream":true' in body else ANSWER)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=1_024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def _leave_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_stdin, daemon=True).start()
    asyncio.run(serve())
