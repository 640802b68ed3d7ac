"""Whatever is configured is used: with one key, or one local server and no key, every task still has a model."""

from pathlib import Path

import anyio
import pytest

from orchestra_router import errors
from orchestra_router.config import Config, load
from orchestra_router.deployments import Plan
from orchestra_router.policy import routing, tasks
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.pricing import Pricing
from orchestra_router.simulation import Reply
from orchestra_router.types import CompletionRequest
from worlds import ask, open_world

VARIABLES = {
    "openrouter": "OPENROUTER_API_KEY",
    "deepseek": "DEEPSEEK_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "together": "TOGETHER_API_KEY",
    "openai": "OPENAI_API_KEY",
    "gemini": "GOOGLE_API_KEY",
    "perplexity": "PERPLEXITY_API_KEY",
    "xai": "XAI_API_KEY",
}
SERVERS = ("ollama", "vllm", "lmstudio", "llamacpp")
TASKS = ("coding", "general_chat", "complex_reasoning", "web_search", "creative_writing")
CANNOT_SEARCH = ("deepseek", "together", *SERVERS)


def alone(provider: str, home: Path) -> Config:
    """A configuration with the key of `provider` only."""
    keys = {VARIABLES[provider]: "k"} if provider in VARIABLES else {}
    return load({"ORCHESTRA_HOME": str(home)} | keys)


def planned(provider: str, home: Path, request: CompletionRequest) -> Plan:
    config = alone(provider, home)
    searched, found = anyio.run(tasks.with_task, request, config.catalog)
    return routing.plan(
        searched,
        Surroundings(
            config=config,
            pricing=Pricing.of(config.settings),
            health=HealthView({}, 1_795_449_600_000, ""),
            local={provider: ("qwen3:8b",)} if provider in SERVERS else {},
        ),
        task_reason=found.reason,
        search_is_implied=not request.web_search,
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("provider", [*VARIABLES, *SERVERS])
def test_with_one_provider_alone_every_task_has_a_model_and_every_other_provider_its_reason(
    tmp_path: Path, provider: str, task: str
) -> None:
    plan = planned(provider, tmp_path, ask(task=task))

    assert {candidate.deployment.provider.name for candidate in plan.route} == {provider}
    assert plan.without_search == (task == "web_search" and provider in CANNOT_SEARCH)
    excluded = {item.deployment.partition("/")[0] for item in plan.excluded}
    assert excluded >= {*VARIABLES, *SERVERS} - {provider}


@pytest.mark.parametrize("provider", CANNOT_SEARCH)
def test_what_cannot_search_answers_from_memory_says_so_and_names_what_to_set(tmp_path: Path, provider: str) -> None:
    plan = planned(provider, tmp_path, ask("What is the latest news about Mars?"))

    assert plan.task == "web_search"
    assert "from the model's memory" in plan.notes[-1]
    assert "PERPLEXITY_API_KEY" in plan.notes[-1]


@pytest.mark.parametrize("provider", CANNOT_SEARCH)
def test_a_search_that_was_demanded_is_refused_with_what_to_set(tmp_path: Path, provider: str) -> None:
    with pytest.raises(errors.NoRoute, match=r"set one of OPENROUTER_API_KEY, .*PERPLEXITY_API_KEY"):
        planned(provider, tmp_path, ask("What is the latest news about Mars?", web_search=True))


async def test_an_answer_from_memory_is_not_served_again_once_somebody_can_search(tmp_path: Path) -> None:
    everyone = tuple(name for name in VARIABLES if name != "deepseek")
    question = ask("What is the latest news about Mars?")
    async with open_world(tmp_path, without=everyone) as world:
        first = await world.router.complete(question)
    async with open_world(tmp_path) as world:
        second = await world.router.complete(question)

    assert first.provider == "deepseek"
    assert any("from the model's memory" in note for note in first.notes)
    assert (second.cache, second.provider) == ("MISS", "perplexity")


async def test_every_provider_is_asked_for_the_pinned_model_by_its_own_id(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_retries=0) as world:
        for name in ("openrouter", "together"):
            world.providers[name].script(Reply(401))
        await world.router.complete(
            ask(provider="openrouter", model="z-ai/glm-5.3-flash", fallback_providers=("together", "perplexity"))
        )
        bodies = {
            name: provider.received[-1].raw.decode()
            for name, provider in world.providers.providers.items()
            if any(received.method == "POST" for received in provider.received)
        }

    assert {name: '"z-ai/glm-5.3-flash"' in body for name, body in bodies.items()} == {
        "openrouter": True,
        "together": False,
        "perplexity": False,
    }
    assert '"zai-org/GLM-5.3-Flash"' in bodies["together"]
    assert '"perplexity/glm-5.3-flash"' in bodies["perplexity"]


async def test_a_local_server_is_found_at_its_usual_address_at_the_first_call_and_not_before(tmp_path: Path) -> None:
    usual = load({"ORCHESTRA_HOME": str(tmp_path / "empty")}).catalog.providers["ollama"].base_url
    async with open_world(tmp_path, without=tuple(VARIABLES)) as world:
        before = len(world.providers["ollama"].received)

        completion = await world.router.complete(ask())

    assert usual == "http://127.0.0.1:11434/v1"
    assert before == 0
    assert completion.provider == "ollama"
