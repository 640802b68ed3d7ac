"""The router behind OpenAI's API: what a client of it sends, what reaches the providers, and what comes back."""

import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from http_worlds import HttpWorld, bearer, code_of, open_http
from orchestra_router.http.gateway import chat
from orchestra_router.http.gateway.chat_request import ChatRequest
from orchestra_router.policy.keyring import Terms
from orchestra_router.simulation import Endless, Hang, Reply, Says, ServerError, Step
from orchestra_router.types import Limits

CHAT = "/v1/chat/completions"
HELLO: Mapping[str, Any] = {"model": "openai/gpt-6-luna", "messages": [{"role": "user", "content": "Hello there."}]}
LONG = "A rather long answer that comes in many pieces, each of them a few letters long. " * 5
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLS = (("get_weather", {"city": "Zürich"}), ("get_weather", {"city": "Bern"}))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[HttpWorld]:
    async with open_http(tmp_path) as opened:
        yield opened


async def post(world: HttpWorld, headers: Mapping[str, str] | None = None, **changes: Any) -> httpx.Response:
    return await world.client.post(CHAT, json={**HELLO, **changes}, headers=headers)


async def streamed(world: HttpWorld, **changes: Any) -> list[Any]:
    """The events of a stream that ends as it should."""
    response = await post(world, stream=True, **changes)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def text_of(events: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def sent_to(world: HttpWorld, provider: str = "openai") -> Any:
    """The body of the last request that reached `provider`."""
    return world.providers[provider].received[-1].json


# --- whole answers ----------------------------------------------------------------------------------------------


async def test_an_answer_is_whole_and_says_who_wrote_it_and_what_it_cost(world: HttpWorld) -> None:
    world.providers["openai"].script(Says(text="Hello yourself."))
    response = await post(world, {"x-trace-id": "trace-1"})
    body = response.json()

    assert response.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hello yourself.", "refusal": None}
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    assert response.headers["x-trace-id"] == body["orchestra"]["trace_id"] == "trace-1"
    assert float(response.headers["x-orchestra-cost-usd"]) == pytest.approx(body["orchestra"]["cost_usd"])
    assert body["orchestra"]["cost_nusd"] > 0
    assert (response.headers["x-orchestra-provider"], body["model"]) == ("openai", "openai/gpt-6-luna")


async def test_the_same_question_is_answered_from_the_cache_as_the_tools_would(world: HttpWorld) -> None:
    first, second = await post(world), await post(world)

    assert (first.headers["x-orchestra-cache"], second.headers["x-orchestra-cache"]) == ("MISS", "HIT")
    assert second.headers["x-orchestra-cost-usd"] == "0.000000000"
    assert second.json()["choices"] == first.json()["choices"]


async def test_what_the_caller_sets_reaches_the_provider(world: HttpWorld) -> None:
    await post(
        world,
        model="deepseek/deepseek-v4-flash",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Hi."}, {"type": "text", "text": " You."}],
                "name": "x",
            },
            {"role": "assistant", "content": "Hm?"},
            {"role": "user", "content": "Well?"},
        ],
        max_completion_tokens=77,
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop="END",
        reasoning_effort="none",
        store=True,
        service_tier="auto",
        unheard_of={"deep": [1]},
    )
    sent = sent_to(world, "deepseek")

    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "user"]
    assert sent["messages"][1]["content"] == "Hi. You."
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"], sent["seed"]) == (77, 0.5, 0.9, 7)
    assert sent["stop"] == ["END"]
    assert "unheard_of" not in sent


async def test_whatever_is_null_is_left_out(world: HttpWorld) -> None:
    nothing = dict.fromkeys(set(ChatRequest.model_fields) - {"model", "messages"})
    response = await post(world, **nothing)

    assert response.status_code == 200, response.text


async def test_tool_calls_come_back_and_their_results_go_out(world: HttpWorld) -> None:
    world.providers["openai"].script(Says(text="", calls=CALLS))
    asked = [{"role": "user", "content": "The weather?"}]
    first = (await post(world, messages=asked, tools=[WEATHER], tool_choice="required")).json()
    message = first["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": f"rain {number}"}
        for number, call in enumerate(message["tool_calls"])
    ]
    second = await post(world, messages=[*asked, message, *results], tools=[WEATHER])

    assert first["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] is None
    assert [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [args for _, args in CALLS]
    assert second.status_code == 200
    assert json.dumps(sent_to(world)).count("rain") == 2


@pytest.mark.parametrize(("provider", "model"), [("gemini", "gemini-3.8-flash"), ("anthropic", "claude-sonnet-5-5")])
async def test_the_thoughts_that_a_provider_wants_back_come_back_though_the_client_knows_nothing_of_them(
    world: HttpWorld, provider: str, model: str
) -> None:
    name = f"{provider}/{model}"
    world.providers[provider].script(Says(text="", calls=CALLS[:1]))
    asked = [{"role": "user", "content": "The weather?"}]
    first = (await post(world, model=name, messages=asked, tools=[WEATHER], reasoning_effort="high")).json()
    call = first["choices"][0]["message"]["tool_calls"][0]
    plain = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
    second = await post(world, model=name, messages=[*asked, plain, result], tools=[WEATHER], reasoning_effort="high")

    assert second.status_code == 200, second.text
    assert "ignature" in json.dumps(sent_to(world, provider))


async def test_at_most_one_tool_is_called_where_the_caller_wants_no_more(world: HttpWorld) -> None:
    world.providers["openai"].script(Says(text="", calls=CALLS), Says(text="", calls=CALLS))
    whole = (await post(world, tools=[WEATHER], parallel_tool_calls=False)).json()
    events = await streamed(world, tools=[WEATHER], parallel_tool_calls=False)

    assert len(whole["choices"][0]["message"]["tool_calls"]) == 1
    assert {
        call["index"]
        for event in events
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls", [])
    } == {0}


async def test_images_go_out_by_address_or_by_data_and_are_never_fetched(world: HttpWorld) -> None:
    for url in ("https://example.org/cat.png", "data:image/png;base64,aGVs bG8="):
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
        response = await post(world, messages=[{"role": "user", "content": content}])
        assert response.status_code == 200, response.text
        assert url.replace(" ", "") in json.dumps(sent_to(world))


async def test_an_answer_follows_the_schema_that_was_given(world: HttpWorld) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    by_schema = await post(
        world, response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    )
    by_object = await post(world, response_format={"type": "json_object"})

    assert "city" in json.loads(by_schema.json()["choices"][0]["message"]["content"])
    assert isinstance(json.loads(by_object.json()["choices"][0]["message"]["content"]), dict)


# --- streams ----------------------------------------------------------------------------------------------------


async def test_a_stream_says_the_same_piece_by_piece(world: HttpWorld) -> None:
    world.providers["openai"].script(Says(text=LONG))
    events = await streamed(world, stream_options={"include_usage": True})
    *chunks, last = events

    assert text_of(events) == LONG
    assert len(chunks) > 2
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["total_tokens"] > 0) == ([], True)
    assert last["orchestra"]["provider"] == "openai"
    assert last["orchestra"]["cache_reason"] == "streamed"


async def test_a_streams_tool_calls_are_told_apart(world: HttpWorld) -> None:
    world.providers["openai"].script(Says(text="", calls=CALLS))
    events = await streamed(world, tools=[WEATHER])
    arguments: dict[int, str] = {}
    names: dict[int, str] = {}
    for event in events:
        for call in event["choices"][0]["delta"].get("tool_calls", []):
            arguments[call["index"]] = arguments.get(call["index"], "") + call["function"].get("arguments", "")
            names.setdefault(call["index"], call["function"].get("name", ""))

    assert [json.loads(text) for text in arguments.values()] == [args for _, args in CALLS]
    assert list(names.values()) == ["get_weather", "get_weather"]
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_the_first_piece_is_out_before_the_provider_has_finished(world: HttpWorld) -> None:
    world.providers["openai"].script(Endless())
    with anyio.fail_after(20):
        async with world.client.stream("POST", CHAT, json={**HELLO, "stream": True}) as response:
            lines = response.aiter_lines()
            while '"content":"' not in (line := await anext(lines)) or '"content":""' in line:
                pass
        received = world.providers["openai"].received[-1]
        await received.done.wait()

    assert received.client_left


async def test_who_leaves_stops_the_provider_and_leaves_no_money_held(world: HttpWorld) -> None:
    hang = Hang()
    world.providers["openai"].script(hang, hang)
    for stream in (False, True):
        hang.reached.clear()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:

                async def ask(*, stream: bool) -> None:
                    await post(world, stream=stream)

                async def leave() -> None:
                    await hang.reached.wait()
                    group.cancel_scope.cancel()

                group.start_soon(leave)
                await ask(stream=stream)
            await world.providers["openai"].received[-1].done.wait()
    with anyio.fail_after(20):
        await world.server.traffic.quiet()
    report = await world.router.cost_report()

    assert all(received.client_left for received in world.providers["openai"].received if received.method == "POST")
    assert [budget.held_nusd for budget in report.budgets if budget.held_nusd] == []


async def test_who_does_not_read_a_stream_is_cut_off_and_the_provider_stopped(tmp_path: Path) -> None:
    async with open_http(tmp_path, http_write_timeout_s=0.1) as world:
        world.providers["openai"].script(Endless())
        body = json.dumps({**HELLO, "stream": True}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {world.key}\r\n"
        with anyio.fail_after(60):
            with world.silent_client() as client:
                client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                while not (asked := [r for r in world.providers["openai"].received if r.method == "POST"]):
                    await anyio.lowlevel.checkpoint()
                await asked[0].done.wait()
                await world.server.traffic.quiet()
        report = await world.router.cost_report()

    assert asked[0].client_left
    assert {budget.held_nusd for budget in report.budgets} == {0}


async def test_a_failure_before_the_first_piece_is_an_ordinary_error(world: HttpWorld) -> None:
    world.providers["openai"].script(*[Reply(400)] * 9)
    response = await post(world, stream=True)

    assert (response.status_code, code_of(response)) == (400, "bad_request")


async def test_a_failure_after_it_is_the_last_event(world: HttpWorld) -> None:
    pieces = [{"choices": [{"delta": {"content": f"{word} is one of many words. "}}]} for word in LONG.split()]
    broken = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces)
    world.providers["deepseek"].script(Reply(200, headers={"content-type": "text/event-stream"}, body=broken))
    response = await post(world, model="deepseek/deepseek-v4-flash", stream=True)
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]

    assert response.status_code == 200
    assert text_of(events[:-1])
    assert events[-1]["error"]["code"] == "all_attempts_failed"
    assert "broke off" in events[-1]["error"]["message"]


async def test_a_stream_that_waits_says_that_it_is_alive(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "HEARTBEAT_S", 0.02)
    hang = Hang()
    world.providers["openai"].script(hang)
    with anyio.fail_after(20):
        async with world.client.stream("POST", CHAT, json={**HELLO, "stream": True}) as response:
            lines = response.aiter_lines()
            beats = [await anext(lines), await anext(lines), await anext(lines)]
            hang.release()
            rest = [line async for line in lines]

    assert beats == [": waiting", "", ": waiting"]
    assert rest[-2:] == ["data: [DONE]", ""]


# --- names of models --------------------------------------------------------------------------------------------


async def test_the_names_that_are_listed_can_be_asked_for(world: HttpWorld) -> None:
    listed = [model["id"] for model in (await world.client.get("/v1/models")).json()["data"]]
    one = await world.client.get("/v1/models/openai/gpt-6-luna")
    none = await world.client.get("/v1/models/openai/gpt-6-lunar")

    assert {"auto", "task:coding", "gpt-6-luna", "openai/gpt-6-luna"} <= set(listed)
    assert len(listed) == len(set(listed))
    assert (await world.client.get("/v1/models/gpt-6-luna")).json()["owned_by"] == "orchestra"
    assert one.json()["id"] == "openai/gpt-6-luna"
    assert (none.status_code, code_of(none)) == (404, "model_not_found")
    assert "Did you mean openai/gpt-6-luna" in none.json()["error"]["message"]


async def test_a_key_is_shown_the_models_that_it_may_ask(world: HttpWorld) -> None:
    limits = Limits(providers=("open*",), models=("gpt-6-luna",), tasks=("coding",))
    key = (await world.router.keyring.create(Terms(name="narrow", limits=limits))).secret
    listed = [model["id"] for model in (await world.client.get("/v1/models", headers=bearer(key))).json()["data"]]

    assert listed == ["auto", "task:coding", "gpt-6-luna", "openrouter/gpt-6-luna", "openai/gpt-6-luna"]


async def test_a_model_may_be_a_task_or_left_to_us(world: HttpWorld) -> None:
    task = await post(world, model="task:coding")
    auto = await post(world, model="auto", messages=[{"role": "user", "content": "Write a haiku about rain."}])
    plain = await post(world, model="gpt-6-luna")
    passed_on = await post(world, model="ollama/qwen3:8b")

    assert task.json()["orchestra"]["task"] == "coding"
    assert auto.json()["orchestra"]["provider"]
    assert plain.json()["orchestra"]["model"] == "gpt-6-luna"
    assert passed_on.headers["x-orchestra-provider"] == "ollama"


async def test_a_model_that_nobody_knows_is_not_found_and_near_names_are_said(world: HttpWorld) -> None:
    model = await post(world, model="gpt-6-lunar")
    task = await post(world, model="task:codign")

    assert (model.status_code, code_of(model)) == (404, "model_not_found")
    assert "gpt-6-luna" in model.json()["error"]["message"]
    assert (task.status_code, code_of(task)) == (404, "model_not_found")
    assert "Did you mean coding" in task.json()["error"]["message"]


# --- what goes wrong --------------------------------------------------------------------------------------------


async def test_a_budget_that_is_spent_is_no_reason_to_try_again(tmp_path: Path) -> None:
    async with open_http(tmp_path, budget_day_usd="0.000001") as world:
        response = await post(world)

    assert (response.status_code, code_of(response)) == (402, "budget_exceeded")
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("step", "status", "code", "again"),
    [
        (Reply(429, headers={"retry-after": "7"}), 429, "rate_limit_exceeded", ("7", "true")),
        (Reply(401), 502, "all_attempts_failed", (None, "false")),
        (ServerError(500), 502, "all_attempts_failed", (None, "false")),
        (Reply(400), 400, "bad_request", (None, "false")),
    ],
)
async def test_errors_have_the_status_that_clients_act_on(
    world: HttpWorld, step: Step, status: int, code: str, again: tuple[str | None, str]
) -> None:
    world.providers["openai"].script(step)
    response = await post(world, orchestra={"max_retries": 0})

    assert (response.status_code, code_of(response)) == (status, code)
    assert (response.headers.get("retry-after"), response.headers["x-should-retry"]) == again


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"messages": []}, "`messages` must not be empty"),
    ({"model": ""}, "`model` must not be empty"),
    ({"messages": "Hello"}, "`messages` must be a list"),
    ({"messages": [{"role": "user"}]}, "`messages[0]` needs `content`"),
    ({"messages": [{"role": "user", "content": "  "}]}, "`messages[0]` is empty"),
    ({"messages": [{"role": "wizard", "content": "Hi"}]}, "`messages[0].role` must be"),
    ({"messages": [{"role": "user", "content": 7}]}, "`messages[0].content` must be a list"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "`messages[0].content[0].type` must be"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "answers no tool call"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]}, "https address"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}]}, "https address"),
    ({"n": 2}, "`n` must be 1"),
    ({"logprobs": True}, "`logprobs` cannot be had"),
    ({"presence_penalty": 0.5}, "`presence_penalty` is not passed on"),
    ({"functions": [{"name": "f"}]}, "`functions` is the old way"),
    ({"temperature": 3}, "`temperature` must be at most 2"),
    ({"temperature": "hot"}, "`temperature` must be a number"),
    ({"temperature": True}, "`temperature` must be a number"),
    ({"max_tokens": 0}, "`max_tokens` must be at least 1"),
    ({"max_tokens": 10**30}, "`max_tokens` must be"),
    ({"tool_choice": {"type": "function"}, "tools": [WEATHER]}, "`tool_choice` must be"),
    ({"tool_choice": {"type": "function", "function": {"name": "other"}}, "tools": [WEATHER]}, "not among `tools`"),
    ({"response_format": {"type": "json_schema"}}, "needs `json_schema`"),
    ({"orchestra": {"strategie": "cheapest"}}, "Did you mean `strategy`"),
    ({"metadata": {"a": 1}}, "must be a string"),
)  # fmt: skip


async def test_a_great_many_mistakes_are_counted_and_not_listed(world: HttpWorld) -> None:
    response = await post(world, metadata={str(number): number for number in range(20_000)})

    assert (response.status_code, code_of(response)) == (400, "invalid_request")
    assert "20,000 values are not what they should be" in response.json()["error"]["message"]


async def test_what_cannot_be_served_is_refused_by_name(world: HttpWorld) -> None:
    for changes, named in REFUSED:
        response = await post(world, **changes)
        assert (response.status_code, code_of(response)) == (400, "invalid_request"), changes
        assert named in response.json()["error"]["message"]

    assert not any(received.method == "POST" for received in world.providers["openai"].received)
