"""Budgets of one user, key and task: what a caller meets when they run short."""

import contextlib
import re
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestra_router.config import load
from orchestra_router.deployments import Candidate, Figures
from orchestra_router.errors import AllAttemptsFailed, BudgetExceeded, ConfigError
from orchestra_router.policy.access import Caller
from orchestra_router.policy.ledger import Reservation
from orchestra_router.simulation import Reply, Says, ServerError
from orchestra_router.types import Scope
from worlds import World, ask, open_world


def user(name: str) -> Caller:
    return Caller(Scope(user=name), "admin")


async def spend(world: World, amount_nusd: int, *, task: str = "coding") -> None:
    """An answer that turns out to cost this much."""
    deployment = world.router.config.catalog.deployments_at("openrouter")[0]
    candidate = Candidate(deployment=deployment, reason="", quote=Figures(worst_nusd=amount_nusd))
    ledger = world.router._ledger  # pyright: ignore[reportPrivateUsage]
    async with ledger.reserve(
        candidate, ask(task=task), request_id="before", number=1, spent_nusd=0, seconds_left=9, waited_s=0
    ) as reservation:
        reservation.reported_nusd = amount_nusd
        reservation.sending()


def at(text: str) -> str:
    return f'\n[budgets.task.coding]\nday_usd = 1\nat = {{ {text}, 100 = "refuse" }}\n'


async def spent_of(world: World, holder: str) -> int:
    return (await world.router.store.spent(holder, "2026-11-23")).spent_nusd


async def test_a_task_has_a_budget_of_its_own_and_other_tasks_go_on(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml="\n[budgets.task.coding]\nday_usd = 0\n") as world:
        with pytest.raises(BudgetExceeded, match="daily budget of the task coding"):
            await world.router.complete(ask(task="coding", provider="deepseek"))
        completion = await world.router.complete(ask(task="general_chat"))

        assert completion.cost_nusd == await spent_of(world, "task:general_chat") > 0
        assert await spent_of(world, "task:coding") == 0


async def test_each_user_has_the_budget_of_each_and_one_may_have_another(tmp_path: Path) -> None:
    toml = '\n[budgets.user."*"]\nday_usd = 0\n[budgets.user.ada]\nday_usd = 1\n'
    async with open_world(tmp_path, toml=toml) as world:
        with pytest.raises(BudgetExceeded, match="daily budget of user bob"):
            await world.router.complete(ask(provider="deepseek"), caller=user("bob"))
        completion = await world.router.complete(ask(), caller=user("ada"))

    assert completion.answer.text


async def test_an_access_key_may_have_a_budget_for_the_month(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml="\n[budgets.key.local]\nmonth_usd = 0\n") as world:
        with pytest.raises(BudgetExceeded, match=r"monthly budget of access key local \(2026-11\)"):
            await world.router.complete(ask(provider="deepseek"))


async def test_from_the_chosen_percentage_on_the_cheapest_model_of_the_task_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml=at('90 = "downgrade"')) as world:
        before = await world.router.plan(ask(task="coding"))
        await spend(world, 899_000_000)
        just_below = await world.router.plan(ask(task="coding"))
        await spend(world, 1_000_000)
        after = await world.router.complete(ask(task="coding"))

    cheapest = min(before.route, key=lambda candidate: candidate.expected_nusd)
    assert just_below.route == before.route
    assert after.attempts[0].deployment == cheapest.deployment.key != before.route[0].deployment.key
    assert any("daily budget of the task coding (2026-11-23) runs short" in note for note in after.notes)


async def test_a_model_that_the_caller_named_is_not_exchanged_for_a_cheaper_one(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml=at('1 = "downgrade"')) as world:
        await spend(world, 500_000_000)
        completion = await world.router.complete(ask(task="coding", model="claude-opus-5-5", max_tokens=50))

    assert completion.model == "claude-opus-5-5"


async def test_rather_than_refused_a_call_is_downgraded_before_its_percentage_too(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml=at('99 = "downgrade"')) as world:
        route = (await world.router.plan(ask(task="coding"))).route
        cheapest = min(route, key=lambda candidate: candidate.expected_nusd)
        assert cheapest.worst_nusd < route[0].worst_nusd
        await spend(world, 1_000_000_000 - cheapest.worst_nusd)
        completion = await world.router.complete(ask(task="coding"))

    assert completion.attempts[0].deployment == cheapest.deployment.key


@pytest.mark.parametrize("trouble", [Says(text="I'm sorry, but I can't help with that."), Says(text=""), Reply(401)])
async def test_past_its_percentage_nobody_takes_over_from_the_cheap_model_of_an_escalation(
    tmp_path: Path, trouble: Says | Reply
) -> None:
    request = ask("Write a Python function that parses a date.", task="coding", strategy="escalate")
    async with open_world(tmp_path, toml=at('50 = "downgrade"')) as world:
        world.providers["ollama"].script_probes(*[Reply(500)] * 9)  # whose answers are free
        cheap, strong = (await world.router.plan(request)).route[:2]
        assert (cheap.step, strong.step) == ("cheap", "strong")
        await spend(world, 500_000_000)
        world.providers[cheap.deployment.provider.name].script(trouble)

        with contextlib.suppress(AllAttemptsFailed):
            await world.router.complete(request)
        route = (await world.router.plan(request)).route

    assert world.calls[:1]
    assert strong.deployment.provider.name not in world.calls
    assert all(candidate.expected_nusd < strong.expected_nusd for candidate in route)


async def test_a_budget_that_only_warns_refuses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    toml = '\n[budgets.task.coding]\nday_usd = 0.000001\nat = { 50 = "warn", 200 = "warn" }\n'
    async with open_world(tmp_path, toml=toml) as world:
        await world.router.complete(ask("One.", task="coding"))
        await world.router.complete(ask("Two.", task="coding"))

    assert [record.message for record in caplog.records if "budget" in record.message] == [
        "50 % of the daily budget of the task coding (2026-11-23), $0.000001, is spent",
        "200 % of the daily budget of the task coding (2026-11-23), $0.000001, is spent",
    ]


@pytest.mark.parametrize("left_nusd", [2_000_000, 20_000_000, 60_000_000])
async def test_the_call_that_a_refusal_says_would_fit_does_fit(tmp_path: Path, left_nusd: int) -> None:
    async with open_world(tmp_path, toml="\n[budgets.task.creative_writing]\nday_usd = 1\n") as world:
        await spend(world, 1_000_000_000 - left_nusd, task="creative_writing")
        request = ask("Hi.", task="creative_writing", provider="openrouter")
        with pytest.raises(BudgetExceeded) as refused:
            await world.router.complete(request)

        found = re.search(r"would pay for a call to (\S+) at (\S+) with max_tokens ([\d,]+)\.", str(refused.value))
        assert found, refused.value
        tokens = int(found[3].replace(",", ""))
        fitting = ask("Hi.", task="creative_writing", model=found[1], provider=found[2], max_tokens=tokens)
        completion = await world.router.complete(fitting)

    assert (completion.model, completion.provider) == (found[1], found[2])
    assert 16 <= tokens < 4096


async def test_a_free_model_further_down_is_asked_when_money_is_short(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.0001") as world:
        completion = await world.router.complete(ask("Hi."))

    assert (completion.provider, completion.cost_nusd) == ("ollama", 0)


async def test_where_nothing_is_left_no_call_is_said_to_fit(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0") as world:
        with pytest.raises(BudgetExceeded, match=r"The \$0.00 that is left pays for no call to anybody on this route."):
            await world.router.complete(ask("Hi.", provider="deepseek"))


async def test_the_report_shows_every_budget_that_has_a_name(tmp_path: Path) -> None:
    toml = '\n[budgets.user.ada]\nday_usd = 1\n[budgets.task."*"]\nday_usd = 1\n[budgets.task.coding]\nmonth_usd = 2\n'
    async with open_world(tmp_path, toml=toml) as world:
        report = await world.router.cost_report()

    assert [(budget.holder, budget.period) for budget in report.budgets] == [
        ("global", "2026-11-23"),
        ("global", "2026-11"),
        ("user:ada", "2026-11-23"),
        ("task:coding", "2026-11-23"),
        ("task:coding", "2026-11"),
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(percent=st.integers(1, 100), cents=st.integers(0, 200))
async def test_warnings_come_at_their_percentage_and_not_before(tmp_path: Path, percent: int, cents: int) -> None:
    home = tmp_path / f"{percent}-{cents}"
    home.mkdir(exist_ok=True)
    (home / "orchestra.db").unlink(missing_ok=True)
    toml = f'\n[budgets.task.coding]\nday_usd = 2\nat = {{ {percent} = "warn" }}\n'
    async with open_world(home, toml=toml) as world:
        await spend(world, cents * 10_000_000)
        alerts = await world.router.store.alerts(first_day="2026-11-23", last_day="2026-11-23")

    warned = [alert for alert in alerts if alert["kind"] == "budget" and alert["holder"] == "task:coding"]
    assert len(warned) == (cents > 0 and cents >= 2 * percent)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[budgets.task.codnig]\nday_usd = 1", "does not exist; did you mean `coding`?"),
        ("[budgets.user.ada]\nday_eur = 1", "`budgets.user.ada.day_eur` is not known"),
        ('[budgets]\nat = { 120 = "refuse" }', "must refuse at 100 at the latest"),
        ('[budgets]\nat = { 80 = "shout" }', "must be one of 'warn', 'downgrade' or 'refuse'"),
        ("[budgets.user.ada]\nday_usd = -1", "greater than or equal to 0"),
        ("budgets = 5", "`budgets` must be a table"),
    ],
)
def test_a_wrong_budget_is_explained(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "orchestra.toml").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as refused:
        load({"ORCHESTRA_HOME": str(tmp_path)})

    assert words in str(refused.value)


def test_budgets_can_come_as_json_from_the_environment(tmp_path: Path) -> None:
    environ = {"ORCHESTRA_HOME": str(tmp_path), "ORCHESTRA_BUDGETS": '{"user": {"ada": {"day_usd": 0.1}}}'}

    assert str(load(environ).settings.budgets.of("user", "ada").day_usd) == "0.1"
    with pytest.raises(ConfigError, match="must be JSON there"):
        load(environ | {"ORCHESTRA_BUDGETS": "user=ada"})


async def test_a_call_waits_a_little_for_money_that_calls_in_flight_may_not_need(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.5") as world:
        deployment = world.router.config.catalog.deployments_at("openrouter")[0]
        dear = Candidate(deployment=deployment, reason="", quote=Figures(worst_nusd=300_000_000))
        ledger = world.router._ledger  # pyright: ignore[reportPrivateUsage]

        def reserve() -> AbstractAsyncContextManager[Reservation]:
            return ledger.reserve(dear, ask(), request_id="r", number=1, spent_nusd=0, seconds_left=60, waited_s=0)

        async with reserve() as first:
            with pytest.raises(BudgetExceeded) as refused:
                async with reserve():
                    pass
            waited_s = sum(world.clock.slept)
            first.sending()
            first.reported_nusd = 1_000_000
        async with reserve() as second:
            pass

    assert refused.value.in_flight
    assert waited_s == pytest.approx(5, abs=0.1)
    assert second.waited_ms == 0


# --- what is cheap enough is still asked -------------------------------------------------------------------------

CODE = "Write a Python function that adds two numbers."


async def test_after_a_failure_the_cap_stops_only_what_it_cannot_pay_for(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        first = (await world.router.plan(ask(CODE))).route[0]
        world.providers[first.deployment.provider.name].script(*[ServerError()] * 5)

        completion = await world.router.complete(ask(CODE, max_cost_nusd=first.worst_nusd))

        assert completion.provider == "ollama"
        assert completion.cost_nusd <= first.worst_nusd
        assert any("passed over: it may cost more than there is money left for" in note for note in completion.notes)


async def test_a_budget_that_cannot_pay_for_the_first_pays_for_a_cheaper_one_further_down(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.003") as world:
        route = (await world.router.plan(ask(CODE))).route
        first_that_fits = next(candidate for candidate in route if candidate.worst_nusd <= 3_000_000)

        completion = await world.router.complete(ask(CODE))

        assert route[0].worst_nusd > 3_000_000
        assert completion.provider == first_that_fits.deployment.provider.name
        assert f"{route[0].deployment.key} was passed over" in " ".join(completion.notes)


async def test_a_model_that_the_caller_named_is_not_exchanged_for_one_that_can_be_paid(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.003") as world:
        model = (await world.router.plan(ask(CODE))).route[0].deployment.model.name

        with pytest.raises(BudgetExceeded, match="daily budget"):
            await world.router.complete(ask(CODE, model=model, fallback_providers=("ollama",)))

        assert world.calls == []


async def test_where_the_cap_leaves_nothing_to_ask_the_refusal_says_what_would_fit(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        first = (await world.router.plan(ask(CODE, provider="deepseek"))).route[0]
        world.providers["deepseek"].script(*[ServerError()] * 5)

        with pytest.raises(BudgetExceeded, match=r"Before that: deepseek.* that is left would pay for") as refused:
            await world.router.complete(ask(CODE, provider="deepseek", max_cost_nusd=round(1.5 * first.worst_nusd)))

        assert "max_tokens" in str(refused.value)
        assert world.calls == ["deepseek"]
