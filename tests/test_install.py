"""`orchestra install`: a client's file is shown first, written after a yes, and nothing in it is lost."""

import json
import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.cli import main
from orchestra_router.clients import CLIENTS, Client, Folders

KEY = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.name)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "APPDATA", "ORCHESTRA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def servers(client: Client, file: Path) -> Mapping[str, Any]:
    text = file.read_text(encoding="utf-8")
    return (tomllib.loads(text) if client.form == "toml" else json.loads(text))[client.table]


@every_client
def test_it_is_added_to_a_client_that_has_no_file_yet(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    assert main(["install", client.name, "--yes"]) == 0

    file = client.file(Folders.of(os.environ))
    assert servers(client, file)["orchestra"]["env"] == {"OPENAI_API_KEY": KEY}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert "+" in said
    assert client.then in said
    assert KEY not in said


@every_client
def test_what_else_is_in_the_file_stays_and_a_copy_is_kept(client: Client) -> None:
    file = client.file(Folders.of(os.environ))
    other = {"command": "other", "args": ["--fast"]}
    before = (
        f'# mine\nmodel = "x"\n\n[{client.table}.other]\ncommand = "other"\nargs = ["--fast"]\n'
        if client.form == "toml"
        else json.dumps({"theme": "dark ☾", client.table: {"other": other}}, indent="\t", ensure_ascii=False)
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(before, encoding="utf-8")
    file.chmod(0o644)

    assert main(["install", client.name, "--simulate", "--yes"]) == 0

    after = file.read_text(encoding="utf-8")
    assert servers(client, file)["other"] == other
    assert servers(client, file)["orchestra"]["args"][-2:] == ["serve", "--simulate"]
    assert [line for line in before.splitlines()[:2] if line not in after] == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [kept.read_text(encoding="utf-8") for kept in file.parent.glob("*.before-orchestra-*")] == [before]


@every_client
def test_a_second_time_changes_nothing(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    main(["install", client.name, "--yes"])
    written = client.file(Folders.of(os.environ)).read_bytes()

    assert main(["install", client.name, "--yes"]) == 0

    assert "has it already" in capsys.readouterr().out
    assert client.file(Folders.of(os.environ)).read_bytes() == written


def test_without_a_yes_nothing_is_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "cursor"]) == 1

    assert not (home / ".cursor").exists()
    assert "--yes" in capsys.readouterr().err


def test_the_keys_of_other_servers_are_not_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".cursor").mkdir()
    other = {"other": {"command": "other", "env": {"OPENAI_API_KEY": KEY}}}
    (home / ".cursor" / "mcp.json").write_text(json.dumps({"mcpServers": other}), encoding="utf-8")

    main(["install", "cursor", "--yes"])

    said = capsys.readouterr()
    assert KEY not in said.out + said.err


@every_client
def test_no_key_is_shown_whatever_its_form_not_even_one_that_is_replaced(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = client.file(Folders.of(os.environ))
    file.parent.mkdir(parents=True, exist_ok=True)
    before = (
        f"[{client.table}.other]\ncommand = 'other'\n[{client.table}.other.env]\nPASS = 'plain words'\n"
        if client.form == "toml"
        else json.dumps({client.table: {"other": {"command": "other", "env": {"PASS": "plain words"}}}})
    )
    file.write_text(before, encoding="utf-8")
    monkeypatch.setenv("TOGETHER_API_KEY", "one-form-of-nobody")
    assert main(["install", client.name, "--yes"]) == 0
    monkeypatch.setenv("TOGETHER_API_KEY", "another-form-of-nobody")
    if client.form == "json":  # an entry in a TOML file is not replaced
        assert main(["install", client.name, "--yes"]) == 0

    said = capsys.readouterr().out
    assert "form-of-nobody" not in said
    assert "plain words" not in said
    expected = {"one-form-of-nobody" if client.form == "toml" else "another-form-of-nobody"}
    assert set(servers(client, file)["orchestra"]["env"].values()) == expected


def test_a_key_that_stands_elsewhere_and_every_setting_go_into_the_entry(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "key").write_text(KEY, encoding="utf-8")
    given = {
        "ANTHROPIC_API_KEY_FILE": str(home / "key"),
        "OPENAI_API_KEY": "first-of-two",
        "OPENAI_API_KEY_2": "second-of-two",
        "ORCHESTRA_BUDGET_DAY_USD": "3",
        "ORCHESTRA_HOME": str(home / "data"),
        "ORCHESTRA_KEY": "ork_0123456789ab_secret",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert main(["install", "cursor", "--yes"]) == 0

    entry = json.loads((home / ".cursor" / "mcp.json").read_text(encoding="utf-8"))["mcpServers"]["orchestra"]
    assert entry["env"] == given
    said = capsys.readouterr().out
    assert '"ORCHESTRA_BUDGET_DAY_USD": "3"' in said
    assert "ork_0123456789ab" not in said


@pytest.mark.parametrize(
    "text",
    ['{"mcpServers": {} // mine\n}', "[]", '{"mcpServers": 5}', "{"],
    ids=["comments", "a list", "a number", "half"],
)
def test_a_file_that_a_program_cannot_change_is_left_alone(
    text: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".cursor").mkdir()
    file = home / ".cursor" / "mcp.json"
    file.write_text(text, encoding="utf-8")

    assert main(["install", "cursor", "--yes"]) == 1

    said = capsys.readouterr().err
    assert "left alone" in said
    assert '"orchestra"' in said
    assert file.read_text(encoding="utf-8") == text


def test_another_entry_in_a_toml_file_is_not_guessed_at(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text('[mcp_servers.orchestra]\ncommand = "old"\n', encoding="utf-8")

    assert main(["install", "codex", "--yes"]) == 1

    assert "already has an entry" in capsys.readouterr().err


def test_a_link_stays_a_link(home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / "dotfiles.json").write_text("{}", encoding="utf-8")
    (home / ".cursor" / "mcp.json").symlink_to(home / "dotfiles.json")

    assert main(["install", "cursor", "--yes"]) == 0

    assert (home / ".cursor" / "mcp.json").is_symlink()
    assert "orchestra" in (home / "dotfiles.json").read_text(encoding="utf-8")


def test_without_a_client_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--json"]) == 0

    listed = json.loads(capsys.readouterr().out)
    assert {row["client"] for row in listed} == set(CLIENTS)
    assert not any(row["exists"] for row in listed)


def test_a_client_may_be_called_by_its_title(home: Path) -> None:
    assert main(["install", "Gemini CLI", "--yes"]) == 0

    assert (home / ".gemini" / "settings.json").exists()


def test_an_unknown_client_is_told_with_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "curser"]) == 1

    assert "Did you mean cursor?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "file"),
    [
        ("darwin", "Library/Application Support/Claude/claude_desktop_config.json"),
        ("win32", "Roaming/Claude/claude_desktop_config.json"),
        ("linux", ".config/Claude/claude_desktop_config.json"),
    ],
)
def test_each_system_keeps_its_files_elsewhere(platform: str, file: str, home: Path) -> None:
    folders = Folders.of({"HOME": str(home), "APPDATA": str(home / "Roaming")}, platform)

    assert CLIENTS["claude-desktop"].file(folders) == home / file
