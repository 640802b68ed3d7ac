"""`orchestra init` writes settings that can be used, and never over others; completion completes."""

import json
import subprocess
from pathlib import Path

import pytest

from orchestra_router.cli import main
from orchestra_router.config import load


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def answer(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Somebody at the keyboard; returns the questions."""
    asked: list[str] = []
    left = list(answers)

    def typed(question: str) -> str:
        asked.append(question)
        return left.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", typed)
    return asked


def test_what_was_answered_is_what_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, "$1,200.50", "80", "Europe/Berlin")

    assert main(["init"]) == 0

    settings = load({"ORCHESTRA_HOME": str(home)}).settings
    assert (float(settings.budget_month_usd), float(settings.budget_day_usd)) == (1200.5, 80)
    assert settings.timezone == "Europe/Berlin"
    assert len(asked) == 3


def test_a_program_is_told_where_it_was_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--yes", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {"file": str(home / "orchestra.toml"), "keys": 0}


def test_a_program_is_told_whether_a_configuration_can_be_used(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--json"]) == 0
    good = json.loads(capsys.readouterr().out)
    home.mkdir(exist_ok=True)
    (home / "orchestra.toml").write_text("budget_dya_usd = 1\n", encoding="utf-8")
    assert main(["config", "check", "--json"]) == 1
    broken = json.loads(capsys.readouterr().out)

    assert (good["usable"], broken["usable"]) == (True, False)
    assert any("budget_day_usd" in problem for problem in broken["problems"])


def test_a_wrong_answer_is_explained_and_asked_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answer(monkeypatch, "lots", "-3", "20", "", "Berlin", "UTC")

    assert main(["init"]) == 0

    assert len(asked) == 6
    said = capsys.readouterr().out
    assert "a number from 0" in said
    assert "a name like Europe/Berlin" in said
    assert float(load({"ORCHESTRA_HOME": str(home)}).settings.budget_day_usd) == 5


def test_every_line_that_is_proposed_in_a_comment_can_be_used(home: Path) -> None:
    main(["init", "--yes"])
    file = home / "orchestra.toml"
    lines = file.read_text(encoding="utf-8").splitlines()
    proposed = [
        line[2:] if line.startswith("# ") and (" = " in line or line.startswith("# [")) else line for line in lines
    ]
    file.write_text("\n".join(proposed), encoding="utf-8")

    config = load({"ORCHESTRA_HOME": str(home)})

    assert proposed != lines
    assert config.catalog.providers["ollama"].base_url == "http://127.0.0.1:11434/v1"


def test_settings_that_are_there_stay(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    (home / "orchestra.toml").write_text("budget_day_usd = 1\n", encoding="utf-8")

    assert main(["init", "--yes"]) == 1

    assert "stays as it is" in capsys.readouterr().err
    assert (home / "orchestra.toml").read_text(encoding="utf-8") == "budget_day_usd = 1\n"


def test_without_anybody_to_ask_nothing_is_made_up(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 1

    assert "--yes" in capsys.readouterr().err
    assert not home.exists()


def test_it_says_which_keys_were_found(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-shown")

    main(["init", "--yes", "--month-usd", "7"])

    said = capsys.readouterr().out
    assert "OPENAI_API_KEY" in said
    assert "sk-not-shown" not in said + (home / "orchestra.toml").read_text(encoding="utf-8")


def test_the_shell_completes_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0

    script = tmp_path / "orchestra.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    typed = 'COMP_WORDS=(orchestra rep); COMP_CWORD=1; COMP_LINE="orchestra rep"; $(complete -p orchestra | sed "s/.*-F \\([^ ]*\\).*/\\1/"); echo "${COMPREPLY[@]}"'
    completed = subprocess.run(["bash", "-c", f"source {script}; {typed}"], capture_output=True, text=True, check=True)
    assert "report" in completed.stdout.split()
