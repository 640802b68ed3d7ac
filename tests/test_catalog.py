import re
import time
from datetime import date
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.catalog import Catalog
from orchestra_router.config import load
from orchestra_router.deployments import Deployment, Model, Offer, Row
from orchestra_router.policy.tasks import classify
from worlds import ask

CATALOG: Catalog = load(MappingProxyType({"ORCHESTRA_HOME": "/nowhere"})).catalog
DEPLOYMENTS = [deployment for name in CATALOG.providers for deployment in CATALOG.deployments_at(name)]
SERVERS = ("ollama", "vllm", "lmstudio", "llamacpp")


def keys(text: str, provider: str | None = None) -> list[str]:
    found = CATALOG.find(text, provider)
    return [deployment.key for deployment in found.deployments] if found is not None else []


# --- the built-in rows ---------------------------------------------------------------------------------------


def test_every_built_in_row_says_where_its_facts_come_from_and_when_they_were_checked() -> None:
    rows: list[Row] = [
        *CATALOG.providers.values(),
        *CATALOG.models.values(),
        *(deployment.offer for deployment in DEPLOYMENTS),
        *CATALOG.tasks.values(),
        *CATALOG.old_models.values(),
    ]

    assert all(row.source and row.checked == date(2026, 11, 23) for row in rows)
    assert CATALOG.checked == date(2026, 11, 23)


def test_all_eight_providers_and_the_local_servers_are_in_the_hierarchy_the_free_ones_last() -> None:
    assert tuple(CATALOG.hierarchy) == (
        *("openrouter", "deepseek", "anthropic", "together", "openai", "gemini", "perplexity", "xai"),
        *SERVERS,
    )
    assert {name for name, provider in CATALOG.providers.items() if provider.local} == set(SERVERS)
    assert all(not CATALOG.providers[name].key_env for name in SERVERS)


@pytest.mark.parametrize(
    ("task", "route"),
    [
        ("coding", ["deepseek/deepseek-flash", "openrouter/z-ai/glm-5.3-flash"]),
        ("general_chat", ["openrouter/openai/gpt-6-luna", "anthropic/claude-haiku-5-5"]),
        ("complex_reasoning", ["openrouter/anthropic/claude-sonnet-5.5", "openrouter/openai/gpt-6.1-sol"]),
        ("web_search", ["perplexity/perplexity/sonar", "perplexity/perplexity/glm-5.3-flash"]),
        ("creative_writing", ["openrouter/anthropic/claude-opus-5.5", "together/zai-org/GLM-5.3"]),
    ],
)
def test_every_task_has_its_first_choice_and_its_fallback(task: str, route: list[str]) -> None:
    steps = CATALOG.tasks[task].route

    assert [CATALOG.deployment(step.model, step.provider).key for step in steps] == route
    assert CATALOG.tasks[task].web_search == (task == "web_search")


def test_every_paid_provider_has_a_model_for_what_falls_back_to_it() -> None:
    for name in CATALOG.hierarchy:
        models = CATALOG.providers[name].models
        assert ("default" in models) != (name in SERVERS)
        assert set(models) <= {"default", *CATALOG.tasks}
        assert all(name in CATALOG.models[model].at for model in models.values())


def test_every_offer_is_priced_and_a_search_is_never_free() -> None:
    searching = [
        deployment
        for deployment in DEPLOYMENTS
        if deployment.model.web_search and deployment.provider.search_style != "none"
    ]

    assert all(deployment.offer.prices for deployment in DEPLOYMENTS)
    assert searching
    assert all(price.search > 0 for deployment in searching for price in deployment.offer.prices)


def test_the_paths_below_a_base_address_make_the_addresses_the_providers_document() -> None:
    lists = {name: provider.base_url + provider.models_path for name, provider in CATALOG.providers.items()}

    assert lists["openai"] == "https://api.openai.com/v1/models"
    assert lists["anthropic"] == "https://api.anthropic.com/v1/models"
    assert lists["gemini"] == "https://generativelanguage.googleapis.com/v1beta/models"
    assert lists["perplexity"] == "https://api.perplexity.ai/v1/models"
    assert lists["deepseek"] == "https://api.deepseek.com/models"
    assert not any(provider.base_url.endswith("/") for provider in CATALOG.providers.values())


# --- names ---------------------------------------------------------------------------------------------------


@given(deployment=st.sampled_from(DEPLOYMENTS), swap=st.booleans())
def test_a_model_is_found_by_its_name_its_ids_and_its_deployment_in_any_case(
    deployment: Deployment, swap: bool
) -> None:
    model = deployment.model.name
    provider = deployment.provider.name
    for text in (model, deployment.offer.id, f"{provider}/{model}", deployment.key):
        found = CATALOG.find(text.swapcase() if swap else f" {text} ", provider)

        assert found is not None
        assert [place.key for place in found.deployments] == [deployment.key]


def test_a_model_without_a_provider_is_found_wherever_it_is_served_in_the_order_of_the_hierarchy() -> None:
    assert keys("glm-5.3-flash") == [
        "openrouter/z-ai/glm-5.3-flash",
        "together/zai-org/GLM-5.3-Flash",
        "perplexity/perplexity/glm-5.3-flash",
    ]


def test_a_providers_id_does_not_tie_the_model_to_that_provider_but_its_name_in_front_does() -> None:
    assert keys("openai/gpt-6-luna") == ["openrouter/openai/gpt-6-luna", "openai/gpt-6-luna"]
    assert keys("anthropic/claude-haiku-5-5") == ["anthropic/claude-haiku-5-5"]
    assert keys("openrouter/claude-haiku-5-5") == ["openrouter/anthropic/claude-haiku-5.5"]


def test_a_local_server_takes_any_id() -> None:
    assert keys("ollama/qwen3:8b") == ["ollama/qwen3:8b"]
    assert keys("ollama/hf.co/Some/Model-GGUF") == ["ollama/hf.co/Some/Model-GGUF"]
    assert keys("ollama/gpt-oss-120b") == ["ollama/gpt-oss-120b"]
    assert keys("ollama/") == []


@pytest.mark.parametrize(
    ("text", "provider"),
    [("nobody-knows", None), ("nobody-knows", "openai"), ("", None), ("claude-opus-5-5", "openai"), ("openai/x", None)],
)
def test_what_nobody_knows_there_is_not_found(text: str, provider: str | None) -> None:
    assert CATALOG.find(text, provider) is None


def test_an_id_that_nobody_knows_is_passed_on_as_it_is() -> None:
    deployment = CATALOG.deployment("qwen3:8b", "ollama")

    assert (deployment.key, deployment.model.name) == ("ollama/qwen3:8b", "qwen3:8b")


@pytest.mark.parametrize("name", sorted(set(CATALOG.old_models) - set(CATALOG.models)))
def test_a_name_of_the_past_means_its_replacement_and_says_so(name: str) -> None:
    old = CATALOG.old_models[name]

    found = CATALOG.find(name)

    assert found is not None
    assert found.model.name == old.replacement
    assert found.note.startswith(f"{name} is a name of the past")
    assert old.replacement in found.note
    assert CATALOG.find(name, old.provider) is not None


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("gpt-3.5-turbo", "gpt-6-luna"),
        ("openai/gpt-3.5-turbo", "gpt-6-luna"),
        ("claude-3-haiku-20240307", "claude-haiku-5-5"),
        ("gemini-1.5-flash", "gemini-3.5-flash-lite"),
        ("llama-3.1-sonar-large-128k-online", "sonar"),
        ("Llama-3-8b-chat-hf", "gpt-oss-120b"),
        ("meta-llama/Llama-3-70b-chat-hf", "glm-5.3"),
        ("grok-beta", "grok-4.7"),
        ("deepseek-coder", "deepseek-flash"),
    ],
)
def test_the_names_of_the_old_set_up_still_resolve(text: str, means: str) -> None:
    found = CATALOG.find(text)

    assert found is not None
    assert found.model.name == means


@pytest.mark.parametrize("name", sorted(set(CATALOG.old_models) & set(CATALOG.models)))
def test_a_model_with_a_last_day_resolves_to_itself_and_names_the_day(name: str) -> None:
    found = CATALOG.find(name)

    assert found is not None
    assert found.model.name == name
    assert found.model.retires == CATALOG.old_models[name].since
    assert f"until {found.model.retires}; use {CATALOG.old_models[name].replacement}" in found.note


def test_a_model_that_is_gone_has_its_replacement_named() -> None:
    xai = CATALOG.providers["xai"]

    assert CATALOG.replacement(Deployment(xai, Model(name="grok-beta"), Offer(id="grok-beta"))) == "grok-4.7"
    assert CATALOG.replacement(Deployment(xai, Model(name="grok-2"), Offer(id="grok-2"))) == "grok-4.3"
    assert CATALOG.replacement(CATALOG.deployment("gpt-5", "openai")) == "gpt-6.1-terra"
    assert CATALOG.replacement(CATALOG.deployment("grok-4.3", "xai")) == "grok-4.7"
    assert CATALOG.replacement(CATALOG.deployment("qwen3:8b", "ollama")) == ""


def test_where_an_offer_reads_no_images_its_deployment_says_so() -> None:
    assert CATALOG.deployment("deepseek-flash", "deepseek").model.images
    assert not CATALOG.deployment("deepseek-flash", "together").model.images


def test_another_catalog_has_another_version(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text("[weights]\nxai = 5\n", encoding="utf-8")

    other = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog

    assert re.fullmatch(r"[0-9a-f]{12}", CATALOG.version)
    assert other.version != CATALOG.version
    assert load({"ORCHESTRA_HOME": "/nowhere"}).catalog.version == CATALOG.version


# --- keywords ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "task"),
    [
        ("Write a Rust function that reverses a linked list", "coding"),
        ("TypeError: undefined is not a function in my React component", "coding"),
        ("What is the latest stable release of PostgreSQL?", "web_search"),
        ("What's the weather in Oslo right now", "web_search"),
        ("Prove that there are infinitely many primes", "complex_reasoning"),
        ("A train leaves at 60 mph. How far does it go in 3 hours? Think step by step.", "complex_reasoning"),
        ("Write a haiku about autumn rain", "creative_writing"),
        ("Tell me a bedtime story about a shy dragon", "creative_writing"),
    ],
)
def test_the_words_of_a_plain_prompt_point_to_its_task(prompt: str, task: str) -> None:
    assert classify(ask(prompt), CATALOG.keywords).task == task


def test_a_note_tells_the_old_models_facts_from_the_replacement() -> None:
    found = CATALOG.find("grok-beta")

    assert found is not None
    assert found.note == ("grok-beta is a name of the past (every call answers 404); grok-4.7 is used in its place.")


def test_keywords_are_matched_in_bounded_time_on_hostile_text() -> None:
    pieces = ["a", " ", "\n", "write ", "1 + ", "((", "as a ", "how many ", "x|", "find the ", "<!--", "\t" * 9, "0x="]
    texts = [(piece * 4000)[:4000] for piece in pieces]

    started = time.perf_counter()
    for words in CATALOG.keywords.values():
        for word in (*words.strong, *words.weak):
            for text in texts:
                word.search(text)

    assert time.perf_counter() - started < 5
