"""What the status says of models whose provider cannot be asked."""

from dataclasses import replace
from pathlib import Path

import pytest

from ledgers import NOW_MS, TODAY, a_database, a_hold, ended
from orchestra_router.config import load
from orchestra_router.errors import AllAttemptsFailed
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.status import provider_status, use_of
from orchestra_router.simulation import Reply, ServerError
from orchestra_router.store import ledger, traffic
from worlds import ask, open_world


def test_no_model_of_a_provider_without_a_key_is_ok(tmp_path: Path) -> None:
    config = load({"ORCHESTRA_HOME": str(tmp_path), "XAI_API_KEY": "k"})
    healthy = HealthView({}, 0, "")

    ready, missing = (provider_status(config.catalog.providers[name], config, healthy) for name in ("xai", "gemini"))

    assert {model.state for model in ready.models} == {"ok"}
    assert "ok" not in {model.state for model in missing.models}
    assert "unavailable" in {model.state for model in missing.models}
    assert missing.fix.startswith("set GOOGLE_API_KEY or GEMINI_API_KEY")


async def test_the_status_says_how_it_went_what_failed_last_and_when_it_is_tried_again(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        xai = world.providers["xai"]
        await world.router.complete(ask("Yesterday.", provider="xai"))
        world.clock.advance(86_400)
        for number in range(3):
            xai.script(ServerError(503))
            with pytest.raises(AllAttemptsFailed):
                await world.router.complete(ask(f"Question {number}?", provider="xai", max_retries=0))

        (provider,) = (await world.router.provider_status("xai")).providers
        until_ms = world.clock.now_ms() + 30_000

    model = next(model for model in provider.models if model.use.attempts)
    assert (provider.use.attempts_today, provider.use.failed_today) == (3, 3)
    assert (provider.use.attempts, provider.use.success) == (4, 0.25)
    assert (provider.use.last_error, provider.use.last_error_ms) == ("server_failed", world.clock.now_ms())
    assert model.use == provider.use
    assert (model.state, model.breaker, model.until_ms) == ("cooling", "open", until_ms)
    assert (provider.state, provider.breaker) == ("ready", "closed")


async def test_the_status_says_what_is_left_of_a_rate_limit_until_it_is_full_again(tmp_path: Path) -> None:
    headers = {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "30s"}
    async with open_world(tmp_path) as world:
        world.providers["xai"].script(Reply(headers=headers))
        await world.router.complete(ask(provider="xai"))
        left: list[list[int]] = []
        for _ in range(2):
            (provider,) = (await world.router.provider_status("xai")).providers
            left.append([one.remaining for model in provider.models for one in model.left if one.kind == "requests"])
            world.clock.advance(30)

    assert left == [[7], []]


def test_latencies_are_those_that_half_and_nineteen_of_twenty_answers_kept() -> None:
    db = a_database()
    for number in range(1, 101):
        ledger.hold(db, replace(a_hold(f"a{number}", model="m"), created_ms=NOW_MS + number), (), owner="1/a/b")
        ledger.settle(db, ended(f"a{number}", latency_ms=number * 10))

    (one,) = traffic.traffic(db, day=TODAY.day, since_ms=NOW_MS)
    db.close()

    use = use_of([one])
    assert (use.median_ms, use.slow_ms, use.success) == (500, 950, 1.0)
