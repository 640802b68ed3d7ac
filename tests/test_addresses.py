"""Where a request may go: decided on the address it is about to be sent to, whatever its name was."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from clocks import FakeClock
from orchestra_router import errors
from orchestra_router.connections.addresses import may_connect
from orchestra_router.connections.pool import AddressInfo, ForbiddenAddress, Pool, Resolve
from orchestra_router.transport import Transport
from orchestra_router.types import WireRequest
from raw_servers import raw_server
from test_config import configured, refusal

NEVER = (
    "169.254.169.254",
    "169.254.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "0.0.0.0",  # noqa: S104 - not bound to, but refused
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    # the same, wrapped into IPv6
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "::169.254.169.254",
)
PRIVATE = ("10.0.0.7", "172.16.0.1", "192.168.1.5", "100.64.0.1", "fc00::1", "fec0::1", "::ffff:10.0.0.7")
LOOPBACK = ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1")
PUBLIC = ("8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808", "::ffff:8.8.8.8")


@pytest.mark.parametrize("address", NEVER)
def test_a_metadata_service_is_not_reached_under_any_name(address: str) -> None:
    assert not may_connect("api.example.com", address, {"api.example.com"})


@pytest.mark.parametrize("address", [*PRIVATE, *LOOPBACK])
def test_a_name_may_lead_into_a_private_network_only_where_that_is_declared(address: str) -> None:
    assert not may_connect("api.example.com", address, {"llm.internal"})
    assert may_connect("llm.internal", address, {"llm.internal"})


@pytest.mark.parametrize("address", LOOPBACK)
@pytest.mark.parametrize("host", ["localhost", "gateway.localhost", "127.0.0.1", "::1"])
def test_what_is_spelt_as_this_machine_may_lead_to_it(host: str, address: str) -> None:
    assert may_connect(host, address, ())
    assert not may_connect(host, "10.0.0.7", ())


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_needs_no_declaration(address: str) -> None:
    assert may_connect("api.example.com", address, ())


def resolver(port: int, *answers: str) -> Resolve:
    """Answers each look-up with the next of `answers`, the last one for ever, and leads to `port`."""
    waiting = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[AddressInfo]:
        address = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

    return resolve


async def test_a_name_that_is_rebound_to_this_machine_is_not_followed_there() -> None:
    async with raw_server() as server:
        pool = Pool(resolve=resolver(server.port, "127.0.0.1"))
        async with httpx.AsyncClient(transport=pool) as client:
            with pytest.raises(ForbiddenAddress):
                await client.get(f"http://rebound.example:{server.port}/")

    assert server.connections == 0


async def test_a_name_is_looked_at_again_for_every_new_connection() -> None:
    """The first answer was fine; the second one, a moment later, leads elsewhere."""
    async with raw_server(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok") as server:
        pool = Pool(private_hosts={"llm.internal"}, resolve=resolver(server.port, "127.0.0.1", "169.254.169.254"))
        async with httpx.AsyncClient(transport=pool) as client:
            first = await client.get("http://llm.internal/")
            with pytest.raises(ForbiddenAddress):
                await client.get("http://llm.internal/")

    assert first.text == "ok"
    assert server.connections == 1


async def test_of_several_addresses_only_those_that_are_allowed_are_tried() -> None:
    async with raw_server() as server:

        async def resolve(_host: str, _port: int) -> Sequence[AddressInfo]:
            found = ("169.254.169.254", "127.0.0.1")
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (a, server.port)) for a in found]

        async with httpx.AsyncClient(transport=Pool(private_hosts={"both.internal"}, resolve=resolve)) as client:
            assert (await client.get("http://both.internal/")).text == "ok"


async def test_the_second_address_is_tried_when_the_first_does_not_answer() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        full = [await _queued(silent.getsockname()) for _ in range(3)]
        async with raw_server() as server:

            async def resolve(_host: str, _port: int) -> Sequence[AddressInfo]:
                places = (silent.getsockname(), ("127.0.0.1", server.port))
                return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]

            async with httpx.AsyncClient(transport=Pool(resolve=resolve)) as client:
                assert (await client.get("http://localhost/")).text == "ok"
        for waiting in full:
            waiting.close()


async def _queued(address: tuple[str, int]) -> socket.socket:
    """A client in the queue of a server that accepts nobody; enough of them, and the next one waits outside."""
    waiting = socket.socket()
    waiting.setblocking(False)
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(waiting, address), 0.02)
    return waiting


async def test_a_refused_address_costs_nothing_and_says_what_to_do() -> None:
    transport = Transport(FakeClock())

    with pytest.raises(errors.AddressRefused, match="private_hosts") as caught:
        await transport.send(WireRequest("http://10.255.255.1/v1", {}, b"{}"), timeout_s=5)
    await transport.aclose()

    assert (caught.value.money, caught.value.retryable, caught.value.falls_back) == ("release", False, "next")


# --- the configuration -----------------------------------------------------------------------------------------


def test_an_address_of_a_private_network_has_to_be_declared(tmp_path: Path) -> None:
    row = '[providers.openai]\nbase_url = "https://10.0.0.7/v1"'

    assert 'if that is meant, set private_hosts = ["10.0.0.7"]' in refusal(tmp_path, row)
    assert configured(tmp_path, f'private_hosts = ["10.0.0.7"]\n{row}').private_hosts >= {"10.0.0.7"}
    assert configured(tmp_path, row, ORCHESTRA_PRIVATE_HOSTS="10.0.0.7,llm.internal").private_hosts >= {"llm.internal"}


def test_a_local_server_is_declared_by_being_one(tmp_path: Path) -> None:
    config = configured(tmp_path, '[providers.ollama]\nbase_url = "https://ollama.home.arpa/v1"')

    assert "ollama.home.arpa" in config.private_hosts


@pytest.mark.parametrize("text", ['"https://host/v1"', '"Host"', '"a b"'])
def test_a_private_host_is_a_host_and_nothing_else(tmp_path: Path, text: str) -> None:
    assert "`private_hosts" in refusal(tmp_path, f"private_hosts = [{text}]")
