"""Prompts compared through a provider's or a local server's embeddings endpoint, and what that costs."""

import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.commands import cache_eval
from orchestra_router.embedding.base import Payer
from orchestra_router.errors import BudgetExceeded, CacheMiss, ConfigError, EmbedderUnavailable
from orchestra_router.policy.keyring import Terms
from orchestra_router.policy.purse import Purse
from orchestra_router.router import open_router
from orchestra_router.simulation import Reply
from orchestra_router.types import Completion, Limits, Scope
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
    # Nobody asked for an embedding.
    assert (report.total.requests, report.total.attempts) == (1, 1 + len(calls))


async def test_what_a_look_cost_is_in_the_results_cost_and_counted_once(tmp_path: Path) -> None:
    async with endpoint(tmp_path, PAID) as world:
        kept = await complete(world, FIRST)
        after_keeping = world.providers.billed_nusd
        hit = await complete(world, SAME)
        missed = await complete(world, "How can I reset the password of my phone?")
        billed = world.providers.billed_nusd
        report = await world.router.cost_report()
        recorded = await world.router.trails(hit.request_id)

    # The first prompt is embedded after its answer, for those to come.
    assert kept.cost_nusd == sum(attempt.cost_nusd for attempt in kept.attempts)
    assert (hit.cache, hit.attempts, hit.cost_source) == ("SEMANTIC HIT", (), "genai-prices")
    assert hit.saved_nusd == kept.cost_nusd
    assert missed.cost_nusd > sum(attempt.cost_nusd for attempt in missed.attempts)
    assert hit.cost_nusd > 0
    assert hit.cost_nusd + missed.cost_nusd == billed - after_keeping
    assert recorded[0].request["cost_nusd"] == hit.cost_nusd
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


async def test_another_model_under_the_same_name_takes_over_without_a_restart(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL) as world:
        await complete(world, FIRST)
        rows = [{"index": 0, "embedding": [0.6, 0.8]}]
        now_smaller = Reply(body=json.dumps({"data": rows, "usage": {"prompt_tokens": 4}}))
        world.providers["ollama"].script(*[now_smaller] * 4)
        changed = await complete(world, SAME)
        after_that = await complete(world, "How could I reset my router's password?")
        contents = await world.router.store.cache_contents()

    assert (changed.cache, after_that.cache) == ("MISS", "SEMANTIC HIT")
    assert f"{LOCAL}/2" in contents.embedders


async def test_pairs_are_judged_by_the_embedder_that_requests_are_compared_by(tmp_path: Path) -> None:
    pairs = [
        cache_eval.Pair(a=FIRST, b=SAME, label="same"),
        cache_eval.Pair(a=FIRST, b="Why is the sky blue?", label="different"),
    ]
    async with endpoint(tmp_path, PAID) as world:
        judged, problem = await cache_eval.judge(pairs, world.router.config)
        found = cache_eval.report(judged, threshold=0.9, level=3)

    assert problem == ""
    assert (found["same"]["served"], found["different"]["served"]) == (1, 0)
    assert [row[2:4] for row in attempts(tmp_path)] == [("settled", "ok")] * 2


async def test_the_first_look_after_a_restart_finds_what_was_kept_before(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL) as world:
        await complete(world, FIRST)
        async with open_router(world.router.config, clock=world.clock) as fresh:
            hit = await complete(World(fresh, world.providers, world.clock, tmp_path), SAME)

    assert hit.cache == "SEMANTIC HIT"


async def test_the_cap_of_a_request_holds_for_its_vectors_too(tmp_path: Path) -> None:
    async with endpoint(tmp_path, PAID) as world:
        await complete(world, FIRST)
        before = len(embedded(world, "openai"))
        nothing_left, enough = Purse(1), Purse(1_000_000)
        for purse in (nothing_left, enough):
            embedder = await world.router.embedder.get(Payer(purse=purse))
            assert embedder is not None
            if purse is enough:
                await embedder.embed([SAME])
                continue
            with pytest.raises(EmbedderUnavailable, match="max_cost_usd"):
                await embedder.embed([SAME])
        capped = await complete(world, SAME, max_cost_nusd=1, provider="ollama", model="ollama/qwen3:8b")
        calls = len(embedded(world, "openai"))
        spent = attempts(tmp_path)[-1][4]

    assert calls == before + 1
    assert spent > 0
    with pytest.raises(BudgetExceeded):
        async with enough.held(1_000_000 - spent + 1):
            pass
    assert capped.answer.text  # the cap refuses no answer that it can pay for


async def test_a_request_without_time_left_waits_for_no_vector(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL) as world:
        await complete(world, FIRST)
        before = len(embedded(world, "ollama"))
        embedder = await world.router.embedder.get(Payer(deadline=world.clock.monotonic()))
        assert embedder is not None

        with pytest.raises(EmbedderUnavailable, match="time is over"):
            await embedder.embed([SAME])

        assert len(embedded(world, "ollama")) == before


async def test_a_refused_key_gives_way_to_the_next_and_is_set_aside_for_answers_too(tmp_path: Path) -> None:
    keys = {"OPENAI_API_KEY": "sk-wr0ng-canary-4f1d", "OPENAI_API_KEY_2": "{key}"}
    async with endpoint(tmp_path, PAID, keys=keys) as world:
        await complete(world, FIRST)
        hit = await complete(world, SAME)
        answer = await world.router.complete(ask(provider="openai", fallback_providers=(), cache="off"))

    assert hit.cache == "SEMANTIC HIT"
    assert [row[3] for row in attempts(tmp_path)] == ["auth_failed", "ok", "ok", "ok"]
    assert [attempt.outcome for attempt in answer.attempts] == ["ok"]


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
        bobs = await world.router.embedder.get(Payer(Scope(user="bob")))
        adas = await world.router.embedder.get(Payer(Scope(user="ada")))

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


async def test_a_key_that_may_not_ask_the_embedders_provider_embeds_nothing(tmp_path: Path) -> None:
    async with endpoint(tmp_path, LOCAL) as world:
        made = await world.router.keyring.create(Terms(name="ada", limits=Limits(providers=("deepseek",))))
        caller = await world.router.authenticate(made.secret)
        for prompt in (FIRST, SAME):
            await world.router.complete(ask(prompt, task="general_chat", provider="deepseek"), caller=caller)
        await world.router.cache.settled()
        calls = embedded(world, "ollama")

    assert calls == []
