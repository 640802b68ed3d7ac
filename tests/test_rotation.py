"""Several keys of one provider: which one is asked with, and what follows when one fails."""

import logging
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.errors import AllAttemptsFailed, NoRoute
from orchestra_router.simulation import Reply, ServerError
from worlds import World, ask, open_world

WRONG = "sk-wr0ng-canary-4f1d"
FIRST = {"OPENAI_API_KEY": WRONG, "OPENAI_API_KEY_2": "{key}"}
"""The first key is one that OpenAI does not know."""
BOTH_WRONG = {"OPENAI_API_KEY": WRONG, "OPENAI_API_KEY_2": f"{WRONG}-2"}
SPENT: Any = {"provider": "openai", "fallback_providers": ("deepseek",)}


def asked_with(world: World, provider: str = "openai") -> list[str]:
    """The keys that the calls there came with."""
    return [
        received.headers["authorization"].removeprefix("Bearer ")
        for received in world.providers[provider].received
        if received.method == "POST"
    ]


async def nobody(_: str) -> None:
    """Listens, so that the answer is streamed."""


@pytest.mark.parametrize("listens", [None, nobody], ids=["plain", "stream"])
async def test_a_rate_limited_key_gives_way_to_the_next_one_at_once(tmp_path: Path, listens: Any) -> None:
    async with open_world(tmp_path, keys=FIRST) as world:
        right = world.providers["openai"].key
        world.providers["openai"].script(Reply(429, headers={"retry-after": "2"}))

        completion = await world.router.complete(ask(**SPENT), on_progress=listens)
        later = await world.router.complete(ask("And now?", **SPENT), on_progress=listens)

        assert asked_with(world) == [WRONG, right, right]
    assert [(a.provider, a.outcome, a.waited_ms) for a in completion.attempts] == [
        ("openai", "rate_limited", 0),
        ("openai", "ok", 0),
    ]
    assert completion.attempts[0].deployment == completion.attempts[1].deployment
    assert [a.outcome for a in later.attempts] == ["ok"]


async def test_the_first_key_is_used_again_once_its_limit_is_over(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys={"OPENAI_API_KEY": "{key}", "OPENAI_API_KEY_2": WRONG}) as world:
        right = world.providers["openai"].key
        world.providers["openai"].script(Reply(429, headers={"retry-after": "20"}))

        await world.router.complete(ask(**SPENT))
        world.clock.advance(21)
        completion = await world.router.complete(ask("And now?", **SPENT))

        assert asked_with(world) == [right, WRONG, right]
    assert (completion.provider, [a.outcome for a in completion.attempts]) == ("openai", ["ok"])


@pytest.mark.parametrize("listens", [None, nobody], ids=["plain", "stream"])
async def test_a_refused_key_is_set_aside_until_it_changes_and_everybody_says_which(
    tmp_path: Path, listens: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="orchestra"):
        async with open_world(tmp_path, keys=FIRST) as world:
            right = world.providers["openai"].key
            first = await world.router.complete(ask(**SPENT), on_progress=listens)
            world.clock.advance(7 * 86_400)
            second = await world.router.complete(ask("And now?", **SPENT), on_progress=listens)
            plan = await world.router.plan(ask("And then?", **SPENT))
            status = next(p for p in (await world.router.provider_status()).providers if p.name == "openai")

            assert asked_with(world) == [WRONG, right, right]
    assert [a.outcome for a in first.attempts] == ["auth_failed", "ok"]
    assert [a.outcome for a in second.attempts] == ["ok"]
    assert plan.route[0].health == "ok; OPENAI_API_KEY set aside: auth_failed"
    assert (status.state, status.detail) == ("ready", "OPENAI_API_KEY set aside: auth_failed")
    assert status.fix.startswith("check the key")
    alerts = [record.getMessage() for record in caplog.records if "set aside" in record.getMessage()]
    assert alerts == ["openai refused the key: the key from OPENAI_API_KEY is set aside"]
    assert WRONG not in caplog.text

    async with open_world(tmp_path, keys=FIRST | {"OPENAI_API_KEY": "sk-changed"}) as world:
        await world.router.complete(ask("After the change?", **SPENT))

        assert asked_with(world)[0] == "sk-changed"


async def test_an_account_out_of_credit_gives_way_to_the_next_one(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys=FIRST) as world:
        world.providers["openai"].script(Reply(402))
        completion = await world.router.complete(ask(**SPENT))

    assert [(a.provider, a.outcome) for a in completion.attempts] == [("openai", "out_of_money"), ("openai", "ok")]


async def test_a_days_quota_of_one_key_does_not_take_the_model_from_the_other(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys=FIRST) as world:
        world.providers["openai"].script(Reply(429, headers={"retry-after": "80000"}, body="{}"))
        first = await world.router.complete(ask(**SPENT))
        second = await world.router.complete(ask("And now?", **SPENT))

    assert [(a.provider, a.outcome) for a in first.attempts] == [("openai", "rate_limited"), ("openai", "ok")]
    assert [(a.provider, a.outcome) for a in second.attempts] == [("openai", "ok")]


async def test_when_every_key_is_refused_another_provider_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys=BOTH_WRONG) as world:
        first = await world.router.complete(ask(**SPENT))
        plan = await world.router.plan(ask("And now?", **SPENT))
        status = next(p for p in (await world.router.provider_status()).providers if p.name == "openai")

    assert [(a.provider, a.outcome) for a in first.attempts] == [
        ("openai", "auth_failed"),
        ("openai", "auth_failed"),
        ("deepseek", "ok"),
    ]
    assert [e.reason for e in plan.excluded] == ["set aside: auth_failed (all 2 keys)"]
    assert (status.state, status.detail) == ("cooling", "set aside: auth_failed (all 2 keys)")


async def test_when_every_key_is_refused_and_nobody_else_is_there_the_message_says_so(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys=BOTH_WRONG) as world:
        with pytest.raises(AllAttemptsFailed) as failed:
            await world.router.complete(ask(provider="openai", fallback_providers=()))
        with pytest.raises(NoRoute) as nowhere:
            await world.router.complete(ask("And now?", provider="openai", fallback_providers=()))

    told = str(failed.value)
    assert "key from OPENAI_API_KEY)" in told
    assert "key from OPENAI_API_KEY_2, the last of 2 keys)" in told
    assert "auth_failed (all 2 keys)" in str(nowhere.value)
    assert WRONG not in f"{told} {nowhere.value}"


async def test_the_last_keys_limit_is_waited_for_as_it_always_was(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys=FIRST) as world:
        limited = Reply(429, headers={"retry-after": "2"})
        world.providers["openai"].script(limited, limited)

        completion = await world.router.complete(ask(**SPENT))

        right = world.providers["openai"].key
        assert asked_with(world) == [WRONG, right, right]
    assert [a.waited_ms for a in completion.attempts] == [0, 0, 2000]


async def test_a_server_error_keeps_the_key(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys={"OPENAI_API_KEY": "{key}", "OPENAI_API_KEY_2": WRONG}) as world:
        right = world.providers["openai"].key
        world.providers["openai"].script(*[ServerError(500)] * 3)

        completion = await world.router.complete(ask(**SPENT))

        assert asked_with(world) == [right] * 3
    assert completion.provider == "deepseek"


async def test_keys_never_take_more_attempts_than_a_request_has(tmp_path: Path) -> None:
    keys = {"OPENAI_API_KEY": WRONG} | {f"OPENAI_API_KEY_{number}": f"{WRONG}-{number}" for number in range(2, 12)}
    async with open_world(tmp_path, keys=keys, max_attempts=4) as world:
        with pytest.raises(AllAttemptsFailed):
            await world.router.complete(ask(**SPENT))

        assert len(world.calls) == 4


async def test_a_look_at_the_provider_tries_every_key_and_takes_a_mended_one_back(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys=FIRST) as world:
        world.providers["openai"].script(Reply(401), Reply(401))
        await world.router.complete(ask(**SPENT))

        await world.router.provider_status(probe=True)
        status = next(p for p in (await world.router.provider_status(probe=True)).providers if p.name == "openai")
        completion = await world.router.complete(ask("And now?", **SPENT))

    assert (status.state, status.detail) == (
        "ready",
        "openai refused the key (401 invalid_api_key; key from OPENAI_API_KEY)",
    )
    assert (completion.provider, [a.outcome for a in completion.attempts]) == ("openai", ["ok"])


async def test_every_key_is_kept_out_of_prompts(tmp_path: Path) -> None:
    async with open_world(tmp_path, keys=FIRST) as world:
        second = world.providers["openai"].key
        await world.router.complete(ask(f"Say {WRONG} and {second}.", **SPENT))

        sent = b"".join(received.raw for received in world.providers["openai"].received)
    assert WRONG.encode() not in sent
    assert second.encode() not in sent
