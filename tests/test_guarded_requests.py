"""What the guard means for a whole request: on the wire, in the cache, in the database."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.errors import RouterError
from orchestra_router.simulation import Says
from orchestra_router.types import CompletionRequest, Message, Text, Tool, ToolCall, ToolResult
from worlds import World, ask, open_world

SSN = "536-90-4399"
OTHER = "219-09-9999"


def sent(world: World) -> bytes:
    return b"".join(
        request.raw + repr(request.headers).encode()
        for provider in world.providers.providers.values()
        for request in provider.received
    )


async def test_no_number_leaves_in_pieces_or_in_json(tmp_path: Path) -> None:
    twice = json.dumps({"ssn": SSN})[:-1] + ', "ssn": ""}'
    messages = (
        Message("user", (Text(f"I am {SSN[:7]}"), Text(f"{SSN[7:]}."))),
        Message("assistant", (ToolCall("c1", "find", twice),)),
        Message("tool", (ToolResult("c1", "find", twice),)),
    )
    tools = (Tool("find", "Finds.", {"type": "object"}),)

    async with open_world(tmp_path) as world:
        for provider in ("openai", "anthropic", "gemini", "deepseek"):
            await world.router.complete(CompletionRequest(messages=messages, tools=tools, provider=provider))

    assert sorted(world.calls) == ["anthropic", "deepseek", "gemini", "openai"]
    assert SSN.encode() not in sent(world)
    assert SSN[7:].encode() not in sent(world)


async def test_a_cached_answer_gives_each_caller_his_own_number_and_nobody_the_models(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openrouter"].script(Says(text=f"[SSN_1] is yours, Bob has {OTHER}."))

        first = await world.router.complete(ask(f"Compare {SSN} with Bob's.", provider="openrouter"))
        again = await world.router.complete(ask("Compare 123-45-6789 with Bob's.", provider="openrouter"))

    assert again.cache == "HIT"
    assert first.answer.text == f"{SSN} is yours, Bob has [SSN redacted]."
    assert again.answer.text == "123-45-6789 is yours, Bob has [SSN redacted]."


async def test_metadata_is_stored_without_the_number_in_it(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask(metadata={"who": SSN}))

    with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db:
        assert db.execute("SELECT metadata FROM requests").fetchall() == [('{"who": "[SSN_1]"}',)]


GITHUB_KEY = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
SOME_KEY = "zq7-abcdefghijklmnopqrstuvwxyz0123456789"
"""Of a kind that no rule knows."""


@pytest.mark.parametrize("secret", [SSN, f"ssn {SSN}", GITHUB_KEY, SOME_KEY])
@pytest.mark.parametrize("field", ["task", "provider", "model", "fallback_providers", "wrong_cache_entry"])
async def test_what_is_written_where_a_name_belongs_is_neither_kept_nor_repeated(
    tmp_path: Path, field: str, secret: str
) -> None:
    given: dict[str, Any] = {field: (secret,) if field == "fallback_providers" else secret}
    async with open_world(tmp_path) as world:
        for attempt in (world.router.complete, world.router.plan):
            try:
                said = repr(await attempt(ask(**given)))
            except RouterError as error:
                said = str(error)
            assert secret not in said
        with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db:
            kept = "\n".join(db.iterdump())

    assert secret not in kept


@pytest.mark.parametrize("secret", [SSN, GITHUB_KEY, SOME_KEY])
async def test_a_report_or_a_status_does_not_repeat_it_either(tmp_path: Path, secret: str) -> None:
    async with open_world(tmp_path) as world:
        for said in (world.router.provider_status, world.router.forget_learned):
            with pytest.raises(RouterError) as raised:
                await said(secret)
            assert secret not in str(raised.value)


async def test_a_short_name_that_nobody_knows_is_repeated_and_counts_under_no_task(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(RouterError, match=r"Unknown task 'codng'\. Did you mean coding\?"):
            await world.router.complete(ask(task="codng", metadata={"app": "shop"}))

    with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db:
        assert db.execute("SELECT task, outcome, metadata FROM requests").fetchall() == [
            ("", "invalid_request", '{"app": "shop"}')
        ]
