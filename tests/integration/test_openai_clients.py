"""Whatever speaks OpenAI's API works unchanged: official SDKs, LangChain, LiteLLM, each by its own library."""

import json
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from orchestras import Served, served

HERE = Path(__file__).parent / "clients"
PATIENCE_S = 120
MODEL = "openai/gpt-6-luna"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PROGRAMS = {
    "openai-python": (sys.executable, "openai_python.py"),
    "openai-node": ("node", "openai_node.mjs"),
    "langchain-openai": (str(HERE / ".venv-langchain/bin/python"), "langchain_openai_1.py"),
    "litellm": (str(HERE / ".venv-litellm/bin/python"), "litellm_1.py"),
}
STATUSES = [[401, "access_denied"], [404, "model_not_found"], [400, "invalid_request"]]
"""Of a wrong key, a wrong model, and a parameter that cannot be served."""
LITELLM = [[401, "AuthenticationError"], [404, "NotFoundError"], [400, "BadRequestError"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("orchestra")) as server:
        yield server


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_works_unchanged(server: Served, name: str, tmp_path: Path) -> None:
    saw = _seen_by(name, server, tmp_path)

    for told in (saw["plain"], saw["stream"]):
        assert told["text"].startswith("[simulated ")
        assert told["tokens"] > 0
    assert saw["tools"] == {
        "name": "get_weather",
        "arguments": {"city": saw["tools"]["arguments"]["city"]},
        "finish": "tool_calls",
        "then": saw["tools"]["then"],
    }
    assert "rain" in saw["tools"]["then"]
    assert saw["streamed_tools"] == {name: saw["tools"][name] for name in ("name", "arguments")}
    assert set(saw["schema"]) == {"city", "country"}
    assert saw["image"]
    assert saw["errors"] == (LITELLM if name == "litellm" else STATUSES)
    if "models" in saw:
        assert {"auto", "task:coding", MODEL} <= set(saw["models"])
        assert saw["headers"] == {"x-trace-id": "story-1", "x-orchestra-cache": "HIT"}


def _seen_by(name: str, server: Served, home: Path) -> Any:
    program, script = PROGRAMS[name]
    executable = shutil.which(program)
    assert executable, f"{program} is missing: run .ci/integration, which installs it"
    how = {
        "base_url": server.url.removesuffix("/mcp") + "/v1",
        "key": server.key,
        "model": MODEL,
        "question": f"Is {name} at home here?",
        "tool_question": f"Please use the tool, {name}.",
        "tools": [TOOL],
        "image": IMAGE,
    }
    ended = subprocess.run(
        [executable, script, json.dumps(how)],
        cwd=HERE,
        env={"PATH": str(Path(executable).parent), "HOME": str(home), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)
