"""From an empty home folder to a first answer, in each client's own format, as a new user goes."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client as McpClient
from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client

from orchestra_router.clients import CLIENTS, Client, Folders
from orchestra_router.simulation import simulated_config, simulated_world

ROOT = Path(__file__).parent.parent.parent
every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.name)


@every_client
async def test_a_first_simulated_answer(client: Client, tmp_path: Path) -> None:
    orchestra("install", client.name, "--simulate", "--yes", HOME=str(tmp_path))

    answer = await first_answer(client, tmp_path)

    assert answer["text"].startswith("[simulated ")


@pytest.mark.parametrize("name", ["claude-desktop", "vscode", "codex"])
async def test_a_first_answer_with_a_key_from_the_shell(name: str, tmp_path: Path) -> None:
    client = CLIENTS[name]
    async with simulated_world() as world:
        data = tmp_path / "data"
        data.mkdir()
        (data / "orchestra.toml").write_text(simulated_config(world), encoding="utf-8")
        variables = {name: key for name, key in world.keys.items() if name == "OPENAI_API_KEY"}
        orchestra("install", client.name, "--yes", HOME=str(tmp_path), ORCHESTRA_HOME=str(data), **variables)

        answer = await first_answer(client, tmp_path)

    assert answer["provider"] == "openai"
    assert answer["cost_usd"] > 0


async def test_the_agents_script_answers_as_it_stands(tmp_path: Path) -> None:
    printed = await anyio.to_thread.run_sync(
        run_as_shown, ROOT / "docs" / "clients" / "agents.md", {"HOME": str(tmp_path)}
    )

    assert printed.startswith("[simulated ")


async def test_the_first_pages_script_answers_as_it_stands(tmp_path: Path) -> None:
    async with simulated_world() as world:
        (tmp_path / "orchestra.toml").write_text(simulated_config(world), encoding="utf-8")
        environ = {"HOME": str(tmp_path), "ORCHESTRA_HOME": str(tmp_path), **world.keys}
        printed = await anyio.to_thread.run_sync(run_as_shown, ROOT / "README.md", environ)

    assert printed.strip()
    assert world.billed_nusd > 0


def run_as_shown(page: Path, environ: Mapping[str, str]) -> str:
    """What the page's Python prints, in a process of its own where `orchestra` can be found."""
    (script,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def orchestra(*arguments: str, **variables: str) -> None:
    plain = {name: os.environ[name] for name in ("PATH",)}
    subprocess.run(
        [sys.executable, "-m", "orchestra_router", *arguments], env=plain | variables, check=True, timeout=60
    )


async def first_answer(client: Client, home: Path) -> dict[str, Any]:
    """What a client that reads its file gets; of the shell, it knows nothing."""
    file = client.file(Folders.of({"HOME": str(home)}))
    text = file.read_text(encoding="utf-8")
    read: dict[str, Any] = tomllib.loads(text) if client.form == "toml" else json.loads(text)
    entry = read[client.table]["orchestra"]
    start = StdioServerParameters(
        command=entry["command"], args=entry["args"], env={"HOME": str(home), **entry.get("env", {})}
    )
    async with McpClient(stdio_client(start)) as connected:
        answer = await connected.call_tool("complete", {"prompt": "Say hello."})
    assert not answer.is_error, answer.content
    assert answer.structured_content is not None
    return answer.structured_content
