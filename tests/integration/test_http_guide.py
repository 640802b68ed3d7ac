"""The guide to HTTP says what is so: each of its snippets runs as it stands."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from orchestras import Served, served

HERE = Path(__file__).parent / "clients"
GUIDE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
PATIENCE_S = 120
SNIPPETS = {
    "from openai import OpenAI": (sys.executable, "python"),
    'import OpenAI from "openai"': ("node", "js"),
    "from langchain_openai": (str(HERE / ".venv-langchain/bin/python"), "python"),
    "import litellm": (str(HERE / ".venv-litellm/bin/python"), "python"),
    "curl -s": ("sh", "sh"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    with served(tmp_path_factory.mktemp("orchestra")) as server:
        yield server


def snippet(language: str, containing: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)
    return next(text for text in found if containing in text)


@pytest.mark.parametrize("containing", SNIPPETS)
def test_a_snippet_runs_as_it_stands(server: Served, containing: str) -> None:
    program, language = SNIPPETS[containing]
    base = server.url.removesuffix("/mcp")
    executable = shutil.which(program)
    assert executable, f"{program} is missing: run .ci/integration, which installs it"
    script = snippet(language, containing).replace("http://127.0.0.1:8765", base)
    command = {"js": [executable, "--input-type=module", "-e", script]}.get(language, [executable, "-c", script])
    ended = subprocess.run(
        command,
        cwd=HERE,
        env={
            "PATH": os.environ["PATH"],
            "OPENAI_BASE_URL": f"{base}/v1",
            "OPENAI_API_KEY": server.key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "[simulated" in ended.stdout


def test_the_body_that_is_shown_is_taken(server: Served, tmp_path: Path) -> None:
    body: Any = json.loads(snippet("json", '"orchestra"'))
    (tmp_path / "body.json").write_text(json.dumps(body), encoding="utf-8")
    ended = subprocess.run(
        [
            "curl",
            "-s",
            server.url.replace("/mcp", "/v1/chat/completions"),
            "-H",
            f"Authorization: Bearer {server.key}",
            "-d",
            f"@{tmp_path / 'body.json'}",
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )

    assert json.loads(ended.stdout)["choices"]
