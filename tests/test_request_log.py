"""Texts of requests and answers are kept only where the settings ask for it, and never with what the guard knows."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from ledgers import a_database, a_record
from orchestra_router.cli import main
from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.retention import forget_if_due
from orchestra_router.simulation import Says
from orchestra_router.store import request_log, requests
from orchestra_router.store.log_records import Exchange
from orchestra_router.types import Message, Text, Tool, ToolCall, ToolResult
from worlds import World, ask, open_world

Json = dict[str, Any]
SSN = "536-90-4399"
MAIL = "canary.person@warbler-mail.com"
BOTH: dict[str, Any] = {"log_requests": "true", "log_responses": "true"}


async def kept(world: World, trace_id: str = "t1") -> list[Json]:
    rows = await world.router.store.exchanges(trace_id, most=100)
    return [
        {name: json.loads(str(row[name])) for name in ("asked", "answered") if row[name] is not None} for row in rows
    ]


def text_sent(world: World) -> str:
    (received,) = [r for r in world.providers["openai"].received if r.method == "POST"]
    return received.raw.decode()


async def test_nothing_is_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask("Keep me not.", trace_id="t1", provider="openai"))
        assert await kept(world) == []


@pytest.mark.parametrize("only", ["log_requests", "log_responses"])
async def test_each_of_both_is_switched_alone(tmp_path: Path, only: str) -> None:
    one: dict[str, Any] = {only: "true"}
    async with open_world(tmp_path, **one) as world:
        await world.router.complete(ask("Hello", trace_id="t1", provider="openai"))
        (row,) = await kept(world)

    assert list(row) == [{"log_requests": "asked", "log_responses": "answered"}[only]]


async def test_what_is_kept_is_what_the_provider_saw_and_wrote(tmp_path: Path) -> None:
    async with open_world(tmp_path, **BOTH) as world:
        world.providers["openai"].script(Says(text="Noted [SSN_1] and 219-09-9944."))
        done = await world.router.complete(ask(f"I am {SSN}.", trace_id="t1", provider="openai"))
        (row,) = await kept(world)
        (listed,) = await world.router.store.newest_requests(most=5)

    assert done.answer.text == f"Noted {SSN} and [SSN redacted]."
    assert row["asked"]["messages"] == [{"role": "user", "parts": [{"text": "I am [SSN_1]."}]}]
    assert row["answered"]["text"] == "Noted [SSN_1] and [SSN redacted]."
    assert listed["trace_id"] == "t1"
    assert int(str(listed["logged_bytes"])) > 50


async def test_what_the_settings_let_pass_to_a_model_is_not_written_down(tmp_path: Path) -> None:
    conversation = (
        Message("user", (Text(f"Write to {MAIL}"),)),
        Message("assistant", (ToolCall("c1", "send", json.dumps({"to": MAIL})),)),
        Message("tool", (ToolResult("c1", "send", f'{{"sent": "{MAIL.replace("@", chr(92) + "u0040")}"}}'),)),
    )
    request = ask(trace_id="t1", provider="openai", tools=(Tool("send", f"As {MAIL} does", {"title": MAIL}),))
    async with open_world(tmp_path, guard_email="off", **BOTH) as world:
        world.providers["openai"].script(Says(text=f"Sent to {MAIL}."))
        await world.router.complete(replace(request, messages=conversation))
        (row,) = await kept(world)
        sent = text_sent(world)

    assert MAIL in sent
    assert "warbler-mail" not in json.dumps(row)
    assert row["answered"]["text"] == "Sent to [EMAIL redacted]."
    assert '{"to": "[EMAIL_1]"}' in json.dumps(row["asked"]).replace('\\"', '"')


async def test_a_refused_prompt_and_a_refused_answer_are_not_kept(tmp_path: Path) -> None:
    async with open_world(tmp_path, guard_ssn="block", **BOTH) as world:
        with pytest.raises(GuardrailBlocked):
            await world.router.complete(ask(f"I am {SSN}.", trace_id="t1", provider="openai"))
        world.providers["openai"].script(Says(text=f"You are {SSN}."))
        with pytest.raises(GuardrailBlocked):
            await world.router.complete(ask("Who am I?", trace_id="t2", provider="openai"))
        refused, answered = await kept(world), await kept(world, "t2")

    assert refused == []
    assert [list(row) for row in answered] == [["asked"]]


async def test_an_answer_from_the_cache_is_kept_too(tmp_path: Path) -> None:
    async with open_world(tmp_path, **BOTH) as world:
        world.providers["openai"].script(Says(text="From openai."))
        for trace in ("t0", "t1"):
            await world.router.complete(ask("Hello", trace_id=trace, provider="openai"))
        (row,) = await kept(world)

    assert row["answered"]["text"] == "From openai."


async def test_a_caller_who_leaves_while_long_texts_are_read_is_on_record_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def read(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with open_world(tmp_path, log_requests=True) as world:
        monkeypatch.setattr(world.router._request_log, "exchange", read)  # pyright: ignore[reportPrivateUsage]
        asking = asyncio.create_task(world.router.complete(ask(request_id="r1")))
        await reached.wait()

        asking.cancel()
        await asyncio.wait({asking})
        trail = await world.router.trails("r1")

    assert asking.cancelled()
    assert [each.request["outcome"] for each in trail] == ["ok"]


async def test_texts_go_when_their_days_are_over(tmp_path: Path) -> None:
    async with open_world(tmp_path, keep_log_days="2", **BOTH) as world:
        await world.router.complete(ask("Old", trace_id="old", provider="openai"))
        world.clock.advance(2 * 86_400 + 1)
        await world.router.complete(ask("New", trace_id="new", provider="openai"))

        await forget_if_due(world.router.store, world.router.config.settings, world.clock, pause_s=0)

        assert (len(await kept(world, "old")), len(await kept(world, "new"))) == (0, 1)
        assert len(await world.router.trails("old")) == 1


def test_the_oldest_texts_make_room() -> None:
    db = a_database()
    for number in range(5):
        exchange = Exchange(asked="x" * 60, answered="y" * 40, most_bytes=250)
        requests.record(db, [a_record(f"r{number}")])
        request_log.keep(db, f"r{number}", exchange, at_ms=number)

    left = [row["request_id"] for row in db.execute("SELECT request_id FROM request_log ORDER BY at_ms")]
    assert left == ["r3", "r4"]
    assert db.execute("SELECT bytes FROM request_log_size").fetchone()[0] == 200
    db.execute("DELETE FROM requests WHERE request_id = 'r4'")
    assert db.execute("SELECT bytes FROM request_log_size").fetchone()[0] == 100


async def test_a_long_text_is_cut_after_it_was_checked(tmp_path: Path) -> None:
    long = "word " * 19_998 + SSN + " and more words" * 10
    async with open_world(tmp_path, guard_ssn="off", **BOTH) as world:
        await world.router.complete(ask(long, trace_id="t1", provider="openai"))
        (row,) = await kept(world)

    text = row["asked"]["messages"][0]["parts"][0]["text"]
    assert len(text) < 100_100
    assert "characters more]" in text
    assert "536-90" not in text


async def lived(home: Path) -> None:
    async with open_world(home, user="anna", **BOTH) as world:
        world.providers["openai"].script(Says(text="Red\x1b[31m \u202eevil text"))
        await world.router.complete(ask("quokkamarmalade", trace_id="t1", provider="openai", metadata={"app": "docs"}))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    anyio.run(lived, tmp_path)
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path))
    return tmp_path


def test_the_commands_find_a_request_by_its_trace(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["requests", "list", "--user", "anna"]) == 0
    listed = capsys.readouterr().out
    assert main(["requests", "show", "t1"]) == 0
    shown = capsys.readouterr().out
    assert main(["requests", "show", "t1", "--json"]) == 0
    (story,) = json.loads(capsys.readouterr().out)

    assert "t1" in listed.splitlines()[1]
    assert "labels app=docs" in shown
    assert "quokkamarmalade" in shown
    assert all(character.isprintable() or character == "\n" for character in listed + shown)
    assert story["request"]["metadata"] == {"app": "docs"}
    assert story["answered"]["finish"] == "stop"
    assert main(["requests", "show", "no-such-trace"]) == 1
    assert home.exists()


def test_an_erased_persons_texts_are_gone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--user", "anna"]) == 0
    assert '"record": "request log"' in capsys.readouterr().out

    assert main(["erase", "--user", "anna", "--yes"]) == 0

    left = b"".join(file.read_bytes() for file in home.rglob("orchestra.db*"))
    assert b"quokkamarmalade" not in left
    assert b"evil text" not in left
