"""The path of a request, from the caller's side: who is asked, what comes back, what it costs."""

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from clocks import FakeClock
from orchestra_router import errors
from orchestra_router.config import load
from orchestra_router.errors import RouterError
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.rules.pii import given_rules
from orchestra_router.router import open_router
from orchestra_router.simulation import Cut, Drop, Hang, Raw, Reply, ServerError, simulated_world
from orchestra_router.types import Answer, Citation, CompletionRequest, Image, Message, Text, Tool
from worlds import World, ask, open_world

CODING = "Write a Python function that parses a date and fix the bug in it."


async def test_a_coding_prompt_goes_to_the_coding_route(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(ask(CODING))

    assert (completion.task, completion.provider, completion.model) == ("coding", "deepseek", "deepseek-flash")
    assert completion.reason == "first choice for coding"
    assert world.calls == ["deepseek"]


@pytest.mark.parametrize(
    ("task", "provider"),
    [
        ("coding", "deepseek"),
        ("general_chat", "openrouter"),
        ("complex_reasoning", "openrouter"),
        ("web_search", "perplexity"),
        ("creative_writing", "openrouter"),
    ],
)
async def test_every_task_has_its_first_choice_and_costs_what_the_provider_billed(
    tmp_path: Path, task: str, provider: str
) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(ask("What now?", task=task))

    assert completion.provider == provider
    assert completion.cost_nusd == world.providers.billed_nusd > 0


@pytest.mark.parametrize(
    "provider", ["openrouter", "openai", "anthropic", "deepseek", "gemini", "perplexity", "together", "xai", "ollama"]
)
@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "stream"])
async def test_every_provider_answers_and_is_paid_exactly_what_it_billed(
    tmp_path: Path, provider: str, streaming: bool
) -> None:
    told: list[str] = []

    async def on_progress(message: str) -> None:
        told.append(message)

    async with open_world(tmp_path) as world:
        completion = await world.router.complete(
            ask("Is it worth it?", provider=provider), on_progress=on_progress if streaming else None
        )

    assert completion.provider == provider
    assert "[simulated" in completion.answer.text
    assert completion.cost_nusd == world.providers.billed_nusd
    assert bool(told) == streaming


async def test_a_rate_limit_is_waited_out_as_long_as_the_provider_said(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Reply(429, headers={"retry-after": "7"}))

        completion = await world.router.complete(ask(CODING))

    assert completion.provider == "deepseek"
    assert world.clock.slept == [7.0]
    assert [attempt.outcome for attempt in completion.attempts] == ["rate_limited", "ok"]


async def test_a_rate_limit_that_is_too_long_goes_to_the_next_deployment_at_once(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Reply(429, headers={"retry-after": "107"}))

        completion = await world.router.complete(ask(CODING))

    assert completion.provider == "openrouter"
    assert world.clock.slept == []


async def test_server_errors_are_retried_and_then_the_fallback_answers(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(ServerError(500), ServerError(503), ServerError(529))

        completion = await world.router.complete(ask(CODING))

    assert [attempt.provider for attempt in completion.attempts] == ["deepseek"] * 3 + ["openrouter"]
    assert completion.reason == "fallback for coding"
    assert any("worst case" in note for note in completion.notes)


async def test_retries_and_fallbacks_share_one_budget_of_attempts(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_attempts=4) as world:
        for provider in world.providers.providers.values():
            provider.script(*[ServerError(500)] * 9)

        with pytest.raises(errors.AllAttemptsFailed) as caught:
            await world.router.complete(ask(CODING))

    assert len(world.calls) == 4
    assert len(caught.value.failures) == 4
    assert "deepseek/deepseek-flash" in str(caught.value)


async def test_a_refused_key_goes_to_the_next_provider_and_is_not_tried_again(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Reply(401))

        first = await world.router.complete(ask(CODING))
        second = await world.router.complete(ask(CODING + " Again."))
        status = await world.router.provider_status("deepseek")

    assert first.provider == second.provider == "openrouter"
    assert world.calls.count("deepseek") == 1
    assert status.providers[0].state == "cooling"
    assert "check the key" in status.providers[0].fix


async def test_an_empty_account_is_not_a_rate_limit(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        openai = world.providers["openai"]
        openai.script(openai.failure("out_of_money"))

        completion = await world.router.complete(ask(provider="openai", fallback_providers=("anthropic",)))

    assert [attempt.outcome for attempt in completion.attempts] == ["out_of_money", "ok"]
    assert world.clock.slept == []


async def test_a_malformed_request_is_sent_nowhere_else(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Reply(400))

        with pytest.raises(errors.AllAttemptsFailed, match="malformed"):
            await world.router.complete(ask(CODING))

    assert world.calls == ["deepseek"]


@pytest.mark.parametrize(
    ("provider", "model", "outcome"),
    [("deepseek", "deepseek-v4-pro", "model_gone"), ("together", "kimi-k3", "model_gone")],
)
async def test_a_bare_400_for_a_model_that_ended_is_seen_for_what_it_is(
    tmp_path: Path, provider: str, model: str, outcome: str
) -> None:
    async with open_world(tmp_path) as world:
        offer = world.router.config.catalog.deployment(model, provider).offer
        world.providers[provider].retire(offer.id)

        completion = await world.router.complete(
            ask(provider=provider, model=model, fallback_providers=("openrouter",))
        )

    assert [attempt.outcome for attempt in completion.attempts] == [outcome, "ok"]


async def test_a_bare_400_for_a_wrong_key_is_seen_for_what_it_is(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["xai"].key = "another-key"

        completion = await world.router.complete(ask(provider="xai", fallback_providers=("openrouter",)))

    assert [attempt.outcome for attempt in completion.attempts] == ["auth_failed", "ok"]


async def test_a_bare_400_for_a_prompt_near_the_limit_goes_to_a_larger_model(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        anthropic = world.providers["anthropic"]
        anthropic.script(anthropic.failure("context"))
        # The likeliest count, a quarter of the bytes, is more than half of what the model reads.
        completion = await world.router.complete(
            ask("word " * 500_000, provider="anthropic", fallback_providers=("openrouter",))
        )

    assert [attempt.outcome for attempt in completion.attempts] == ["context_too_long", "ok"]


async def test_a_model_that_is_gone_leaves_rotation_and_names_its_replacement_in_every_process(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["xai"].retire("grok-4.3")
        with pytest.raises(errors.AllAttemptsFailed, match=r"xai/grok-4\.3 .* use grok-4\.7 instead"):
            await world.router.complete(ask(provider="xai", model="grok-4.3"))

        async with open_router(world.router.config, clock=world.clock) as another:
            with pytest.raises(errors.NoRoute, match=r"Use grok-4\.7 instead"):
                await another.complete(ask(provider="xai", model="grok-4.3"))
            status = await another.provider_status("xai")

    assert world.calls == ["xai"]
    model = next(model for model in status.providers[0].models if model.id == "grok-4.3")
    assert (model.state, model.replacement) == ("retired", "grok-4.7")


async def test_a_probe_that_finds_a_model_again_puts_it_back(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["xai"].retire("grok-4.3")
        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(provider="xai", model="grok-4.3"))
        world.providers["xai"].restore("grok-4.3")

        await world.router.provider_status("xai", probe=True)
        completion = await world.router.complete(ask(provider="xai", model="grok-4.3"))

    assert completion.model == "grok-4.3"


async def test_a_model_that_its_providers_list_calls_retired_is_taken_out_before_anybody_meets_the_404(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path) as world:
        world.providers["anthropic"].retire("claude-haiku-5-5")

        status = await world.router.provider_status("anthropic", probe=True)
        plan = await world.router.plan(ask(task="general_chat"))

    models = {model.id: model for model in status.providers[0].models}
    assert models["claude-haiku-5-5"].state == "retired"
    assert models["claude-haiku-5-5"].replacement
    assert "anthropic/claude-haiku-5-5" not in [candidate.deployment.key for candidate in plan.route]
    assert world.calls == []


async def test_a_model_whose_last_day_is_near_is_announced_with_its_replacement(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        status = await world.router.provider_status("anthropic")

    model = next(model for model in status.providers[0].models if model.id == "claude-sonnet-4-5")
    assert (model.state, model.retires) == ("retiring", "2026-11-30")
    assert model.replacement == "claude-sonnet-5-5"


async def test_a_model_whose_last_day_has_come_is_replaced_and_the_result_says_so(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        before = await world.router.complete(ask(model="claude-sonnet-4-5"))
        world.clock.advance(8 * 86_400)

        after = await world.router.complete(ask(model="claude-sonnet-4-5"))

    assert before.model == "claude-sonnet-4-5"
    assert after.model == "claude-sonnet-5-5"
    assert any("claude-sonnet-4-5" in note for note in after.notes)


async def test_a_new_chat_completions_provider_is_one_row_in_the_users_file(tmp_path: Path) -> None:
    async with simulated_world(clock=FakeClock()) as providers:
        together = providers["together"]
        rows = f"""
            [providers.acme]
            base_url = "{providers.base_urls["together"]}"
            key_env = ["ACME_API_KEY"]
            models = {{ default = "acme-large" }}

            [models.acme-large]
            at.acme = {{ id = "zai-org/GLM-5.3", prices = [{{ input = 1.4, cache_read = 0.26, output = 4.4 }}] }}
            """
        (tmp_path / "orchestra.toml").write_text(rows, encoding="utf-8")
        config = load({"ORCHESTRA_HOME": str(tmp_path), "ACME_API_KEY": together.key})
        async with open_router(config, clock=FakeClock()) as router:
            plain = await router.complete(ask(provider="acme"))
            streamed = await router.complete(ask(model="acme-large", cache="off"), on_progress=nobody)

    assert (plain.provider, plain.model, plain.cost_source) == ("acme", "acme-large", "table")
    assert streamed.answer.text == plain.answer.text
    assert plain.cost_nusd + streamed.cost_nusd == together.billed_nusd > 0


async def nobody(_: str) -> None:
    """Wants progress, and does nothing with it."""


async def test_an_old_name_resolves_to_its_replacement_and_says_so(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        completion = await world.router.complete(ask(model="grok-beta"))

    assert completion.model == "grok-4.7"
    assert any("grok-beta" in note for note in completion.notes)


async def test_an_id_nobody_knows_is_passed_on_where_its_provider_is_named(tmp_path: Path) -> None:
    async with open_world(tmp_path, allow_unpriced="true") as world:
        with pytest.raises(errors.AllAttemptsFailed, match="does not serve this model"):
            await world.router.complete(ask(provider="openai", model="gpt-99"))

    assert world.providers["openai"].received[0].json["model"] == "gpt-99"


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ask(model="gpt-99"), "name its provider"),
        (ask(model="gpt-6-lunar"), "gpt-6-luna"),
        (ask(provider="opanai"), "Did you mean openai"),
        (ask(fallback_providers=("opanai",)), "Did you mean openai"),
        (ask(task="codign"), "coding"),
    ],
)
async def test_a_name_nobody_knows_is_explained(tmp_path: Path, request_: CompletionRequest, says: str) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.InvalidRequest, match=says):
            await world.router.complete(request_)

    assert world.calls == []


async def test_an_unpriced_model_is_refused_and_never_free(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.NoRoute, match="price is unknown"):
            await world.router.complete(ask(provider="openai", model="gpt-99"))

    assert world.calls == []


async def test_without_any_key_the_message_says_what_to_set_or_start(tmp_path: Path) -> None:
    everyone = ("openrouter", "openai", "anthropic", "deepseek", "gemini", "perplexity", "together", "xai")
    no_server = "\n".join(f"[providers.{name}]\nenabled = false" for name in ("lmstudio", "vllm", "llamacpp"))
    async with open_world(tmp_path, without=everyone, toml="\n" + no_server) as world:
        world.providers["ollama"].script_probes(*[Reply(500)] * 5)

        with pytest.raises(errors.NoRoute) as caught:
            await world.router.complete(ask())

    assert "OPENROUTER_API_KEY" in str(caught.value)
    assert "local server" in str(caught.value)


async def test_without_any_key_a_local_server_that_runs_answers_for_nothing(tmp_path: Path) -> None:
    everyone = ("openrouter", "openai", "anthropic", "deepseek", "gemini", "perplexity", "together", "xai")
    async with open_world(tmp_path, without=everyone) as world:
        completion = await world.router.complete(ask())

    assert completion.provider == "ollama"
    assert (completion.cost_nusd, completion.cost_source) == (0, "free")


async def test_a_named_provider_is_the_only_one_asked_unless_fallbacks_are_named(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["together"].script(Reply(401))

        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(provider="together"))

    assert world.calls == ["together"]


async def test_fallback_providers_are_asked_in_the_order_given(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["together"].script(Reply(401))
        world.providers["xai"].script(Reply(402))

        completion = await world.router.complete(ask(provider="together", fallback_providers=("xai", "gemini")))

    assert [attempt.provider for attempt in completion.attempts] == ["together", "xai", "gemini"]


async def test_a_pinned_model_is_asked_wherever_it_is_served_and_is_never_another(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for name in ("openrouter", "openai"):
            world.providers[name].script(Reply(401))

        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(model="gpt-6-luna"))

    assert sorted(world.calls) == ["openai", "openrouter"]


async def test_the_same_question_is_paid_for_once(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        first = await world.router.complete(ask(CODING))
        world.clock.advance(60)

        second = await world.router.complete(ask(CODING))

    assert (first.cache, second.cache) == ("MISS", "HIT")
    assert second.answer.text == first.answer.text
    assert (second.cost_nusd, second.saved_nusd, second.cache_age_ms) == (0, first.cost_nusd, 60_000)
    assert second.attempts == ()


@pytest.mark.parametrize(
    "other",
    [
        ask(CODING + " "),
        ask(CODING, max_tokens=17),
        ask(CODING, model="glm-5.3-flash"),
        ask(CODING, task="general_chat"),
        ask(CODING, response_schema={"type": "object"}),
        CompletionRequest(messages=(Message("system", (Text("Be brief."),)), *ask(CODING).messages)),
    ],
    ids=["text", "max_tokens", "model", "task", "schema", "system"],
)
async def test_another_question_is_not_answered_from_the_cache(tmp_path: Path, other: CompletionRequest) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask(CODING))

        second = await world.router.complete(other)

    assert second.cache == "MISS"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (ask(CODING, cache="off"), "DISABLED"),
        (ask(CODING, temperature=0.7, model="glm-5.3-flash"), "DISABLED"),
        (ask(CODING, tools=(Tool("t", "", {"type": "object"}),)), "DISABLED"),
        (ask(CODING, cache="refresh"), "REFRESH"),
    ],
)
async def test_what_is_not_to_be_served_again_is_bought_again(
    tmp_path: Path, request_: CompletionRequest, status: str
) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(request_)
        second = await world.router.complete(request_)

    assert second.cache == status
    assert len(world.calls) == 2


async def test_an_answer_grows_stale(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask(CODING))
        world.clock.advance(3601)

        second = await world.router.complete(ask(CODING))

    assert second.cache == "MISS"


@pytest.mark.parametrize("step", [Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), Drop(), Cut(after_events=1)])
async def test_a_failed_answer_is_never_cached(tmp_path: Path, step: Raw | Drop | Cut) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(step)
        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(CODING, provider="deepseek", max_retries=0))

        second = await world.router.complete(ask(CODING, provider="deepseek"))

    assert second.cache == "MISS"


async def test_identical_requests_at_the_same_moment_are_one_upstream_call(tmp_path: Path) -> None:
    hang = Hang()
    statuses: list[str] = []
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)

        async def one() -> None:
            statuses.append((await world.router.complete(ask(CODING))).cache)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(one)
            await hang.reached.wait()
            hang.release()

    assert sorted(statuses) == ["HIT", "HIT", "HIT", "HIT", "MISS"]
    assert world.calls == ["deepseek"]


async def test_a_number_never_leaves_the_machine_and_comes_back_in_the_answer_even_from_the_cache(
    tmp_path: Path,
) -> None:
    prompt = "My SSN is 536-90-4399, my card 4111111111111111. Repeat both."
    async with open_world(tmp_path) as world:
        first = await world.router.complete(ask(prompt, task="general_chat"))
        second = await world.router.complete(ask(prompt.replace("4399", "4398"), task="general_chat"))

    upstream = b"".join(received.raw for p in world.providers.providers.values() for received in p.received)
    on_disk = everything_in(tmp_path)
    assert b"536-90-4399" not in upstream
    assert b"536-90-4399" not in on_disk
    assert b"4111111111111111" not in upstream + on_disk
    assert "536-90-4399" in first.answer.text
    assert first.redactions == {"ssn": 1, "credit_card": 1}
    # The upstream was asked the very same question, so its answer serves both, each with its own number.
    assert second.cache == "HIT"
    assert "536-90-4398" in second.answer.text


async def test_a_blocked_prompt_is_sent_to_nobody(tmp_path: Path) -> None:
    async with open_world(tmp_path, guard_ssn="block") as world:
        with pytest.raises(errors.GuardrailBlocked):
            await world.router.complete(ask("My SSN is 536-90-4399."))

    assert world.calls == []


async def test_a_budget_refuses_what_it_cannot_pay_and_nobody_who_costs_too_much_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.0001") as world:
        with pytest.raises(errors.BudgetExceeded, match="daily budget"):
            await world.router.complete(ask(provider="deepseek", fallback_providers=("openrouter",)))

    assert world.calls == []


async def test_a_free_model_answers_when_the_budget_is_spent(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0") as world:
        completion = await world.router.complete(ask(provider="ollama"))

    assert completion.cost_nusd == 0


async def test_the_calls_own_cap_excludes_what_may_cost_more(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        cheap = await world.router.complete(ask("Write a poem.", task="creative_writing", max_cost_nusd=40_000_000))
        with pytest.raises(errors.BudgetExceeded, match="max_cost_usd"):
            await world.router.complete(ask(provider="openrouter", max_cost_nusd=10))

    assert cheap.provider != "openrouter"
    assert cheap.cost_nusd <= 40_000_000


async def test_a_cancelled_caller_leaves_its_money_counted_and_its_call_closed(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        deepseek = world.providers["deepseek"]
        deepseek.script(hang)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: world.router.complete(ask(CODING)))
            await hang.reached.wait()
            group.cancel_scope.cancel()

        with anyio.fail_after(5):
            await deepseek.received[0].done.wait()
        total = (await world.router.cost_report()).total

    assert deepseek.received[0].client_left
    assert (total.uncertain, total.held_nusd) == (1, 0)
    assert total.uncertain_nusd == total.spent_nusd > 0


async def test_a_caller_who_leaves_at_any_moment_leaves_no_money_on_hold(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for moments in range(0, 3_000, 50):  # turns of the event loop; a call takes some hundreds
            async with anyio.create_task_group() as group:
                group.start_soon(lambda n=moments: world.router.complete(ask(f"Question {n}?", task="coding")))
                for _ in range(moments):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

        total = (await world.router.cost_report()).total

    assert total.held_nusd == 0
    assert total.attempts > 0
    assert total.spent_nusd - total.uncertain_nusd <= world.providers.billed_nusd <= total.spent_nusd


async def test_everything_that_was_billed_is_in_the_report(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for provider in world.providers.providers:
            await world.router.complete(ask(f"What is {provider}?", provider=provider))
        world.providers["openai"].script(ServerError(500))
        await world.router.complete(ask("And now?", provider="openai"))

        report = await world.router.cost_report(group_by="provider")

    assert report.total.spent_nusd - report.total.uncertain_nusd == world.providers.billed_nusd
    assert {row.group for row in report.rows} == set(world.providers.providers)
    assert report.total.held_nusd == 0


async def test_a_prompt_that_fits_no_model_is_explained_before_anything_is_sent(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_prompt_bytes=20_000_000) as world:
        with pytest.raises(errors.NoRoute, match="does not fit"):
            await world.router.complete(ask("word " * 3_000_000))

    assert world.calls == []


async def test_a_prompt_above_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.InvalidRequest, match="max_prompt_bytes"):
            await world.router.complete(ask("x" * 10_000_000))

    assert world.calls == []


async def test_images_go_only_to_models_that_see(tmp_path: Path) -> None:
    picture = Image(data="iVBORw0KGgo=", media_type="image/png")
    request = CompletionRequest(messages=(Message("user", (Text("What is this?"), picture)),), task="general_chat")
    async with open_world(tmp_path) as world:
        plan = await world.router.plan(request)

    assert all(candidate.deployment.model.images for candidate in plan.route)


async def test_a_plan_spends_nothing_and_explains_every_exclusion(tmp_path: Path) -> None:
    async with open_world(tmp_path, without=("anthropic",)) as world:
        plan = await world.router.plan(ask(CODING))

    assert world.calls == []
    assert [c.deployment.key for c in plan.route][:2] == ["deepseek/deepseek-flash", "openrouter/z-ai/glm-5.3-flash"]
    assert all(candidate.worst_nusd >= candidate.expected_nusd for candidate in plan.route)
    excluded = {exclusion.deployment: exclusion.reason for exclusion in plan.excluded}
    assert "ANTHROPIC_API_KEY" in excluded["anthropic/claude-sonnet-5-5"]


async def test_the_same_inputs_give_the_same_plan(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        plans = [await world.router.plan(ask(CODING)) for _ in range(3)]

    assert plans[0] == plans[1] == plans[2]


async def test_when_everything_is_cooling_the_least_bad_gets_one_probe(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        xai = world.providers["xai"]
        for number in range(3):
            xai.script(*[ServerError(500)] * 3)
            with pytest.raises(errors.AllAttemptsFailed):
                await world.router.complete(ask(f"Question {number}?", provider="xai", model="grok-4.7"))

        completion = await world.router.complete(ask(provider="xai", model="grok-4.7"))

    assert "probe" in completion.reason


async def test_a_rate_limited_provider_is_left_in_peace_and_the_caller_told_when_to_come_back(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["xai"].script(Reply(429, headers={"retry-after": "3600"}))
        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(provider="xai"))

        with pytest.raises(errors.NoRoute) as caught:
            await world.router.complete(ask(provider="xai"))

    assert len(world.calls) == 1
    assert caught.value.retry_after_s == pytest.approx(3600, abs=1)


async def test_no_key_is_in_any_file_error_or_result(tmp_path: Path) -> None:
    said: list[str] = []
    async with open_world(tmp_path) as world:
        for provider in world.providers.providers.values():
            provider.script(
                Reply(401, body=f'{{"error":{{"message":"bad key {provider.key}","code":"{provider.key}"}}}}')
            )
            try:
                await world.router.complete(ask(provider=provider.name))
            except RouterError as error:
                said += [str(error), repr(error)]
        said.append(repr(await world.router.provider_status()))
        said.append(repr(world.router.config))

    written = everything_in(tmp_path)
    for provider in world.providers.providers.values():
        if provider.vendor.key_env:
            assert provider.key.encode() not in written
            assert not any(provider.key in text for text in said)


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def overlapping(world: World, count: int) -> int:
    """How many of `count` different requests, all at once, were answered."""
    answered = 0

    async def one(number: int) -> None:
        nonlocal answered
        try:
            await world.router.complete(ask(f"Question {number}?", task="general_chat", provider="openrouter"))
            answered += 1
        except errors.BudgetExceeded:
            pass

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return answered


async def test_requests_at_the_same_moment_cannot_overspend_a_budget(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.005") as world:
        world.providers["openrouter"].latency_s = 0.05

        answered = await overlapping(world, 12)
        report = await world.router.cost_report()

    assert 0 < answered < 12
    assert world.providers["openrouter"].most_in_flight > 1
    assert report.total.spent_nusd <= 5_000_000


async def test_names_are_checked_before_the_cache_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask(CODING))

        with pytest.raises(errors.InvalidRequest, match="nope"):
            await world.router.complete(ask(CODING, fallback_providers=("nope",)))


@pytest.mark.parametrize("model", ["../../../v1/files", "gpt-6-luna\nERROR forged", "a/../b", "two words", "x" * 300])
async def test_what_cannot_be_a_model_is_never_sent_or_logged(tmp_path: Path, model: str) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.InvalidRequest) as caught:
            await world.router.complete(ask(provider="ollama", model=model))

    assert model not in str(caught.value)
    assert world.calls == []


async def test_one_flagged_prompt_does_not_take_a_provider_from_everybody(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openrouter"].script(Reply(403))
        await world.router.complete(ask("A prompt that a moderator flags.", task="general_chat"))

        completion = await world.router.complete(ask("A harmless one.", task="general_chat"))

    assert completion.provider == "openrouter"


async def test_a_404_about_the_request_does_not_retire_a_model_that_the_provider_still_lists(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openrouter"].script(Reply(404, body='{"error":{"message":"no endpoints","code":404}}'))
        first = await world.router.complete(ask("Use what you cannot.", task="general_chat"))

        second = await world.router.complete(ask("Something else.", task="general_chat"))

    assert [attempt.outcome for attempt in first.attempts] == ["permission_refused", "ok"]
    assert second.provider == "openrouter"


async def test_a_bad_request_blames_nobody_when_the_list_is_out_of_order_too(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["together"].script(Reply(400))
        world.providers["together"].script_probes(Reply(400))
        with pytest.raises(errors.AllAttemptsFailed, match="malformed"):
            await world.router.complete(ask(provider="together"))

        completion = await world.router.complete(ask("Again.", provider="together"))

    assert completion.provider == "together"


async def test_one_prompt_that_a_model_stumbles_over_takes_it_from_nobody_else(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(*[ServerError(500)] * 3)
        await world.router.complete(ask(CODING))

        completion = await world.router.complete(ask(CODING + " Again."))

    assert completion.provider == "deepseek"


async def test_the_daily_quota_of_one_model_leaves_the_providers_others_in_service(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openrouter"].script(Reply(429, headers={"retry-after": "80000"}))
        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(provider="openrouter", model="gpt-6-luna"))

        completion = await world.router.complete(ask(provider="openrouter", model="claude-sonnet-5-5"))

    assert completion.provider == "openrouter"


async def test_a_number_in_a_citation_or_an_image_is_not_passed_on(tmp_path: Path) -> None:
    picture = Message("user", (Text("What is this?"), Image(data="536-90-4399", media_type="image/png")))
    async with open_world(tmp_path) as world:
        with pytest.raises(errors.GuardrailBlocked):
            await world.router.complete(CompletionRequest(messages=(picture,)))

    checked = Guardrails(given_rules(ssn="redact", credit_card="redact")).check_answer(
        Answer(text="See there.", citations=(Citation("https://example.com/536-90-4399", "Of 536-90-4399"),))
    )
    assert world.calls == []
    assert "536-90-4399" not in repr(checked)


async def test_a_wait_of_years_is_not_believed(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["xai"].script(Reply(429, headers={"retry-after": "99999999"}))
        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask(provider="xai"))
        world.clock.advance(2 * 86_400)

        completion = await world.router.complete(ask(provider="xai"))

    assert completion.provider == "xai"


async def test_a_refused_key_is_not_tried_again_with_the_same_providers_next_model(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openrouter"].script(Reply(401))

        completion = await world.router.complete(ask("Think hard.", task="complex_reasoning"))

    assert [attempt.provider for attempt in completion.attempts] == ["openrouter", "deepseek"]


async def test_an_answer_that_broke_off_is_handed_over_as_far_as_it_came_with_the_cause(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Cut(after_events=2))

        with pytest.raises(errors.AllAttemptsFailed, match="broke off") as caught:
            await world.router.complete(ask(CODING), on_progress=nobody)

    assert caught.value.partial_text.startswith("[simulated deepseek")
    assert world.calls == ["deepseek"]
    assert sum(attempt.cost_nusd for attempt in caught.value.attempts) >= world.providers.billed_nusd > 0


async def test_what_failed_before_is_said_with_what_ended_the_request(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openrouter"].script(*[ServerError(500)] * 3)

        with pytest.raises(errors.BudgetExceeded, match="server error"):
            await world.router.complete(ask(provider="openrouter", model="gpt-6-luna", max_cost_nusd=3_000_000))


async def test_who_was_passed_over_for_its_health_is_said(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Reply(401))
        await world.router.complete(ask(CODING))

        completion = await world.router.complete(ask(CODING + " Again."))

    assert any(note.startswith("deepseek/deepseek-flash was passed over") for note in completion.notes)


async def test_a_clock_set_back_loses_no_answer(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(hang)
        answers: list[str] = []

        async def one() -> None:
            answers.append((await world.router.complete(ask(CODING))).answer.text)

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            await hang.reached.wait()
            world.clock.set_wall_back(5)
            hang.release()

    assert len(answers) == 1
