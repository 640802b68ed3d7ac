"""Lines through a pipe or a socket, read and written on the event loop: a thread in between costs more than the line does."""

import asyncio
import os
import select
import socket
import stat
import sys
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Self

READ_BYTES = 65_536
"""At once: what a pipe holds."""

Write = Callable[[memoryview], int]
"""Writes what there is room for, without waiting, and says how many bytes that was."""


def is_pipe(descriptor: int) -> bool:
    """Whether the event loop can wait for it: a file is always ready, a terminal is shared, and Windows cannot."""
    mode = os.fstat(descriptor).st_mode
    return sys.platform != "win32" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


class LineReader:
    """The lines that come through `descriptor`, without their ends. It is read while somebody waits for one."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []
        """The pieces of a line whose end has not come."""
        self._waiting: asyncio.Future[None] | None = None
        self._watched = False
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while not self._lines:
            if self._ended:
                raise StopAsyncIteration
            if not self._watched:
                self._watch(True)
            self._waiting = self._loop.create_future()
            await self._waiting
        return self._lines.popleft().decode("utf-8", "replace")

    def close(self) -> None:
        """Read no more."""
        self._watch(False)

    def _watch(self, wanted: bool) -> None:
        self._watched = wanted
        if wanted:
            self._loop.add_reader(self._descriptor, self._read)
        else:
            self._loop.remove_reader(self._descriptor)

    def _read(self) -> None:
        if self._waiting is None or self._waiting.done():
            self._watch(False)  # whoever sends faster than lines are taken waits too
            return
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # the other end broke off
            data = b""
        first, *others = data.split(b"\n")
        self._begun.append(first)
        if not data:
            self._watch(False)
            self._ended = True
        if others or self._ended:
            self._lines += (b"".join(self._begun), *others[:-1])
            self._begun = others[-1:]
            self._waiting.set_result(None)


class LineWriter:
    """Writes to `descriptor`, each line after the one before, and as fast as it is read."""

    def __init__(self, descriptor: int, write: Write) -> None:
        self._descriptor = descriptor
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._left: deque[tuple[memoryview, asyncio.Future[None]]] = deque()

    async def write(self, line: bytes) -> None:
        """Returns once it is in the pipe. Raises: OSError: nobody reads it any more."""
        data = memoryview(line)
        if not self._left:
            data = data[self._write(data) :]
            if not data:
                return
            self._loop.add_writer(self._descriptor, self._go_on)
        written: asyncio.Future[None] = self._loop.create_future()
        self._left.append((data, written))
        await written

    def close(self) -> None:
        """Write no more, not even what is left."""
        self._loop.remove_writer(self._descriptor)

    def _go_on(self) -> None:
        while self._left:
            data, written = self._left.popleft()
            try:
                data = data[self._write(data) :]
            except OSError as error:
                if not written.done():
                    written.set_exception(error)
                continue
            if data:
                self._left.appendleft((data, written))
                return
            if not written.done():  # whoever waited may have gone
                written.set_result(None)
        self._loop.remove_writer(self._descriptor)


@contextmanager
def writing(descriptor: int) -> Generator[Write]:
    """How to write to a pipe or a socket without changing it for whoever has it too."""
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            yield lambda data: _to_socket(connection, data)
        return
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    yield lambda data: _to_pipe(room, descriptor, data)


def _to_socket(connection: socket.socket, data: memoryview) -> int:
    try:
        return connection.send(data, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return 0


def _to_pipe(room: "select.poll", descriptor: int, data: memoryview) -> int:
    """A pipe that is ready has room for `PIPE_BUF` bytes, and more might have to wait."""
    written = 0
    while written < len(data) and room.poll(0):
        written += os.write(descriptor, data[written : written + select.PIPE_BUF])
    return written
