"""Prompts compared through a provider's or a local server's embeddings endpoint, and what that costs."""

import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.errors import CacheMiss, ConfigError, EmbedderUnavailable
from orchestra_router.router import open_router
from orchestra_router.simulation import Reply
from orchestra_router.types import Completion, Scope
from worlds import World, ask, config_for, open_world

PAID = "openai/text-embedding-3-small"
LOCAL = "ollama/nomic-embed-text"
FIRST = "How do I reset my router password?"
SAME = "How can I reset the password of my router?"


@asynccontextmanager
async def endpoint(home: Path, embedder: str, **changes: Any) -> AsyncGenerator[World]:
    async with open_world(home, cache="semantic", embedder=embedder, **changes) as world:
        yield world


async def complete(world: World, prompt: str, **changes: Any) -> Completion:
    completion = await world.router.complete(
        ask(prompt, **{"task": "general_chat", "provider": "deepseek", "fallback_providers": ()} | changes)
    )
    await world.router.cache.settled()
    return completion


def embedded(world: World, provider: str) -> list[list[str]]:
    """The texts of each call to its endpoint."""
    calls = [call for call in world.providers[provider].received if call.path == "/v1/embeddings"]
    return [call.json["input"] for call in calls]


def attempts(home: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(home / "orchestra.db")) as db:
        return db.execute(
            "SELECT model, user, state, outcome, cost_nusd, cost_source FROM attempts"
            " WHERE request_id LIKE 'embedding-%' ORDER BY created_ms, rowid"
        ).fetchall()


@pytest.mark.parametrize(("embedder", "source"), [(PAID, "genai-prices"), (LOCAL, "free")])
async def test_another_wording_is_a_hit_through_the_endpoint(tmp_path: Path, embedder: str, source: str) -> None:
    provider = embedder.partition("/")[0]
    async with endpoint(tmp_path, embedder) as world:
        await complete(world, FIRST)
        second = await complete(world, SAME)
        billed = world.providers.billed_nusd
        report = await world.router.cost_report()
        calls = embedded(world, provider)

    assert second.cache == "SEMANTIC HIT"
    assert calls == [["dimensions"], [FIRST], [SAME]]
    assert {row[2:4] + row[5:] for row in attempts(tmp_path)} == {("settled", "ok", source)}
    assert report.total.spent_nusd == billed


async def test_who_wants_nothing_paid_pays_for_no_vector_either(tmp_path: Path) -> None:
    async with endpoint(tmp_path, PAID) as world:
        await complete(world, FIRST)
        before = world.providers.billed_nusd
        exact = await complete(world, FIRST, cache="only")
        with pytest.raises(CacheMiss, match="comparing by meaning would cost something"):
            await complete(world, SAME, cache="only")
        after = world.providers.billed_nusd

    assert exact.cache == "HIT"
    assert after == before


async def test_a_free_endpoint_compares_for_who_wants_nothing_paid(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL) as world:
        await complete(world, FIRST)

        assert (await complete(world, SAME, cache="only")).cache == "SEMANTIC HIT"


async def test_a_dead_endpoint_costs_hits_and_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL, cooldown_s=30) as world:
        world.providers["ollama"].script(*[Reply(503)] * 2)
        first = await complete(world, FIRST)
        other = await complete(world, SAME)
        exact = await complete(world, FIRST)
        notes = (await world.router.provider_status()).notes
        at_first = len(embedded(world, "ollama"))
        world.clock.advance(31)
        await complete(world, "How do I water garden plants?")
        world.clock.advance(31)
        still = len(embedded(world, "ollama"))
        await complete(world, "How do I water garden plants again?")
        too_soon = len(embedded(world, "ollama"))
        world.clock.advance(31)
        await complete(world, FIRST, cache="refresh")
        back = await complete(world, SAME, cache="refresh")

    assert (first.cache, exact.cache) == ("MISS", "HIT")
    assert (other.cache, other.cache_similarity) == ("SEMANTIC HIT", None)  # by its words alone
    assert at_first == 1
    assert (still, too_soon) == (2, 2)
    assert any("asked again in 30 s" in note for note in notes)
    assert back.answer.text


async def test_vectors_of_other_dimensions_are_not_taken(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL) as world:
        await complete(world, FIRST)
        rows = [{"index": 0, "embedding": [1.0, 0.0]}]
        world.providers["ollama"].script(Reply(body=json.dumps({"data": rows, "usage": {"prompt_tokens": 4}})))
        second = await complete(world, SAME)

    assert (second.cache, second.cache_reason) == ("MISS", "the embedder failed")
    assert [row[3] for row in attempts(tmp_path)] == ["ok", "ok", "invalid_answer"]


async def test_a_budget_that_cannot_pay_for_it_refuses_no_request(tmp_path: Path) -> None:
    async with endpoint(tmp_path, PAID, toml="\n[budgets.key.local]\nday_usd = 0\n") as world:
        free = {"provider": "ollama", "model": "ollama/qwen3:8b"}
        first, again = await complete(world, FIRST, **free), await complete(world, FIRST, **free)
        calls = embedded(world, "openai")

    assert (first.cache, again.cache) == ("MISS", "HIT")
    assert calls == []
    assert attempts(tmp_path) == []


async def test_who_asks_pays(tmp_path: Path) -> None:
    async with endpoint(tmp_path, PAID, toml="\n[budgets.user.ada]\nday_usd = 0\n") as world:
        bobs = await world.router.embedder.get(Scope(user="bob"))
        adas = await world.router.embedder.get(Scope(user="ada"))

        assert bobs is not None
        assert adas is not None
        assert (await bobs.embed([FIRST] * 65)).shape == (65, 1536)
        with pytest.raises(EmbedderUnavailable, match="daily budget of user ada"):
            await adas.embed([FIRST])
        sizes = [len(texts) for texts in embedded(world, "openai")]

    assert sizes == [1, 64, 1]
    assert {row[1] for row in attempts(tmp_path)} == {"bob"}


async def test_another_model_ignores_the_vectors_of_the_one_before(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL) as world:
        await complete(world, FIRST)
        config = config_for(world.providers, tmp_path, cache="semantic", embedder="ollama/all-minilm")
        async with open_router(config, clock=world.clock) as router:
            changed = World(router, world.providers, world.clock, tmp_path)
            first = await complete(changed, SAME)
            contents = await router.store.cache_contents()

    assert first.cache == "MISS"
    assert "ollama/all-minilm/384" in contents.embedders


async def test_a_model_without_a_price_is_not_asked(tmp_path: Path) -> None:
    async with endpoint(tmp_path, "together/some-embedder") as world:
        completion = await complete(world, FIRST)
        calls = embedded(world, "together")
        notes = (await world.router.provider_status()).notes

    assert completion.cache == "MISS"
    assert any("Nobody knows what together/some-embedder costs" in note for note in notes)
    assert calls == []


@pytest.mark.parametrize("wrong", ["nobody/model", "ollama/", "everything", "anthropic/model"])
async def test_a_name_that_means_no_endpoint_is_a_clear_error(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match="ORCHESTRA_EMBEDDER"):
        async with endpoint(tmp_path, wrong):
            pass
