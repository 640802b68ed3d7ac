"""The bundle, the image's build and the service, as their own tools judge them, and as they start."""

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle for Claude Desktop."""
    folder = tmp_path_factory.mktemp("bundle")
    run(ROOT / ".ci" / "bundle", folder)
    return folder / "orchestra.mcpb"


async def test_the_bundle_starts_with_every_question_left_open(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as packed:
        packed.extractall(unpacked := tmp_path / "unpacked")
    manifest = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))
    start = manifest["server"]["mcp_config"]
    arguments = [argument.replace("${__dirname}", str(unpacked)) for argument in start["args"]]
    # Claude Desktop hands on `${user_config.x}` as it stands where nobody answered.
    environ = {**os.environ, "VIRTUAL_ENV": "", **start["env"], "ORCHESTRA_HOME": str(tmp_path / "home")}

    async with Client(
        stdio_client(StdioServerParameters(command=start["command"], args=arguments, env=environ))
    ) as client:
        tools = await client.list_tools()
        answer = await client.call_tool("provider_status", {})

    assert [tool.name for tool in tools.tools] == [tool["name"] for tool in manifest["tools"]]
    assert not answer.is_error
    assert answer.structured_content is not None
    states = {provider["name"]: provider["state"] for provider in answer.structured_content["providers"]}
    assert states["openai"] == "no_key"


def test_the_bundle_holds_the_product_and_nothing_else(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as packed:
        names = [Path(name) for name in packed.namelist()]

    top = {name.parts[0] for name in names}
    assert top == {"manifest.json", "pyproject.toml", "README.md", "LICENSE", "server", "tools"}
    assert [name for name in names if "__pycache__" in name.parts or name.suffix in {".db", ".toml.bak"}] == []


def test_the_image_file_has_no_finding() -> None:
    assert run("hadolint", ROOT / "Dockerfile") == ""


def test_the_image_can_be_built_from_what_its_file_copies(tmp_path: Path) -> None:
    """What its steps do, without an engine: the same files, the same commands."""
    steps = (
        (ROOT / "Dockerfile")
        .read_text(encoding="utf-8")
        .replace("\\\n", "")
        .replace("/opt/orchestra", str(tmp_path / "venv"))
    )
    source = tmp_path / "source"
    source.mkdir()
    build = steps.split("\nFROM ")[1]
    for copied in re.findall(r"^COPY (.+) \S+$", build, flags=re.MULTILINE):
        for name in copied.split():
            run("cp", "-r", ROOT / name, source)

    for command in re.findall(r"^RUN (.+)$", build, flags=re.MULTILINE):
        run("bash", "-c", command, cwd=source)

    # Who runs the image may not write there.
    assert is_compiled(tmp_path / "venv")
    assert run(tmp_path / "venv" / "bin" / "orchestra", "--version", cwd=tmp_path).startswith("orchestra ")


def test_the_service_can_be_installed_as_the_guide_says_and_is_compiled(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "install.md").read_text(encoding="utf-8").replace("\\\n", "")
    (line,) = re.findall(r"^sudo (.*uv tool install .*)$", guide, flags=re.MULTILINE)
    for place in ("/usr/local/bin", "/opt/uv"):
        line = line.replace(place, f"{tmp_path}{place}")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "server", "tools"):
        run("cp", "-r", ROOT / name, source)

    run("bash", "-c", f"HOME={tmp_path} {line.replace('orchestra-router[', f'{source}[')}", cwd=tmp_path)

    assert is_compiled(tmp_path / "opt" / "uv")
    assert run(tmp_path / "usr/local/bin/orchestra", "--version", cwd=tmp_path).startswith("orchestra ")


def is_compiled(folder: Path) -> bool:
    return any(folder.rglob("orchestra_router/__pycache__/router.*.pyc"))


def test_the_service_file_is_right_and_confined(tmp_path: Path) -> None:
    unit = tmp_path / "orchestra.service"
    text = (ROOT / "distribution" / "orchestra.service").read_text(encoding="utf-8")
    unit.write_text(text.replace("/usr/local/bin/orchestra", "/bin/true"), encoding="utf-8")

    assert run("systemd-analyze", "verify", unit) == ""
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)  # of 100; the default is 96


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """What it printed; an assertion with that where it failed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
