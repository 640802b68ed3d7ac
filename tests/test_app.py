"""The server as a process: what goes over its pipes, and how it ends."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

import mcp_wire
from mcp_wire import Json, Wire, environment, modern
from orchestra_router.simulation import Hang, SimulatedWorld, simulated_world
from surface import environ, fail, succeed

QUESTION = "What is the capital of France?"
TEN_MEGABYTES = 10_000_000

SHUTDOWN_S = 5.0
"""Some clients kill after 2 s; a busy machine is given more."""


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@pytest.fixture
async def wire(world: SimulatedWorld, tmp_path: Path) -> AsyncGenerator[Wire]:
    """A server over the simulated providers, before the handshake."""
    async with mcp_wire.serving(environment(tmp_path, **environ(world, tmp_path))) as wire:
        yield wire


@pytest.fixture
async def busy(wire: Wire, world: SimulatedWorld) -> Json:
    """The provider's view of a call that hangs there; its JSON-RPC id is under `id`."""
    hang = Hang()
    world["openrouter"].script(hang)
    await wire.handshake()
    request_id = await wire.call("complete", {"prompt": QUESTION, "provider": "openrouter"})
    with anyio.fail_after(mcp_wire.PATIENCE_S):
        await hang.reached.wait()
    return {"id": request_id, "seen": world["openrouter"].received[-1]}


async def spent(home: Path, world: SimulatedWorld) -> Json:
    """The ledger's totals, as the next process on the same data folder finds them."""
    async with mcp_wire.serving(environment(home, **environ(world, home))) as later:
        await later.handshake()
        answer = await later.answer(await later.call("cost_report", {}))
        total: Json = answer["result"]["structuredContent"]["total"]
        return total


def inside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


# --- through the SDK's own client ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_of_either_era_asks_a_question(mode: str, world: SimulatedWorld, tmp_path: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "orchestra_router", "serve"],
        env=environment(tmp_path, **environ(world, tmp_path)),
    )

    async with Client(server, mode=mode) as client:
        tools = await client.list_tools()
        data = await succeed(client, "complete", prompt=QUESTION)
        text, error = await fail(client, "complete", prompt=QUESTION, max_token=1)

    assert [tool.name for tool in tools.tools] == ["complete", "route_task", "provider_status", "cost_report"]
    assert "Paris" in data["text"]
    assert "Did you mean `max_tokens`?" in text
    assert error["code"] == "invalid_request"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_simulated_server_answers_without_key_network_or_cost(mode: str, tmp_path: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "orchestra_router", "serve", "--simulate"], env=environment(tmp_path)
    )

    async with Client(server, mode=mode) as client:
        data = await succeed(client, "complete", prompt=QUESTION)
        status = await succeed(client, "provider_status")

    assert "Paris" in data["text"]
    assert data["notes"][0].startswith("Simulated:")
    assert status["notes"][0].startswith("Simulated:")
    assert not inside(tmp_path)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_arrives_in_either_era(mode: str, world: SimulatedWorld, tmp_path: Path) -> None:
    heard: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(f"{progress} {total} {message}")

    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "orchestra_router"],
        env=environment(tmp_path, **environ(world, tmp_path)),
    )

    async with Client(server, mode=mode) as client:
        arguments = {"prompt": QUESTION, "provider": "openrouter"}
        await client.call_tool("complete", arguments, progress_callback=on_progress)

    assert heard[0].startswith("1.0 None asking openrouter/")


async def test_without_any_key_the_server_starts_and_says_what_to_set(tmp_path: Path) -> None:
    server = StdioServerParameters(command=sys.executable, args=["-m", "orchestra_router"], env=environment(tmp_path))

    async with Client(server) as client:
        text, error = await fail(client, "complete", prompt=QUESTION)
        await succeed(client, "cost_report")

    assert "OPENROUTER_API_KEY" in text
    assert error["code"] == "no_route"


async def test_with_a_broken_configuration_the_server_starts_and_explains(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text("cache_tll_s = 5\n", encoding="utf-8")

    async with mcp_wire.serving(environment(tmp_path)) as wire:
        await wire.handshake()
        answer = await wire.answer(await wire.call("complete", {"prompt": QUESTION}))
        await wire.close_stdin()
        code = await wire.exit_code()

    said = answer["result"]["content"][0]["text"]
    assert answer["result"]["isError"]
    assert "orchestra.toml:1" in said
    assert "did you mean `cache_ttl_s`?" in said
    assert "did you mean `cache_ttl_s`?" in wire.errors.decode()
    assert code == 0


# --- the wire ----------------------------------------------------------------------------------------------------


async def test_nothing_but_json_rpc_is_written_to_stdout(wire: Wire, world: SimulatedWorld) -> None:
    world["openrouter"].script(world["openrouter"].failure("rate_limited"), world["openrouter"].failure("auth"))

    await wire.handshake()
    await wire.ask("tools/list")
    for arguments in ({"prompt": QUESTION}, {"prompt": QUESTION, "provider": "openrouter"}, {"prompt": 7}, {}):
        await wire.answer(await wire.call("complete", arguments))
    await wire.send_line("this is not JSON")
    await wire.ask("ping")
    await wire.close_stdin()
    await wire.read_rest()

    # Each line was read as JSON-RPC on arrival; and each request was answered once, what is no message included.
    assert sorted(message["id"] or 0 for message in wire.received) == list(range(8))
    assert await wire.exit_code() == 0
    assert "Traceback" not in wire.errors.decode()


async def test_no_key_is_ever_written(wire: Wire, world: SimulatedWorld) -> None:
    for provider in world.providers.values():
        provider.script(*(provider.failure("auth"),) * 3)

    await wire.handshake()
    for tool in ("complete", "provider_status", "route_task"):
        await wire.answer(await wire.call(tool, {"prompt": QUESTION} if tool != "provider_status" else {"probe": True}))
    await wire.close_stdin()
    await wire.exit_code()

    written = json.dumps(wire.received) + wire.errors.decode()
    assert not [key for key in world.keys.values() if key in written]


async def test_the_version_is_told(wire: Wire) -> None:
    answer = await wire.handshake()

    assert answer["result"]["serverInfo"]["name"] == "orchestra"
    assert answer["result"]["serverInfo"]["version"][0].isdigit()
    assert "complete" in answer["result"]["instructions"]


async def test_a_modern_client_may_keep_the_list_of_tools(wire: Wire) -> None:
    answer = await wire.ask("tools/list", modern())

    assert answer["result"]["ttlMs"] > 0
    assert answer["result"]["cacheScope"] == "public"


async def test_a_connection_stays_in_the_era_it_began_in(wire: Wire) -> None:
    first = await wire.ask("tools/list", modern())
    client = {"name": "raw", "version": "1"}
    second = await wire.ask(
        "initialize", {"protocolVersion": mcp_wire.LEGACY, "capabilities": {}, "clientInfo": client}
    )
    third = await wire.ask("tools/list", modern())

    assert "result" in first
    assert second["error"]["code"] == -32022
    assert "result" in third


async def test_a_connection_with_a_handshake_takes_no_requests_of_the_newer_era(wire: Wire) -> None:
    await wire.notify("notifications/initialized")  # too early: some clients do
    await wire.handshake()
    newer = await wire.ask("tools/list", modern())
    own = await wire.ask("tools/list")

    assert newer["error"]["code"] == -32600
    assert "result" in own


async def test_an_unknown_tool_is_an_error_of_the_protocol(wire: Wire) -> None:
    await wire.handshake()

    answer = await wire.answer(await wire.call("do_anything", {}))

    assert answer["error"]["code"] == -32602


async def test_a_prompt_of_ten_megabytes_is_refused_in_words(wire: Wire) -> None:
    await wire.handshake()

    answer = await wire.answer(await wire.call("complete", {"prompt": "x" * TEN_MEGABYTES}))
    ping = await wire.ask("ping")

    assert answer["result"]["isError"]
    assert 0 < len(answer["result"]["content"][0]["text"]) < 5_000
    assert answer["result"]["_meta"]["orchestra/error"]["code"] in {"invalid_request", "no_route", "budget_exceeded"}
    assert "result" in ping


async def test_absurd_numbers_are_explained(tmp_path: Path) -> None:
    numbers = ("-1", "1e400", "-1e400", "9" * 400, "1e-400", "0.5", "null", '"many"', "[]")
    names = ("max_tokens", "max_cost_usd", "temperature", "max_retries")
    sent = [f'{{"prompt":"x","{name}":{number}}}' for name in names for number in numbers]

    async with mcp_wire.serving(environment(tmp_path)) as wire:
        await wire.handshake()
        for number, arguments in enumerate(sent):
            params = f'{{"name":"complete","arguments":{arguments}}}'
            await wire.send_line(f'{{"jsonrpc":"2.0","id":{100 + number},"method":"tools/call","params":{params}}}')
        answers = [await wire.answer(100 + number) for number in range(len(sent))]

    codes = {answer["result"]["_meta"]["orchestra/error"]["code"] for answer in answers}
    assert codes == {"invalid_request", "no_route"}


async def test_a_prompt_cut_in_the_middle_of_a_character_is_answered(wire: Wire, world: SimulatedWorld) -> None:
    await wire.handshake()

    prompt = r"What is the capital of France? \ud83d"
    params = f'{{"name":"complete","arguments":{{"prompt":"{prompt}","provider":"openrouter"}}}}'
    await wire.send_line(f'{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{params}}}')
    answer = await wire.answer(77)

    assert "Paris" in answer["result"]["structuredContent"]["text"]
    assert "\ufffd" in world["openrouter"].received[-1].json["messages"][-1]["content"]


async def test_a_line_that_is_not_json_is_logged_without_its_text(tmp_path: Path) -> None:
    async with mcp_wire.serving(environment(tmp_path)) as wire:
        await wire.handshake()
        await wire.send_line("my secret is 42")
        await wire.ask("ping")
        await wire.close_stdin()
        await wire.exit_code()

    assert "a line of 15 characters from the client is no message" in wire.errors.decode()
    assert "secret" not in wire.errors.decode() + json.dumps(wire.received)


MALFORMED: list[tuple[str, int, object]] = [
    ("this is not JSON", -32700, None),
    ('{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"x":NaN}', -32700, None),
    ("\x00\xff", -32700, None),
    ("{" * 10_000, -32700, None),
    ("[]", -32600, None),
    ('[{"jsonrpc":"2.0","id":5,"method":"ping"}]', -32600, None),
    ("7", -32600, None),
    ("null", -32600, None),
    ("{}", -32600, None),
    ('{"id":5,"method":"ping"}', -32600, 5),
    ('{"jsonrpc":"1.0","id":"five","method":"ping"}', -32600, "five"),
    ('{"jsonrpc":"2.0","id":5}', -32600, 5),
    ('{"jsonrpc":"2.0","id":5,"method":7}', -32600, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"ping","params":"x"}', -32600, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"ping","params":[1]}', -32600, 5),
    ('{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
    ('{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
    ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, None),
    ('{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}', -32600, None),
    ('{"jsonrpc":"2.0","id":5,"method":"no/such/method"}', -32601, 5),
    ('{"jsonrpc":"2.0","id":5,"method":""}', -32601, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"tools/call"}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":7}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"complete","arguments":[]}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"complete","_meta":7}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"tools/list","params":{"cursor":7}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"tools/list","params":{"cursor":"hunter2"}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"resources/read","params":{}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"resources/read","params":{"uri":["hunter2"]}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"prompts/get","params":{"name":"hunter2"}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"prompts/get","params":{"name":"compare_models","arguments":7}}', -32602, 5),
    ('{"jsonrpc":"2.0","id":5,"method":"completion/complete","params":{"ref":{"type":"hunter2"}}}', -32602, 5),
]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_whatever_is_no_proper_request_is_told_so_without_its_words_and_disturbs_nobody(
    era: str, tmp_path: Path
) -> None:
    lines = [line for line, _, _ in MALFORMED]
    if era == "modern":
        envelope = json.dumps(modern()["_meta"])
        lines = [line.replace('"params":{', f'"params":{{"_meta":{envelope},').replace(",}", "}") for line in lines]

    async with mcp_wire.serving(environment(tmp_path)) as wire:
        if era == "legacy":
            await wire.handshake()
        else:
            await wire.ask("tools/list", modern())
        told: list[tuple[int, object]] = []
        for line in lines:
            await wire.send_line(line)
            answer = await wire.read()
            told.append((answer["error"]["code"], answer["id"]))
        last = await wire.ask("tools/list", modern() if era == "modern" else None)
        await wire.close_stdin()
        await wire.exit_code()

    for line, (_, code, request_id), got in zip(lines, MALFORMED, told, strict=True):
        # Without an envelope a modern request is refused for that; with one, for what else is wrong with it.
        expected = {code, -32602} if era == "modern" and "params" not in line else {code}
        assert got[0] in expected, line
        assert got[1] == request_id, line
    assert "result" in last
    assert "hunter2" not in json.dumps(wire.received) + wire.errors.decode()
    assert "Traceback" not in wire.errors.decode()


async def test_what_nobody_waits_for_is_not_answered(tmp_path: Path) -> None:
    async with mcp_wire.serving(environment(tmp_path)) as wire:
        await wire.handshake()
        for line in (
            "",
            '{"jsonrpc":"2.0","method":"notifications/nothing"}',
            '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{"a":1}}}',
            '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":[],"progress":"x"}}',
            '{"jsonrpc":"2.0","id":99,"result":{}}',
            '{"jsonrpc":"2.0","id":99,"error":{"code":1,"message":"x"}}',
        ):
            await wire.send_line(line)
        await wire.ask("ping")

    assert len(wire.received) == 2


async def test_a_client_that_asks_what_is_spoken_may_still_shake_hands(wire: Wire) -> None:
    found = await wire.ask("server/discover", modern())
    hello = await wire.handshake()
    answer = await wire.answer(await wire.call("complete", {"prompt": QUESTION}))

    assert mcp_wire.MODERN in found["result"]["supportedVersions"]
    assert hello["result"]["protocolVersion"] == mcp_wire.LEGACY
    assert "Paris" in answer["result"]["structuredContent"]["text"]


async def test_a_client_that_asks_what_is_spoken_may_go_on_without_a_handshake(wire: Wire) -> None:
    await wire.ask("server/discover", modern())
    again = await wire.ask("server/discover", modern())
    answer = await wire.answer(
        await wire.request("tools/call", modern({"name": "complete", "arguments": {"prompt": QUESTION}}))
    )

    assert "completions" in again["result"]["capabilities"]
    assert "Paris" in answer["result"]["structuredContent"]["text"]


@pytest.mark.skipif(sys.platform == "win32", reason="programs there are started with pipes")
async def test_a_client_whose_pipes_are_sockets_is_served_as_any(tmp_path: Path) -> None:
    """Node starts programs so."""
    (ours, stdin), (answers, stdout) = socket.socketpair(), socket.socketpair()
    with ours, stdin, answers, stdout:
        params = {
            "name": "complete",
            "arguments": {"prompt": "x" * 1_000_000, "max_token": 1},
            "_meta": modern()["_meta"],
        }
        line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        server = await anyio.open_process(
            mcp_wire.command(),
            env=environment(tmp_path),
            stdin=stdin.fileno(),
            stdout=stdout.fileno(),
            stderr=subprocess.PIPE,
        )
        stdin.close()
        stdout.close()
        async with server:
            await anyio.to_thread.run_sync(ours.sendall, line.encode() + b"\n")
            with answers.makefile("rb") as lines, anyio.fail_after(mcp_wire.PATIENCE_S):
                answer = json.loads(await anyio.to_thread.run_sync(lines.readline))
                ours.close()
                rest = await anyio.to_thread.run_sync(lines.read)
            code = await server.wait()

    assert "Did you mean `max_tokens`?" in answer["result"]["content"][0]["text"]
    assert rest == b""
    assert code == 0


# --- how it ends -------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_is_silent_and_its_money_is_settled(
    wire: Wire, busy: Json, world: SimulatedWorld, tmp_path: Path
) -> None:
    await wire.notify("notifications/cancelled", requestId=busy["id"], reason="the user stopped it")
    with anyio.fail_after(mcp_wire.PATIENCE_S):
        await busy["seen"].done.wait()
    await wire.ask("ping")
    await wire.close_stdin()
    await wire.read_rest()

    assert busy["seen"].client_left
    assert busy["id"] not in [message.get("id") for message in wire.received]
    total = await spent(tmp_path, world)
    assert total["uncertain_nusd"] > 0
    assert "held_nusd" not in total


@pytest.mark.parametrize("end", ["EOF", "SIGTERM", "SIGINT"])
async def test_the_process_ends_soon_and_its_running_calls_are_settled(
    end: str, wire: Wire, busy: Json, world: SimulatedWorld, tmp_path: Path
) -> None:
    started = time.monotonic()

    if end == "EOF":
        await wire.close_stdin()
    else:
        wire.process.send_signal(signal.Signals[end])
    code = await wire.exit_code()

    assert code == 0
    assert time.monotonic() - started < SHUTDOWN_S
    assert busy["seen"].path
    total = await spent(tmp_path, world)
    assert total["uncertain_nusd"] > 0
    assert "held_nusd" not in total
    assert "Traceback" not in wire.errors.decode()


@pytest.mark.parametrize("end", ["EOF", "SIGTERM", "SIGINT"])
async def test_an_idle_process_ends_soon(end: str, tmp_path: Path) -> None:
    async with mcp_wire.serving(environment(tmp_path)) as wire:
        await wire.handshake()
        await wire.ask("tools/list")
        started = time.monotonic()

        if end == "EOF":
            await wire.close_stdin()
        else:
            wire.process.send_signal(signal.Signals[end])

        assert await wire.exit_code() == 0
        assert time.monotonic() - started < SHUTDOWN_S
        assert not wire.errors


async def test_a_simulated_server_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    async with mcp_wire.serving(environment(tmp_path, TMPDIR=str(temporary)), "serve", "--simulate") as wire:
        await wire.handshake()
        await wire.answer(await wire.call("complete", {"prompt": QUESTION}))
        there = inside(temporary)
        wire.process.send_signal(signal.SIGTERM)
        code = await wire.exit_code()

    assert there
    assert code == 0
    assert not inside(temporary)


async def test_a_client_that_closes_our_stdout_ends_the_process_and_the_spend_is_kept(
    world: SimulatedWorld, tmp_path: Path
) -> None:
    hang = Hang()
    world["openrouter"].script(hang)
    env = environment(tmp_path, **environ(world, tmp_path))
    server = subprocess.Popen(  # noqa: ASYNC220 - the pipes are to be plain ones, closed by hand
        mcp_wire.command(), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        arguments = {"prompt": QUESTION, "provider": "openrouter"}
        for number, (method, params) in enumerate(
            [("tools/list", modern()), ("tools/call", modern({"name": "complete", "arguments": arguments}))]
        ):
            line = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            server.stdin.write(line.encode() + b"\n")
            server.stdin.flush()
        with anyio.fail_after(mcp_wire.PATIENCE_S):
            await hang.reached.wait()

        server.stdout.close()
        line = json.dumps({"jsonrpc": "2.0", "id": 9, "method": "tools/list", "params": modern()})
        server.stdin.write(line.encode() + b"\n")
        server.stdin.flush()
        code = await anyio.to_thread.run_sync(lambda: server.wait(mcp_wire.PATIENCE_S))

    assert code == 0
    total = await spent(tmp_path, world)
    assert total["uncertain_nusd"] > 0
    assert "held_nusd" not in total


# --- how it starts -----------------------------------------------------------------------------------------------


def test_what_only_calls_need_is_not_loaded_to_start() -> None:
    code = "import json, sys, orchestra_router.cli, orchestra_router.app; print(json.dumps(sorted(sys.modules)))"

    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))

    lazy = (
        *("httpx", "genai_prices", "aiosqlite", "regex"),
        *("orchestra_router.router", "orchestra_router.store.ledger_records", "orchestra_router.simulation"),
        *("orchestra_router.policy.lexical_guard", "orchestra_router.policy.budget"),
    )
    assert not [name for name in lazy if name in loaded]
    assert not [name for name in loaded if name.startswith("orchestra_router.providers.")]
