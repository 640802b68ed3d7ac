"""The user's own routing rules: which requests they match, what they change, and mistakes found at the start."""

import datetime as dt
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router import errors
from orchestra_router.config import Config, load
from orchestra_router.errors import ConfigError
from orchestra_router.policy import user_rules
from orchestra_router.routing_rules import Rule, shadowed
from orchestra_router.types import CompletionRequest, Scope
from worlds import ask, open_world

CATALOG = load(MappingProxyType({"ORCHESTRA_HOME": "/nowhere"})).catalog
SUNDAY_23_30_UTC = 1_795_390_200_000  # 2026-11-22T23:30Z; in Berlin it is half past midnight on Monday


def configured(home: Path, text: str) -> Config:
    home.mkdir(exist_ok=True)
    (home / "orchestra.toml").write_text(text, encoding="utf-8")
    return load({"ORCHESTRA_HOME": str(home)})


def refusal(home: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(home, text)
    return str(caught.value)


def rule(name: str, when: str = "", *more: str) -> str:
    return "\n".join(["[[rules]]", f'name = "{name}"', f"when = {{ {when} }}", *more, ""])


def met(config: Config, request: CompletionRequest, *, now_ms: int = SUNDAY_23_30_UTC) -> str:
    _, found = user_rules.with_rule(request, config, now_ms=now_ms)
    return found.name if found is not None else ""


# --- matching ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "request_", "matches"),
    [
        ('task = "coding"', ask(task="coding"), True),
        ('task = ["coding", "web_search"]', ask(task="general_chat"), False),
        ('metadata = { app = ["docs", "wiki"] }', ask(metadata={"app": "wiki"}), True),
        ('metadata = { app = "docs", env = "prod" }', ask(metadata={"app": "docs"}), False),
        ("min_prompt_tokens = 100", ask("word " * 100), True),
        ("min_prompt_tokens = 100", ask("word " * 10), False),
        ("max_prompt_tokens = 100", ask("word " * 100), False),
        ('user = "ada"', ask(scope=Scope(user="ada")), True),
        ('user = "ada"', ask(scope=Scope(user="bob")), False),
        ('session = "s"', ask(scope=Scope(session="s")), True),
        ('access_key = "k"', ask(scope=Scope(access_key="k")), True),
        ('hours = "22:00-06:00"', ask(), True),
        ('hours = "00:30-06:00"', ask(), True),
        ('hours = "22:00-00:30"', ask(), False),
        ('hours = "18:00-24:00"', ask(), False),
        ('weekdays = "mon"', ask(), True),
        ('weekdays = ["sat", "sun"]', ask(), False),
        ('weekdays = "mon", hours = "22:00-06:00"', ask(), True),
    ],
)
def test_a_rule_matches_what_it_says_at_the_time_of_the_configured_zone(
    tmp_path: Path, when: str, request_: CompletionRequest, *, matches: bool
) -> None:
    config = configured(tmp_path, 'timezone = "Europe/Berlin"\n' + rule("mine", when))

    assert met(config, request_) == ("mine" if matches else "")


def test_the_first_rule_that_matches_counts(tmp_path: Path) -> None:
    config = configured(tmp_path, rule("one", 'task = "coding"') + rule("two", 'user = "ada"') + rule("rest"))

    assert met(config, ask(task="coding", scope=Scope(user="ada"))) == "one"
    assert met(config, ask(task="general_chat", scope=Scope(user="ada"))) == "two"
    assert met(config, ask(task="general_chat")) == "rest"


def test_a_rule_sets_what_the_caller_left_open_and_only_lowers_a_cap(tmp_path: Path) -> None:
    config = configured(tmp_path, rule("mine", "", 'strategy = "cheapest"', 'effort = "low"', "max_cost_usd = 0.01"))

    open_one, _ = user_rules.with_rule(ask(), config, now_ms=0)
    asked, _ = user_rules.with_rule(ask(strategy="fastest", effort="high", max_cost_nusd=5), config, now_ms=0)

    assert (open_one.strategy, open_one.effort, open_one.max_cost_nusd) == ("cheapest", "low", 10_000_000)
    assert (asked.strategy, asked.effort, asked.max_cost_nusd) == ("fastest", "high", 5)


# --- what it does to a route ---------------------------------------------------------------------------------


async def test_what_a_rule_prefers_is_asked_first_and_the_answer_names_the_rule(tmp_path: Path) -> None:
    text = rule("big prompts", 'task = "coding"', 'prefer = ["anthropic/claude-opus-5-5", "xai"]')
    async with open_world(tmp_path, toml=text) as world:
        plan = await world.router.plan(ask(task="coding"))
        completion = await world.router.complete(ask(task="coding"))

    keys = [candidate.deployment.key for candidate in plan.route]
    assert plan.rule == "big prompts"
    assert keys[:3] == ["anthropic/claude-opus-5-5", "xai/grok-build-0.1", "deepseek/deepseek-flash"]
    assert completion.model == "claude-opus-5-5"
    assert "'big prompts'" in completion.reason


@pytest.mark.parametrize(
    ("action", "providers"),
    [
        ('require = ["anthropic", "together"]', {"anthropic", "together"}),
        ('require = ["gpt-6.2-astra"]', {"openai"}),
        ('require = ["deepseek-flash"]\nexclude = ["openrouter", "together"]', {"deepseek"}),
    ],
)
async def test_what_a_rule_requires_or_excludes_holds_with_any_strategy_and_is_explained(
    tmp_path: Path, action: str, providers: set[str]
) -> None:
    async with open_world(tmp_path, toml=rule("mine", "", action)) as world:
        for strategy in ("task", "weighted", "cheapest", "fastest", "escalate"):
            plan = await world.router.plan(ask(task="coding", strategy=strategy))

            assert {candidate.deployment.provider.name for candidate in plan.route} == providers
            assert any("the rule 'mine'" in item.reason for item in plan.excluded)


async def test_a_callers_pin_does_not_get_around_a_rule(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml=rule("no xai", "", 'exclude = "xai"')) as world:
        with pytest.raises(errors.NoRoute, match="excluded by the rule 'no xai'"):
            await world.router.complete(ask(provider="xai"))

    assert world.calls == []


async def test_with_cheapest_what_is_preferred_still_comes_first(tmp_path: Path) -> None:
    text = rule("mine", "", 'prefer = "anthropic"', 'strategy = "cheapest"')
    async with open_world(tmp_path, toml=text) as world:
        plan = await world.router.plan(ask(task="coding"))

    providers = [candidate.deployment.provider.name for candidate in plan.route]
    assert plan.strategy == "cheapest"
    assert providers[0] == "anthropic"
    assert "anthropic" not in providers[providers.index("openrouter") :]


# --- mistakes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (rule("a", 'task = "codign"'), 3, "names a task that does not exist; did you mean `coding`?"),
        (
            rule("a", "", 'prefer = ["openia"]'),
            4,
            "neither a provider nor a model of the catalog; did you mean `openai`?",
        ),
        (rule("a", "", 'require = ["anthropic/gpt-6-luna"]'), 4, "neither a provider nor a model"),
        (rule("a", 'hours = "08:00-08:00"'), 3, "begins and ends at the same time"),
        (rule("a", 'hours = "8-25"'), 3, 'must be like "22:00-06:00"'),
        (rule("a", 'weekdays = ["monday"]'), 3, "must be one of 'mon'"),
        (rule("a", "task = []"), 3, "is empty, so nothing can match"),
        (rule("a", "min_prompt_tokens = 10, max_prompt_tokens = 9"), 3, "is above `max_prompt_tokens`"),
        (rule("a", "", 'require = "xai"', 'exclude = "xai"'), 4, "is excluded by the same rule"),
        (rule("a", "", 'prefer = "xai"', 'exclude = "xai"'), 4, "names what the same rule excludes"),
        (rule("a", "", 'prefer = "xai"', 'require = "openai"'), 4, "not among what the same rule requires"),
        (rule("a", "", 'preferr = "xai"'), 4, "is not known; did you mean `prefer`?"),
        (rule("a", 'taks = "coding"'), 3, "is not known; did you mean `task`?"),
        (rule("a", "", 'strategy = "nicest"'), 4, "must be one of 'task'"),
        ("[[rules]]\nprefer = ['xai']\n", 1, "`rules[0].name` is missing"),
        (rule("a", 'task = "coding"') + rule("a"), 5, "is the name of an earlier rule too"),
        ("[rules]\nname = 'x'\n", 1, "write [[rules]] above each rule"),
        (rule("all") + rule("late", 'task = "coding"'), 4, "'late') can never match, for 'all' before it takes"),
        (
            rule("week", 'weekdays = ["mon", "tue", "wed", "thu", "fri"]')
            + rule("end", 'weekdays = ["sat", "sun"]')
            + rule("late", 'task = "coding"'),
            7,
            "'late') can never match, for 'week' and 'end' before it take",
        ),
        (
            rule("night", 'hours = "20:00-07:00"') + rule("late", 'hours = "22:00-06:00", user = "ada"'),
            4,
            "'late') can never match, for 'night'",
        ),
        (
            rule("short", "max_prompt_tokens = 500")
            + rule("tiny", 'max_prompt_tokens = 100, metadata = { app = "x" }'),
            4,
            "'tiny') can never match",
        ),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_line_and_the_way_out(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    message = refusal(tmp_path, text)

    assert says in message
    assert f"orchestra.toml:{line}:" in message


def test_the_line_is_that_of_the_rule_and_not_of_another_like_it(tmp_path: Path) -> None:
    text = (
        rule("one", 'task = "coding"', 'prefer = "xai"') + "[[rules]]\nname = 'two'\n[rules.when]\ntask = 'nothing'\n"
    )

    message = refusal(tmp_path, text)

    assert "orchestra.toml:8: `rules[1].when.task`" in message


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "task": st.sampled_from([None, '"coding"', '["coding", "general_chat"]']),
    "weekdays": st.sampled_from([None, '"mon"', '["mon", "tue", "wed", "thu", "fri"]', '["sat", "sun"]']),
    "hours": st.sampled_from([None, '"08:00-18:00"', '"18:00-08:00"', '"09:00-10:00"']),
    "max_prompt_tokens": st.sampled_from([None, "10", "1000"]),
    "user": st.sampled_from([None, '"ada"', '["ada", "bob"]']),
}


@given(whens=st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=5), data=st.data())
def test_a_rule_called_unreachable_is_reached_by_no_request(
    whens: list[dict[str, str | None]], data: st.DataObject
) -> None:
    text = ""
    for number, when in enumerate(whens):
        text += rule(f"r{number}", ", ".join(f"{field} = {value}" for field, value in when.items() if value))
    parsed = [Rule.model_validate(row) for row in tomllib.loads(text)["rules"]]
    dead = set(shadowed(parsed, CATALOG))

    request = ask(
        "x" * data.draw(st.sampled_from([4, 400, 40_000])),
        task=data.draw(st.sampled_from(["coding", "general_chat", "web_search"])),
        scope=Scope(user=data.draw(st.sampled_from(["", "ada", "bob"]))),
    )
    moment = dt.datetime(2026, 11, 22, tzinfo=dt.UTC) + dt.timedelta(minutes=data.draw(st.integers(0, 7 * 1440)))
    found = user_rules.first_match(parsed, request, moment)

    assert found is None or parsed.index(found) not in dead
