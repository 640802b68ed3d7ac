"""Lines through real pipes and sockets, on the event loop: whole, in order, and never in anybody's way."""

import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.pipes import LineReader, LineWriter, is_pipe, writing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its event loop waits for no pipes")

MEGABYTE = 1_000_000


def pipe() -> tuple[int, int]:
    return os.pipe()


def sockets() -> tuple[int, int]:
    """What Node's programs give those they start."""
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.fixture(params=[pipe, sockets], ids=["pipe", "sockets"])
def ends(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Where to read, and where to write; a test closes what it opens."""
    made: Callable[[], tuple[int, int]] = request.param
    return made()


@asynccontextmanager
async def written_to(descriptor: int) -> AsyncGenerator[LineWriter]:
    with writing(descriptor) as write:
        writer = LineWriter(descriptor, write)
        try:
            yield writer
        finally:
            writer.close()
            os.close(descriptor)


async def read_all(descriptor: int) -> list[str]:
    reader = LineReader(descriptor)
    try:
        return [line async for line in reader]
    finally:
        reader.close()
        os.close(descriptor)


async def test_lines_longer_than_a_pipe_holds_arrive_whole_and_in_their_order(ends: tuple[int, int]) -> None:
    lines = [letter * length for letter, length in (("a", 10), ("b", 3 * MEGABYTE), ("c", 1), ("d", MEGABYTE))]
    read: list[str] = []

    async def collect() -> None:
        read.extend(await read_all(ends[0]))

    async with anyio.create_task_group() as reading:
        reading.start_soon(collect)
        async with written_to(ends[1]) as writer, anyio.create_task_group() as group:
            for line in lines:
                group.start_soon(writer.write, line.encode() + b"\n")

    assert read == [*lines, ""]


async def test_whoever_does_not_read_keeps_only_the_writer_waiting(ends: tuple[int, int]) -> None:
    async with written_to(ends[1]) as writer:
        with anyio.move_on_after(0.05) as patience:
            await writer.write(b"x" * MEGABYTE + b"\n")

    assert patience.cancelled_caught
    os.close(ends[0])


async def test_a_line_that_was_begun_is_ended_though_its_sender_has_gone(ends: tuple[int, int]) -> None:
    read: list[str] = []

    async def collect() -> None:
        read.extend(await read_all(ends[0]))

    async with anyio.create_task_group() as reading, written_to(ends[1]) as writer:
        with anyio.move_on_after(0.05):
            await writer.write(b"x" * MEGABYTE + b"\n")
        reading.start_soon(collect)
        await writer.write(b"next\n")

    assert read == ["x" * MEGABYTE, "next", ""]


async def test_a_writer_learns_that_nobody_reads_any_more(ends: tuple[int, int]) -> None:
    failed: list[OSError] = []

    async with written_to(ends[1]) as writer, anyio.create_task_group() as group:

        async def write() -> None:
            try:
                await writer.write(b"x" * MEGABYTE)
            except OSError as error:
                failed.append(error)

        group.start_soon(write)
        await anyio.lowlevel.checkpoint()
        os.close(ends[0])

    assert len(failed) == 1


async def test_what_nobody_takes_is_left_in_the_pipe(ends: tuple[int, int]) -> None:
    """Else a client that sends without end would fill our memory."""
    sent = 0
    reader = LineReader(ends[0])
    os.set_blocking(ends[1], False)
    try:
        os.write(ends[1], b"first\n")
        first = await anext(reader)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
            try:
                sent += os.write(ends[1], b"x" * 65_536)
            except BlockingIOError:
                break
    finally:
        reader.close()
        os.close(ends[0])
        os.close(ends[1])

    assert first == "first"
    assert sent < 20 * 65_536


@given(text=st.text(), most=st.integers(1, 9))
async def test_lines_are_the_same_however_they_were_cut(text: str, most: int) -> None:
    read_end, write_end = os.pipe()
    data = text.encode()
    read: list[str] = []

    async def collect() -> None:
        read.extend(await read_all(read_end))

    async with anyio.create_task_group() as group:
        group.start_soon(collect)
        for start in range(0, len(data), most):
            os.write(write_end, data[start : start + most])
            await anyio.lowlevel.checkpoint()
        os.close(write_end)

    assert read == text.split("\n")


def test_the_server_can_be_imported_where_there_is_nothing_to_poll() -> None:
    """Windows has neither, and is served by threads."""
    code = "import select, socket; del select.poll, select.PIPE_BUF, socket.MSG_DONTWAIT; import orchestra_router.stdio"

    subprocess.check_call([sys.executable, "-c", code])


def test_only_what_the_event_loop_can_wait_for_is_a_pipe(tmp_path: os.PathLike[str]) -> None:
    found: list[bool] = []
    for path in (os.devnull, os.path.join(tmp_path, "file")):  # noqa: PTH118 - a descriptor is wanted anyway
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        found.append(is_pipe(descriptor))
        os.close(descriptor)
    for first, second in (pipe(), sockets()):
        found.append(is_pipe(first))
        os.close(first)
        os.close(second)

    assert found == [False, False, True, True]
