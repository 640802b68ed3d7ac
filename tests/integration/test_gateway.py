"""Through the real Portkey gateway (open source, 1.15.2) to every provider: what arrives there, and what comes back."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import BOTH, WEATHER
from routes import ALL, ROWS, WAYS, Routed

from formats import ask, said
from orchestra_router import config, errors
from orchestra_router.errors import InvalidRequest
from orchestra_router.providers import registry
from orchestra_router.providers.portkey import GUARDRAIL_NOTE
from orchestra_router.router import open_router
from orchestra_router.simulation import Says
from orchestra_router.types import CompletionRequest, Effort, Image, Scope, Text, ToolCall, ToolResult

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LOSES_TOOLS = ("deepseek", "gemini")
UNLISTED = ("openrouter", "together", "gemini", "ollama")
KEEPS_TOOLS = [name for name in WAYS if name not in LOSES_TOOLS]


@ALL
@BOTH
async def test_a_text_arrives_whole(routed: Routed, name: str, stream: bool) -> None:
    routed[name].script(Says(text="Grüezi, and a rather long answer of several pieces."))

    answer = await routed.ask(name, ask("Say hello"), stream=stream)

    assert answer.text == "Grüezi, and a rather long answer of several pieces."
    assert answer.finish == "stop"


@ALL
@BOTH
async def test_usage_is_what_the_provider_bills(routed: Routed, name: str, stream: bool) -> None:
    answer = await routed.ask(name, ask("Say hello"), stream=stream)

    billed = routed[name].bills[-1].tokens
    assert answer.usage is not None
    assert answer.usage.mismatch == 0
    assert answer.usage.input_total == billed.input
    assert answer.usage.output_total == billed.output


@ALL
@BOTH
async def test_an_answer_that_was_cut_says_so(routed: Routed, name: str, stream: bool) -> None:
    routed[name].script(Says(text="This is as far as", finish="length"))

    answer = await routed.ask(name, ask("Say hello"), stream=stream)

    assert answer.finish == "length"


@pytest.mark.parametrize(("name", "effort"), [*((name, None) for name in KEEPS_TOOLS), ("openai", "none")])
@BOTH
async def test_tool_calls_come_back_and_their_results_go_out(
    routed: Routed, name: str, effort: Effort | None, stream: bool
) -> None:
    target = routed.deployment(name)
    routed[name].script(Says(text="", calls=(("get_weather", {"city": "Zürich"}), ("get_weather", {"city": "Bern"}))))
    question = ask("Tell me the weather", tools=(WEATHER,), effort=effort)

    first = await routed.ask(target, question, stream=stream)
    calls = first.tool_calls
    results = [ToolResult(call.id, call.name, f"rain {n}") for n, call in enumerate(calls)]
    turns = (*question.messages, said("assistant", *calls, state=first.provider_state), said("tool", *results))
    second = await routed.ask(target, replace(question, messages=turns), stream=stream)

    assert first.finish == "tool_calls"
    assert [(call.name, json.loads(call.arguments)["city"]) for call in calls] == [
        ("get_weather", "Zürich"),
        ("get_weather", "Bern"),
    ]
    arrived = routed[name].received[-1].raw.decode()
    assert all(said_back in arrived for said_back in ("rain 0", "rain 1", calls[0].id, calls[1].id))
    assert second.text


@pytest.mark.parametrize("name", LOSES_TOOLS)
@pytest.mark.parametrize(
    "request_",
    [
        ask("Tell me the weather", tools=(WEATHER,)),
        ask("And?", said("assistant", ToolCall("c", "get_weather", "{}")), said("tool", ToolResult("c", "", "rain"))),
    ],
    ids=["tools", "results"],
)
async def test_tools_are_refused_beforehand_where_the_gateway_loses_them(
    routed: Routed, name: str, request_: CompletionRequest
) -> None:
    with pytest.raises(InvalidRequest, match=r"^tools: they are lost on the way"):
        await routed.ask(name, request_)

    assert not routed[name].received


@ALL
@pytest.mark.parametrize(
    ("parameter", "request_", "trace"),
    [
        ("stop", ask("Say hello", stop=("HALT-HERE",)), "HALT-HERE"),
        ("effort", ask("Say hello", effort="low"), '"low"'),
        ("temperature", ask("Say hello", temperature=0.375), "0.375"),
        ("top_p", ask("Say hello", top_p=0.875), "0.875"),
        ("max_tokens", ask("Say hello", max_tokens=1234), "1234"),
        ("system", ask(said("system", "Be BRIEFER-STILL"), "Say hello"), "BRIEFER-STILL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_asked_arrives_or_a_note_says_that_it_does_not(
    routed: Routed,
    name: str,
    parameter: str,
    request_: CompletionRequest,
    trace: str,
) -> None:
    target = routed.deployment(name)
    adapter, wire = registry.build_request(target, request_, api_key=routed[name].key)

    response = await routed.transport.send(wire, timeout_s=20)

    assert adapter.parse_response(response.body).text
    noted = any(note.startswith(f"{parameter} was left out") for note in wire.notes)
    assert (trace in routed[name].received[-1].raw.decode()) is not noted


@pytest.mark.parametrize("name", ["openai", "anthropic", "openrouter", "deepseek", "xai", "gemini", "perplexity"])
async def test_an_image_arrives(routed: Routed, name: str) -> None:
    pixel = base64.b64encode(b"not quite a picture").decode()

    await routed.ask(name, ask(said("user", Text("What is it?"), Image(data=pixel, media_type="image/png"))))

    assert pixel in routed[name].received[-1].raw.decode()


@ALL
async def test_a_schema_arrives_or_is_refused_beforehand(routed: Routed, name: str) -> None:
    target = routed.deployment(name)
    request = ask("Name a city as JSON", response_schema=CITY)

    if target.provider.schema_style == "none":
        with pytest.raises(InvalidRequest, match=r"^response_schema:"):
            await routed.ask(target, request)
        assert not routed[name].received
    else:
        answer = await routed.ask(target, request)
        assert isinstance(json.loads(answer.text), dict)
        assert '"city"' in routed[name].received[-1].raw.decode().replace("\\", "")


@pytest.mark.parametrize("name", ["openai", "anthropic", "openrouter", "perplexity"])
async def test_a_web_search_is_done_where_it_arrives(routed: Routed, name: str) -> None:
    request = ask("What happened today?", web_search=True)

    answer = await routed.ask(name, request)

    assert routed[name].bills[-1].tokens.searches == 1
    assert answer.text


@pytest.mark.parametrize("name", ["deepseek", "together", "xai", "gemini", "ollama"])
async def test_a_web_search_is_refused_where_it_would_not_arrive(routed: Routed, name: str) -> None:
    request = ask("What happened today?", web_search=True)

    with pytest.raises(InvalidRequest, match=r"^web_search:"):
        await routed.ask(name, request)


# --- Portkey's own -----------------------------------------------------------------------------------------


async def test_the_trace_id_comes_back_and_nothing_of_portkeys_reaches_the_provider(routed: Routed) -> None:
    request = ask("Say hello", trace_id="trace-42", metadata={"app": "tests"}, scope=Scope(user="ada"))
    target = routed.deployment("openrouter")
    _, wire = registry.build_request(target, request, api_key=routed["openrouter"].key, portkey_key="pk-1")

    response = await routed.transport.send(wire, timeout_s=20)

    assert response.headers["x-portkey-trace-id"] == "trace-42"
    assert response.headers["x-portkey-cache-status"] == "DISABLED"
    assert response.headers["x-portkey-retry-attempt-count"] == "0"
    arrived = routed["openrouter"].received[-1].headers
    assert not any(name.startswith("x-portkey") for name in arrived)
    assert arrived["x-openrouter-title"] == "Orchestra"


@BOTH
async def test_a_guardrail_that_lets_the_request_pass_leaves_a_note(routed: Routed, stream: bool) -> None:
    target = routed.deployment("openai", row={"headers": {"x-portkey-config": _guardrail(deny=False)}})

    answer = await routed.ask(target, ask("Say hello"), stream=stream)

    assert answer.text
    assert answer.notes == (GUARDRAIL_NOTE,)


@BOTH
async def test_a_guardrail_that_denies_the_request_is_a_refusal(routed: Routed, stream: bool) -> None:
    target = routed.deployment("openai", row={"headers": {"x-portkey-config": _guardrail(deny=True)}})

    with pytest.raises(errors.ContentRefused) as caught:
        await routed.ask(target, ask("Say hello"), stream=stream)

    assert caught.value.status == 446
    assert not routed["openai"].received


def _guardrail(*, deny: bool) -> str:
    """A config of Portkey's with a check that no prompt of these tests passes."""
    check = {"default.contains": {"words": ["a word that nobody says"], "operator": "all"}, "deny": deny}
    return json.dumps({"input_guardrails": [check]})


@pytest.mark.parametrize("name", [name for name in WAYS if name not in UNLISTED])
async def test_the_list_of_models_is_read_through_the_gateway(routed: Routed, name: str) -> None:
    deployment = routed.deployment(name)
    adapter = registry.adapter_for(deployment.provider, deployment.provider.format)
    wire = adapter.build_list_request(deployment.provider, api_key=routed[name].key)

    response = await routed.transport.send(wire, timeout_s=20)

    assert deployment.offer.id in {model.id for model in adapter.parse_list(response.body)}


@pytest.mark.parametrize("name", UNLISTED)
async def test_a_list_that_the_gateway_cannot_find_is_not_asked_for(routed: Routed, name: str) -> None:
    assert routed.deployment(name).provider.models_path == ""


async def test_the_whole_router_answers_through_the_gateway(routed: Routed, tmp_path: Path) -> None:
    host = routed.deployment("anthropic").provider.portkey_host
    (tmp_path / "orchestra.toml").write_text(f'[providers.anthropic]\nportkey_host = "{host}"\n')
    environ = {
        "ORCHESTRA_HOME": str(tmp_path),
        "ORCHESTRA_PORTKEY": "anthropic=anthropic",
        "ORCHESTRA_PORTKEY_BASE_URL": routed.url,
        "ANTHROPIC_API_KEY": routed["anthropic"].key,
    }

    async with open_router(config.load(environ)) as router:
        completion = await router.complete(ask("Say hello", provider="anthropic", model="claude-haiku-5-5"))

    assert completion.provider == "anthropic"
    assert completion.answer.text
    assert completion.cost_nusd == routed["anthropic"].billed_nusd


def test_every_provider_with_a_key_has_a_way_through_portkey() -> None:
    assert {name for name, row in ROWS.items() if row.get("key_env")} <= set(WAYS)
