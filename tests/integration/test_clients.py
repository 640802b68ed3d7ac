"""The clients that people use, each by its own library: what Orchestra tells them is the same, on every wire."""

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from orchestras import SERVE, Served, environment, served

HERE = Path(__file__).parent / "clients"
PATIENCE_S = 120
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """A client, and which eras of the protocol it can be told to speak."""

    command: tuple[str, ...]
    eras: tuple[str, ...]


PROGRAMS = {
    "python-sdk-1": Program((str(HERE / ".venv-sdk-1/bin/python"), "python_sdk_1.py"), ("legacy",)),
    "python-sdk-2": Program((sys.executable, "python_sdk_2.py"), ("legacy", "auto")),
    "fastmcp-4": Program((str(HERE / ".venv-fastmcp/bin/python"), "fastmcp_4.py"), ("legacy", "auto")),
    "typescript-sdk-1": Program(("node", "typescript_sdk_1.mjs"), ("legacy",)),
    "typescript-client-2": Program(("node", "typescript_client_2.mjs"), ("legacy", "auto")),
}
PROTOCOLS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
MATRIX = [
    # Over stdio the newest era that the client speaks: a server of its own is started for each.
    *((name, "stdio", program.eras[-1]) for name, program in PROGRAMS.items()),
    *((name, "http", era) for name, program in PROGRAMS.items() for era in program.eras),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("orchestra")) as server:
        yield server


def told(program: Program, how: Json, question: str, home: Path) -> Json:
    """What the client saw of the story, which is the same for every client."""
    story = {
        "ask": {"prompt": question, "task": "general_chat", "cache": "off"},
        "calls": {"route_task": {"prompt": question}, "provider_status": {}, "cost_report": {}},
        "wrong": {"prompt": question, "max_token": 1},
    }
    executable = shutil.which(program.command[0])
    assert executable, f"{program.command[0]} is missing: run .ci/integration, which installs it"
    ended = subprocess.run(
        [executable, *program.command[1:], json.dumps([how, story])],
        cwd=HERE,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen: Json = json.loads(ended.stdout)
    return seen


@pytest.mark.parametrize(("name", "wire", "era"), MATRIX)
def test_every_client_sees_the_same(name: str, wire: str, era: str, server: Served, tmp_path: Path) -> None:
    how: Json = {"era": era}
    question = "What is the capital of France?"
    if wire == "http":
        how |= {"url": server.url, "headers": server.headers}
    else:
        # Not where all clients share a server: a provider that fails often is asked no more.
        question += " Please simulate an outage."
        how |= {"command": sys.executable, "args": SERVE, "env": environment(tmp_path)}

    seen = told(PROGRAMS[name], how, question, tmp_path)

    assert seen["protocol"] == PROTOCOLS[era]
    assert seen["instructions"].startswith("Simulated:")
    assert seen["tools"] == ["complete", "route_task", "provider_status", "cost_report"]
    assert seen["resources"][:2] == ["orchestra://providers", "orchestra://models"]
    assert seen["templates"] == ["orchestra://spend/{day}", "orchestra://requests/{trace_id}"]
    assert len(seen["prompts"]) == 4

    answer = seen["answer"]
    assert "Paris" in answer["text"]
    assert answer == json.loads(seen["answer_text"])
    assert [attempt["outcome"] for attempt in answer["attempts"]][-1] == "ok"
    steps = [step for step, _ in seen["progress"]]
    assert steps == list(range(1, len(steps) + 1))
    assert seen["progress"][0][1].startswith("asking ")
    assert any("server error (503" in message for _, message in seen["progress"]) == (wire == "stdio")

    assert seen["results"]["route_task"]["route"][0]["worst_usd"] > 0
    assert {provider["state"] for provider in seen["results"]["provider_status"]["providers"]} >= {"ready"}
    assert seen["results"]["cost_report"]["total"]["spent_nusd"] > 0

    is_error, text, meta = seen["wrong"]
    assert is_error
    assert "Did you mean `max_tokens`?" in text
    assert meta["orchestra/error"] == {"code": "invalid_request"}
    assert [seen[f"unknown_{what}"] for what in ("tool", "resource", "prompt")] == [-32602, -32602, -32602]

    uri, mime_type, model = seen["resource"]
    assert (uri, mime_type) == ("orchestra://models", "application/json")
    assert model["input_usd_per_mtok"] > 0
    assert "Why?" in seen["prompt"]
    assert seen["completed"]
    assert all(value.startswith("claude-") for value in seen["completed"])
