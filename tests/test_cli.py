"""The `orchestra` command as a person or a script runs it: arguments in, text and an exit code out."""

import csv
import datetime as dt
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from mcp_wire import PATIENCE_S, command, environment
from orchestra_router.config import load
from orchestra_router.simulation import SimulatedWorld, simulated_world
from orchestra_tools.costs import dollars
from surface import environ

PROJECT = Path(__file__).parents[1]


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@pytest.fixture
def env(world: SimulatedWorld, tmp_path: Path) -> dict[str, str]:
    """A machine where every provider is configured, and simulated."""
    return environment(tmp_path, **environ(world, tmp_path))


async def orchestra(env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    done = await anyio.to_thread.run_sync(run)
    assert "Traceback" not in done.stderr
    return done


async def spend_something(env: Mapping[str, str]) -> None:
    """One answered call, by a process that is gone afterwards."""
    call = {"name": "complete", "arguments": {"prompt": "What is the capital of France?"}}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    messages: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ]

    def run() -> None:
        with subprocess.Popen(command(), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            for message in messages:
                server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            server.stdin.flush()
            server.stdout.readline()
            server.stdout.readline()
            server.stdin.close()

    await anyio.to_thread.run_sync(run)


async def test_the_version_is_told(tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path), "--version")

    assert done.returncode == 0
    assert done.stdout.startswith("orchestra ")


@pytest.mark.parametrize(
    "arguments", [["sing"], ["report", "--period", "year"], ["config", "mend"], ["probe", "--fast"]]
)
async def test_wrong_arguments_are_explained(arguments: list[str], tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path), *arguments)

    assert done.returncode == 2
    assert "usage: orchestra" in done.stderr
    assert not done.stdout


async def test_the_doctor_says_who_would_be_asked(env: dict[str, str]) -> None:
    done = await orchestra(env, "doctor", "--json")

    findings = json.loads(done.stdout)
    asks = {task["task"]: task["asks"] for task in findings["tasks"]}
    states = {provider["name"]: provider["state"] for provider in findings["providers"]}
    assert done.returncode == 0
    assert findings["ready"] is True
    assert asks["coding"][0].startswith("deepseek/")
    assert states["openrouter"] == "ready"
    assert findings["problems"] == []


async def test_the_doctor_says_which_embedder_is_active(env: dict[str, str]) -> None:
    active = await orchestra(env, "doctor", "--json")
    absent = await orchestra(env | {"ORCHESTRA_EMBEDDER_PATH": "/nowhere"}, "doctor")

    assert json.loads(active.stdout)["embedder"].startswith("all-MiniLM-L6-v2/53aa51172d14 from /")
    assert "embedder       none: embedder_path is /nowhere, which holds no model.safetensors" in absent.stdout


async def test_the_doctor_can_be_read_by_a_person(env: dict[str, str]) -> None:
    done = await orchestra(env, "doctor")

    assert done.returncode == 0
    assert "key from OPENROUTER_API_KEY" in done.stdout
    assert "coding" in done.stdout
    assert {line[:28].strip() for line in done.stdout.splitlines() if " is retir" in line} == {""}


async def test_without_a_key_the_doctor_says_what_to_set(tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path), "doctor")

    assert done.returncode == 1
    assert "set OPENROUTER_API_KEY in" in done.stdout
    assert "orchestra demo" in done.stdout


async def test_the_doctor_names_every_variable_that_could_hold_a_key(tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path), "doctor")

    assert "set GOOGLE_API_KEY or GEMINI_API_KEY in" in done.stdout


async def test_the_placeholder_of_the_readme_is_no_key(tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path, XAI_API_KEY="your-key-here"), "doctor")

    assert done.returncode == 1
    assert "replace the placeholder in XAI_API_KEY" in done.stdout


@pytest.mark.parametrize("command", ["doctor", "models"])
async def test_the_age_of_the_prices_is_told(command: str, env: dict[str, str]) -> None:
    done = await orchestra(env, command)

    assert re.search(r"prices:? +genai-prices [0-9.]+.*, catalog checked 20", done.stdout)


async def test_the_doctor_works_on_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text("cache_tll_s = 5\n", encoding="utf-8")

    done = await orchestra(environment(tmp_path), "doctor")

    assert done.returncode == 1
    assert "orchestra.toml:1" in done.stdout
    assert "did you mean `cache_ttl_s`?" in done.stdout


async def test_the_doctor_works_on_a_broken_database(tmp_path: Path) -> None:
    (tmp_path / "orchestra.db").write_bytes(b"this is not a database" * 100)

    done = await orchestra(environment(tmp_path), "doctor", "--json")

    findings = json.loads(done.stdout)
    (problem,) = findings["problems"]
    assert done.returncode == 1
    assert "deepseek" in [provider["name"] for provider in findings["providers"]]
    assert str(tmp_path / "orchestra.db") in problem


@pytest.mark.parametrize("arguments", [["config"], ["config", "check"]])
async def test_a_good_configuration_passes_its_check(arguments: list[str], env: dict[str, str]) -> None:
    done = await orchestra(env, *arguments)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["config", "check"], ["report"], ["models"], ["probe"]])
async def test_a_broken_configuration_is_one_clear_message(arguments: list[str], tmp_path: Path) -> None:
    env = environment(tmp_path, ORCHESTRA_CACHE_TLL_S="5")

    done = await orchestra(env, *arguments)

    assert done.returncode == 1
    assert done.stderr.startswith("orchestra: The configuration cannot be used:")
    assert "did you mean `ORCHESTRA_CACHE_TTL_S`?" in done.stderr
    assert not done.stdout


async def test_a_report_says_what_was_spent(env: dict[str, str], world: SimulatedWorld) -> None:
    await spend_something(env)

    for_programs = await orchestra(env, "report", "--group-by", "provider", "--json")
    for_people = await orchestra(env, "report", "--group-by", "provider")

    report = json.loads(for_programs.stdout)
    assert report["total"]["spent_nusd"] == world.billed_nusd > 0
    assert report["rows"][0]["group"] == "openrouter"
    assert dollars(world.billed_nusd) in for_people.stdout
    assert "openrouter" in for_people.stdout


async def test_a_report_can_be_about_any_days_and_any_label_of_the_requests(env: dict[str, str]) -> None:
    await spend_something(env)

    this_year = await orchestra(env, "report", "--from", "2026-01-01", "--group-by", "metadata:app", "--json")
    long_ago = await orchestra(env, "report", "--to", "2025-12-31", "--group-by", "day", "--json")
    refused = await orchestra(env, "report", "--group-by", "colour")

    assert [row["group"] for row in json.loads(this_year.stdout)["rows"]] == ["(none)"]
    assert json.loads(long_ago.stdout)["total"]["spent_nusd"] == 0
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "`group_by` is one of provider, model" in refused.stderr


async def test_a_report_can_be_opened_as_a_spreadsheet(env: dict[str, str], world: SimulatedWorld) -> None:
    await spend_something(env)
    file = Path(env["ORCHESTRA_HOME"]) / "spent.csv"

    done = await orchestra(env, "report", "--group-by", "provider", "--csv", str(file))
    printed = await orchestra(env, "report", "--group-by", "provider", "--csv", "-")
    nowhere = await orchestra(env, "report", "--csv", str(file / "no" / "folder.csv"))

    (line,) = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    assert (line["provider"], int(line["spent_nusd"])) == ("openrouter", world.billed_nusd)
    assert printed.stdout.splitlines() == file.read_text(encoding="utf-8").splitlines()
    assert (done.returncode, nowhere.returncode) == (0, 1)
    assert nowhere.stderr.startswith("orchestra: ")


async def test_a_price_fix_is_shown_first_and_written_when_told_to(env: dict[str, str]) -> None:
    await spend_something(env)
    wanted = ("reprice", "--since", "2026-01-01", "--reason", "a test")

    tried = await orchestra(env, *wanted)
    done = await orchestra(env, *wanted, "--yes", "--json")
    refused = await orchestra(env, "reprice", "--since", "yesterday", "--reason", "a test")

    assert (tried.returncode, done.returncode, refused.returncode) == (0, 0, 1)
    assert "Every one counts at what the list says. There is nothing to write." in tried.stdout
    assert json.loads(done.stdout)["written"] == 0
    assert "--since is a day such as 2026-11-23" in refused.stderr


async def test_a_providers_export_is_held_against_the_ledger(env: dict[str, str], world: SimulatedWorld) -> None:
    await spend_something(env)
    today = dt.datetime.now(dt.UTC).date()
    file = Path(env["ORCHESTRA_HOME"]) / "export.csv"
    file.write_text(f"day,model,cost\n{today},gpt-6-luna,{world.billed_nusd / 1e9:.9f}\n", encoding="utf-8")

    same = await orchestra(env, "reconcile", str(file), "--provider", "openrouter")
    whose = await orchestra(env, "reconcile", str(file))
    file.write_text(f"day,model,cost\n{today},gpt-6-luna,1\nlater,gpt-6-luna,1\n", encoding="utf-8")
    other = await orchestra(env, "reconcile", str(file), "--provider", "openrouter")
    missing = await orchestra(env, "reconcile", str(file.with_name("none.csv")))

    assert "1 of 1 days and models agree." in same.stdout
    assert (same.returncode, whose.returncode, other.returncode, missing.returncode) == (0, 1, 1, 1)
    assert "--provider" in whose.stderr
    assert "0 of 1 days and models agree." in other.stdout
    assert "not understood: line 3: its day is no date" in other.stdout
    assert "No such file" in missing.stderr


async def test_every_model_is_listed_with_its_price_and_state(env: dict[str, str]) -> None:
    for_programs = await orchestra(env, "models", "--json")
    for_people = await orchestra(env, "models")

    models = json.loads(for_programs.stdout)
    priced = [model for model in models if model["input"] > 0 and model["output"] > 0]
    assert {"openrouter", "deepseek", "anthropic"} <= {model["provider"] for model in models}
    assert len(priced) > 10
    assert {model["provider"] for model in models if model["peak"]} == {"deepseek"}
    assert "* at its peak hours" in for_people.stdout
    assert all(model["context"] > 0 for model in models)
    assert all(model["id"] in for_people.stdout for model in models)


async def test_a_probe_finds_a_wrong_key(env: dict[str, str]) -> None:
    done = await orchestra(env | {"DEEPSEEK_API_KEY": "wrong"}, "probe", "--json")

    states = {provider["name"]: provider["state"] for provider in json.loads(done.stdout)["providers"]}
    assert done.returncode == 0
    assert states["anthropic"] == "ready"
    assert states["deepseek"] != "ready"


async def test_a_probe_of_nothing_that_works_fails(tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path), "probe", "deepseek")

    assert done.returncode == 1
    assert "DEEPSEEK_API_KEY" in done.stdout


async def test_a_probe_of_an_unknown_provider_is_explained(tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path), "probe", "depseek")

    assert done.returncode == 1
    assert "deepseek" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("doctor >&-", "there is no standard output to write to"),
        ("demo >&-", "there is no standard output to write to"),
        ("serve <&-", "There is no standard input to read a client's requests from."),
        ("doctor >/dev/full", "No space left on device"),
        ("demo >/dev/full", "No space left on device"),
    ],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
async def test_where_nothing_can_be_read_or_written_one_line_says_so(arguments: str, said: str, tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        line = f"exec {shlex.join(command())} {arguments}"
        return subprocess.run(
            ["/bin/sh", "-c", line],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    done = await anyio.to_thread.run_sync(run)

    assert (done.returncode, done.stderr) == (1, f"orchestra: {said}\n")


async def test_the_help_names_what_is_to_be_filled_in(tmp_path: Path) -> None:
    done = await orchestra(environment(tmp_path), "sing")

    assert "[--version] command ..." in done.stderr
    assert "argument command: invalid choice" in done.stderr


async def test_a_reader_that_has_had_enough_is_no_error_worth_a_traceback(tmp_path: Path) -> None:
    def run() -> tuple[int, bytes]:
        with subprocess.Popen(
            command("models"), env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as listing:
            assert listing.stdout is not None
            assert listing.stderr is not None
            listing.stdout.close()
            return listing.wait(PATIENCE_S), listing.stderr.read()

    code, said = await anyio.to_thread.run_sync(run)

    assert (code, said) == (1, b"")


def test_who_types_the_bare_command_is_told_what_it_waits_for(tmp_path: Path) -> None:
    keyboard, terminal = os.openpty()
    with subprocess.Popen(command(), env=environment(tmp_path), stdin=terminal, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        server.kill()
    os.close(keyboard)
    os.close(terminal)

    assert b"Waiting for an MCP client" in said


async def test_no_command_shows_a_key(env: dict[str, str], world: SimulatedWorld) -> None:
    shown = [
        await orchestra(env, *asked) for asked in (["doctor"], ["doctor", "--json"], ["probe"], ["config", "check"])
    ]

    said = "".join(done.stdout + done.stderr for done in shown)
    assert not [key for key in world.keys.values() if key in said]


def test_the_example_configuration_names_what_exists(tmp_path: Path) -> None:
    example = json.loads((PROJECT / "mcp.json.example").read_text(encoding="utf-8"))

    (server,) = example["mcpServers"].values()
    keys = dict.fromkeys(server["env"], "k-real")
    config = load({"ORCHESTRA_HOME": str(tmp_path), **keys})

    assert server["args"][-1] == "orchestra"
    assert len(config.keys) == sum(name.endswith("_API_KEY") for name in server["env"])


def test_the_installed_command_is_this_one(tmp_path: Path) -> None:
    code = "import importlib.metadata as m; print(*[e.value for e in m.entry_points(group='console_scripts', name='orchestra')])"

    said = subprocess.check_output([sys.executable, "-c", code], env=environment(tmp_path), text=True)

    assert said.split() == ["orchestra_router.cli:main"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_a_report_is_written_whatever_the_encoding_of_the_terminal(encoding: str, env: dict[str, str]) -> None:
    await spend_something(env)

    report = await orchestra(
        {**env, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}, "report", "--group-by", "provider"
    )

    assert report.returncode == 0
    assert "█" in report.stdout
