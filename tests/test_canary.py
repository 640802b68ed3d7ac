"""Distinctive keys, personal data and words, put in everywhere, and looked for wherever something is written down."""

import base64
import json
import logging
import re
import sys
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import pytest
from mcp import Client, MCPError
from mcp.types import CallToolResult

import mcp_wire
from mcp_wire import environment
from orchestra_router import app, observe
from orchestra_router.cli import main
from orchestra_router.config import Config, load
from orchestra_router.errors import ConfigError
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.simulation import Cut, Reply, Says, SimulatedWorld, StreamError, simulated_world
from surface import connected, environ

Json = dict[str, Any]

# In pieces, so that nobody's scanner takes them for real.
KEYS = {
    name: f"canary-{name}-" + "Kq7Zx92LwPd81mVb"
    for name in ("openrouter", "deepseek", "anthropic", "together", "openai", "gemini", "perplexity", "xai")
}
OTHERS = {"webhook": "wh-canary-" + "Tz55pQxLm0", "address": "adr-canary-" + "Yy41vKcRn8"}
THEIRS = {
    "ssn": "536-90-4417",
    "credit_card": "4539 1488 0343 6467",
    "email": "canary.person@warbler-mail.com",
    "iban": "DE89 3704 0044 0532 0130 00",
    "phone": "+1 415-555-2671",
    "identity_number": "C01X00T47",
    "secret": "sk-proj-" + "canary0Qm4Zr8Ls2Wn6Xc1Vb5",
    "own": "EMP-770142",
}
MADE_UP = {"model_ssn": "219-09-9944", "model_email": "made.up@warbler-mail.com"}
WORDS = {"prompt": "quokkamarmalade", "system": "narwhalbiscuit", "tool": "ocelotpudding", "vendor": "axolotltoffee"}

PERSONAL = f"""I am {THEIRS["ssn"]}, card {THEIRS["credit_card"]}, mail {THEIRS["email"]}, account {THEIRS["iban"]}, phone
{THEIRS["phone"]}. Passport number {THEIRS["identity_number"]}, badge {THEIRS["own"]}, key {THEIRS["secret"]}."""
SETTINGS = f"""
deadline_s = 5
max_retries = 1
cooldown_s = 0
log_level = "DEBUG"
log_requests = true
log_responses = true
cache = "exact"
alert_day_usd = 0
alert_webhook = "http://127.0.0.1:9/{OTHERS["address"]}"
[guard_patterns.employee]
pattern = 'EMP-\\d{{6}}'
"""


def canaries(*groups: Mapping[str, str]) -> dict[str, str]:
    return {name: value for group in groups for name, value in group.items()}


SECRETS = canaries(KEYS, OTHERS, THEIRS, MADE_UP)


def caught(text: str | bytes, looked_for: Mapping[str, str]) -> list[str]:
    """The names of those that are in `text`: as they are, in escapes, in base64."""
    data = text if isinstance(text, bytes) else text.encode()
    return [name for name, value in looked_for.items() if any(form in data for form in _forms(value))]


def _forms(value: str) -> Iterable[bytes]:
    yield value.encode()
    yield json.dumps(value)[1:-1].encode()
    yield quote(value, safe="").encode()
    yield value.replace(" ", "").encode()
    for shift in range(3):  # wherever in the encoded text it begins
        encoded = base64.b64encode(b"\0" * shift + value.encode())
        yield encoded[4 if shift else 0 : -4]


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        for name, key in KEYS.items():
            world[name].key = key
            world.keys[world[name].vendor.key_env] = key
        yield world


@pytest.fixture
def variables(world: SimulatedWorld, tmp_path: Path) -> dict[str, str]:
    return environ(world, tmp_path, SETTINGS) | {"ORCHESTRA_WEBHOOK_SECRET": OTHERS["webhook"]}


@pytest.fixture
def config(variables: dict[str, str]) -> Config:
    return load(variables)


@pytest.fixture
def logs(config: Config, monkeypatch: pytest.MonkeyPatch) -> Generator[StringIO]:
    """What a process writes to stderr at DEBUG, set up as the server does it."""
    written = StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    kept = {name: logging.getLogger(name).level for name in ("orchestra", "httpx", "httpcore", "aiosqlite", "asyncio")}
    root = logging.root.handlers[:], logging.root.level
    monkeypatch.setattr(observe.logger, "handlers", [])
    monkeypatch.setattr(observe.logger, "propagate", True)
    app.log_to_stderr(config)
    yield written
    logging.root.handlers[:] = root[0]
    logging.root.setLevel(root[1])
    for name, level in kept.items():
        logging.getLogger(name).setLevel(level)


def conversation() -> Json:
    arguments = {"who": THEIRS["ssn"], "note": f"{WORDS['tool']} {PERSONAL}"}
    return {
        "messages": [
            {"role": "user", "content": f"{WORDS['prompt']} {PERSONAL}"},
            {"role": "assistant", "tool_calls": [{"id": "c1", "name": "find", "arguments": json.dumps(arguments)}]},
            {"role": "tool", "tool_call_id": "c1", "content": json.dumps({"found": [PERSONAL, WORDS["tool"]]})},
        ],
        "tools": [{"name": "find", "description": PERSONAL, "parameters": {"type": "object", "title": PERSONAL}}],
        "system": f"{WORDS['system']} {PERSONAL}",
        "stop": [THEIRS["email"]],
    }


def plain(provider: str, number: int = 0) -> Json:
    return {
        "prompt": f"{WORDS['prompt']} {number} {PERSONAL}",
        "system": f"{WORDS['system']} {PERSONAL}",
        "metadata": {"app": "canary", "who": THEIRS["email"], THEIRS["ssn"]: "x"},
        "provider": provider,
        "fallback_providers": [],
    }


def refusals(provider: str) -> list[Reply]:
    """A vendor that repeats whatever it was given: the key, the caller's data, words of its own."""
    said = f"{WORDS['vendor']} {KEYS[provider]} {PERSONAL}"
    headers = {"x-request-id": f"req-{KEYS[provider]}", "x-debug": KEYS[provider], "retry-after": "0"}
    bodies: list[Json] = [
        {"error": {"message": said, "type": said, "code": said, "param": said}},
        {"type": "error", "error": {"type": said, "message": said}, "request_id": KEYS[provider]},
        {"error": said, "detail": [said]},
    ]
    return [
        Reply(status, headers=headers, body=json.dumps(body))
        for status in (400, 429, 500, 529, 403, 402, 404, 401)
        for body in bodies
    ]


async def heard(client: Client, tool: str, arguments: Json, *, streaming: bool = False) -> tuple[bool, str]:
    """Whether it failed, and every byte of what the client was told."""
    told: list[str] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - the SDK's
        told.append(message or "")

    try:
        result = await client.call_tool(tool, arguments, progress_callback=tell if streaming else None)
    except MCPError as error:
        return True, f"{error} {error.error.model_dump_json()}"
    assert isinstance(result, CallToolResult)
    return bool(result.is_error), result.model_dump_json() + "".join(told)


def bytes_of(home: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(home.rglob("*")) if file.name.startswith("orchestra.db"))


async def exported(variables: Mapping[str, str], capsys: pytest.CaptureFixture[str], mp: pytest.MonkeyPatch) -> str:
    for name, value in variables.items():
        mp.setenv(name, value)
    assert await anyio.to_thread.run_sync(main, ["audit", "export"]) == 0
    return capsys.readouterr().out


async def test_answers_leave_nothing_behind_and_bring_nothing_but_the_callers_own(
    world: SimulatedWorld,
    config: Config,
    logs: StringIO,
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results: list[str] = []
    async with connected(config) as client:
        for name, provider in world.providers.items():
            if name not in KEYS:
                continue
            says = f"[SSN_1] {MADE_UP['model_ssn']} {MADE_UP['model_email']} {KEYS[name]} {OTHERS['webhook']}"
            provider.script(*(Says(text=says),) * 3)
            for streaming in (False, True):
                failed, told = await heard(client, "complete", plain(name, streaming), streaming=streaming)
                assert not failed, told
                results.append(told)
            _, told = await heard(client, "complete", conversation() | {"provider": name})
            results.append(told)
        for tool, arguments in (
            ("route_task", plain("openai")),
            ("provider_status", {"probe": True}),
            ("cost_report", {"group_by": "metadata:who"}),
            ("cost_report", {"group_by": "metadata:app"}),
        ):
            failed, told = await heard(client, tool, arguments)
            assert not failed, told
            results.append(told)
        wal = bytes_of(tmp_path)

    assert any(THEIRS["ssn"] in told for told in results)
    others = canaries(KEYS, OTHERS, MADE_UP)
    assert [caught(told, others) for told in results] == [[]] * len(results)
    everything = canaries(SECRETS, WORDS)
    assert caught(logs.getvalue(), everything) == []
    assert "attempt request=" in logs.getvalue()
    assert caught(wal, SECRETS) == []
    assert caught(bytes_of(tmp_path), SECRETS) == []
    audit = await exported(variables, capsys, monkeypatch)
    assert audit.count("\n") > 10
    assert caught(audit, everything) == []


COMMANDS = [
    *(["doctor"], ["doctor", "--json"], ["config", "check"], ["models"], ["report"], ["report", "--json"]),
    *(["requests", "list"], ["requests", "list", "--json"], ["requests", "show", "TRACE"]),
    *(["requests", "show", "TRACE", "--json"], ["cache", "list"], ["cache", "stats"], ["audit", "verify"]),
    *(["export", "--user", "canary"], ["erase", "--user", "canary", "--yes", "--json"], ["audit", "export"]),
]
"""What prints something of what was asked. The last two come when everything of the user is erased."""


async def test_commands_print_no_secret_and_nothing_of_an_erased_person_is_left(
    world: SimulatedWorld,
    variables: dict[str, str],
    logs: StringIO,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    variables["ORCHESTRA_USER"] = "canary"
    async with connected(load(variables)) as client:
        for name in ("openrouter", "anthropic"):
            world[name].script(Says(text=f"{WORDS['vendor']} {MADE_UP['model_ssn']} {KEYS[name]}"))
            failed, told = await heard(client, "complete", plain(name) | {"metadata": {"app": "canary"}})
            assert not failed, told
    trace_id = re.findall(r"trace=(\w+)", logs.getvalue())[-1]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    printed: dict[str, str] = {}
    for command in COMMANDS:
        arguments = [trace_id if word == "TRACE" else word for word in command]
        assert await anyio.to_thread.run_sync(main, arguments) in (0, 1), command
        printed[" ".join(command)] = "".join(capsys.readouterr())

    assert {name: caught(text, SECRETS) for name, text in printed.items() if caught(text, SECRETS)} == {}
    for sink in ("requests show TRACE", "export --user canary"):
        assert caught(printed[sink], WORDS) == ["prompt", "system", "vendor"]
    assert json.loads(printed["erase --user canary --yes --json"])["rebuilt"]
    assert caught(bytes_of(tmp_path), canaries(SECRETS, WORDS)) == []
    assert caught(logs.getvalue(), canaries(SECRETS, WORDS)) == []


@pytest.mark.parametrize("provider", ["openrouter", "openai", "anthropic", "gemini"])
async def test_failures_repeat_nothing_that_a_vendor_says(
    provider: str,
    world: SimulatedWorld,
    config: Config,
    logs: StringIO,
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[str] = []
    async with connected(config) as client:
        for number, reply in enumerate(refusals(provider)):
            for streaming in (False, True):
                world[provider].script(*(reply,) * 2)
                _, said = await heard(client, "complete", plain(provider, number), streaming=streaming)
                told.append(said)
            world[provider].script_probes(reply)
            told += [(await heard(client, "provider_status", {"probe": True, "provider": provider}))[1]]
        for step in (Cut(after_events=1), StreamError(after_events=1), StreamError()):
            world[provider].script(step, step)
            told += [(await heard(client, "complete", plain(provider, 99), streaming=True))[1]]
        told += [(await heard(client, "cost_report", {"group_by": "model"}))[1]]
        wal = bytes_of(tmp_path)

    answered = [text for text in told if '"isError":true' in text or '"is_error":true' in text]
    assert answered
    assert {name for text in told for name in caught(text, canaries(KEYS, OTHERS, {"v": WORDS["vendor"]}))} == set()
    assert {name for text in answered for name in caught(text, canaries(SECRETS, WORDS))} == set()
    for written in (logs.getvalue(), await exported(variables, capsys, monkeypatch)):
        assert caught(written, canaries(SECRETS, WORDS)) == []
    for written in (wal, bytes_of(tmp_path)):
        assert caught(written, canaries(SECRETS, {"vendor": WORDS["vendor"]})) == []


WRONG: list[tuple[str, Json]] = [
    *(("complete", {"prompt": "Hi", name: PERSONAL}) for name in ("task", "model", "provider", "fallback_providers")),
    *(
        ("complete", {"prompt": "Hi", name: THEIRS["ssn"]})
        for name in ("task", "model", "provider", "strategy", "cache")
    ),
    *(("complete", {"prompt": "Hi", name: KEYS["openai"]}) for name in ("task", "model", "provider", "accept")),
    ("complete", {"prompt": "Hi", "fallback_providers": [KEYS["openai"], THEIRS["ssn"]]}),
    ("complete", {"prompt": "Hi", "accept": f"({THEIRS['ssn']}"}),
    ("complete", {"prompt": "Hi", "accept": THEIRS["ssn"]}),
    ("complete", {"prompt": "Hi", "wrong_cache_entry": THEIRS["ssn"]}),
    ("complete", {"prompt": "Hi", "metadata": {"cache_namespace": THEIRS["ssn"]}}),
    ("complete", {"request_id": KEYS["openai"]}),
    ("complete", {"prompt": {"text": PERSONAL}}),
    ("complete", {"prompt": "Hi", THEIRS["ssn"]: PERSONAL}),
    ("complete", {"messages": [{"role": PERSONAL, "content": PERSONAL}]}),
    ("complete", {"prompt": "Hi", "tools": [{"name": THEIRS["ssn"]}]}),
    ("complete", {"prompt": "Hi", "response_schema": {"type": PERSONAL, "$ref": THEIRS["ssn"]}}),
    ("cost_report", {"group_by": f"metadata:{THEIRS['ssn']}"}),
    ("cost_report", {"period": PERSONAL}),
    ("cost_report", {"first_day": THEIRS["ssn"]}),
    ("provider_status", {"provider": THEIRS["ssn"]}),
    ("route_task", {"prompt": PERSONAL, "task": THEIRS["ssn"]}),
    (THEIRS["email"], {}),
]


async def test_wrong_arguments_are_not_written_down(config: Config, logs: StringIO, tmp_path: Path) -> None:
    async with connected(config) as client:
        for tool, arguments in WRONG:
            await heard(client, tool, arguments)
        wal = bytes_of(tmp_path)

    assert caught(logs.getvalue(), canaries(SECRETS, WORDS)) == []
    assert caught(wal + bytes_of(tmp_path), SECRETS) == []


async def test_a_defect_shows_where_it_is_and_nothing_of_whom_it_hit(
    config: Config, logs: StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(_: object, request: object) -> None:
        try:
            raise KeyError(PERSONAL)  # noqa: TRY301 - as deep in a library
        except KeyError as first:
            raise ExceptionGroup(WORDS["prompt"], [ValueError(request, KEYS["openai"])]) from first

    monkeypatch.setattr(Guardrails, "check_prompt", defect)
    async with connected(config) as client:
        failed, told = await heard(client, "complete", plain("openai"))

    assert failed
    assert "in defect" in logs.getvalue()
    assert "ValueError" in logs.getvalue()
    assert caught(told + logs.getvalue(), canaries(SECRETS, WORDS)) == []
    assert caught(bytes_of(tmp_path), canaries(SECRETS, WORDS)) == []


BROKEN = [
    f'cache = "{KEYS["openai"]}"\n',
    f'api_key = "{KEYS["openai"]}"\n',
    f'[providers.openai]\napi_key = "{KEYS["openai"]}"\n',
    f"{KEYS['openai']}\n",
    f'alert_webhook = "http://x.example/{OTHERS["address"]}"\n',
    f'[guard_patterns.x]\npattern = "({THEIRS["ssn"]}"\n',
    f'timezone = "{THEIRS["email"]}"\n',
    f'[budgets.user.anna]\nday_usd = "{KEYS["openai"]}"\n',
    f'[budgets.user."{THEIRS["email"]}"]\nday_usd = -1\n',
    f'[budgets.user."{THEIRS["email"]}"]\nday = 1\n',
    f'[budgets.user."{THEIRS["email"]}"]\nat = {{ 100 = "x" }}\n[budgets.user."{THEIRS["email"]}"]\nx = 1\n',
    f'[models."{THEIRS["email"]}"]\nx = 1\n',
    f'[budgets]\n"{THEIRS["email"]}" = 1\n',
    f'"{THEIRS["email"]}" = 1\n',
]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
async def test_a_broken_configuration_is_explained_without_its_values(text: str, tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text(text, encoding="utf-8")
    keys = {"OPENAI_API_KEY": f"{KEYS['openai']} and more", "ORCHESTRA_OPENAI": KEYS["openai"]}

    with pytest.raises(ConfigError) as raised:
        load({"ORCHESTRA_HOME": str(tmp_path), **keys})
    async with connected(raised.value) as client:
        _, told = await heard(client, "complete", {"prompt": PERSONAL})

    assert caught(told + str(raised.value) + repr(raised.value), canaries(KEYS, OTHERS, THEIRS)) == []


async def test_with_a_broken_configuration_the_keys_are_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    handlers, level = logging.root.handlers[:], logging.root.level
    ours = observe.logger.handlers[:], observe.logger.propagate
    (tmp_path / "orchestra.toml").write_text("cache = 3\n[providers.openai]\nbase_url = 5\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load({"ORCHESTRA_HOME": str(tmp_path), "OPENAI_API_KEY": KEYS["openai"], "XAI_API_KEY": KEYS["xai"]})

    app.log_to_stderr(raised.value)
    observe.logger.error("a library says %s and %s", KEYS["openai"], KEYS["xai"])
    logging.root.handlers[:], observe.logger.handlers[:], observe.logger.propagate = handlers, *ours
    logging.root.setLevel(level)

    assert "a library says [SECRET redacted]" in written.getvalue()
    assert caught(written.getvalue(), KEYS) == []


CRASHES = {
    "at the start": "from orchestra_router import app; app.build_server = boom",
    "while it opens the router": "from orchestra_router import router; router.open_router = boom",
    "in a request": "from orchestra_router.stages import Stages; Stages.answer = boom",
    "in a thread": "import threading; t = threading.Thread(target=boom); t.start(); t.join()",
    "in a finaliser": "X = type('X', (), {'__del__': boom}); X()",
    "in a log line": "import logging; from orchestra_router import app; app.build_server = line",
}
SCRIPT = """
import os, sys
from orchestra_router import cli, observe
observe.crash_safely()
def boom(*a, **k):
    raise RuntimeError(os.environ["OPENAI_API_KEY"], os.environ["PERSONAL"], a)
def line(*a, **k):
    logging.getLogger("orchestra").warning("%s, %s, %d", os.environ["OPENAI_API_KEY"], os.environ["PERSONAL"], "x")
    logging.getLogger("elsewhere").error("key %s", os.environ["OPENAI_API_KEY"])
    boom()
{crash}
sys.exit(cli.main())
"""


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
async def test_a_process_that_crashes_says_where_and_no_more(
    crash: str, variables: dict[str, str], tmp_path: Path
) -> None:
    env = environment(tmp_path, **variables, PERSONAL=f"{WORDS['prompt']} {PERSONAL}")
    client = {"protocolVersion": mcp_wire.LEGACY, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    arguments = {"name": "complete", "arguments": plain("openai")}
    said = "".join(
        json.dumps({"jsonrpc": "2.0"} | message) + "\n"
        for message in (
            {"id": 1, "method": "initialize", "params": client},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/call", "params": arguments},
        )
    )

    process = await anyio.open_process([sys.executable, "-c", SCRIPT.replace("{crash}", crash)], env=env)
    async with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with suppress(anyio.BrokenResourceError):
            await process.stdin.send(said.encode())
        written = b""
        with suppress(anyio.EndOfStream), anyio.fail_after(mcp_wire.PATIENCE_S):
            while b'"id":2' not in written:
                written += await process.stdout.receive()
        await process.stdin.aclose()
        errors = b"".join([chunk async for chunk in process.stderr])

    assert b"in boom" in errors
    assert b"RuntimeError" in errors
    assert caught(errors, canaries(SECRETS, WORDS)) == []
    assert caught(written, canaries(KEYS, OTHERS)) == []
