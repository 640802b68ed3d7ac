"""Resources, prompts and completion as a client sees them, in both eras of the protocol."""

import json
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from mcp import Client, MCPError
from mcp.types import CompleteResult, PromptReference, ResourceTemplateReference, TextContent, TextResourceContents

from orchestra_router.app import build_server
from orchestra_router.config import Config
from orchestra_router.errors import ConfigError
from orchestra_router.simulation import ServerError, SimulatedWorld, simulated_world
from surface import Json, configured, connected, succeed

QUESTION = "What is the capital of France?"
BROKEN = ConfigError("orchestra.toml:3: `cache_tll_s` is no setting; did you mean `cache_ttl_s`?")
PROMPTS: dict[str, dict[str, str]] = {
    "compare_models": {"question": QUESTION, "models": "gpt-6-luna, claude-haiku-5-5"},
    "cheapest_good_answer": {"question": QUESTION, "task": "general_chat"},
    "second_opinion": {"question": QUESTION, "answer": "Lyon", "provider": "anthropic"},
    "weekly_cost_review": {},
}


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    """The protocol of 2026-07-28, then the one that most clients speak today."""
    return request.param


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@pytest.fixture
def config(world: SimulatedWorld, tmp_path: Path) -> Config:
    return configured(world, tmp_path)


async def read(client: Client, uri: str) -> Json:
    result = await client.read_resource(uri)
    (content,) = result.contents
    assert isinstance(content, TextResourceContents)
    assert (content.uri, content.mime_type) == (uri, "application/json")
    data: Json = json.loads(content.text)
    return data


# --- resources -------------------------------------------------------------------------------------------------


async def test_what_can_be_read_is_listed_with_its_kind_and_for_whom_it_is(mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        every = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates

    # What is for the screen, not for reading, has another scheme.
    resources = [one for one in every if one.uri.startswith("orchestra://")]
    assert [one.uri for one in resources] == ["orchestra://providers", "orchestra://models"]
    assert [one.uri_template for one in templates] == ["orchestra://spend/{day}", "orchestra://requests/{trace_id}"]
    for one in (*resources, *templates):
        assert one.mime_type == "application/json"
        assert one.title
        assert one.description
        assert one.annotations is not None
        assert one.annotations.audience == ["user", "assistant"]
        assert one.annotations.priority


async def test_the_providers_say_what_can_be_used_without_listing_their_models(config: Config, mode: str) -> None:
    async with connected(config, mode) as client:
        data = await read(client, "orchestra://providers")

    states = {provider["name"]: provider["state"] for provider in data["providers"]}
    assert states["openrouter"] == "ready"
    assert all(isinstance(provider["models"], int) for provider in data["providers"])


async def test_the_models_come_with_prices_and_nothing_is_asked_for_them(
    config: Config, world: SimulatedWorld, mode: str
) -> None:
    async with connected(config, mode) as client:
        data = await read(client, "orchestra://models")

    model = next(one for one in data["models"] if one["provider"] == "deepseek")
    assert 0 < model["input_usd_per_mtok"] < model["output_usd_per_mtok"]
    assert model["state"] == "ok"
    assert world.billed_nusd == 0


async def test_the_spend_of_a_day_agrees_with_what_the_providers_billed(
    config: Config, world: SimulatedWorld, mode: str
) -> None:
    async with connected(config, mode) as client:
        await succeed(client, "complete", prompt=QUESTION)
        today = await read(client, "orchestra://spend/today")
        same = await read(client, f"orchestra://spend/{today['first_day']}")

    assert today["total"]["spent_nusd"] == world.billed_nusd > 0
    assert sum(row["spent_nusd"] for row in today["models"]) == world.billed_nusd
    assert same["total"] == today["total"]


async def test_the_trail_of_a_request_says_whom_it_was_sent_to_and_why_and_holds_no_prompt(
    config: Config, world: SimulatedWorld, mode: str
) -> None:
    world["openrouter"].script(ServerError(503))

    async with connected(config, mode) as client:
        answer = await succeed(
            client, "complete", prompt=QUESTION, provider="openrouter", fallback_providers=["deepseek"], max_retries=0
        )
        by_trace = await read(client, f"orchestra://requests/{answer['trace_id']}")
        by_request = await read(client, f"orchestra://requests/{answer['request_id']}")

    (request,) = by_trace["requests"]
    assert [(one["outcome"], one.get("status")) for one in request["attempts"]] == [
        ("server_failed", 503),
        ("ok", None),
    ]
    assert request["provider"] == answer["provider"] == "deepseek"
    assert request["cost_usd"] == answer["cost_usd"] > 0
    assert request["outcome"] == "ok"
    assert by_request == by_trace
    assert "capital" not in json.dumps(by_trace)
    assert "Paris" not in json.dumps(by_trace)


NOTHING_THERE = (
    "orchestra://nothing",
    "orchestra://models/",
    "orchestra://spend/",
    "orchestra://spend/2026-02-30",
    "orchestra://spend/2026-11-23/x",
    "orchestra://requests/../models",
    "orchestra://requests/0123456789abcdef",
    "file:///etc/passwd",
    "ui://orchestra/none",
    "",
)


async def test_what_is_not_there_is_an_error_of_the_protocol_that_names_the_address(config: Config, mode: str) -> None:
    async with connected(config, mode) as client:
        for uri in NOTHING_THERE:
            with pytest.raises(MCPError) as raised:
                await client.read_resource(uri)

            assert (raised.value.code, raised.value.data) == (-32602, {"uri": uri})


async def test_with_a_broken_configuration_reading_says_what_is_wrong_with_it(mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        with pytest.raises(MCPError, match="did you mean `cache_ttl_s`") as raised:
            await client.read_resource("orchestra://models")

    assert raised.value.code == -32603


async def test_a_modern_client_may_keep_what_it_read_for_a_moment_and_for_itself(config: Config) -> None:
    async with connected(config, "auto") as client:
        listed = await client.list_resources()
        result = await client.read_resource("orchestra://providers")

    assert (listed.ttl_ms, listed.cache_scope) == (3_600_000, "public")
    assert (result.ttl_ms, result.cache_scope) == (5_000, "private")


# --- prompts ---------------------------------------------------------------------------------------------------


async def test_the_common_asks_are_listed(mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        prompts = (await client.list_prompts()).prompts

    assert [prompt.name for prompt in prompts] == list(PROMPTS)
    for prompt in prompts:
        assert prompt.title
        assert prompt.description
        assert all(argument.description for argument in prompt.arguments or ())


@pytest.mark.parametrize("name", PROMPTS)
async def test_a_prompt_names_tools_and_arguments_that_there_are(name: str, config: Config, mode: str) -> None:
    async with connected(config, mode) as client:
        text = await said(client, name, PROMPTS[name])
        schemas = {tool.name: tool.input_schema["properties"] for tool in (await client.list_tools()).tools}

    calls = [json.loads(piece[: piece.index("}") + 1]) for piece in _objects(text)]
    called = {tool for tool in schemas if f"`{tool}`" in text}
    assert called
    for arguments in calls:
        assert any(arguments.keys() <= schemas[tool].keys() for tool in called), arguments
    if name != "weekly_cost_review":
        assert QUESTION in text


def _objects(text: str) -> list[str]:
    return [text[place:] for place in range(len(text)) if text.startswith('{"', place)]


async def said(client: Client, name: str, arguments: dict[str, str]) -> str:
    result = await client.get_prompt(name, arguments)
    (message,) = result.messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


CANNOT_BE_MADE: list[tuple[str, dict[str, str], str]] = [
    ("compare", {}, "There is no such prompt. There are: compare_models"),
    ("compare_models", {}, "`question` is missing"),
    ("compare_models", {"question": " "}, "`question` is missing"),
    ("compare_models", {"question": "x", "model": "y"}, "Did you mean `models`"),
    ("weekly_cost_review", {"secret": "hunter2"}, "It takes none"),
    ("cheapest_good_answer", {"question": "x", "max_cost_usd": "nan"}, "is an amount in dollars"),
]


async def test_a_prompt_that_cannot_be_made_is_an_error_of_the_protocol_in_our_words(mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        for name, arguments, words in CANNOT_BE_MADE:
            with pytest.raises(MCPError) as raised:
                await client.get_prompt(name, arguments)

            assert raised.value.code == -32602
            assert words in str(raised.value)
            assert "hunter2" not in str(raised.value)


async def test_a_cursor_that_nobody_gave_is_refused(mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        listings = (client.list_tools, client.list_prompts, client.list_resources, client.list_resource_templates)
        for listing in listings:
            with pytest.raises(MCPError) as raised:
                await listing(cursor="page-2")

            assert raised.value.code == -32602


# --- completion ------------------------------------------------------------------------------------------------


async def complete(client: Client, prompt: str, argument: str, typed: str, **chosen: str) -> CompleteResult:
    return await client.complete(
        PromptReference(type="ref/prompt", name=prompt), {"name": argument, "value": typed}, context_arguments=chosen
    )


async def test_a_models_name_is_completed_by_beginning_then_by_part_then_by_likeness(config: Config, mode: str) -> None:
    async with connected(config, mode) as client:
        beginning = (await complete(client, "second_opinion", "model", "claude-")).completion.values
        part = (await complete(client, "second_opinion", "model", "HAIKU")).completion.values
        misspelt = (await complete(client, "second_opinion", "model", "claud-haiku-5-5")).completion.values
        nothing = (await complete(client, "second_opinion", "model", "zzzzzzzz")).completion

    assert beginning
    assert all(name.startswith("claude-") for name in beginning)
    assert part
    assert all("haiku" in name for name in part)
    assert misspelt[0] == "claude-haiku-5-5"
    assert (nothing.values, nothing.total, nothing.has_more) == ([], 0, False)


async def test_with_a_provider_chosen_only_its_models_are_offered_and_the_other_way_round(
    config: Config, mode: str
) -> None:
    async with connected(config, mode) as client:
        models = (await complete(client, "second_opinion", "model", "", provider="deepseek")).completion.values
        providers = (await complete(client, "second_opinion", "provider", "", model=models[0])).completion.values

    at_deepseek = [one.model.name for one in config.catalog.deployments_at("deepseek")]
    assert models == at_deepseek
    assert "deepseek" in providers
    assert "perplexity" not in providers


async def test_in_a_list_of_models_the_last_is_completed_and_none_is_offered_twice(config: Config) -> None:
    async with connected(config) as client:
        values = (await complete(client, "compare_models", "models", "gpt-6-luna, gpt-")).completion.values

    assert values
    assert all(value.startswith("gpt-6-luna, gpt-") for value in values)
    assert "gpt-6-luna, gpt-6-luna" not in values


async def test_tasks_and_days_are_completed(config: Config, mode: str) -> None:
    spend = ResourceTemplateReference(type="ref/resource", uri="orchestra://spend/{day}")

    async with connected(config, mode) as client:
        tasks = (await complete(client, "cheapest_good_answer", "task", "co")).completion.values
        days = (await client.complete(spend, {"name": "day", "value": ""})).completion
        named = (await client.complete(spend, {"name": "day", "value": "y"})).completion

    assert tasks[0] == "coding"
    assert days.values[:2] == ["today", "yesterday"]
    assert len(days.values) == 100
    assert days.total is not None
    assert days.total > 100
    assert days.has_more
    assert named.values == ["yesterday"]


async def test_free_text_has_nothing_to_be_completed_with(config: Config) -> None:
    async with connected(config) as client:
        values = (await complete(client, "compare_models", "question", "Wh")).completion.values

    assert values == []


@pytest.mark.parametrize(("prompt", "argument"), [("nothing", "model"), ("compare_models", "colour")])
async def test_completing_what_there_is_not_is_an_error_of_the_protocol(prompt: str, argument: str, mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        with pytest.raises(MCPError) as raised:
            await complete(client, prompt, argument, "x")

    assert raised.value.code == -32602


async def test_with_a_broken_configuration_nothing_is_offered(mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        values = (await complete(client, "second_opinion", "model", "")).completion.values

    assert values == []


# --- what is advertised ----------------------------------------------------------------------------------------


async def test_what_is_advertised_is_what_there_is(mode: str) -> None:
    async with connected(BROKEN, mode) as client:
        capabilities = client.server_capabilities
        instructions = client.instructions

    assert capabilities is not None
    told = capabilities.model_dump(by_alias=True, exclude_none=True, exclude={"extensions"})
    assert told == {
        "tools": {"listChanged": False},
        "resources": {"subscribe": False, "listChanged": False},
        "prompts": {"listChanged": False},
        "completions": {},
    }
    assert 0 < len(str(instructions).encode()) < 2_000


def test_making_a_server_leaves_the_loggers_of_its_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])

    build_server(BROKEN)

    assert logging.root.handlers == []
