"""What is kept between plans changes no plan: not its order, not a word of it, not a billionth of its prices."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clocks import FakeClock
from orchestra_router.config import Config, load
from orchestra_router.deployments import Deployment
from orchestra_router.errors import RouterError
from orchestra_router.policy import routing
from orchestra_router.policy.breaker import targets
from orchestra_router.policy.headroom import limited
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.learning import Learned
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.policy.survey import MOST_KEPT, Surveys
from orchestra_router.pricing import Pricing
from orchestra_router.store.health_records import HealthRow
from orchestra_router.store.learned_records import LearnedRows, SeenRow
from orchestra_router.types import Allowance, CompletionRequest, Limits, Message, Scope, Strategy, Text, Tool

NOW_MS = FakeClock().now_ms()
DAY_MS = 86_400_000
VARIABLES = ("OPENROUTER_API_KEY", "DEEPSEEK_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY_2", "GOOGLE_API_KEY")
RULES = """
[[rules]]
name = "quiet"
when = { task = "coding" }
prefer = ["anthropic"]
exclude = ["gemini"]

[[rules]]
name = "strict"
require = ["openrouter", "deepseek"]

[models."gpt-6-luna"]
retires = 2026-11-27
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    home = tmp_path_factory.mktemp("home")
    (home / "orchestra.toml").write_text(RULES, encoding="utf-8")
    return load({"ORCHESTRA_HOME": str(home)} | {name: f"key-of-{name}" for name in VARIABLES})


STRATEGIES: list[Strategy | None] = [None, "task", "weighted", "cheapest", "fastest", "escalate"]
LISTS: list[dict[str, tuple[str, ...]]] = [{}, {"ollama": ("qwen3:8b",)}, {"ollama": ("llama4", "qwen3:8b")}]


@st.composite
def requests(draw: st.DrawFn) -> CompletionRequest:
    prompt = draw(st.sampled_from(["Hi", "Prove it. " * 300, "Много слов. " * 60_000]))
    limits = draw(
        st.sampled_from([Limits(), Limits(providers=("open*", "anthropic")), Limits(models=("claude*", "gpt*"))])
    )
    return CompletionRequest(
        messages=(Message("user", (Text(prompt),)),),
        scope=Scope(limits=limits),
        task=draw(st.sampled_from(["coding", "general_chat", "web_search", None])),
        provider=draw(st.sampled_from([None, None, None, "anthropic", "google", "ollama", "xai"])),
        model=draw(st.sampled_from([None, None, None, "claude-sonnet-5-5", "gpt-3.5-turbo", "gpt-6-luna", "some/new"])),
        fallback_providers=draw(st.sampled_from([None, None, None, ("deepseek",), ("openrouter", "ollama"), ("who",)])),
        strategy=draw(st.sampled_from(STRATEGIES)),
        max_tokens=draw(st.sampled_from([16, 4_096, 500_000])),
        web_search=draw(st.sampled_from([False, False, True])),
        tools=draw(st.sampled_from([(), (), (Tool("find", "Finds.", {}),)])),
        max_cost_nusd=draw(st.sampled_from([None, None, 2_000_000, 1])),
    )


def places(config: Config) -> list[Deployment]:
    return [place for name in config.catalog.hierarchy for place in config.catalog.deployments_at(name)]


@st.composite
def healths(draw: st.DrawFn, config: Config, now_ms: int) -> HealthView:
    """Breakers in every state, and rate limits, of a few deployments."""
    rows: dict[str, HealthRow] = {}
    allowances: dict[str, tuple[Allowance, ...]] = {}
    known = places(config)
    for number in draw(st.lists(st.integers(0, len(known) - 1), max_size=4)):
        place = known[number]
        fingerprint = draw(st.sampled_from(config.keys.fingerprints(place.provider.name)))
        target = draw(st.sampled_from(targets(place, fingerprint=fingerprint)))
        until_ms = draw(st.sampled_from([None, now_ms - 1, now_ms, now_ms + 400, now_ms + 90_000]))
        rows[target] = HealthRow(
            target=target,
            cause=draw(st.sampled_from(["rate_limited", "server_error", "model_gone", "headroom"])),
            since_ms=now_ms - 1_000,
            until_ms=until_ms,
            trips=1,
            catalog=draw(st.sampled_from(["", config.catalog.version])),
            closed=draw(st.booleans()),
            probe_id=draw(st.sampled_from(["", "p"])),
            probe_until_ms=draw(st.sampled_from([0, now_ms + 5_000])),
        )
        if draw(st.booleans()):
            reset_ms = now_ms + draw(st.sampled_from([-1, 700, 30_000]))
            left = Allowance(kind="requests", remaining=draw(st.sampled_from([0, 1])), most=100, reset_ms=reset_ms)
            allowances[limited(place, fingerprint=fingerprint)] = (left,)
    return HealthView(rows, now_ms, config.catalog.version, allowances)


def seen(config: Config, ms: int) -> Learned:
    rows = [
        SeenRow(
            task=task,
            provider=place.provider.name,
            model=place.model.name,
            answered=1,
            attempts=30,
            latency_ms=30 * (ms + number),
            cost_nusd=30 * (number % 3),
            output_tokens=30 * (50 + number),
        )
        for number, place in enumerate(places(config))
        for task in ("coding", "general_chat")
        if (number + ms) % 3
    ]
    return Learned(LearnedRows(tuple(rows), ()))


def outcome(
    request: CompletionRequest, around: Surroundings, rule: str | None, surveys: Surveys | None
) -> tuple[object, ...]:
    """The plan, or what is said in its place."""
    chosen = next((each for each in around.config.rules if each.name == rule), None)
    try:
        return (routing.plan(request, around, task_reason="", search_is_implied=True, rule=chosen, surveys=surveys),)
    except RouterError as error:
        return type(error), str(error), error.retry_after_s


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_plan_is_the_same_with_what_was_kept_and_without(config: Config, data: st.DataObject) -> None:
    surveys, pricing = Surveys(), Pricing.of(config.settings)
    knowledge = [Learned(), seen(config, 100), seen(config, 101)]
    asked = data.draw(st.lists(requests(), min_size=1, max_size=3))
    for _ in range(4):
        now_ms = NOW_MS + data.draw(
            st.sampled_from([0, 1, 700, 30_000, 1_800_000, 4 * 3_600_000, 3 * DAY_MS, 9 * DAY_MS])
        )
        around = Surroundings(
            config=config,
            pricing=pricing,
            health=data.draw(healths(config, now_ms)),
            local=data.draw(st.sampled_from(LISTS)),
            learned=data.draw(st.sampled_from(knowledge)),
        )
        request = data.draw(st.sampled_from(asked))
        rule = data.draw(st.sampled_from([None, None, "quiet", "strict"]))

        kept = outcome(request, around, rule, surveys)
        fresh = outcome(request, replace(around, pricing=Pricing.of(config.settings)), rule, None)

        assert kept == fresh


def test_a_model_that_retires_tomorrow_is_asked_until_then(config: Config) -> None:
    surveys, pricing = Surveys(), Pricing.of(config.settings)
    request = CompletionRequest(messages=(Message("user", (Text("Hi"),)),), task="general_chat")

    def asks(day: int) -> set[str]:
        health = HealthView({}, NOW_MS + day * DAY_MS, "")
        around = Surroundings(config=config, pricing=pricing, health=health, local={})
        plan = routing.plan(request, around, task_reason="", surveys=surveys)
        return {candidate.deployment.model.name for candidate in plan.route}

    assert ["gpt-6-luna" in asks(day) for day in (0, 0, 9, 0)] == [True, True, False, True]


def test_names_of_models_that_nobody_knows_do_not_fill_the_memory(config: Config) -> None:
    surveys, pricing = Surveys(), Pricing.of(config.settings)
    around = Surroundings(config=config, pricing=pricing, health=HealthView({}, NOW_MS, ""), local={})

    for number in range(2 * MOST_KEPT):
        asked = CompletionRequest(
            messages=(Message("user", (Text("Hi"),)),), provider="openrouter", model=f"someone/new-{number}"
        )
        outcome(asked, around, None, surveys)

    assert surveys.kept == MOST_KEPT


def test_an_order_that_the_caller_names_stands_whatever_was_learned(config: Config) -> None:
    surveys, pricing = Surveys(), Pricing.of(config.settings)
    failing = SeenRow(
        task="general_chat",
        provider="openrouter",
        model="claude-sonnet-5-5",
        answered=0,
        attempts=30,
        latency_ms=30,
        cost_nusd=0,
        output_tokens=0,
    )
    around = Surroundings(
        config=config,
        pricing=pricing,
        health=HealthView({}, NOW_MS, ""),
        local={},
        learned=Learned(LearnedRows((failing,), ())),
    )

    def asked(*fallbacks: str) -> list[str]:
        request = CompletionRequest(
            messages=(Message("user", (Text("Hi"),)),),
            task="general_chat",
            model="claude-sonnet-5-5",
            fallback_providers=fallbacks or None,
        )
        plan = routing.plan(request, around, task_reason="", surveys=surveys)
        return [candidate.deployment.provider.name for candidate in plan.route][:2]

    assert [asked(), asked("deepseek"), asked()] == [
        ["anthropic", "openrouter"],
        ["openrouter", "anthropic"],
        ["anthropic", "openrouter"],
    ]
