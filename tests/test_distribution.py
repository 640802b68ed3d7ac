"""What is handed to registries, clients and machines says the same as the code."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema

from orchestra_router.app import INSTRUCTIONS
from orchestra_router.config import Settings, load
from orchestra_tools.server import TOOL_NAMES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MANIFEST = json.loads((ROOT / "distribution" / "manifest.json").read_text(encoding="utf-8"))
SERVER = json.loads((ROOT / "server.json").read_text(encoding="utf-8"))
PACKAGE = SERVER["packages"][0]
SETTING_VARIABLES = {f"ORCHESTRA_{name}".upper() for name in Settings.model_fields}


def test_the_registrys_entry_fits_its_schema() -> None:
    # The registry's own, of 2025-12-11, as modelcontextprotocol/registry publishes it, without its examples.
    schema = json.loads((ROOT / "tests" / "data" / "server.schema.json").read_text(encoding="utf-8"))

    jsonschema.validate(SERVER, schema)

    assert SERVER["$schema"] == schema["$id"]
    assert len(SERVER["description"]) <= 100


def test_every_version_is_the_projects() -> None:
    assert {MANIFEST["version"], SERVER["version"], PACKAGE["version"]} == {PROJECT["version"]}


def test_what_the_registry_starts_is_a_command_of_the_package() -> None:
    # `uvx NAME` runs the command that is named like the package.
    assert PACKAGE["runtimeHint"] == "uvx"
    assert PROJECT["scripts"][PACKAGE["identifier"]] == PROJECT["scripts"]["orchestra"]


def test_the_proof_of_ownership_is_in_the_readme_and_the_image() -> None:
    assert f"mcp-name: {SERVER['name']}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'io.modelcontextprotocol.server.name="{SERVER["name"]}"' in (ROOT / "Dockerfile").read_text(
        encoding="utf-8"
    )


def test_every_providers_key_can_be_given_and_is_marked_as_secret(tmp_path: Path) -> None:
    providers = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog.providers.values()

    in_registry = {entry["name"] for entry in PACKAGE["environmentVariables"] if entry.get("isSecret")}
    in_bundle = {name for name, field in asked_in_the_bundle().items() if field.get("sensitive")}

    assert in_registry == in_bundle
    assert [p.name for p in providers if p.key_env and not in_bundle.intersection(p.key_env)] == []
    assert in_bundle - {name for p in providers for name in p.key_env} == {"PORTKEY_API_KEY"}


def test_every_other_variable_is_a_setting() -> None:
    in_registry = {entry["name"] for entry in PACKAGE["environmentVariables"] if not entry.get("isSecret")}
    in_bundle = {name for name, field in asked_in_the_bundle().items() if not field.get("sensitive")}

    assert in_registry | in_bundle <= SETTING_VARIABLES


def test_the_bundle_names_the_tools() -> None:
    assert tuple(tool["name"] for tool in MANIFEST["tools"]) == TOOL_NAMES
    assert all(f"`{name}`" in INSTRUCTIONS for name in TOOL_NAMES)


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    ]

    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert next(line for line in reversed(lines) if line.startswith("USER")) == "USER 10001"
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    assert let_in == set(copied)


def asked_in_the_bundle() -> dict[str, dict[str, Any]]:
    """Environment variable -> the question whose answer it gets."""
    fields = MANIFEST["user_config"]
    variables = MANIFEST["server"]["mcp_config"]["env"]
    asked = {name: value.removeprefix("${user_config.").removesuffix("}") for name, value in variables.items()}
    return {name: fields[field] for name, field in asked.items()}
