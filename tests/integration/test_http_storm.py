"""A thousand streams that are opened and dropped: nothing stays open, nothing stays held."""

import asyncio
import gc
import json
import socket
import struct
from pathlib import Path

import anyio

from http_worlds import HttpWorld, open_http
from orchestra_router.clock import SystemClock
from orchestra_router.simulation import Endless

STREAMS = 1_000
AT_ONCE = 50
PATIENCE_S = 120
BODY = json.dumps(
    {"model": "openai/gpt-6-luna", "stream": True, "messages": [{"role": "user", "content": "Tell me a long story."}]}
).encode()


async def test_of_a_thousand_dropped_streams_nothing_is_left(tmp_path: Path) -> None:
    async with open_http(tmp_path, clock=SystemClock(), budget_day_usd="100000", budget_month_usd="100000") as world:
        await _drop(world, 0)  # what is opened once and kept
        await _settled(world)
        tasks, files = len(asyncio.all_tasks()), _open_files()
        with anyio.fail_after(PATIENCE_S):
            for wave in range(0, STREAMS, AT_ONCE):
                async with anyio.create_task_group() as group:
                    for number in range(wave, wave + AT_ONCE):
                        group.start_soon(_drop, world, number)
            await _settled(world)
        asked = [received for received in world.providers["openai"].received if received.method == "POST"]
        report = await world.router.cost_report()
        left = len(asyncio.all_tasks()) - tasks, _open_files() - files
        alive = await world.client.get("/health/ready")

    assert all(received.client_left for received in asked)
    # One that was dropped while it was being sent was perhaps read, and counts.
    assert STREAMS + 1 >= report.total.attempts >= len(asked) > STREAMS * 0.6
    assert {budget.held_nusd for budget in report.budgets} == {0}
    assert left[0] <= 0
    # Those of the pool of connections to providers may differ a little.
    assert left[1] <= 16
    assert alive.status_code == 200


async def _drop(world: HttpWorld, number: int) -> None:
    """Ask for a stream and go: before it began, after its first piece, or by a reset."""
    world.providers["openai"].script(Endless())
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.address.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {world.key}\r\n"
    writer.write(f"{head}content-length: {len(BODY)}\r\n\r\n".encode() + BODY)
    match number % 4:
        case 0 | 1:
            await reader.readuntil(b'"content":"[')
        case 2:
            await reader.readuntil(b"\r\n\r\n")
        case _:
            await asyncio.sleep(0)
    if number % 2:
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _settled(world: HttpWorld) -> None:
    await world.server.traffic.quiet()
    # The providers notice a moment later, and requests that were never read may still come in.
    for _ in range(100):
        await anyio.sleep(0.02)
        if not world.server.traffic.answering and all(r.done.is_set() for r in world.providers["openai"].received):
            break
    gc.collect()


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
