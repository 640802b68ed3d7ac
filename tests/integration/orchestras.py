"""Orchestra as a process that clients start or call: with simulated providers, so that everything has an answer."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_WITHIN_S = 60
STOP_WITHIN_S = 10

SERVE = ["-m", "orchestra_router", "serve", "--simulate"]


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "ORCHESTRA_HOME": str(home)}


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    """Of MCP."""
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@contextmanager
def served(home: Path) -> Generator[Served]:
    """A server over HTTP at a free port of 127.0.0.1, with the key it printed for its owner."""
    with subprocess.Popen(
        [sys.executable, *SERVE, "--http", "127.0.0.1:0"], env=environment(home), stderr=subprocess.PIPE, text=True
    ) as process:
        too_late = threading.Timer(START_WITHIN_S, process.kill)
        too_late.start()
        try:
            assert process.stderr is not None
            url = key = ""
            while not key:
                line = process.stderr.readline()
                assert line, "the server ended before it listened"
                url = _found(r"MCP: (\S+/mcp)", line) or url
                key = _found(r"takes this key: (\S+)", line)
            too_late.cancel()
            threading.Thread(target=process.stderr.read).start()
            yield Served(url, key)
        finally:
            too_late.cancel()
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _found(pattern: str, line: str) -> str:
    match = re.search(pattern, line)
    return match[1] if match else ""


@contextmanager
def with_key(server: Served) -> Generator[str]:
    """An address at which the server is reached without a key: for instruments that cannot send one.

    Every request gets the key, and a connection of its own; of the rest nothing is changed.
    """
    _, _, port = server.url.removesuffix("/mcp").rpartition(":")
    to = ("127.0.0.1", int(port))
    header = f"authorization: Bearer {server.key}\r\nconnection: close\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_pass_on, args=(client, to, header), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _pass_on(client: socket.socket, to: tuple[str, int], header: bytes) -> None:
    with client:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (chunk := client.recv(65_536)):
                return
            head += chunk
        line, _, rest = head.partition(b"\r\n")
        kept = re.sub(rb"(?im)^connection:.*\r\n", b"", rest)
        with socket.create_connection(to) as server:
            server.sendall(line + b"\r\n" + header + kept)
            threading.Thread(target=_copy, args=(client, server), daemon=True).start()
            _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
