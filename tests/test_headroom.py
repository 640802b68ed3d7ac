"""Rate limits are respected before they are met, and a provider is not asked by too many at once."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router import errors
from orchestra_router.policy.admission import Admission
from orchestra_router.policy.headroom import Headroom, Need, less, shortage
from orchestra_router.policy.health import Health
from orchestra_router.providers.headroom import allowances
from orchestra_router.router import open_router
from orchestra_router.simulation import Hang, Reply, ServerError
from orchestra_router.types import Allowance
from worlds import ask, open_world

NOW = 1_795_449_600_000  # 2026-11-23T16:00:00Z
CODING = "Refactor this Python function: def f(): pass"
DEEPSEEK = "deepseek/deepseek-flash"


def openai_style(remaining: int = 0, *, reset: str = "30s", kind: str = "requests", most: int = 500) -> Reply:
    return Reply(
        headers={
            f"x-ratelimit-limit-{kind}": str(most),
            f"x-ratelimit-remaining-{kind}": str(remaining),
            f"x-ratelimit-reset-{kind}": reset,
        }
    )


# --- reading the headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "kind", "remaining", "seconds"),
    [
        (
            {"x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s"},
            "requests",
            59,
            1,
        ),
        ({"x-ratelimit-remaining-tokens": "149984", "x-ratelimit-reset-tokens": "6m0s"}, "tokens", 149984, 360),
        ({"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "30ms"}, "tokens", 7, 0.03),
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "100",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-23T16:00:09Z",
            },
            "input_tokens",
            100,
            9,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "3",
                "anthropic-ratelimit-requests-reset": "2026-11-23T16:01:00Z",
            },
            "requests",
            3,
            60,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795449605000"}, "requests", 0, 5),  # OpenRouter
        ({"x-ratelimit-remaining": "599", "x-ratelimit-reset": "1"}, "requests", 599, 1),  # Together
        ({"x-ratelimit-remaining-requests": "479"}, "requests", 479, 10),  # xAI names no reset
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "900h"}, "requests", 1, 86_400),
    ],
)
def test_what_a_provider_says_is_left_is_read_in_its_own_way_of_saying_it(
    headers: Mapping[str, str], kind: str, remaining: int, seconds: float
) -> None:
    (one,) = allowances(headers, now_ms=NOW)

    assert (one.kind, one.remaining, one.reset_ms) == (kind, remaining, NOW + round(seconds * 1000))


@given(
    st.dictionaries(
        st.sampled_from(
            ["x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "anthropic-ratelimit-requests-remaining"]
        )
        | st.text(max_size=40),
        st.text(max_size=30),
        max_size=5,
    )
)
def test_nonsense_in_headers_says_nothing(headers: dict[str, str]) -> None:
    for one in allowances(headers, now_ms=NOW):
        assert one.remaining >= 0
        assert one.reset_ms >= NOW


# --- whether one more fits -----------------------------------------------------------------------------------


def left(remaining: int, *, kind: str = "tokens", most: int | None = 10_000, seconds: float = 30) -> Allowance:
    return Allowance(kind=kind, remaining=remaining, most=most, reset_ms=NOW + round(seconds * 1000))  # pyright: ignore[reportArgumentType]


def test_a_limit_is_short_when_it_cannot_take_the_prompt_and_its_answer() -> None:
    need = Need(input_tokens=700, output_tokens=400)

    assert shortage([left(1_100)], need, now_ms=NOW) is None
    assert shortage([left(1_099)], need, now_ms=NOW) == left(1_099)
    assert shortage([left(1_099)], need, now_ms=NOW + 30_000) is None
    assert shortage([left(699, kind="input_tokens")], need, now_ms=NOW) is not None
    assert shortage([left(0, kind="requests")], need, now_ms=NOW) is not None


def test_a_request_larger_than_the_whole_limit_is_left_to_the_provider() -> None:
    assert shortage([left(0, most=1_000)], Need(2_000, 0), now_ms=NOW) is None


def test_requests_that_were_sent_since_are_counted_off() -> None:
    known = (left(2, kind="requests"), left(1_000))

    after = less(less(known, Need(300, 100)), Need(300, 100))

    assert [one.remaining for one in after] == [0, 200]


def test_what_another_process_heard_later_counts_and_what_it_heard_earlier_does_not() -> None:
    here, there = Headroom(), Headroom()
    here.heard("x", [left(400)], now_ms=NOW)
    later = there.heard("x", [left(10)], now_ms=NOW + 1)

    here.learn(later)
    here.take("x", Need(4, 0))
    here.learn(later)

    assert here.known("x") == (left(6),)


def test_a_limit_with_plenty_left_is_nobody_elses_business() -> None:
    assert Headroom().heard("x", [left(5_000)], now_ms=NOW) == ()


# --- in a request --------------------------------------------------------------------------------------------


async def test_a_provider_whose_limit_is_used_up_is_passed_over_until_it_is_full_again(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(openai_style())
        await world.router.complete(ask(CODING))

        meanwhile = await world.router.complete(ask(CODING + " Again."))
        world.clock.advance(30)
        later = await world.router.complete(ask(CODING + " Once more."))

    assert meanwhile.provider != "deepseek"
    assert f"{DEEPSEEK} was passed over: its rate limit has 0 requests left for 30.0 s." in meanwhile.notes
    assert later.provider == "deepseek"


async def test_only_what_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(openai_style(2_000, kind="tokens", most=100_000))
        await world.router.complete(ask(CODING, max_tokens=500))

        plans = [
            await world.router.plan(ask(CODING + " x" * length, task="coding", max_tokens=500)) for length in (10, 8000)
        ]

    assert [plan.route[0].deployment.provider.name == "deepseek" for plan in plans] == [True, False]


async def test_a_limit_that_ends_at_once_is_waited_for(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(openai_style(reset="600ms"))
        await world.router.complete(ask(CODING))

        completion = await world.router.complete(ask(CODING + " Again."))

    assert completion.provider == "deepseek"
    assert world.clock.slept == [0.6]


@pytest.mark.parametrize("step", [openai_style(reset="7s"), Reply(429, headers={"retry-after": "7"})])
async def test_a_limit_that_ends_soon_is_waited_for_where_nobody_else_can_be_asked(tmp_path: Path, step: Reply) -> None:
    async with open_world(tmp_path) as world:
        world.providers["xai"].script(step)
        try:
            await world.router.complete(ask("First.", provider="xai", max_retries=0))
        except errors.AllAttemptsFailed:
            assert step.status == 429

        completion = await world.router.complete(ask("Second.", provider="xai"))

    assert completion.provider == "xai"
    assert world.clock.slept == [7.0]


async def test_a_limit_that_lasts_is_not_tried_and_the_caller_told_when_to_come_back(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["xai"].script(openai_style(reset="50s"))
        await world.router.complete(ask("First.", provider="xai"))

        with pytest.raises(errors.NoRoute, match="0 requests left") as caught:
            await world.router.complete(ask("Second.", provider="xai"))

    assert caught.value.retry_after_s == 50
    assert len(world.calls) == 1


async def test_every_process_knows_of_a_limit_that_is_used_up(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world, open_router(world.router.config, clock=world.clock) as another:
        world.providers["deepseek"].script(openai_style())
        completion = await world.router.complete(ask(CODING))
        await world.router.trails(completion.request_id)  # whoever reads waits for what has yet to be written

        plan = await another.plan(ask(CODING))

    assert DEEPSEEK in {excluded.deployment for excluded in plan.excluded}


async def test_requests_at_the_same_moment_do_not_pass_a_limit_together(tmp_path: Path) -> None:
    hangs = [Hang() for _ in range(8)]
    answered: list[str] = []
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(openai_style(3), *hangs)
        await world.router.complete(ask(CODING))

        async def one(number: int) -> None:
            answered.append((await world.router.complete(ask(f"{CODING} Number {number}."))).provider)

        async with anyio.create_task_group() as group:
            for number in range(8):
                group.start_soon(one, number)
            for hang in hangs[:3]:
                await hang.reached.wait()
            while len(answered) < 5:
                await anyio.lowlevel.checkpoint()
            for hang in hangs:
                hang.release()

    assert answered == ["openrouter"] * 5 + ["deepseek"] * 3


# --- how many at once ----------------------------------------------------------------------------------------

TWO_AT_ONCE = "max_concurrent = 2\n"
"""Added to the last row of the world's file, Ollama's."""


async def test_no_more_calls_than_allowed_run_at_a_provider_and_all_get_their_turn(tmp_path: Path) -> None:
    hangs = [Hang() for _ in range(6)]
    async with open_world(tmp_path, toml=TWO_AT_ONCE) as world:
        ollama = world.providers["ollama"]
        ollama.script(*hangs)
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(world.router.complete, ask(f"Question {number}?", provider="ollama"))
            await hangs[0].reached.wait()
            for before, after in itertools.pairwise(hangs):
                await after.reached.wait()
                before.release()
            hangs[-1].release()

    assert ollama.most_in_flight == 2


async def test_a_turn_is_given_back_by_failures_and_by_callers_who_leave(tmp_path: Path) -> None:
    hangs = [Hang(), Hang()]
    async with open_world(tmp_path, toml=TWO_AT_ONCE) as world:
        ollama = world.providers["ollama"]
        ollama.script(ServerError(500), *hangs)
        with pytest.raises(errors.AllAttemptsFailed):
            await world.router.complete(ask("One that fails.", provider="ollama", max_retries=0))
        async with anyio.create_task_group() as group:
            for prompt in ("One that hangs.", "Another that hangs.", "One that waits."):
                group.start_soon(world.router.complete, ask(prompt, provider="ollama"))
            for hang in hangs:
                await hang.reached.wait()
            group.cancel_scope.cancel()

        completion = await world.router.complete(ask("The next one.", provider="ollama"))

    assert completion.provider == "ollama"


async def test_a_request_whose_turn_does_not_come_in_time_says_so(tmp_path: Path) -> None:
    async with open_world(tmp_path, toml=TWO_AT_ONCE) as world:
        router, now = world.router, world.clock.monotonic()
        admission = Admission(Health(router.store, router.config, world.clock), router.config, world.clock)
        candidate = (await router.plan(ask(provider="ollama"))).route[0]

        async with (
            admission.admitted(candidate, deadline=now + 60),
            admission.admitted(candidate, deadline=now + 60),
        ):
            with pytest.raises(errors.DeadlineExceeded, match="raise its max_concurrent"):
                async with admission.admitted(candidate, deadline=now + 0.01):
                    pass
        async with admission.admitted(candidate, deadline=now):
            pass
