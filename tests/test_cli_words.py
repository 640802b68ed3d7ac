"""What the commands say to somebody who mistypes, looks where nothing is yet, or may not write."""

import io
import json
import socket
from pathlib import Path

import pytest

from orchestra_router.cli import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("ORCHESTRA_CACHE", "exact")
    monkeypatch.setenv("ORCHESTRA_EMBEDDER", "off")
    return tmp_path


def refused(capsys: Captured, *words: str) -> str:
    """What is said of a command that cannot be run."""
    try:
        code = main(words)
    except SystemExit as ended:  # argparse
        code = int(str(ended.code))
    assert code != 0
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("doctr",), "Did you mean doctor?"),
        (("keys", "creat", "x"), "Did you mean create"),
        (("report", "--period", "lastmonth"), "Did you mean last_month"),
        (("serve", "--htpp"), "Did you mean --http?"),
        (("cache", "list", "--most", "few"), "'few' is no whole number"),
        (("cache", "eval", "x", "--threshold", "2"), "from 0 to 1"),
        (("dashboard", "--port", "99999"), "from 0 to 65,535"),
        (("keys", "create", "x", "--expires", "tomorrow"), "like 2027-01-31"),
        (("keys", "create", "x", "--guard", "email=off"), "never looser"),
        (("report", "--from", "2026-13-01"), "--from is a day"),
        (("report", "--to", "yesterday"), "--to is a day"),
        (("reprice", "--since", "soon", "--reason", "x"), "--since is a day"),
        (("report", "--from", "9999-01-01"), "it is today"),
        (("report", "--from", "2026-02-01", "--to", "2026-01-01"), "Exchange them"),
        (("route", "plan", "hi", "--metadata", "app"), "like app=docs"),
        (("route", "plan", "hi", "--max-cost-usd", "-1"), "`max_cost_usd` must be at least 0"),
    ],
    ids=str,
)
def test_a_slip_is_told_with_what_was_meant(words: tuple[str, ...], said: str, capsys: Captured) -> None:
    message = refused(capsys, *words)

    assert said in message
    assert "_share" not in message
    assert "first_day" not in message


def test_the_options_of_a_command_are_shown_where_one_is_unknown(capsys: Captured) -> None:
    assert "usage: orchestra serve" in refused(capsys, "serve", "--htpp")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "list"), "orchestra keys create NAME"),
        (("requests", "list"), "Nothing was asked yet."),
        (("cache", "list"), "Nothing is kept."),
    ],
    ids=["keys", "requests", "cache"],
)
def test_where_nothing_is_yet_that_is_said(words: tuple[str, ...], said: str, capsys: Captured) -> None:
    assert main(words) == 0

    assert said in capsys.readouterr().out


def test_a_file_that_cannot_be_written_or_read_is_named(home: Path, capsys: Captured) -> None:
    there = home / "a file"
    there.touch()

    for words in (("report", "--csv", str(there / "x.csv")), ("reconcile", str(there / "x.csv"))):
        assert str(there / "x.csv") in refused(capsys, *words)


def test_init_says_what_to_do_where_it_cannot_write(home: Path, capsys: Captured) -> None:
    (home / "data").symlink_to(home / "on a disk that is not there")

    message = refused(capsys, "init", "--yes")

    assert f"{home / 'data' / 'orchestra.toml'} cannot be written" in message
    assert "ORCHESTRA_HOME" in message


def test_a_port_in_use_is_told_in_the_words_of_the_command(capsys: Captured) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        assert "orchestra dashboard --port" in refused(capsys, "dashboard", "--no-open", "--port", port)
        assert "orchestra serve --http" in refused(capsys, "serve", "--http", port)


def test_a_setting_of_a_certain_form_is_explained_without_its_pattern(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("ORCHESTRA_HTTP_HOSTS", "https://llm.example.org/")
    monkeypatch.setenv("ORCHESTRA_BUDGET_DAY_USD", "$5")

    message = refused(capsys, "config")

    assert "`llm.example.org`" in message
    assert "[A-Za-z" not in message
    assert "must be a number, such as 5" in message


def test_the_limits_of_a_key_are_told_with_their_values(capsys: Captured) -> None:
    limits = ("--daily", "5", "--rpm", "1000", "--provider", "openai", "--provider", "xai", "--guard", "email=block")
    assert main(["keys", "create", "Ada", *limits, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)

    assert main(["keys", "list"]) == 0
    assert main(["keys", "show", made["id"]]) == 0
    listed = capsys.readouterr().out

    told = "provider=openai,xai daily=5 rpm=1000 guard=email=block"
    assert listed.count(told) == 2
    assert "{" not in listed


def test_one_is_one(home: Path, capsys: Captured) -> None:
    file = home / "texts"
    file.write_text("call 536-90-4399\n", encoding="utf-8")

    assert main(["guard", "test", str(file)]) == 0
    assert main(["audit", "verify"]) == 0

    said = capsys.readouterr().out
    assert "1 text, 1 finding." in said
    assert "1 row," in said


def test_a_misspelt_limit_of_a_budget_is_told_with_what_was_meant(home: Path, capsys: Captured) -> None:
    (home / "data").mkdir()
    (home / "data" / "orchestra.toml").write_text("[budgets.user.anna]\ndaily_usd = 5\n", encoding="utf-8")

    assert "`budgets.user.anna.daily_usd` is not known; did you mean `day_usd`?" in refused(capsys, "config")


def test_texts_for_the_guard_can_come_from_another_program(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("call 536-90-4399\n"))

    assert main(["guard", "test", "-"]) == 0

    assert "1 text, 1 finding." in capsys.readouterr().out
