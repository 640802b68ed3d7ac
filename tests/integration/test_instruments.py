"""The official instruments: the Inspector's command line, and the conformance suite on both wires."""

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from orchestras import SERVE, Served, environment, served, with_key

HERE = Path(__file__).parent / "clients"
INSPECTOR = "node_modules/.bin/mcp-inspector"
CONFORMANCE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
PATIENCE_S = 120
Json = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("orchestra")) as server:
        yield server


def run(home: Path, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    node = shutil.which("node")
    assert node, "Node.js is missing: run .ci/integration, which installs it"
    assert (HERE / script).exists(), f"{script} is missing: run .ci/integration, which installs it"
    return subprocess.run(
        [node, script, *arguments],
        cwd=HERE,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


# --- the Inspector -----------------------------------------------------------------------------------------------


def inspect(home: Path, to: tuple[str, ...], era: str, *arguments: str) -> tuple[int, Json]:
    """Its exit code (0, 5: the tool failed, 6: a schema that some host cannot read), and the result."""
    ended = run(home, INSPECTOR, "--cli", *to, "--protocol-era", era, "--format", "json", *arguments)
    assert ended.stdout, ended.stderr
    result: Json = json.loads(ended.stdout)["result"]
    return ended.returncode, result


def over_http(server: Served) -> tuple[str, ...]:
    return (server.url, "--transport", "http", "--header", f"Authorization: Bearer {server.key}")


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_finds_the_tools_readable_for_every_host_over_http(
    era: str, server: Served, tmp_path: Path
) -> None:
    code, listed = inspect(tmp_path, over_http(server), era, "--method", "tools/list", "--strict")

    assert code == 0
    assert len(listed["tools"]) == 4


def test_the_inspector_finds_them_so_over_stdio(tmp_path: Path) -> None:
    code, listed = inspect(tmp_path, (sys.executable, *SERVE), "modern", "--method", "tools/list", "--strict")

    assert code == 0
    assert len(listed["tools"]) == 4


def test_the_inspector_calls_reads_and_gets_what_there_is(server: Served, tmp_path: Path) -> None:
    def ask(era: str, method: str, *arguments: str) -> tuple[int, Json]:
        return inspect(tmp_path, over_http(server), era, "--method", method, *arguments)

    answered, answer = ask("legacy", "tools/call", "--tool-name", "complete", "--tool-arg", "prompt=Hello there.")
    failed, failure = ask("modern", "tools/call", "--tool-name", "complete", "--tool-arg", "max_token=1")
    read, resource = ask("modern", "resources/read", "--uri", "orchestra://providers")
    got, prompt = ask("legacy", "prompts/get", "--prompt-name", "compare_models", "--prompt-args", "question=Why?")

    assert (answered, failed, read, got) == (0, 5, 0, 0)
    assert answer["structuredContent"]["text"]
    assert failure["_meta"]["orchestra/error"] == {"code": "invalid_request"}
    assert json.loads(resource["contents"][0]["text"])["providers"]
    assert "Why?" in prompt["messages"][0]["content"]["text"]


# --- the conformance suite -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_all_conformance_checks_pass_but_those_of_the_baseline(version: str, server: Served, tmp_path: Path) -> None:
    with with_key(server) as url:
        ended = run(
            tmp_path,
            CONFORMANCE,
            *("server", "--url", url, "--suite", "all", "--spec-version", version),
            *("--expected-failures", f"conformance-{version}.yml", "-o", str(tmp_path)),
        )

    # It fails on a check that newly fails, and on one of the baseline that newly passes.
    assert ended.returncode == 0, ended.stdout[-3_000:]
