"""`orchestra doctor` finds what is usually wrong with a machine, and says the fix."""

import json
import os
import socket
from collections.abc import Mapping
from email.utils import formatdate
from importlib.metadata import version
from pathlib import Path

import pytest

from clocks import FakeClock
from orchestra_router import doctor_checks
from orchestra_router.config import load
from orchestra_router.doctor import as_text, examine
from orchestra_router.doctor_checks import (
    about_clients,
    about_keys,
    about_packages,
    about_the_data_folder,
    about_the_network,
)
from orchestra_router.router import open_router
from raw_servers import raw_server


def test_a_machine_in_order_gives_no_finding(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "ORCHESTRA_HOME": str(tmp_path)}

    assert [*about_packages(), *about_clients(environ), *about_the_network(environ)] == []
    assert list(about_the_data_folder(load(environ), now_ms=0)) == []


def test_an_old_sdk_is_named_with_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(name: str) -> str:
        return "1.30.0" if name == "mcp" else version(name)

    monkeypatch.setattr(doctor_checks, "version", old)

    (finding,) = about_packages()

    assert finding.startswith("mcp is 1.30.0, and 2.3 is needed")


def test_a_client_that_would_start_nothing_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".cursor" / "mcp.json"
    file.parent.mkdir()
    entry = {"command": str(tmp_path / "gone" / "orchestra")}
    file.write_text(json.dumps({"mcpServers": {"orchestra": entry, "other": {"command": "nowhere"}}}), encoding="utf-8")

    (finding,) = about_clients({"HOME": str(tmp_path), "PATH": os.environ["PATH"]})

    assert "Cursor would start" in finding
    assert "orchestra install cursor" in finding


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
        ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY"),
        ("deepseek_api_key", "DEEPSEEK_API_KEY"),
    ],
)
def test_a_key_under_a_name_that_nothing_reads_is_named_and_not_shown(written: str, meant: str, tmp_path: Path) -> None:
    environ = {"ORCHESTRA_HOME": str(tmp_path), written: "secret-of-somebody", "OPENAI_ADMIN_KEY": "another"}

    (finding,) = about_keys(environ, load(environ))

    assert finding == f"`{written}` is set, and nothing reads it: call it `{meant}`, if it is that key."
    assert list(about_keys(environ | {meant: "x"}, load(environ | {meant: "x"}))) == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SSL_CERT_FILE": "/nowhere.pem"}, "/nowhere.pem, which is not there"),
        ({"HTTPS_PROXY": "socks5://127.0.0.1:1080"}, "`HTTPS_PROXY` names a SOCKS proxy"),
    ],
)
def test_a_way_out_that_leads_nowhere_is_named(environ: Mapping[str, str], said: str) -> None:
    (finding,) = about_the_network(environ)

    assert said in finding


def test_a_huge_database_is_named_with_what_makes_it_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "LARGE_DATABASE_BYTES", 100)
    (tmp_path / "orchestra.db").write_bytes(b"x" * 60)
    (tmp_path / "orchestra.db-wal").write_bytes(b"x" * 60)
    now_ms = round((tmp_path / "orchestra.db").stat().st_mtime * 1000)

    (finding,) = about_the_data_folder(load({"ORCHESTRA_HOME": str(tmp_path)}), now_ms=now_ms)

    assert "orchestra vacuum" in finding


def test_a_clock_that_was_set_back_is_named(tmp_path: Path) -> None:
    (tmp_path / "orchestra.db").touch()

    (finding,) = about_the_data_folder(load({"ORCHESTRA_HOME": str(tmp_path)}), now_ms=0)

    assert "clock" in finding


@pytest.mark.parametrize(("off_s", "said"), [(3600, "60 min ahead"), (-600, "10 min behind"), (60, "")])
async def test_a_wrong_clock_is_seen_by_what_the_providers_say(off_s: int, said: str, tmp_path: Path) -> None:
    clock = FakeClock()
    theirs = formatdate(clock.now_ms() / 1000 - off_s, usegmt=True)
    listed = b'{"object":"list","data":[]}'
    head = (
        f"HTTP/1.1 200 OK\r\ndate: {theirs}\r\ncontent-type: application/json\r\ncontent-length: {len(listed)}\r\n\r\n"
    )
    async with raw_server(head.encode() + listed) as server:
        row = f'[providers.ollama]\nbase_url = "http://127.0.0.1:{server.port}/v1"\n'
        (tmp_path / "orchestra.toml").write_text(row, encoding="utf-8")
        async with open_router(load({"ORCHESTRA_HOME": str(tmp_path)}), clock=clock) as router:
            notes = (await router.provider_status("ollama", probe=True)).notes

    told = [note for note in notes if "clock" in note]
    assert len(told) == bool(said)
    assert said in "".join(told)


async def test_where_nobody_can_be_reached_the_network_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    toml = f'[providers.openai]\nbase_url = "http://127.0.0.1:{port}/v1"\n'
    (tmp_path / "orchestra.toml").write_text(toml, encoding="utf-8")

    found = await examine({"ORCHESTRA_HOME": str(tmp_path), "HOME": str(tmp_path), "OPENAI_API_KEY": "x"}, probe=True)

    assert any("check the network" in problem for problem in found["problems"])
    assert "could not be reached" in as_text(found)
