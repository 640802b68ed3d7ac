"""`orchestra keys ...`, and what `ORCHESTRA_KEY` makes of the person at this machine."""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import anyio
import pytest

from mcp_wire import command, environment
from orchestra_router import cli
from orchestra_router.cli import main
from orchestra_router.commands import permissions
from orchestra_router.config import load
from orchestra_router.errors import AccessDenied, ConfigError, KeyLimitReached
from orchestra_router.policy.access import ALLOWED, ROLES, Role, Verb
from orchestra_router.policy.keyring import Terms
from orchestra_router.policy.redactor import redactor
from orchestra_router.router import open_router
from orchestra_router.simulation import simulated_world
from surface import configured, connected, fail, succeed
from worlds import ask, open_world

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRA_CACHE", "exact")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def holding(secret: str, home: Path) -> list[Path]:
    """The files that it is in."""
    return [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def commands(parser: argparse.ArgumentParser, path: str = "") -> Iterator[str]:
    """Every command that the parser knows."""
    inner: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage]
        choices: Any = action.choices
        if isinstance(choices, dict):
            inner |= cast("dict[str, argparse.ArgumentParser]", choices)
    if not inner:
        yield path
    for name, each in inner.items():
        yield from commands(each, f"{path} {name}".strip())


def test_a_key_is_made_shown_changed_rotated_and_revoked(capsys: pytest.CaptureFixture[str]) -> None:
    made = run(
        capsys,
        *("keys", "create", "Ada, laptop", "--role", "caller", "--user", "ada", "--provider", "openai"),
        *("--provider", "anthropic", "--daily", "5", "--rpm", "60", "--concurrency", "4", "--expires", "90d"),
        *("--guard", "email=block"),
    )
    edited = run(capsys, "keys", "edit", made["id"], "--daily", "7.50", "--rpm", "none")
    turned = run(capsys, "keys", "rotate", made["id"], "--overlap", "30m")
    revoked = run(capsys, "keys", "revoke", made["id"])
    listed = run(capsys, "keys", "list")

    assert made["secret"].startswith(f"ork_{made['id']}_")
    assert made["limits"] == {
        "providers": ["openai", "anthropic"],
        "day_usd": 5.0,
        "requests_per_minute": 60,
        "concurrency": 4,
        "guard": {"email": "block"},
    }
    assert (edited["limits"]["day_usd"], "requests_per_minute" in edited["limits"]) == (7.5, False)
    assert turned["secret"] != made["secret"]
    assert len(turned["secrets"]) == 2
    assert revoked["state"] == listed[0]["state"] == "revoked"
    assert listed[0]["limits"] == edited["limits"]
    assert "secret" not in edited | revoked | listed[0]


def test_the_list_shows_what_each_key_is_held_to_in_the_words_that_set_it(capsys: pytest.CaptureFixture[str]) -> None:
    held_to = (
        *("--provider", "openai", "--provider", "anthropic", "--model", "gpt*", "--task", "coding", "--daily", "7.50"),
        *("--monthly", "1000000", "--rpm", "60", "--tpm", "90000", "--concurrency", "4", "--guard", "email=block"),
    )
    run(capsys, "keys", "create", "Ada", *held_to)
    run(capsys, "keys", "create", "Bob")

    assert main(["keys", "list"]) == 0

    columns, ada, bob = capsys.readouterr().out.splitlines()
    limits = "provider=openai,anthropic model=gpt* task=coding daily=7.5 monthly=1000000 rpm=60 tpm=90000 concurrency=4"
    assert columns.endswith("limits")
    assert ada.endswith(f" {limits} guard=email=block")
    assert bob.endswith("never")


def test_the_secret_goes_to_standard_output_and_nowhere_else(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main(["keys", "create", "Ada"]) == 0
    told = capsys.readouterr()
    secret = told.out.removesuffix("\n").rpartition("_")[2]
    assert secret.isalnum(), "a script keeps the key alone"
    assert main(["keys", "list"]) == 0
    assert main(["keys", "show", told.out.split("_")[1]]) == 0
    later = capsys.readouterr()

    assert secret not in told.err + later.out + later.err
    assert not holding(secret, home)


def test_what_the_guide_says_to_do_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "team.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", guide, flags=re.DOTALL) for line in block.splitlines()]
    key_id = ""

    for line in lines:
        words = shlex.split(line.replace("ID", key_id))
        assert words[0] == "orchestra"
        assert main(words[1:]) == 0, line
        if words[2] == "create":
            key_id = capsys.readouterr().out.split("_")[1]
    assert len(lines) == 6
    table = re.findall(r"^\| `(\w+)` \|", guide, flags=re.MULTILINE)
    assert set(table) == set(ROLES)


def test_what_cannot_be_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ("create", "Ada", "--daily", "much"),
        ("create", "Ada", "--rpm", "1.5"),
        ("create", "Ada", "--expires", "soon"),
        ("create", "Ada", "--expires", "2020-01-01"),
        ("create", " "),
        ("create", "Ada", "--provider", "opnai"),
        ("create", "Ada", "--user", "ada\x1b[31m"),
        ("create", "Ada", "--model", "gpt*\x1b[31m"),
        ("show", "nobody"),
    ):
        assert main(["keys", *words]) == 1, words
        said = capsys.readouterr().err
        assert "orchestra: " in said
        assert "\x1b" not in said


async def test_a_report_by_access_key_says_whose_each_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_world(tmp_path) as world:
        made = await world.router.keyring.create(Terms(name="Ada, laptop"))
        await world.router.complete(ask(), caller=await world.router.authenticate(made.secret))

    assert await anyio.to_thread.run_sync(main, ["report", "--group-by", "access_key", "--period", "all"]) == 0

    assert f"{made.key.key_id} Ada, laptop" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["ORCHESTRA_KEY", "ORCHESTRA_KEY_FILE", "ORCHESTRA_KEY_COMMAND"])
def test_a_key_from_any_source_holds_every_command_to_it(
    source: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = run(capsys, "keys", "create", "Ada")["secret"]
    (home / "ada.key").write_text(secret, encoding="utf-8")
    named = {"ORCHESTRA_KEY": secret, "ORCHESTRA_KEY_FILE": str(home / "ada.key")}
    monkeypatch.setenv(source, named.get(source, f"{shlex.quote(sys.executable)} -c \"print('{secret}')\""))

    for command_line in (("keys", "list"), ("report", "--group-by", "user"), ("vacuum",), ("cache", "clear")):
        code = main([*command_line])
        assert (code, command_line[0]) == (0 if command_line[0] == "report" else 1, command_line[0])
    assert "has the role caller" in capsys.readouterr().err


def test_every_command_says_who_may_run_it() -> None:
    known = set(commands(cli._parser()))  # pyright: ignore[reportPrivateUsage]

    assert known == set(permissions.VERBS) | set(permissions.NO_DATA)
    assert set(permissions.VERBS.values()) <= set(get_args(Verb))


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_run_its_commands_and_no_others(
    role: Role, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_KEY", run(capsys, "keys", "create", role, "--role", role)["secret"])
    refused: set[str] = set()
    for name in permissions.VERBS:
        try:
            permissions.check(name)
        except AccessDenied:
            refused.add(name)

    assert refused == {name for name, verb in permissions.VERBS.items() if verb not in ALLOWED[role]}


def test_a_command_that_its_role_does_not_allow_does_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRA_KEY", run(capsys, "keys", "create", "eve", "--role", "operator")["secret"])

    assert main(["keys", "create", "mallory", "--role", "admin"]) == 1
    assert "role operator, which does not allow this (keys)" in capsys.readouterr().err
    monkeypatch.delenv("ORCHESTRA_KEY")
    assert [key["name"] for key in run(capsys, "keys", "list")] == ["eve"]


def test_a_command_that_nobody_has_listed_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permissions, "VERBS", {})

    assert main(["report"]) == 1
    assert "Nobody has said who may run `orchestra report`" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["", " ", "${ORCHESTRA_KEY}", "your-key-here", "ork with spaces"])
def test_a_key_that_is_not_filled_in_makes_nobody_an_admin(value: str, home: Path) -> None:
    with pytest.raises(ConfigError, match="ORCHESTRA_KEY"):
        load({"ORCHESTRA_HOME": str(home), "ORCHESTRA_KEY": value})


async def test_over_stdio_a_wrong_or_revoked_key_is_an_error_in_every_tool(home: Path) -> None:
    async with simulated_world() as world:
        config = configured(world, home, ORCHESTRA_KEY=f"ork_{'0' * 12}_{'1' * 64}")
        async with connected(config) as client:
            for tool, arguments in (
                ("complete", {"prompt": "Hello"}),
                ("complete", {"request_id": "0123456789abcdef"}),
                ("route_task", {"prompt": "Hello"}),
                ("provider_status", {}),
                ("cost_report", {}),
            ):
                text, error = await fail(client, tool, **arguments)
                assert error["code"] == "access_denied"
                assert "ORCHESTRA_KEY" in text
            assert not [received for provider in world.providers.values() for received in provider.received]


async def test_over_stdio_a_key_asks_on_its_own_account_and_sees_no_more_than_that(home: Path) -> None:
    async with simulated_world() as world:
        async with connected(configured(world, home)) as client:
            await succeed(client, "complete", prompt="The admin's question", cache="off")
        async with open_router(configured(world, home)) as router:
            made = await router.keyring.create(Terms(name="ada", user="ada"))
        async with connected(configured(world, home, ORCHESTRA_KEY=made.secret)) as client:
            nothing = await succeed(client, "cost_report")
            await succeed(client, "complete", prompt="My question", cache="off")
            mine = await succeed(client, "cost_report", group_by="access_key")
            _, probing = await fail(client, "provider_status", probe=True)

    assert nothing.get("attempts", 0) == 0
    assert [row["group"] for row in mine["rows"]] == [made.key.key_id]
    assert probing["code"] == "access_denied"


async def test_the_own_key_is_sent_to_nobody_and_written_nowhere(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with simulated_world() as world:
        async with open_router(configured(world, home)) as router:
            made = await router.keyring.create(Terms(name="ada"))
        secret = made.secret.rpartition("_")[2]
        config = configured(world, home, ORCHESTRA_KEY=made.secret, ORCHESTRA_LOG_LEVEL="DEBUG")
        async with connected(config) as client:
            await succeed(client, "complete", prompt=f"My key is {made.secret}.")
            await fail(client, "complete", prompt="Hello", model=made.secret)
        sent = [received.raw for provider in world.providers.values() for received in provider.received]

    assert redactor(config)(f"key {made.secret}") == "key [SECRET redacted]"
    assert sent
    assert not [body for body in sent if secret.encode() in body]
    assert not holding(secret, home)
    assert secret not in caplog.text


async def test_a_key_that_one_process_revokes_is_refused_in_another_at_its_next_call(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        made = await world.router.keyring.create(Terms(name="ada"))
        await world.router.complete(ask(), caller=await world.router.authenticate(made.secret))

        revoke = command("keys", "revoke", made.key.key_id)
        await anyio.run_process(revoke, env=environment(tmp_path))

        with pytest.raises(AccessDenied):
            await world.router.authenticate(made.secret)


async def test_a_key_made_by_one_process_works_in_another_and_its_limits_count_both(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        create = command("keys", "create", "ada", "--rpm", "1", "--json")
        made = json.loads((await anyio.run_process(create, env=environment(tmp_path))).stdout)
        caller = await world.router.authenticate(made["secret"])
        await world.router.complete(ask(provider="deepseek"), caller=caller)

        async with open_router(world.router.config, clock=world.clock) as other:
            with pytest.raises(KeyLimitReached):
                await other.complete(ask("Another"), caller=await other.authenticate(made["secret"]))
