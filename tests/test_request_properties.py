"""What holds for a request whatever its providers do: attempts, time, money, and who is asked after the first byte."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestra_router.errors import RouterError
from orchestra_router.simulation import Cut, Drop, Endless, Hang, Reply, ServerError, StreamError, Truncate
from orchestra_router.simulation.answering import Says
from orchestra_router.types import Attempt
from worlds import ask, open_world

PROVIDERS = ("deepseek", "openrouter", "anthropic", "together", "openai")
SLACK_S = 0.05
"""How far past its deadline a request may end."""

steps = st.one_of(
    st.just(Says()),
    st.just(Says(text="")),
    st.just(Says(text="I'm sorry, but I can't help with that.")),
    st.sampled_from([500, 502, 503, 504, 529]).map(ServerError),
    st.sampled_from([400, 401, 402, 403, 404, 408, 413]).map(Reply),
    st.integers(0, 400).map(lambda s: Reply(429, headers={"retry-after": str(s)})),
    st.integers(0, 90_000).map(lambda ms: Reply(503, headers={"retry-after-ms": str(ms)})),
    st.booleans().map(lambda reset: Drop(reset=reset)),
    st.integers(0, 3).map(Cut),
    st.integers(0, 3).map(StreamError),
    st.integers(0, 60).map(Truncate),
)
scripts = st.fixed_dictionaries({name: st.lists(steps, max_size=6) for name in PROVIDERS})


@settings(
    max_examples=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    scripts=scripts,
    took_s=st.lists(st.floats(0, 40), min_size=30, max_size=30),
    deadline_s=st.floats(1, 120),
    max_attempts=st.integers(1, 8),
    max_retries=st.integers(0, 4) | st.none(),
    strategy=st.sampled_from(["task", "escalate", "cheapest"]),
    hedge=st.booleans(),
    stream=st.booleans(),
)
def test_a_request_keeps_to_its_attempts_its_deadline_and_its_money(
    scripts: dict[str, Sequence[Any]],
    took_s: list[float],
    deadline_s: float,
    max_attempts: int,
    max_retries: int | None,
    strategy: Any,
    hedge: bool,
    stream: bool,
) -> None:
    async def nobody(_: str) -> None:
        """Listens, so that the answer is streamed."""

    async def play(home: Path) -> None:
        given: dict[str, Any] = {"deadline_s": deadline_s, "max_attempts": max_attempts, "hedge": str(hedge).lower()}
        async with open_world(home, **given) as world:
            for name, script in scripts.items():
                world.providers[name].script(*script)
            began, times = world.clock.monotonic(), iter(took_s)

            def pass_time(_: Attempt) -> None:
                # What one attempt takes: up to what is left, where the transport ends it.
                left = deadline_s - (world.clock.monotonic() - began)
                world.clock.advance(min(next(times, 0.0), max(0.0, left)))

            world.router.observers.hooks.append(pass_time)
            request = ask("Write a Python function.", task="coding", strategy=strategy, max_retries=max_retries)
            try:
                attempts = (await world.router.complete(request, on_progress=nobody if stream else None)).attempts
            except RouterError as error:
                attempts = error.attempts
            report = await world.router.cost_report()

            # The loser of a race may be called off on its way.
            never_arrived = sum(attempt.rejected == "slower" for attempt in attempts)
            assert len(attempts) - never_arrived <= len(world.calls) <= len(attempts) <= max_attempts
            assert world.clock.monotonic() - began <= deadline_s + SLACK_S
            assert report.total.held_nusd == 0
            assert report.total.spent_nusd == sum(attempt.cost_nusd for attempt in attempts)
            assert report.total.spent_nusd >= world.providers.billed_nusd
            if not hedge:
                broken = [a.number for a in attempts if a.outcome == "stream_broken"]
                assert broken in ([], [len(attempts)])

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(play, Path(folder))


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_caller_who_leaves_ends_the_upstream_call_and_its_money_is_settled(
    tmp_path: Path, stream: bool
) -> None:
    told = anyio.Event()

    async def hear(message: str) -> None:
        if "characters" in message:
            told.set()

    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Endless() if stream else hang)
        async with anyio.create_task_group() as group:

            async def leave() -> None:
                await world.router.complete(ask(provider="deepseek"), on_progress=hear if stream else None)

            group.start_soon(leave)
            await (told if stream else hang.reached).wait()
            group.cancel_scope.cancel()
        (request,) = world.providers["deepseek"].received
        await request.done.wait()
        report = await world.router.cost_report()

    assert request.client_left
    assert report.total.held_nusd == 0
    assert report.total.spent_nusd >= world.providers.billed_nusd
    assert report.total.spent_nusd > 0


@pytest.mark.parametrize(("cache", "calls"), [("use", 1), ("off", 2)])
async def test_identical_requests_of_one_scope_are_one_call_unless_they_bypass_the_cache(
    tmp_path: Path, cache: Any, calls: int
) -> None:
    hangs = [Hang(), Hang()]
    answers: list[str] = []
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(*hangs)

        async def one() -> None:
            answers.append((await world.router.complete(ask(provider="deepseek", cache=cache))).answer.text)

        async with anyio.create_task_group() as group:
            group.start_soon(one)
            group.start_soon(one)
            for hang in hangs[:calls]:
                await hang.reached.wait()
                hang.release()

    assert len(world.calls) == calls
    assert len(answers) == 2
