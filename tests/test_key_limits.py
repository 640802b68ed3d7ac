"""What an access key is held to, over every way a request can take."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from clocks import FakeClock
from ledgers import NOW_MS, a_hold, add_key, child, ended
from orchestra_router.errors import (
    AccessDenied,
    AllAttemptsFailed,
    BudgetExceeded,
    GuardrailBlocked,
    InvalidRequest,
    KeyLimitReached,
    NoRoute,
)
from orchestra_router.policy.access import Caller
from orchestra_router.policy.keyring import Terms
from orchestra_router.simulation import Hang, ServerError
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.key_records import Throttled
from orchestra_router.types import Approval, Limits, Scope, Usage
from worlds import World, ask, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(tmp_path) as world:
        yield world


async def let_in(world: World, **limits: Any) -> Caller:
    made = await world.router.keyring.create(Terms(name="ada", limits=Limits(**limits)))
    return await world.router.authenticate(made.secret)


async def changed(world: World, caller: Caller, **limits: Any) -> Caller:
    """The same key under other limits, as its next request meets them."""
    await world.router.keyring.edit(caller.key_id, lambda terms: replace(terms, limits=Limits(**limits)))
    return replace(caller, scope=replace(caller.scope, limits=Limits(**limits)))


# --- whom, and about what --------------------------------------------------------------------------------------


async def test_nobody_but_the_keys_providers_is_asked_not_even_as_a_fallback(world: World) -> None:
    caller = await let_in(world, providers=("deepseek", "anthr*"))
    world.providers["deepseek"].script(*[ServerError()] * 9)
    world.providers["anthropic"].script(*[ServerError()] * 9)

    with pytest.raises(AllAttemptsFailed):
        await world.router.complete(ask(fallback_providers=("openai", "anthropic")), caller=caller)
    plan = await world.router.plan(ask(), caller=caller)

    assert set(world.calls) <= {"deepseek", "anthropic"}
    reasons = {item.deployment.partition("/")[0]: item.reason for item in plan.excluded}
    assert reasons["openai"] == "this access key may not ask openai"


async def test_a_pinned_model_that_the_key_may_not_use_is_not_asked_and_the_error_says_why(world: World) -> None:
    caller = await let_in(world, models=("deepseek*",))

    with pytest.raises(NoRoute, match="this access key may not use this model"):
        await world.router.complete(ask(model="claude-sonnet-5-5"), caller=caller)
    answer = await world.router.complete(ask(provider="deepseek"), caller=caller)

    assert answer.provider == "deepseek"
    assert world.calls == ["deepseek"]


async def test_a_key_for_one_task_does_not_answer_another(world: World) -> None:
    caller = await let_in(world, tasks=("coding",))

    with pytest.raises(AccessDenied, match=r"task general_chat .*only about coding"):
        await world.router.complete(ask(task="general_chat"), caller=caller)
    assert (await world.router.complete(ask(task="coding"), caller=caller)).task == "coding"


async def test_a_cached_answer_of_a_model_that_is_taken_from_the_key_is_not_served(world: World) -> None:
    caller = await let_in(world)
    first = await world.router.complete(ask(task="general_chat"), caller=caller)
    again = await world.router.complete(ask(task="general_chat"), caller=caller)

    other = next(name for name in ("deepseek", "anthropic") if name != first.provider)
    narrowed = await changed(world, caller, providers=(other,))
    after = await world.router.complete(ask(task="general_chat"), caller=narrowed)

    assert (again.cache, after.cache, after.provider) == ("HIT", "MISS", other)
    assert "may not ask" in after.cache_reason


async def test_a_provider_or_kind_that_nobody_knows_is_refused_when_the_key_is_made(world: World) -> None:
    for limits in (Limits(providers=("opnai",)), Limits(tasks=("cooking",)), Limits(guard=(("emial", "block"),))):
        with pytest.raises(InvalidRequest, match="Unknown"):
            await world.router.keyring.create(Terms(name="ada", limits=limits))
    with pytest.raises(InvalidRequest, match="0 or more"):
        await world.router.keyring.create(Terms(name="ada", limits=Limits(concurrency=-1)))


# --- how strictly ----------------------------------------------------------------------------------------------


async def test_a_key_may_be_guarded_more_strictly_but_never_less(world: World) -> None:
    strict = await let_in(world, guard=(("email", "block"),))
    loose = await let_in(world, guard=(("email", "off"),))
    prompt = ask("Write to ada@warbler-mail.com.", provider="deepseek")

    with pytest.raises(GuardrailBlocked):
        await world.router.complete(prompt, caller=strict)
    answer = await world.router.complete(prompt, caller=loose)
    mine = await world.router.complete(prompt)

    assert answer.redactions == mine.redactions == {"email": 1}


# --- how much --------------------------------------------------------------------------------------------------


async def test_a_keys_budget_refuses_and_alerts_like_any_other_and_nobody_elses_is_touched(world: World) -> None:
    caller = await let_in(world, day_nusd=1)

    with pytest.raises(BudgetExceeded, match=f"daily budget of access key {caller.key_id}"):
        await world.router.complete(ask(provider="deepseek"), caller=caller)
    await world.router.complete(ask(provider="deepseek"))

    report = await world.router.cost_report(caller=caller)
    assert [(budget.holder, budget.limit_nusd) for budget in report.budgets] == [(f"key:{caller.key_id}", 1)]


async def test_who_may_not_let_a_call_go_over_its_budget_cannot_by_saying_so(world: World) -> None:
    caller = await let_in(world, day_nusd=1)

    with pytest.raises(BudgetExceeded):
        await world.router.complete(ask(provider="deepseek", approval=Approval(10**9, "me")), caller=caller)


async def test_so_many_requests_a_minute_and_then_it_says_when_to_come_again(world: World) -> None:
    caller = await let_in(world, requests_per_minute=2)
    for number in range(2):
        await world.router.complete(ask(f"Question {number}", provider="deepseek"), caller=caller)
        world.clock.advance(10)

    with pytest.raises(KeyLimitReached) as refused:
        await world.router.complete(ask("One more", provider="deepseek"), caller=caller)
    cached = await world.router.complete(ask("Question 0", provider="deepseek"), caller=caller)
    world.clock.advance(refused.value.retry_after_s or 0)
    after = await world.router.complete(ask("One more", provider="deepseek"), caller=caller)

    assert refused.value.code == "rate_limited"
    assert 35 <= (refused.value.retry_after_s or 0) <= 40
    assert (cached.cache, after.cache) == ("HIT", "MISS")
    assert world.calls == ["deepseek"] * 3


async def test_retries_and_fallbacks_of_one_request_count_as_one(world: World) -> None:
    caller = await let_in(world, requests_per_minute=1)
    world.providers["deepseek"].script(ServerError(), ServerError(), ServerError())

    answer = await world.router.complete(
        ask(provider="deepseek", fallback_providers=("openai",), max_retries=1), caller=caller
    )

    assert len(answer.attempts) > 1


async def test_tokens_are_counted_as_expected_while_they_are_asked_for_and_as_used_after(world: World) -> None:
    store = world.router.store
    await add_key(store, "k", limits=Limits(tokens_per_minute=1_000))
    hold = replace(a_hold(scope=Scope("k")), likely_tokens=900)

    assert await store.hold(hold, []) is None
    meanwhile = await store.hold(replace(hold, attempt_id="a2", request_id="r2", likely_tokens=200), [])
    await store.settle(ended(usage=Usage(input_fresh=300, output=100)))
    after = await store.hold(replace(hold, attempt_id="a3", request_id="r3", likely_tokens=600), [])
    too_many = await store.hold(replace(hold, attempt_id="a4", request_id="r4", likely_tokens=1_001), [])

    assert meanwhile == Throttled(what="tokens", limit=1_000, used=900, free_ms=NOW_MS + 60_000)
    assert after is None
    assert too_many == Throttled(what="tokens", limit=1_000, used=1_000)


@pytest.mark.parametrize(
    "limits", [Limits(requests_per_minute=10), Limits(concurrency=10)], ids=["rate", "concurrency"]
)
async def test_several_processes_at_once_let_a_key_ask_no_more_than_its_limit(tmp_path: Path, limits: Limits) -> None:
    path = tmp_path / "orchestra.db"
    store = await SqliteStore.open(path, clock=FakeClock())
    await add_key(store, "k", limits=limits)
    await store.close()
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(child("ask", path, f"p{n}", "6")) for n in range(3)]
        for each in children:
            await each.ready()
        for each in children:
            await each.go()
        let_through = [int(await each.says()) for each in children]

    assert sum(let_through) == 10


async def test_as_many_under_way_as_the_key_may_have_and_the_next_waits_its_turn(world: World) -> None:
    caller = await let_in(world, concurrency=1)
    hang = Hang()
    world.providers["deepseek"].script(hang)
    answered: list[str] = []

    async def first() -> None:
        answered.append((await world.router.complete(ask("One", provider="deepseek"), caller=caller)).provider)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await hang.reached.wait()
        with pytest.raises(KeyLimitReached, match="1 requests under way"):
            await world.router.complete(ask("Two", provider="openai"), caller=caller)
        hang.release()

    after = await world.router.complete(ask("Two", provider="openai"), caller=caller)
    assert (answered, after.provider) == (["deepseek"], "openai")


async def test_a_hold_that_has_expired_is_in_nobodys_way(world: World) -> None:
    store = world.router.store
    await add_key(store, "k", limits=Limits(concurrency=1))
    hold = a_hold(scope=Scope("k"))
    await store.hold(hold, [])

    before = await store.hold(replace(hold, attempt_id="a2", request_id="r2"), [])
    after = await store.hold(replace(hold, attempt_id="a3", request_id="r3", created_ms=hold.expires_ms), [])

    assert before == Throttled(what="concurrency", limit=1, used=1)
    assert after is None


async def test_a_key_that_is_revoked_while_its_request_waits_spends_nothing_more(world: World) -> None:
    caller = await let_in(world)
    await world.router.keyring.revoke(caller.key_id)

    with pytest.raises(AccessDenied, match="was revoked"):
        await world.router.complete(ask(provider="deepseek"), caller=caller)

    assert world.calls == []
