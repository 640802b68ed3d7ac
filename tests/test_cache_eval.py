"""`orchestra cache eval` says how labelled pairs of prompts would fare, with and without an embedder."""

import json
from pathlib import Path

import pytest

from orchestra_router.cli import main

PAIRS = [
    {"a": "How do I boil an egg?", "b": "how can I boil an egg", "label": "same", "category": "frame"},
    {"a": "How do I boil an egg?", "b": "How do I fry an egg?", "label": "different", "category": "verb"},
]


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path / "home"))
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, PAIRS)) + "\n", encoding="utf-8")
    return file


def test_pairs_are_counted_by_label_and_category(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["cache", "eval", str(pairs), "--threshold", "0.8", "--guard", "3", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (found["threshold"], found["guard"]) == (0.8, 3)
    assert found["same"] == {"n": 1, "served": 1}
    assert found["different"] == {"n": 1, "served": 0}
    assert found["by_category"]["verb"] == {"n": 1, "served": 0, "label": "different"}


def test_without_an_embedder_it_says_so_and_serves_the_same_words_only(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRA_EMBEDDER", "off")

    assert main(["cache", "eval", str(pairs), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert "Without an embedder" in found["note"]
    assert found["different"]["served"] == 0


def test_a_sweep_has_a_row_for_each_threshold_and_level(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "eval", str(pairs), "--sweep", "--json"]) == 0

    sweep = json.loads(capsys.readouterr().out)["sweep"]
    assert {(row["threshold"], row["guard"]) for row in sweep} == {
        (threshold, level) for threshold in (0.95, 0.93, 0.90, 0.85) for level in (1, 2, 3, 4)
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no pairs"),
        ('{"a": "x", "b": "y", "label": "maybe"}', "line 1: label"),
        ('{"a": "x", "b": "y", "label": "same"}\nnot json', "line 2"),
    ],
)
def test_a_file_that_is_no_list_of_pairs_is_explained(
    pairs: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    pairs.write_text(text, encoding="utf-8")

    assert main(["cache", "eval", str(pairs)]) == 1
    assert said in capsys.readouterr().err
