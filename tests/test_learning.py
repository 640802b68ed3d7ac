"""What this installation has seen of its models: counted once, over all processes, for as long as it says something."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from clocks import FakeClock
from ledgers import TODAY, a_hold, ended
from orchestra_router.config import load
from orchestra_router.deployments import Deployment, Model, Offer, Provider
from orchestra_router.policy.learning import NOTHING_SEEN, Learned, Learning
from orchestra_router.router import open_router
from orchestra_router.simulation import Reply, ServerError
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.learned_records import LearnedRows
from orchestra_router.store.ledger_records import Period
from orchestra_router.store.request_records import CheapStep
from orchestra_router.types import Usage
from test_store_reports import a_record
from worlds import ask, open_world

LUNA = Deployment(
    Provider(name="openrouter", base_url="https://example.com"), Model(name="gpt-6-luna"), Offer(id="openai/gpt-6-luna")
)


async def attempt(
    store: SqliteStore, number: int, outcome: str = "ok", *, ms: int = 300, period: Period = TODAY
) -> None:
    await store.hold(a_hold(f"a{number}", request_id=f"r{number}", period=period), [])
    usage = Usage(input_fresh=10, output=20, reasoning=30)
    cost_nusd = 60 if outcome == "ok" else 0
    await store.settle(ended(f"a{number}", cost_nusd, outcome=outcome, usage=usage, latency_ms=ms))


async def seen_since(path: Path, first_day: str) -> Learned:
    store = await SqliteStore.open(path, clock=FakeClock())
    try:
        return Learned(await store.learned(first_day=first_day))
    finally:
        await store.close()


async def test_every_attempt_that_says_something_is_counted_once_and_seen_by_others(tmp_path: Path) -> None:
    path = tmp_path / "orchestra.db"
    store = await SqliteStore.open(path, clock=FakeClock())
    for number, ms in enumerate([100, 200, 300, 400, 5_000]):
        await attempt(store, number, ms=ms)
    for number, outcome in enumerate(["timeout", "rate_limited", "bad_request", "auth_failed", "cancelled"], 10):
        await attempt(store, number, outcome)
    await store.settle(ended("a0", 60, latency_ms=9_999))

    seen = (await seen_since(path, TODAY.day)).of(LUNA, "coding")

    assert (seen.attempts, seen.answered) == (7, 5)
    assert (seen.mean_cost_nusd, seen.mean_output_tokens) == (60, 50)
    assert (seen.median_ms, seen.slow_ms) == (300, 5_000)
    await store.close()


async def test_what_is_old_is_left_out_and_then_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "orchestra.db"
    store = await SqliteStore.open(path, clock=FakeClock())
    await attempt(store, 1, period=Period("2026-09-10", "2026-09"))
    await attempt(store, 2, period=Period("2026-11-01", "2026-11"))
    before = await store.learned(first_day="2026-01-01")

    await attempt(store, 3)

    after = await store.learned(first_day="2026-01-01")
    await store.close()
    assert [sum(row.attempts for row in rows.seen) for rows in (before, after)] == [2, 2]
    assert (await seen_since(path, "2026-11-10")).of(LUNA, "coding").attempts == 1


async def test_the_times_of_one_task_serve_another_that_has_none_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "orchestra.db"
    store = await SqliteStore.open(path, clock=FakeClock())
    for number in range(5):
        await attempt(store, number)
    await store.close()

    learned = await seen_since(path, TODAY.day)

    assert learned.of(LUNA, "general_chat") == NOTHING_SEEN
    assert learned.typical(LUNA, "general_chat").median_ms == 300


async def test_a_router_learns_from_every_process_and_plans_with_what_it_knows(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world, open_router(world.router.config, clock=world.clock) as another:
        for number in range(6):
            await another.complete(ask(f"Question {number}?", task="general_chat"))
        world.clock.advance(31)

        plan = await world.router.plan(ask("Question?", task="general_chat"))

    first = plan.route[0]
    assert first.deployment.key == "openrouter/openai/gpt-6-luna"
    assert first.expected_ms is not None
    assert first.slow_ms is not None
    assert all(candidate.expected_ms is None for candidate in plan.route[1:])


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_nobody_waits_for_the_next_snapshot_and_what_is_forgotten_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_forgotten: bool
) -> None:
    clock, may_end = FakeClock(), anyio.Event()
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=clock)
    learning = Learning(store, load({"ORCHESTRA_HOME": str(tmp_path)}).settings, clock)
    await attempt(store, 1)
    first = await learning.view()
    read = store.learned

    async def slowly(*, first_day: str) -> LearnedRows:
        rows = await read(first_day=first_day)
        await may_end.wait()
        return rows

    await attempt(store, 2)
    clock.advance(11)
    monkeypatch.setattr(store, "learned", slowly)
    with anyio.fail_after(5):
        meanwhile = [await learning.view() for _ in range(2)]
    async with anyio.create_task_group() as group:
        if is_forgotten:
            group.start_soon(learning.forget)
        await anyio.wait_all_tasks_blocked()
        may_end.set()
    await learning.aclose()
    after = await learning.view()
    await store.close()

    assert [first, first] == meanwhile
    assert after.attempts(LUNA) == (0 if is_forgotten else 2)


async def test_a_model_that_often_fails_at_one_provider_is_asked_at_the_next_that_serves_it(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_retries=0) as world:
        before = await world.router.plan(ask(model="gpt-6-luna"))
        for number in range(20):
            if number % 4 == 3:
                world.providers["openrouter"].script(ServerError(500))
            await world.router.complete(ask(f"Question {number}?", model="gpt-6-luna"))
            world.clock.advance(60)

        after = await world.router.plan(ask(model="gpt-6-luna"))

    assert [c.deployment.provider.name for c in before.route] == ["openrouter", "openai"]
    assert [c.deployment.provider.name for c in after.route] == ["openai", "openrouter"]
    assert "did worse here" in after.route[0].reason


async def test_the_same_knowledge_gives_the_same_plan(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for number in range(3):
            world.providers["openrouter"].script(Reply(429, headers={"retry-after": "1"}))
            await world.router.complete(ask(f"Question {number}?"))
        world.clock.advance(120)

        plans = [
            await world.router.plan(ask(strategy=strategy)) for _ in range(2) for strategy in ("fastest", "weighted")
        ]

    assert plans[:2] == plans[2:]


async def test_cheap_steps_are_counted_with_their_requests_and_forgotten_by_task(tmp_path: Path) -> None:
    path = tmp_path / "orchestra.db"
    store = await SqliteStore.open(path, clock=FakeClock())
    await attempt(store, 0)
    for number in range(20):
        step = CheapStep(
            prompt_kind="short" if number % 2 else "long",
            provider="openrouter",
            model="gpt-6-luna",
            escalated=number < 15,
        )
        await store.record(replace(a_record(f"r{number}"), cheap_step=step))
    learned = await seen_since(path, TODAY.day)

    other = await store.forget_learned(task="general_chat")
    kept = await store.learned(first_day=TODAY.day)
    forgotten = await store.forget_learned(task="coding")
    gone = await store.learned(first_day=TODAY.day)
    await store.close()

    # Of neither kind enough was seen; of the task it was.
    assert learned.escalation_rate(LUNA, "coding", "short") == 0.75
    assert (other, forgotten) == (0, 1)
    assert kept.seen
    assert (gone.seen, gone.escalations) == ((), ())
