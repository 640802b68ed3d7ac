"""`orchestra route eval`: people measure task recognition on prompts of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mcp_wire import environment

ROWS: list[dict[str, Any]] = [
    {"prompt": "Write a Python function that reverses a list", "label": "coding"},
    {"prompt": "Prove that the sum of two even numbers is even", "label": "complex_reasoning", "alt": None},
    {"prompt": "Write a haiku about snow", "label": "creative_writing", "id": 7},
    {"prompt": "What's the weather in Rome right now?", "label": "web_search", "alt": []},
    {"prompt": "Hello, how are you?", "label": "general_chat"},
    {"prompt": "Write a poem about the sea", "label": "coding", "alt": ["creative_writing"]},
]


def evaluate(home: Path, content: str | bytes, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = home / "prompts.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return subprocess.run(
        [sys.executable, "-m", "orchestra_router", "route", "eval", str(file), *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )


def lines(rows: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n\n"


@pytest.mark.parametrize("arguments", [(), ("--rules",)])
def test_shares_and_recalls_are_told_as_json(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = evaluate(tmp_path, lines(ROWS), "--json", *arguments)

    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["n"] == 6
    assert found["strict"] == pytest.approx(5 / 6)
    assert found["lenient"] == 1
    assert found["recall"] == {task: 0.5 if task == "coding" else 1 for task in found["recall"]}
    assert found["confusion"]["coding"] == {"coding": 1, "creative_writing": 1}
    assert sum(found["method"].values()) == 6
    assert not arguments or set(found["method"]) == {"rules"}


def test_a_person_sees_a_table(tmp_path: Path) -> None:
    done = evaluate(tmp_path, lines(ROWS))

    assert "6 prompts: 83.3% as labelled, 100.0% with alternatives" in done.stdout
    assert "label \\ found" in done.stdout
    assert "50.0%" in done.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no prompts"),
        ("\n \n", "holds no prompts"),
        ("{", "line 1: is not JSON"),
        ("[1]", "line 1: is no object"),
        ('{"label": "coding"}', "line 1: `prompt` is missing, empty or no text"),
        ('{"prompt": 5, "label": "coding"}', "line 1: `prompt` is missing, empty or no text"),
        ('\n{"prompt": " ", "label": "coding"}', "line 2: `prompt` is missing, empty or no text"),
        ('{"prompt": "x", "label": "coding", "alt": "math"}', "line 1: `alt` is no list of tasks"),
        ('{"prompt": "x", "label": "cooking"}', 'line 1: "cooking" is no task; known: '),
        ('{"prompt": "x"}', "line 1: null is no task"),
        ('{"prompt": "x", "label": "coding", "alt": ["a"]}', 'line 1: "a" is no task'),
        ('{"prompt": "x", "label": "coding", "alt": {"a": 1}}', "line 1: `alt` is no list of tasks"),
        ("{\n" * 9, "; and 4 more."),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_a_broken_file_is_explained_by_its_lines(content: str | bytes, said: str, tmp_path: Path) -> None:
    done = evaluate(tmp_path, content)

    assert done.returncode == 1
    assert said in done.stderr
    assert str(tmp_path / "prompts.jsonl") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_explained(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestra_router", "route", "eval", str(tmp_path / "none.jsonl")],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "none.jsonl cannot be read: No such file or directory." in done.stderr
