"""MCP over HTTP, in both eras of the protocol: what goes on while a call runs, and whatever is no proper request."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
from mcp import Client, MCPError
from mcp.types import ElicitResult, PromptReference

from hand_clock import HandClock
from http_worlds import HttpWorld, bearer, code_of, mcp_client, open_http
from mcp_wire import LEGACY, MODERN, PATIENCE_S, Json, modern
from orchestra_router.clock import SystemClock
from orchestra_router.http import mcp_endpoint
from orchestra_router.http.open_sessions import OpenSessions
from orchestra_router.http.refusals import Refused
from orchestra_router.policy.access import Role
from orchestra_router.policy.keyring import Terms
from orchestra_router.simulation import Hang
from orchestra_router.types import Limits
from surface import answering, fail, succeed

QUESTION = "What is the capital of France?"
HELLO = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@MODES
async def test_progress_is_heard_while_the_answer_grows(tmp_path: Path, mode: str) -> None:
    heard: list[tuple[float, str]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, f"{message} {total}"))

    async with open_http(tmp_path, clock=SystemClock()) as world, mcp_client(world, mode) as client:
        arguments = {"prompt": QUESTION, "provider": "deepseek"}
        await client.call_tool("complete", arguments, progress_callback=on_progress)

    assert [step for step, _ in heard] == list(range(1, len(heard) + 1))
    assert heard[0][1].startswith("asking deepseek/")
    assert any(" characters: " in message for _, message in heard)


@MODES
async def test_a_silent_call_is_heard_of_every_ten_seconds(tmp_path: Path, mode: str) -> None:
    clock, hang, heard = HandClock(), Hang(), list[str]()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - the SDK's
        heard.append(str(message))

    with anyio.fail_after(PATIENCE_S):
        async with open_http(tmp_path, clock=clock) as world, mcp_client(world, mode) as client:
            world.providers["deepseek"].script(hang)

            async def ask() -> None:
                arguments = {"prompt": QUESTION, "provider": "deepseek"}
                await client.call_tool("complete", arguments, progress_callback=on_progress)

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await hang.reached.wait()
                while not any("(20 s)" in message for message in heard):
                    await clock.advance(1)
                    await anyio.sleep(0.01)  # the wire takes its time
                hang.release()

    assert [message for message in heard if message.endswith(("(10 s)", "(20 s)"))]
    assert all("deepseek/" in message for message in heard[:2])


@MODES
async def test_a_cancelled_call_leaves_the_provider_and_settles_its_money(tmp_path: Path, mode: str) -> None:
    hang = Hang()
    with anyio.fail_after(PATIENCE_S):
        async with open_http(tmp_path, clock=SystemClock()) as world, mcp_client(world, mode) as client:
            world.providers["deepseek"].script(hang)
            async with anyio.create_task_group() as group:
                arguments = {"prompt": QUESTION, "provider": "deepseek"}
                group.start_soon(client.call_tool, "complete", arguments)
                await hang.reached.wait()
                group.cancel_scope.cancel()
            (request,) = (one for one in world.providers["deepseek"].received if one.method == "POST")
            await request.done.wait()
            total: Json = {}
            while not total.get("uncertain"):
                total = (await succeed(client, "cost_report"))["total"]

    assert request.client_left
    assert total["uncertain_nusd"] > 0
    assert "held_nusd" not in total


@MODES
@pytest.mark.parametrize("can_ask", [True, False])
async def test_who_can_ask_a_person_does_and_who_cannot_gets_the_plain_refusal(
    tmp_path: Path, mode: str, can_ask: bool
) -> None:
    asked: list[str] = []

    async def person(_: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"approve": True})

    callback = {"elicitation_callback": person} if can_ask else {}
    async with (
        open_http(tmp_path, clock=SystemClock(), budget_day_usd="0.0001") as world,
        mcp_client(world, mode, **callback) as client,
    ):
        if can_ask:
            assert (await succeed(client, "complete", prompt=QUESTION, provider="deepseek"))["text"]
        else:
            _, error = await fail(client, "complete", prompt=QUESTION, provider="deepseek")
            assert error["code"] == "budget_exceeded"

    assert len(asked) == can_ask


@MODES
async def test_what_is_read_and_completed_over_stdio_is_so_over_http(tmp_path: Path, mode: str) -> None:
    async with open_http(tmp_path, clock=SystemClock()) as world, mcp_client(world, mode) as client:
        answer = await succeed(client, "complete", prompt=QUESTION)
        trail = await read(client, f"orchestra://requests/{answer['trace_id']}")
        models = await read(client, "orchestra://models")
        prompts = await client.list_prompts()

    assert trail["requests"][0]["cost_usd"] == answer["cost_usd"]
    assert models["models"]
    assert len(prompts.prompts) == 4


async def read(client: Client, uri: str) -> Json:
    (content,) = (await client.read_resource(uri)).contents
    data: Json = json.loads(content.text)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    return data


# --- what is no proper request -----------------------------------------------------------------------------------


def call(**changes: Any) -> Json:
    return {"jsonrpc": "2.0", "id": 5, "method": "tools/list"} | changes


BODIES: list[bytes | object] = [
    b"",
    b"hunter2 is not JSON",
    b"\xff\xfe",
    b'{"jsonrpc":"2.0","id":5,"method":"tools/list"',
    b"{" * 10_000,
    b"[" * 10_000 + b"]" * 10_000,
    [],
    [call()],
    7,
    None,
    "hunter2",
    {},
    {"id": 5, "method": "tools/list"},
    call(jsonrpc="1.0"),
    call(method=None),
    call(method=7),
    call(method="hunter2"),
    call(id=None),
    call(id=True),
    call(id=1.5),
    call(id={"hunter2": 1}),
    call(params="hunter2"),
    call(params=[1]),
    call(params={"_meta": "hunter2"}),
    call(params={"cursor": {"hunter2": 1}}),
    call(params={"cursor": "hunter2"}),
    call(method="tools/call"),
    call(method="tools/call", params={"name": {"hunter2": 1}}),
    call(method="tools/call", params={"name": "hunter2 is my password"}),
    call(method="tools/call", params={"name": "complete", "arguments": "hunter2"}),
    call(method="resources/read", params={"uri": ["hunter2"]}),
    call(method="prompts/get", params={"name": "hunter2"}),
    call(method="prompts/get", params={"name": "compare_models", "arguments": {"question": 7}}),
    call(method="completion/complete", params={"ref": {"type": "hunter2"}}),
    call(method="initialize", params={"protocolVersion": ["hunter2"]}),
]


def body_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


async def post(world: HttpWorld, body: bytes, headers: dict[str, str]) -> httpx.Response:
    accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    return await world.client.post("/mcp", content=body, headers=accept | headers)


def refused(response: httpx.Response) -> Json:
    """The JSON-RPC error of an answer, be it one body or the only event of a stream."""
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        (text,) = (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {"))
    answer: Json = json.loads(text)
    return answer["error"]


async def test_whatever_is_no_proper_request_of_the_newer_protocol_is_refused_without_its_words(
    tmp_path: Path,
) -> None:
    async with open_http(tmp_path, clock=SystemClock()) as world:
        for body, method in map(enveloped, BODIES):
            answer = await post(world, body, {"mcp-protocol-version": MODERN, "mcp-method": method})
            assert 400 <= answer.status_code < 500, (body[:200], answer.text)
            error = refused(answer)
            assert error["code"] in {-32700, -32600, -32601, -32602, -32020, -32022}, (body[:200], error)
            assert "hunter2" not in error["message"], body[:200]
        body, method = enveloped(call())
        listed = await post(world, body, {"mcp-protocol-version": MODERN, "mcp-method": method})

    assert len(listed.json()["result"]["tools"]) == 4


def enveloped(value: Any) -> tuple[bytes, str]:
    """A body as the newer protocol sends it, as far as it can be, and the method to name in its header."""
    if not isinstance(value, dict):
        return body_of(value), "tools/list"
    request = cast("Json", value)
    params = cast("Json", request.get("params", {})) if isinstance(request.get("params", {}), dict) else None
    if params is not None and params.get("_meta") != "hunter2":
        request = request | {"params": modern(params)}
    return body_of(request), str(request.get("method"))


async def test_whatever_is_no_proper_request_of_the_older_protocol_is_refused_without_its_words(
    tmp_path: Path,
) -> None:
    async with open_http(tmp_path, clock=SystemClock()) as world:
        opened = await post(world, body_of(call(method="initialize", params=HELLO)), {})
        session = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
        for value in BODIES:
            answer = await post(world, body_of(value), session)
            assert answer.status_code < 500, (value, answer.text)
            error = refused(answer)
            assert error["code"] in {-32700, -32600, -32601, -32602}, (value, error)
            assert "hunter2" not in error["message"], value
        unknown = await post(world, body_of(call()), session | {"mcp-session-id": "0" * 32})
        listed = await post(world, body_of(call()), session)

    assert unknown.status_code == 404
    assert "tools" in listed.text


# --- several callers ---------------------------------------------------------------------------------------------


async def with_keys(world: HttpWorld, **roles: Role) -> dict[str, HttpWorld]:
    """The same server for holders of new keys, each with a role."""
    made = {name: await world.router.keyring.create(Terms(name=name, role=role)) for name, role in roles.items()}
    return {name: replace(world, key=key.secret) for name, key in made.items()}


@MODES
async def test_everybody_sees_and_collects_what_is_their_own_and_an_admin_sees_all(tmp_path: Path, mode: str) -> None:
    text = "word " * 400
    async with open_http(tmp_path, clock=SystemClock(), answer_page_chars=1_000) as world:
        world.providers["deepseek"].script(answering(text))
        at = await with_keys(world, alice="caller", bob="caller")
        async with mcp_client(at["alice"], mode) as alice:
            answer = await succeed(alice, "complete", prompt=QUESTION, provider="deepseek")
            rest = f"{answer['request_id']}@{len(answer['text'])}"
            own = await read(alice, f"orchestra://requests/{answer['trace_id']}")
            assert (await succeed(alice, "complete", request_id=rest))["text"]
        async with mcp_client(at["bob"], mode) as bob:
            with pytest.raises(MCPError) as hidden:
                await read(bob, f"orchestra://requests/{answer['trace_id']}")
            words, error = await fail(bob, "complete", request_id=rest)
            spent = await read(bob, "orchestra://spend/today")
        async with mcp_client(world, mode) as admin:
            everyone = await read(admin, f"orchestra://requests/{answer['trace_id']}")

    assert own == everyone
    assert hidden.value.code == -32602
    assert error["code"] == "invalid_request"
    assert "can be collected" in words
    assert spent["total"]["spent_nusd"] == 0


@MODES
async def test_who_may_only_look_cannot_ask(tmp_path: Path, mode: str) -> None:
    async with open_http(tmp_path, clock=SystemClock()) as world:
        at = await with_keys(world, viewer="viewer")
        async with mcp_client(at["viewer"], mode) as viewer:
            _, error = await fail(viewer, "complete", prompt=QUESTION)
            providers = await read(viewer, "orchestra://providers")
        asked = [one for provider in world.providers.providers.values() for one in provider.received]

    assert error["code"] == "access_denied"
    assert providers["providers"]
    assert not [one for one in asked if one.method == "POST"]


async def test_a_session_is_for_the_key_that_opened_it(tmp_path: Path) -> None:
    async with open_http(tmp_path, clock=SystemClock()) as world:
        at = await with_keys(world, alice="caller", bob="caller")
        opened = await post(world, body_of(call(method="initialize", params=HELLO)), bearer(at["alice"].key))
        session = {"mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
        foreign = await post(world, body_of(call()), session | bearer(at["bob"].key))
        own = await post(world, body_of(call()), session | bearer(at["alice"].key))

    assert foreign.status_code == 404
    assert "tools" in own.text


@MODES
async def test_only_what_a_key_may_use_is_offered_while_one_types(tmp_path: Path, mode: str) -> None:
    limits = Limits(models=("claude-*",), providers=("anthropic", "openrouter"), tasks=("cod*",))
    async with open_http(tmp_path, clock=SystemClock()) as world:
        key = await world.router.keyring.create(Terms(name="narrow", role="caller", limits=limits))
        async with mcp_client(replace(world, key=key.secret), mode) as client:
            models = await offered(client, "second_opinion", "model", "")
            at_another = await offered(client, "second_opinion", "model", "", provider="openai")
            listed = await offered(client, "compare_models", "models", "gpt-")
            providers = await offered(client, "second_opinion", "provider", "")
            of_model = await offered(client, "second_opinion", "provider", "", model="claude-haiku-5-5")
            tasks = await offered(client, "cheapest_good_answer", "task", "")
        async with mcp_client(world, mode) as admin:
            all_models = await offered(admin, "second_opinion", "model", "")

    assert models
    assert all(name.startswith("claude-") for name in models)
    assert (at_another, listed) == ([], [])
    assert set(providers) == {"anthropic", "openrouter"}
    assert set(of_model) <= {"anthropic", "openrouter"}
    assert of_model
    assert tasks == ["coding"]
    assert len(all_models) > len(models)


async def offered(client: Client, prompt: str, argument: str, typed: str, **chosen: str) -> list[str]:
    reference = PromptReference(type="ref/prompt", name=prompt)
    found = await client.complete(reference, {"name": argument, "value": typed}, context_arguments=chosen)
    return found.completion.values


async def hello(world: HttpWorld, key: str, **headers: str) -> httpx.Response:
    return await post(world, body_of(call(method="initialize", params=HELLO)), bearer(key) | headers)


async def test_a_key_that_opens_sessions_without_end_leaves_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_endpoint, "MAX_SESSIONS_PER_KEY", 3)
    async with open_http(tmp_path, clock=SystemClock()) as world:
        at = await with_keys(world, greedy="caller", other="caller")
        opened = [await hello(world, at["greedy"].key) for _ in range(4)]
        other = await hello(world, at["other"].key)
        session = {"mcp-session-id": opened[0].headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
        # Neither a stranger's word nor a call that fails makes room.
        await world.client.delete("/mcp", headers=session | bearer(at["other"].key))
        body, method = enveloped(call(method="none/such"))
        lost = session | {"mcp-protocol-version": MODERN, "mcp-method": method}
        await post(world, body, lost | bearer(at["greedy"].key))
        still = await hello(world, at["greedy"].key)
        await world.client.delete("/mcp", headers=session | bearer(at["greedy"].key))
        after = await hello(world, at["greedy"].key)

    assert [one.status_code for one in opened] == [200, 200, 200, 429]
    assert code_of(opened[3]) == "too_many_sessions"
    assert [one.status_code for one in (other, still, after)] == [200, 429, 200]


async def test_what_opens_no_session_takes_nobodys_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_endpoint, "MAX_SESSIONS_PER_KEY", 1)
    async with open_http(tmp_path, clock=SystemClock()) as world:
        for _ in range(3):
            await hello(world, world.key, accept="text/html")
        body, method = enveloped(call())
        for _ in range(3):
            assert (await post(world, body, {"mcp-protocol-version": MODERN, "mcp-method": method})).status_code == 200
        opened = await hello(world, world.key)

    assert opened.status_code == 200


async def test_a_session_that_ended_by_itself_makes_room() -> None:
    sessions = OpenSessions(most_per_key=1, idle_s=0)
    with sessions.opening("key") as session:
        sessions.keep("name", session)
    with sessions.request("name", "key"), pytest.raises(Refused), sessions.opening("key"):
        pass
    with sessions.opening("key") as session:
        sessions.keep("another", session)
        with pytest.raises(Refused), sessions.opening("key"):
            pass
