"""What happens on the way to a provider and back, over real sockets."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from clocks import FakeClock
from orchestra_router import errors
from orchestra_router.errors import ProviderError
from orchestra_router.providers import registry
from orchestra_router.simulation.http import Exchange, HttpRequest, HttpServer
from orchestra_router.transport import MAX_BODY_BYTES, StreamTimeouts, Transport
from orchestra_router.types import Answer, WireRequest

chat = registry.adapter("chat")
ANSWER = b'{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
PIECE = b'data: {"choices":[{"delta":{"content":"hel"}}]}\n\n'
END = b'data: {"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
PATIENT = StreamTimeouts(first_s=10, idle_s=10, total_s=10)
EVENTS = {"content-type": "text/event-stream"}

Handle = Callable[[Exchange], Awaitable[None]]


@asynccontextmanager
async def upstream(handle: Handle) -> AsyncGenerator[tuple[Transport, WireRequest]]:
    """A transport, and a request to a server that answers with `handle`."""

    async def handler(_: HttpRequest, exchange: Exchange) -> None:
        await handle(exchange)

    server = await HttpServer.start(handler)
    transport = Transport(FakeClock())
    try:
        yield transport, WireRequest(f"http://127.0.0.1:{server.port}/chat", {"authorization": "Bearer k"}, b"{}")
    finally:
        await transport.aclose()
        await server.stop()


def plain(status: int, body: bytes, headers: dict[str, str] | None = None) -> Handle:
    async def handle(exchange: Exchange) -> None:
        await exchange.respond(status, {"content-type": "application/json", **(headers or {})}, body)

    return handle


async def ask(handle: Handle, *, timeout_s: float = 10) -> Answer:
    async with upstream(handle) as (transport, wire):
        return await transport.ask(chat, wire, timeout_s=timeout_s)


async def ask_streaming(handle: Handle, *, timeouts: StreamTimeouts = PATIENT) -> tuple[Answer, str]:
    seen: list[str] = []

    async def on_text(text: str) -> None:
        seen.append(text)

    async with upstream(handle) as (transport, wire):
        answer = await transport.ask_streaming(chat, wire, timeouts=timeouts, on_text=on_text)
    return answer, "".join(seen)


async def test_an_answer_comes_back_with_the_id_the_provider_gave_the_request() -> None:
    answer = await ask(plain(200, ANSWER, {"x-request-id": "req-7"}))

    assert answer.text == "hello"
    assert answer.provider_request_id == "req-7"


@pytest.mark.parametrize(
    "sent", ["x" * 30_000, "\x1b[2J", "two words", "\xe9"], ids=["long", "escape", "blank", "no ASCII"]
)
async def test_an_id_that_no_vendor_gives_is_not_kept(sent: str) -> None:
    body = ANSWER.replace(b'{"choices"', b'{"id":' + json.dumps(sent).encode() + b',"choices"')

    assert (await ask(plain(200, body))).provider_request_id == ""
    assert (await ask(plain(200, body, {"x-request-id": "req_1"}))).provider_request_id == "req_1"


async def test_what_times_out_before_there_is_a_connection_was_never_dispatched() -> None:
    sent: list[str] = []
    never = asyncio.Event()

    async def says_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()  # where a TLS server would say hello
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = Transport(FakeClock())
    try:
        with pytest.raises(errors.ConnectFailed):
            await transport.send(
                WireRequest(f"https://127.0.0.1:{port}/chat", {}, b"{}"),
                timeout_s=0.05,
                on_sending=lambda: sent.append("sending"),
            )
    finally:
        never.set()
        await transport.aclose()
        server.close()
    assert sent == []


async def test_whoever_pays_is_told_before_anything_is_sent() -> None:
    sent: list[str] = []

    async def handle(exchange: Exchange) -> None:
        sent.append("arrived")
        await exchange.respond(200, {}, ANSWER)

    async with upstream(handle) as (transport, wire):
        await transport.send(wire, timeout_s=10, on_sending=lambda: sent.append("sending"))

    assert sent == ["sending", "arrived"]


async def test_a_port_where_nobody_listens_was_never_dispatched() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/chat"
        transport = Transport(FakeClock())

        with pytest.raises(errors.ConnectFailed):
            await transport.ask(chat, WireRequest(url, {}, b"{}"), timeout_s=5)

        await transport.aclose()


async def test_a_connection_closed_without_an_answer_may_have_been_billed() -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.drop()

    with pytest.raises(errors.ServerFailed) as caught:
        await ask(handle)

    assert caught.value.money == "uncertain"


async def test_a_connection_is_used_again_after_a_long_answer() -> None:
    long = b"x" * 3_000_000

    async def handle(exchange: Exchange) -> None:
        await exchange.respond(200, {}, long)

    async with upstream(handle) as (transport, wire):
        bodies = [(await transport.send(wire, timeout_s=10)).body for _ in range(3)]

    assert bodies == [long] * 3


async def test_no_answer_in_time_is_a_timeout() -> None:
    async def handle(_: Exchange) -> None:
        await anyio.sleep_forever()

    with pytest.raises(errors.ReadTimeout):
        await ask(handle, timeout_s=0.05)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.BadRequest),
        (401, errors.AuthFailed),
        (402, errors.OutOfMoney),
        (403, errors.PermissionRefused),
        (404, errors.ModelGone),
        (408, errors.ServerFailed),
        (413, errors.BadRequest),
        (418, errors.BadRequest),
        (429, errors.RateLimited),
        (500, errors.ServerFailed),
        (529, errors.ServerFailed),
        (302, errors.PermissionRefused),
    ],
)
async def test_the_status_decides_even_when_the_body_says_nothing(status: int, expected: type[ProviderError]) -> None:
    with pytest.raises(expected):
        await ask(plain(status, b"<html>sorry</html>", {"location": "http://127.0.0.1:1/"}))


@pytest.mark.parametrize(
    "body", [b"", b"<html>a captive portal</html>", ANSWER[:40], b"[]", b'{"choices":[]}', b"\xff\xfe\x00"]
)
async def test_a_200_that_is_not_an_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(errors.InvalidAnswer):
        await ask(plain(200, body))


async def test_a_body_cut_before_its_announced_length_is_an_error() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.respond(200, {}, ANSWER, keep=30)

    with pytest.raises(errors.ServerFailed):
        await ask(handle)


async def test_a_body_larger_than_any_answer_is_not_read_to_its_end() -> None:
    sent = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.start(200, {"content-type": "application/json"})
        while True:
            await exchange.send(b" " * 2**20)
            sent += 2**20

    with pytest.raises(errors.InvalidAnswer):
        await ask(handle)

    assert sent < 2 * MAX_BODY_BYTES


async def test_a_small_body_that_unpacks_to_a_huge_one_is_not_unpacked_to_its_end() -> None:
    bomb = gzip.compress(b" " * (MAX_BODY_BYTES + 2**20))

    with pytest.raises(errors.InvalidAnswer):
        await ask(plain(200, bomb, {"content-encoding": "gzip"}))


async def test_a_body_that_does_not_unpack_is_an_error() -> None:
    with pytest.raises(errors.InvalidAnswer):
        await ask(plain(200, b"not gzip", {"content-encoding": "gzip"}))


async def test_a_stream_is_handed_on_as_it_comes() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, EVENTS)
        await exchange.send(PIECE)
        await exchange.send(END)
        await exchange.end()

    answer, seen = await ask_streaming(handle)

    assert answer.text == seen == "hello"


async def test_a_server_that_ignores_streaming_is_still_understood() -> None:
    answer, _ = await ask_streaming(plain(200, ANSWER))

    assert answer.text == "hello"


async def test_an_error_instead_of_a_stream_is_classified_as_ever() -> None:
    with pytest.raises(errors.RateLimited) as caught:
        await ask_streaming(plain(429, b"{}", {"retry-after": "3"}))

    assert caught.value.retry_after_s == 3


async def test_a_stream_that_breaks_after_its_first_text_is_not_asked_for_elsewhere() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, EVENTS)
        await exchange.send(PIECE)
        exchange.drop()

    with pytest.raises(errors.StreamBroken) as caught:
        await ask_streaming(handle)

    assert caught.value.partial_text == "hel"
    assert caught.value.falls_back == "no"


async def test_a_stream_that_breaks_before_any_text_may_be_asked_for_elsewhere() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, EVENTS)
        await exchange.send(b": queued\n\n")
        exchange.drop()

    with pytest.raises(errors.ServerFailed) as caught:
        await ask_streaming(handle)

    assert caught.value.falls_back == "next"


async def test_a_stream_that_falls_silent_is_given_up() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, EVENTS)
        await exchange.send(PIECE)
        await anyio.sleep_forever()

    with pytest.raises(errors.StreamBroken):
        await ask_streaming(handle, timeouts=StreamTimeouts(first_s=10, idle_s=0.05, total_s=10))


async def test_keep_alives_do_not_buy_time_for_the_first_word() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, EVENTS)
        while True:
            await exchange.send(b": keep-alive\n\n")
            await anyio.lowlevel.checkpoint()

    began = anyio.current_time()
    with pytest.raises(errors.ReadTimeout):
        await ask_streaming(handle, timeouts=StreamTimeouts(first_s=0.1, idle_s=10, total_s=10))

    assert anyio.current_time() < began + 5


async def test_a_stream_that_takes_longer_than_its_first_word_might_is_not_cut_while_it_goes_on() -> None:
    pieces = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal pieces
        await exchange.start(200, EVENTS)
        until = anyio.current_time() + 1.2
        while anyio.current_time() < until:
            await exchange.send(PIECE)
            await anyio.lowlevel.checkpoint()
            pieces += 1
        await exchange.send(END)
        await exchange.end()

    answer, _ = await ask_streaming(handle, timeouts=StreamTimeouts(first_s=1, idle_s=5, total_s=30))

    assert answer.text == "hel" * pieces + "lo"


async def test_others_are_served_while_a_small_stream_unpacks_to_a_huge_one() -> None:
    packed = gzip.compress(b"data:\n" * 3_000_000)
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, {**EVENTS, "content-encoding": "gzip"})
        await exchange.send(packed)
        await exchange.end()
        group.start_soon(another)

    async with anyio.create_task_group() as group:
        with pytest.raises(errors.InvalidAnswer):
            await ask_streaming(handle)
        group.cancel_scope.cancel()

    assert turns > 100


async def test_what_fails_inside_an_answer_is_marked_for_it_may_have_been_billed() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, EVENTS)
        await exchange.send(b'data: {"error": {"code": "rate_limit_exceeded"}}\n\n')
        await exchange.end()

    with pytest.raises(errors.RateLimited) as inside:
        await ask_streaming(handle)
    with pytest.raises(errors.RateLimited) as instead:
        await ask_streaming(plain(429, b"{}"))

    assert (inside.value.in_answer, instead.value.in_answer) == (True, False)


async def test_a_stream_whose_end_was_seen_is_whole_even_if_the_connection_then_breaks() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.start(200, EVENTS)
        await exchange.send(PIECE)
        await exchange.send(END)
        exchange.drop(reset=True)

    answer, _ = await ask_streaming(handle)

    assert answer.text == "hello"


async def test_a_cancelled_caller_closes_the_upstream_connection() -> None:
    reached, left = anyio.Event(), anyio.Event()

    async def handle(_: Exchange) -> None:
        reached.set()
        try:
            await anyio.sleep_forever()
        finally:
            left.set()

    async with upstream(handle) as (transport, wire):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: transport.ask(chat, wire, timeout_s=30))
            await reached.wait()
            group.cancel_scope.cancel()

        with anyio.fail_after(5):
            await left.wait()


def test_a_request_does_not_show_its_key() -> None:
    wire = WireRequest("http://127.0.0.1/", {"authorization": "Bearer sk-canary"}, b"{}")

    assert "sk-canary" not in repr(wire)
