"""What meets whoever knocks: doors, tokens, limits, and errors that say what to do."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx
import pytest

from http_worlds import HOST, PATIENCE_S, bearer, code_of, mcp_client, open_http, rest
from orchestra_router.clock import SystemClock
from orchestra_router.config import load
from orchestra_router.errors import ConfigError
from orchestra_router.http import protection
from orchestra_router.http.serving import Address, address, check_bind
from orchestra_router.policy.keyring import Terms


async def test_whether_it_lives_is_all_that_is_told_without_a_key(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        del world.client.headers["authorization"]

        live = await world.client.get("/health/live")
        others = [
            await world.client.request(endpoint.methods[0], endpoint.path)
            for endpoint in world.server.app.endpoints
            if endpoint.verb is not None
        ]

    assert (live.status_code, live.json()) == (200, {"status": "live"})
    assert {code_of(response) for response in others} == {"token_missing"}
    assert {response.status_code for response in others} == {401}


async def test_only_a_known_key_is_let_in(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        wrong = await world.client.get("/costs", headers=bearer("wrong"))
        no_bearer = await world.client.get("/costs", headers={"authorization": world.key})
        right = await world.client.get("/costs")

    assert (wrong.status_code, code_of(wrong)) == (401, "access_denied")
    assert (no_bearer.status_code, code_of(no_bearer)) == (401, "token_missing")
    assert right.status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "localhost:x"]
)
async def test_a_page_that_has_its_name_point_here_reaches_nothing(tmp_path: Path, host: str) -> None:
    async with open_http(tmp_path) as world:
        response = await world.client.get("/costs", headers={"host": host})

    assert (response.status_code, code_of(response)) == (421, "unknown_host")


async def test_a_page_of_another_site_reaches_nothing(tmp_path: Path) -> None:
    responses: list[httpx.Response] = []
    async with open_http(tmp_path) as world:
        for origin in ("https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"):
            asks_first = {"origin": origin, "access-control-request-method": "GET"}
            responses.append(await world.client.get("/costs", headers={"origin": origin}))
            responses.append(await world.client.options("/costs", headers=asks_first))

    assert {(response.status_code, code_of(response)) for response in responses} == {(403, "unknown_origin")}
    assert not any("access-control-allow-origin" in response.headers for response in responses)


async def test_a_page_of_this_machine_may_call_and_reads_nothing_unless_it_is_named(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        response = await world.client.get("/costs", headers={"origin": "http://localhost:3000"})

    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


async def test_hosts_and_origins_of_the_settings_are_let_in(tmp_path: Path) -> None:
    app = {"host": "LLM.example.org:8443", "origin": "https://app.example.org"}
    async with open_http(tmp_path, http_hosts="llm.example.org", http_origins="https://app.example.org") as world:
        response = await world.client.get("/costs", headers=app)
        preflight = await world.client.options(
            "/costs",
            headers=app | {"access-control-request-method": "GET", "access-control-request-headers": "authorization"},
        )

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.example.org"
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization"


async def test_a_wrong_path_and_a_wrong_method_say_what_there_is(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        path = await world.client.get("/v2/whatever")
        method = await world.client.delete("/costs")

    assert (path.status_code, code_of(path)) == (404, "unknown_path")
    assert (method.status_code, code_of(method)) == (405, "method_not_allowed")
    assert method.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("path", "meant"),
    [("/chat/completions", "/v1/chat/completions"), ("/models", "/v1/models"), ("/health", "/health/live")],
)
async def test_a_path_that_is_nearly_one_is_told_with_the_one_that_is_meant(
    path: str, meant: str, tmp_path: Path
) -> None:
    async with open_http(tmp_path) as world:
        answer = await world.client.get(path)

    assert f"Did you mean {meant}?" in answer.json()["error"]["message"]


async def test_every_answer_names_its_trace_and_no_server(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        given = await world.client.get("/costs", headers={"x-trace-id": "from-my-app_1"})
        made = await world.client.get("/costs")
        refused = await world.client.get("/costs", headers={"x-trace-id": "two words"})

    assert given.headers["x-trace-id"] == "from-my-app_1"
    assert len(made.headers["x-trace-id"]) == 32
    assert code_of(refused) == "bad_header"
    for response in (given, made, refused):
        assert "server" not in response.headers
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]


async def test_a_request_belongs_to_the_trace_of_whoever_sent_it(tmp_path: Path) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with open_http(tmp_path) as world:
        traced = await world.client.get("/costs", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        named = await world.client.get(
            "/costs", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-trace-id": "mine"}
        )
        broken = await world.client.get("/costs", headers={"traceparent": "00-nonsense"})

    assert (traced.headers["x-trace-id"], named.headers["x-trace-id"]) == (trace, "mine")
    assert broken.status_code == 200
    assert broken.headers["x-trace-id"] != trace


async def test_a_body_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    async with open_http(tmp_path, http_body_mb=0.001) as world:
        declared = await world.client.post("/mcp", content=b"x" * 1001)
        chunked = await world.client.post("/mcp", content=_pieces(b"x" * 500, 3))

    assert (declared.status_code, code_of(declared)) == (413, "request_too_large")
    assert (chunked.status_code, code_of(chunked)) == (413, "request_too_large")


async def test_a_message_may_not_be_much_larger_than_a_prompt_may(tmp_path: Path) -> None:
    async with open_http(tmp_path, max_prompt_bytes=1000) as world:
        refused = await world.client.post("/mcp", content=b"x" * 1501)
        read = await world.client.post("/mcp", content=b"x" * 1499)

    assert (refused.status_code, code_of(refused)) == (413, "request_too_large")
    assert read.status_code == 400


async def test_large_bodies_of_one_key_leave_memory_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "BODIES_PER_KEY", 2)
    large = {"model": "auto", "messages": [{"role": "user", "content": "Hello. " * 200_000}]}
    small = {"model": "auto", "messages": [{"role": "user", "content": "Hello."}]}
    async with open_http(tmp_path, clock=SystemClock(), http_body_mb=1.5) as world:
        other = await world.router.keyring.create(Terms(name="other", role="caller"))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {world.key}\r\ncontent-length: 1499999\r\n"

        async def ask(body: dict[str, Any], **headers: str) -> httpx.Response:
            return await world.client.post("/v1/chat/completions", json=body, headers=headers)

        with anyio.fail_after(PATIENCE_S):
            clients = [await anyio.connect_tcp("127.0.0.1", world.server.address.port) for _ in range(2)]
            for client in clients:
                await client.send(head.encode() + HOST + b"\r\n" + b" " * 1_400_000)  # and never the rest
            while (refused := await ask(large)).status_code == 200:
                await anyio.lowlevel.checkpoint()
            answers = [await ask(small), await ask(large, **bearer(other.secret))]
            for client in clients:
                await client.aclose()
            while (answer := await ask(large)).status_code != 200:
                await anyio.lowlevel.checkpoint()

    assert (refused.status_code, code_of(refused)) == (429, "too_many_bytes")
    assert [one.status_code for one in (*answers, answer)] == [200, 200, 200]


async def test_who_sends_too_slowly_is_told_so_and_cut_off(tmp_path: Path) -> None:
    async with open_http(tmp_path, http_read_timeout_s=0.05) as world:
        key = f"authorization: Bearer {world.key}\r\n".encode()
        head = b"POST /mcp HTTP/1.1\r\n" + HOST + key + b"content-length: 10\r\n\r\n"
        slow = [await world.raw(data) for data in (b"", b"GET / HTTP/1.1\r\nhos", head, head + b"12345")]

    for answer in slow:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "slow_request"


async def test_what_is_no_http_is_answered_and_cut_off(tmp_path: Path) -> None:
    malformed = {
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n": b"400",
        b"GET /health/live HTTP/1.1\r\n\r\n": b"400",
        b"GET /health/live HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n": b"400",
        b"GET /health/live HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 600_000 + b"\r\n\r\n": b"431",
        b"GET /" + b"a" * 600_000: b"431",
        b"GET /health/live HTTP/1.1\r\n" + HOST + b"x:\r\n" * 20_000 + b"\r\n": b"431",
        b"POST /mcp HTTP/1.1\r\n" + HOST + b"content-length: -5\r\n\r\n": b"400",
        b"POST /mcp HTTP/1.1\r\n" + HOST + b"content-length: 5\r\ncontent-length: 6\r\n\r\n": b"400",
        b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n": b"400",
        b"G" * 100 + b"\r\n\r\n": b"400",
    }
    async with open_http(tmp_path) as world:
        answers = {data: await world.raw(data) for data in malformed}
        alive = await world.client.get("/health/live")

    for data, status in malformed.items():
        head, _, body = answers[data].partition(b"\r\n\r\n")
        assert head.split()[:2] == [b"HTTP/1.1", status], data[:80]
        assert json.loads(body)["error"]["code"] in {"not_http", "head_too_large"}
    assert alive.status_code == 200


async def test_who_does_not_read_is_cut_off(tmp_path: Path) -> None:
    async with open_http(tmp_path, http_write_timeout_s=0.05) as world:
        ask = f"GET /providers HTTP/1.1\r\nauthorization: Bearer {world.key}\r\n".encode() + HOST + b"\r\n"
        with anyio.fail_after(PATIENCE_S):
            with world.silent_client() as client, pytest.raises(ConnectionError):
                await _send_for_ever(client, ask * 100)
        alive = await world.client.get("/health/live")

    assert alive.status_code == 200


async def test_more_connections_than_allowed_are_turned_away(tmp_path: Path) -> None:
    async with open_http(tmp_path, http_connections=2) as world:
        async with (
            await anyio.connect_tcp("127.0.0.1", world.server.address.port),
            await anyio.connect_tcp("127.0.0.1", world.server.address.port),
            await anyio.connect_tcp("127.0.0.1", world.server.address.port) as third,
        ):
            answer = await rest(third)
        later = await world.client.get("/health/live")

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"too_many_connections" in answer
    assert later.status_code == 200


async def test_a_server_that_is_told_to_end_says_so_and_begins_nothing(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        before = await world.client.get("/health/ready")
        assert await world.server.traffic.drained(within_s=1)

        ready = await world.client.get("/health/ready")
        costs = await world.client.get("/costs")
        live = await world.client.get("/health/live")

    assert before.json()["status"] == "ready"
    assert (ready.status_code, code_of(ready)) == (503, "shutting_down")
    assert (costs.status_code, code_of(costs)) == (503, "shutting_down")
    assert live.status_code == 200


async def test_costs_and_providers_are_what_the_tools_say(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        costs = await world.client.get("/costs", params={"period": "month", "group_by": "provider"})
        providers = await world.client.get("/providers", params={"provider": "xai"})
        wrong = await world.client.get("/costs", params={"period": "fortnight"})
        unknown = await world.client.get("/costs", params={"perod": "day"})

    assert (costs.json()["period"], costs.json()["group_by"]) == ("month", "provider")
    assert [row["name"] for row in providers.json()["providers"]] == ["xai"]
    assert (wrong.status_code, code_of(wrong)) == (400, "invalid_request")
    assert "Did you mean `period`" in unknown.json()["error"]["message"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_tools_work_over_http_in_both_eras(tmp_path: Path, mode: str) -> None:
    async with open_http(tmp_path, clock=SystemClock()) as world, mcp_client(world, mode) as client:
        listed = await client.list_tools()
        answered = await client.call_tool("complete", {"prompt": "Hello there."})

    assert "complete" in {tool.name for tool in listed.tools}
    assert answered.structured_content is not None
    assert answered.structured_content["text"]


@pytest.mark.parametrize(
    ("text", "is_read_as"),
    [
        ("", "127.0.0.1:8765"),
        ("9000", "127.0.0.1:9000"),
        ("localhost", "localhost:8765"),
        ("0.0.0.0:80", "0.0.0.0:80"),
        ("[::1]:8000", "[::1]:8000"),
        ("[::1]", "[::1]:8765"),
    ],
)
def test_an_address_may_be_short(text: str, is_read_as: str) -> None:
    assert str(address(text)) == is_read_as


@pytest.mark.parametrize("text", ["localhost:http", "http://localhost:80", "127.0.0.1:99999", "a b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        address(text)


def test_other_machines_are_let_in_only_by_name_and_with_keys(tmp_path: Path) -> None:
    home = {"ORCHESTRA_HOME": str(tmp_path)}
    without, with_names = load(home).settings, load(home | {"ORCHESTRA_HTTP_HOSTS": "llm.example.org"}).settings

    with pytest.raises(ConfigError, match=r"takes the names it is reached by.*and an access key"):
        check_bind(Address("10.0.0.7", 80), without, keys=0)
    with pytest.raises(ConfigError, match="takes an access key"):
        check_bind(Address("10.0.0.7", 80), with_names, keys=0)
    check_bind(Address("10.0.0.7", 80), with_names, keys=1)
    for local in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_bind(Address(local, 80), without, keys=0)


def test_the_settings_that_the_guide_shows_can_be_used(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "http.md").read_text(encoding="utf-8")
    (tmp_path / "orchestra.toml").write_text(guide.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")

    settings = load({"ORCHESTRA_HOME": str(tmp_path)}).settings

    assert (settings.http_hosts, settings.http_origins) == (("llm.example.org",), ("https://app.example.org",))


async def test_a_key_of_one_user_speaks_for_no_other(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        bound = (await world.router.keyring.create(Terms(name="ada's", user="ada"))).secret
        free = (await world.router.keyring.create(Terms(name="app", role="caller"))).secret
        viewer = (await world.router.keyring.create(Terms(name="screen", role="viewer"))).secret
        ask = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Hello."}]}
        answers: dict[tuple[str, str], httpx.Response] = {}
        for name, secret in {"bound": bound, "free": free, "viewer": viewer}.items():
            for user in ("ada", "bob", "no name!"):
                headers = bearer(secret) | {"x-user-id": user, "x-session-id": "s1"}
                answers[name, user] = await world.client.post("/v1/chat/completions", json=ask, headers=headers)
        by_body = await world.client.post("/v1/chat/completions", json=ask | {"user": "carol"}, headers=bearer(free))
        ignored = await world.client.post("/v1/chat/completions", json=ask | {"user": "carol"}, headers=bearer(bound))
        report = await world.router.cost_report(group_by="user")

    codes = {key: (r.status_code, code_of(r) if r.is_error else "") for key, r in answers.items()}
    assert codes["bound", "ada"] == codes["free", "ada"] == codes["free", "bob"] == (200, "")
    assert codes["bound", "bob"] == (403, "access_denied")
    assert codes["viewer", "ada"] == (403, "role_forbids")
    assert codes["free", "no name!"] == (400, "invalid_request")
    assert (by_body.status_code, ignored.status_code) == (200, 200)
    assert {row.group for row in report.rows} == {"ada", "bob", "carol"}


async def _send_for_ever(client: socket.socket, data: bytes) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(client, data)


async def _pieces(piece: bytes, times: int):  # noqa: ANN202 - what httpx takes
    for _ in range(times):
        yield piece


async def test_the_description_names_what_there_is_and_what_it_takes(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        document = (await world.client.get("/openapi.json")).json()
        paths = {endpoint.path for endpoint in world.server.app.endpoints if endpoint.summary}

    def referred(node: object) -> set[str]:
        if isinstance(node, dict):
            held = cast("dict[str, object]", node)
            return {str(held.get("$ref", ""))} | {ref for inner in held.values() for ref in referred(inner)}
        return (
            {ref for inner in cast("list[object]", node) for ref in referred(inner)}
            if isinstance(node, list)
            else set()
        )

    assert {path.replace(":path}", "}") for path in paths} == set(document["paths"])
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert referred(document) - {""} <= known
    assert document["paths"]["/health/live"]["get"]["security"] == []
    assert "temperature" in document["components"]["schemas"]["ChatRequest"]["properties"]
