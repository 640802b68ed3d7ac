"""Connections to providers, byte by byte over real sockets: kept, used again, closed; what TLS and proxies see."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest

from certificates import server_context, trusting
from clocks import FakeClock
from orchestra_router import errors
from orchestra_router.bench.world import place
from orchestra_router.config import load
from orchestra_router.connections import pool as pools
from orchestra_router.connections.pool import Pool
from orchestra_router.router import open_router
from orchestra_router.transport import Transport
from orchestra_router.types import WireRequest
from raw_servers import OK, hasty_server, head_of, raw_server, tunnelling_proxy


@asynccontextmanager
async def client(tls: ssl.SSLContext | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=Pool(tls=tls)) as opened:
        yield opened


# --- keeping ---------------------------------------------------------------------------------------------------


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with raw_server() as server, client() as http:
        for _ in range(3):
            assert (await http.post(f"http://127.0.0.1:{server.port}/x?y=1", json={"a": 1})).text == "ok"

    assert server.connections == 1
    assert server.heads[0].startswith(b"POST /x?y=1 HTTP/1.1\r\n")


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    async with raw_server() as server, client() as http:
        url = f"http://127.0.0.1:{server.port}/"
        async with http.stream("GET", url) as first, http.stream("GET", url) as second:
            assert await first.aread() == await second.aread() == b"ok"
        await http.get(url)

    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1, max=100\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["close", "HTTP/1.0", "a short keep-alive"],
)
async def test_a_server_that_will_not_keep_a_connection_is_believed(answer: bytes) -> None:
    async with raw_server(answer) as server, client() as http:
        for _ in range(2):
            assert (await http.get(f"http://127.0.0.1:{server.port}/")).text == "ok"

    assert server.connections == 2


async def test_a_server_that_names_an_endless_time_is_answered_all_the_same() -> None:
    answer = b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=" + b"9" * 10_000 + b"\r\ncontent-length: 2\r\n\r\nok"

    async with raw_server(answer) as server, client() as http:
        for _ in range(2):
            assert (await http.get(f"http://127.0.0.1:{server.port}/")).text == "ok"

    assert server.connections == 1


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as http:
        for _ in range(3):
            assert (await http.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")).text == "ok"
            await asyncio.sleep(0.01)  # the close arrives


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_is_not_used_again_before_the_whole_question_has_left(scheme: str, tmp_path: Path) -> None:
    """What comes behind it would wait for a server that may never read the rest."""
    tls = server_context(tmp_path, "127.0.0.1") if scheme == "https" else None
    too_long = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno"
    async with hasty_server(too_long, tls=tls) as server, client(trusting(tmp_path) if tls else None) as http:
        with anyio.fail_after(10):
            for _ in range(2):
                answer = await http.post(f"{scheme}://127.0.0.1:{server.port}/", content=b"a" * 24_000_000)
                assert answer.status_code == 413

    assert server.connections == 2


async def test_connections_that_nobody_uses_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "KEEP_IDLE_S", 0.02)
    async with raw_server() as server:
        left = anyio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await head_of(reader)
            writer.write(OK)
            await reader.read()
            left.set()
            writer.close()

        quiet = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with quiet, client() as http:
            await http.get(f"http://127.0.0.1:{quiet.sockets[0].getsockname()[1]}/")
            await http.get(f"http://127.0.0.1:{server.port}/")

            with anyio.fail_after(5):
                await left.wait()


# --- what a server may say -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\nx-trailer: 1\r\n\r\n",
        b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["hints before", "chunks and a trailer", "no reason phrase"],
)
async def test_every_way_to_say_the_same_is_understood(answer: bytes) -> None:
    async with raw_server(answer) as server, client() as http:
        for _ in range(2):
            response = await http.get(f"http://127.0.0.1:{server.port}/")
            assert (response.status_code, response.text) == (200, "ok")

    assert server.connections == 1


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as http:
        assert (await http.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")).text == "to the end"


async def test_what_comes_unasked_is_not_taken_for_the_answer_to_the_next_request() -> None:
    stray = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray"
    async with raw_server(OK + stray) as server, client() as http:
        for _ in range(2):
            response = await http.get(f"http://127.0.0.1:{server.port}/")
            assert (response.status_code, response.text) == (200, "ok")

    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a size\r\n",
    ],
    ids=["not HTTP", "another protocol", "a head without end", "two lengths", "a broken chunk"],
)
async def test_what_is_not_http_is_an_error_and_not_waited_for(answer: bytes) -> None:
    async with raw_server(answer) as server, client() as http:
        with anyio.fail_after(5), pytest.raises(httpx.TransportError):
            await http.get(f"http://127.0.0.1:{server.port}/")


async def test_a_server_that_sends_faster_than_anybody_reads_is_made_to_wait() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent < 200 * 2**20:
                writer.write(b" " * 2**20)
                await asyncio.wait_for(writer.drain(), 0.3)
                sent += 2**20
        except (TimeoutError, ConnectionError):
            pass
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, client() as http, http.stream("GET", url) as response, aclosing(_pieces(response)) as pieces:
        await anext(pieces)
        await asyncio.sleep(0.6)

    assert sent < 100 * 2**20


async def _pieces(response: httpx.Response) -> AsyncGenerator[bytes]:
    async for piece in response.aiter_raw():
        yield piece


# --- what we say -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["k\r\nx-smuggled: 1", "k\nGET / HTTP/1.1", "k\0"])
async def test_no_header_can_hold_another_one(value: str) -> None:
    async with raw_server() as server:
        transport = Transport(FakeClock())
        with pytest.raises(errors.ConnectFailed):
            await transport.send(
                WireRequest(f"http://127.0.0.1:{server.port}/", {"authorization": value}, b"{}"), timeout_s=5
            )
        await transport.aclose()

    assert server.heads == []


async def test_a_redirect_is_not_followed_and_the_key_stays() -> None:
    async with raw_server() as thief:
        moved = f"HTTP/1.1 307 Go\r\nlocation: http://127.0.0.1:{thief.port}/\r\ncontent-length: 0\r\n\r\n"
        async with raw_server(moved.encode()) as server:
            transport = Transport(FakeClock())
            wire = WireRequest(f"http://127.0.0.1:{server.port}/", {"authorization": "Bearer k"}, b"{}")
            response = await transport.send(wire, timeout_s=5)
            await transport.aclose()

    assert (response.status, thief.connections) == (307, 0)


# --- before anybody asks ---------------------------------------------------------------------------------------


async def test_a_connection_that_was_opened_before_carries_the_first_request(tmp_path: Path) -> None:
    async with raw_server(tls=server_context(tmp_path, "127.0.0.1")) as server:
        pool = Pool(tls=trusting(tmp_path))
        url = httpx.URL(f"https://127.0.0.1:{server.port}/v1")
        for _ in range(2):
            await pool.warm(url)
        async with httpx.AsyncClient(transport=pool) as http:
            answer = await http.get(url)

    assert answer.text == "ok"
    assert (server.connections, len(server.heads)) == (1, 1)


async def test_nobody_minds_a_connection_that_cannot_be_had_before_it_is_needed() -> None:
    async with raw_server() as server:
        urls = [f"http://127.0.0.1:{server.port}/v1", "http://127.0.0.1:1/"]
        transport = Transport(FakeClock(), private_hosts={"127.0.0.1"})
        await transport.warm(urls)
        response = await transport.send(WireRequest(url=urls[0], headers={}), timeout_s=5)
        await transport.aclose()

    assert response.body == b"ok"
    assert server.connections == 1


@pytest.mark.parametrize("seconds", ["0", "60"])
async def test_whoever_is_asked_first_is_connected_to_only_where_that_is_wanted(seconds: str, tmp_path: Path) -> None:
    async with raw_server() as server:
        environ = place(tmp_path, server.port).environ(embedder="off", warm_connections_s=seconds)
        async with open_router(load(environ)) as router:
            await router.warm()
            while seconds != "0" and not server.connections:
                await anyio.lowlevel.checkpoint()

    assert server.connections == (seconds != "0")
    assert server.heads == []


# --- TLS -------------------------------------------------------------------------------------------------------


async def test_a_certificate_is_verified(tmp_path: Path) -> None:
    async with raw_server(tls=server_context(tmp_path, "127.0.0.1")) as server:
        url = f"https://127.0.0.1:{server.port}/"
        async with client() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(url)
        async with client(trusting(tmp_path)) as http:
            for _ in range(2):
                assert (await http.get(url)).text == "ok"

    assert len(server.heads) == 2


async def test_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    async with raw_server(tls=server_context(tmp_path, "other.example")) as server, client(trusting(tmp_path)) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"https://localhost:{server.port}/")


async def test_plain_http_to_a_tls_port_was_never_answered(tmp_path: Path) -> None:
    async with raw_server(tls=server_context(tmp_path, "localhost")) as server, client() as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://localhost:{server.port}/")


# --- proxies ---------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


async def test_a_proxy_sees_where_a_call_goes_and_nothing_of_it(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    async with raw_server(tls=server_context(tmp_path, "api.example.com")) as server, tunnelling_proxy() as proxy:
        environment.setenv("HTTPS_PROXY", f"http://ada:s%40cret@127.0.0.1:{proxy.port}")
        async with client(trusting(tmp_path)) as http:
            for _ in range(2):
                answer = await http.get(f"https://api.example.com:{server.port}/", headers={"authorization": "k"})
                assert answer.text == "ok"

    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(f"CONNECT api.example.com:{server.port} HTTP/1.1\r\n".encode())
    assert b"proxy-authorization: Basic YWRhOnNAY3JldA==" in proxy.heads[0]
    assert b"authorization: k" not in proxy.heads[0]
    assert b"proxy-authorization" not in server.heads[0]


async def test_a_plain_call_through_a_proxy_names_the_whole_address(environment: pytest.MonkeyPatch) -> None:
    async with raw_server() as proxy, client() as http:
        environment.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")

        assert (await http.get("http://llm.example:81/x")).text == "ok"

    assert proxy.heads[0].startswith(b"GET http://llm.example:81/x HTTP/1.1\r\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_reached_without_a_proxy(host: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with raw_server() as server, client() as http:
        assert (await http.get(f"http://{host}:{server.port}/")).text == "ok"


async def test_a_proxy_that_refuses_has_not_passed_anything_on(environment: pytest.MonkeyPatch) -> None:
    async with tunnelling_proxy(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n") as proxy:
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        transport = Transport(FakeClock())

        with pytest.raises(errors.ConnectFailed):
            await transport.send(WireRequest("https://api.example.com/", {}, b"{}"), timeout_s=5)
        await transport.aclose()


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:9", "http://[::1", "ftp://127.0.0.1:9"])
async def test_a_proxy_of_another_kind_is_not_passed_by(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", url)
    async with client() as http:
        with pytest.raises(httpx.ProxyError):
            await http.get("https://api.example.com/")


async def test_a_proxy_is_not_asked_for_a_metadata_service(environment: pytest.MonkeyPatch) -> None:
    async with raw_server() as proxy, client() as http:
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")

        with pytest.raises(pools.ForbiddenAddress):
            await http.get("http://169.254.169.254/latest/meta-data/")

    assert proxy.connections == 0
