"""Failures that a prompt asks for, and what the router makes of them."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from clocks import FakeClock
from orchestra_router.app import build_server
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import Troubles, simulated_world
from orchestra_router.types import Completion
from surface import configured, connected, succeed
from worlds import ask, config_for


@pytest.fixture
async def router(tmp_path: Path) -> AsyncGenerator[Router]:
    clock = FakeClock()
    async with (
        simulated_world(clock=clock, troubles=Troubles(slow_s=0)) as world,
        open_router(config_for(world, tmp_path), clock=clock) as router,
    ):
        yield router


def outcomes(completion: Completion) -> list[str]:
    return [attempt.outcome for attempt in completion.attempts]


async def test_a_rate_limit_is_waited_for_then_answered(router: Router) -> None:
    completion = await router.complete(ask("Please simulate a rate limit."))

    assert outcomes(completion) == ["rate_limited", "ok"]
    assert completion.attempts[1].waited_ms >= 2000


async def test_an_outage_leads_to_another_provider_each_time_it_is_asked_for(router: Router) -> None:
    for _ in range(2):
        completion = await router.complete(ask("Simulate an outage!", cache="off"))

        assert completion.attempts[0].status == 503
        assert outcomes(completion)[-1] == "ok"
        assert completion.attempts[0].deployment.split("/")[0] != completion.provider


async def test_a_slow_answer_has_to_be_collected(tmp_path: Path) -> None:
    async with simulated_world(troubles=Troubles(slow_s=0.3)) as world:
        config = configured(world, tmp_path, "answer_within_s = 0.01")
        async with connected(config) as client:
            first = await succeed(client, "complete", prompt="Simulate a slow answer.")
            with anyio.fail_after(20):
                while (answer := await succeed(client, "complete", request_id=first["request_id"])).get("status"):
                    pass

    assert first["status"] == "running"
    assert answer["text"]


async def test_without_being_told_to_no_provider_obeys_a_prompt(tmp_path: Path) -> None:
    async with simulated_world() as world, open_router(config_for(world, tmp_path)) as router:
        assert outcomes(await router.complete(ask("Simulate an outage!"))) == ["ok"]


def test_a_simulated_server_says_what_a_prompt_may_ask_for(tmp_path: Path) -> None:
    async def instructions() -> str:
        async with simulated_world() as world:
            return build_server(configured(world, tmp_path), simulated=True).instructions or ""

    said = anyio.run(instructions)

    assert all(f"simulate {what}" in said for what in ("a rate limit", "an outage", "a slow answer"))
