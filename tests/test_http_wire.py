"""The wire as it is: what no well-behaved client sends, and a process that is told to end."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from http_worlds import PATIENCE_S, HttpWorld, bearer, code_of, open_http, rest
from mcp_wire import LEGACY, command, environment
from orchestra_router.policy.keyring import Terms

CHAT = b'{"model":"gpt-6-luna","messages":[{"role":"user","content":"Hello."}]}'


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[HttpWorld]:
    async with open_http(tmp_path) as opened:
        yield opened


def request(world: HttpWorld, method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {world.key}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


async def test_requests_that_come_at_once_are_answered_in_their_order(world: HttpWorld) -> None:
    both = request(world, "GET", "/health/live") + request(world, "GET", "/nothing", "connection: close")

    assert statuses(await world.raw(both)) == [200, 404]


async def test_what_cannot_be_read_takes_no_answer_from_the_request_before_it(world: HttpWorld) -> None:
    first = request(world, "GET", "/health/live")

    for after in (b"\x00\x01\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 600_000, b"GET http://a/ HTTP/1.1\r\n\r\n"):
        assert statuses(await world.raw(first + after))[0] == 200


async def test_blanks_around_a_header_are_no_part_of_it(world: HttpWorld) -> None:
    answer = await world.raw(request(world, "GET", "/costs", "x-trace-id: \t mine \t ", "connection: close  "))

    assert statuses(answer) == [200]
    assert b"x-trace-id: mine\r\n" in answer


async def test_what_follows_a_body_is_no_header_and_has_its_limit(world: HttpWorld) -> None:
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(CHAT), CHAT)
    asked = request(
        world, "POST", "/v1/chat/completions", "transfer-encoding: chunked", "connection: close", body=chunks
    )

    named = await world.raw(asked + b"x-trace-id: trailing\r\n\r\n")
    endless = await world.raw(asked + b"x-trace-id: " + b"y" * 200_000)

    assert statuses(named) == [200]
    assert b"trailing" not in named
    assert 200 not in statuses(endless)


async def test_a_head_is_answered_without_a_body(world: HttpWorld) -> None:
    answer = await world.raw(request(world, "HEAD", "/v1/models", "connection: close"))

    assert statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\n")


async def test_who_waits_to_be_told_to_go_on_is_told(world: HttpWorld) -> None:
    headers = ("expect: 100-continue", f"content-length: {len(CHAT)}", "connection: close")

    assert statuses(await world.raw(request(world, "POST", "/v1/chat/completions", *headers, body=CHAT))) == [100, 200]


async def test_who_was_answered_before_his_body_came_has_as_long_for_the_next_request_as_any(tmp_path: Path) -> None:
    async with open_http(tmp_path, http_read_timeout_s=0.05) as world:
        with anyio.fail_after(PATIENCE_S):
            async with await anyio.connect_tcp("127.0.0.1", world.server.address.port) as stream:
                await stream.send(request(world, "POST", "/nothing", "content-length: 5"))
                refused = await stream.receive()
                await stream.send(b"hello")
                told = b""
                with anyio.move_on_after(0.2):
                    told = await stream.receive()
                await stream.send(request(world, "GET", "/health/live", "connection: close"))
                answered = await rest(stream)

    assert (statuses(refused), told, statuses(answered)) == ([404], b"", [200])


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("transfer-encoding: chunked",), b"zz\r\nnot a chunk"),
        (("transfer-encoding: chunked", "content-length: 5"), b"5\r\nhello\r\n0\r\n\r\n"),
        (("transfer-encoding: gzip, chunked",), b"0\r\n\r\n"),
        (("content-length: 99999999999999999999",), b""),
    ],
)
async def test_a_body_that_can_be_read_in_two_ways_is_not_read(
    world: HttpWorld, headers: tuple[str, ...], body: bytes
) -> None:
    answer = await world.raw(request(world, "POST", "/v1/chat/completions", "connection: close", *headers, body=body))
    alive = await world.client.get("/health/live")

    assert statuses(answer)[0] in {400, 413, 501}
    assert 200 not in statuses(answer)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"]
    assert alive.status_code == 200


async def test_a_body_whose_length_is_said_in_two_ways_hides_no_other_request(world: HttpWorld) -> None:
    hidden = b"0\r\n\r\n" + request(world, "GET", "/health/live", "connection: close")
    both = ("content-length: 5", "transfer-encoding: chunked")

    answer = await world.raw(request(world, "POST", "/health/live", *both, body=hidden))

    assert statuses(answer) == [400]
    assert b"connection: close" in answer.lower()


async def test_a_client_that_ends_its_half_in_the_middle_of_a_body_is_dropped(world: HttpWorld) -> None:
    head = request(world, "POST", "/v1/chat/completions", "content-length: 100", body=b"{")
    await world.raw(head, hang_up=True)
    with anyio.fail_after(PATIENCE_S):
        await world.server.traffic.quiet()

    assert not any(received.method == "POST" for received in world.providers["openai"].received)


async def test_no_way_of_writing_a_path_leads_around_the_table(world: HttpWorld) -> None:
    around = ("/%2e%2e/costs", "//costs", "/costs/", "/costs%00", "http://evil.example/costs", "*")
    for path in (*around, "/v1/models/../../costs"):
        answer = await world.raw(request(world, "GET", path, "connection: close"))
        assert statuses(answer)[0] in {400, 404}, path


async def test_a_request_that_offers_another_protocol_is_read_as_any(world: HttpWorld) -> None:
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAAA")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT), CHAT)
    path, last = "/v1/chat/completions", request(world, "GET", "/nothing", "connection: close")

    for headers, body in ((f"content-length: {len(CHAT)}", CHAT), ("transfer-encoding: chunked", chunks)):
        asked = request(world, "POST", path, *offer, headers, body=body)
        assert statuses(await world.raw(asked + asked + last)) == [200, 200, 404]


async def test_nobody_upgrades_to_anything(world: HttpWorld) -> None:
    upgrade = ("connection: upgrade, close", "upgrade: websocket", "sec-websocket-key: x", "sec-websocket-version: 13")

    assert statuses(await world.raw(request(world, "GET", "/mcp/ws", *upgrade))) == [404]


UNREADABLE = (
    b"",
    b"[]",
    b'"text"',
    b"{",
    b"\xff\xfe",
    b'{"model": NaN}',
    b'{"temperature": 1e999, "model": "auto", "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "x"}], "web_search_options": {"most": 1e999}}',
    b'{"model": "auto", "messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"seed": 1' + b"0" * 5_000 + b"}",
    b"[" * 100_000,
    b'{"model": "auto", "metadata": ' + b'{"a":' * 150 + b"1" + b"}" * 150 + b"}",
)  # fmt: skip


async def test_what_is_no_json_that_can_be_read_is_refused(world: HttpWorld) -> None:
    for body in UNREADABLE:
        response = await world.client.post("/v1/chat/completions", content=body)
        assert response.status_code == 400, body[:80]
        assert code_of(response) in {"invalid_json", "invalid_request"}


async def test_a_session_is_its_keys_alone(world: HttpWorld) -> None:
    other = (await world.router.keyring.create(Terms(name="other"))).secret
    headers = {"accept": "application/json, text/event-stream"}
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
    }
    opened = await world.client.post("/mcp", json=hello, headers=headers)
    session = headers | {"mcp-session-id": opened.headers["mcp-session-id"]}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    own = await world.client.post("/mcp", json=ping, headers=session)
    others = await world.client.post("/mcp", json=ping, headers=session | bearer(other))

    assert (own.status_code, others.status_code) == (200, 404)


async def test_a_server_that_cannot_be_says_why_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said: dict[str, str] = {}
        for to in (f"127.0.0.1:{port}", f"0.0.0.0:{port}", "somewhere:else"):
            ended = await anyio.run_process(command("serve", "--http", to), env=environment(tmp_path), check=False)
            assert ended.returncode == 1, ended.stderr
            said[to] = ended.stderr.decode()

    assert said[f"127.0.0.1:{port}"].startswith(f"orchestra: Nothing can listen at 127.0.0.1:{port}")
    assert said[f"0.0.0.0:{port}"].startswith(f"orchestra: 0.0.0.0:{port} can be reached from other machines")
    assert said["somewhere:else"].startswith("orchestra: `--http somewhere:else` is no address")
    assert not any("Traceback" in text for text in said.values())


async def test_a_process_that_is_told_to_end_settles_and_goes(tmp_path: Path) -> None:
    serve = command("serve", "--simulate", "--http", "127.0.0.1:0")
    process = await anyio.open_process(serve, env=environment(tmp_path), stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = BufferedByteReceiveStream(process.stderr)
    ask = {"model": "auto", "messages": [{"role": "user", "content": "simulate a slow answer"}]}
    refusals: list[httpx.Response] = []
    try:
        with anyio.fail_after(60):
            url = (await told.receive_until(b" (MCP", 10_000)).decode().rpartition(" ")[2]
            key = re.search(r"takes this key: (\S+)\n", (await told.receive_until(b"Simulated", 10_000)).decode())
            assert key is not None
            client = httpx.AsyncClient(base_url=url, headers=bearer(key[1]), timeout=30)
            async with client, anyio.create_task_group() as group:
                group.start_soon(_cut_short, client, ask, refusals)
                await _until(client, "/costs", lambda costs: bool(costs.json()["budgets"][0].get("held_usd")))
                os.kill(process.pid, signal.SIGTERM)
                refusals.append(await _until(client, "/health/ready", lambda ready: ready.is_error))
                refusals.append(await client.post("/v1/chat/completions", json=ask))
                os.kill(process.pid, signal.SIGTERM)
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()

    assert [code_of(refusal) for refusal in refusals] == ["shutting_down"] * 3
    assert code == 0


async def _cut_short(client: httpx.AsyncClient, ask: dict[str, Any], refusals: list[httpx.Response]) -> None:
    refusals.append(await client.post("/v1/chat/completions", json=ask))


async def _until(client: httpx.AsyncClient, path: str, is_so: Callable[[httpx.Response], bool]) -> httpx.Response:
    while not is_so(response := await client.get(path)):
        pass
    return response
