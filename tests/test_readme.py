"""The README says what is so: its commands exist, its snippets work, its tables are the code's."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from orchestra_router.config import load, settings_table
from orchestra_router.policy import routing
from orchestra_router.policy.health import HealthView
from orchestra_router.pricing import Pricing
from orchestra_router.types import CompletionRequest, Message, Text

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def snippet(language: str, containing: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(text for text in found if containing in text)


def test_the_settings_table_is_made_from_the_settings() -> None:
    shown = README.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]

    assert shown == settings_table()


@pytest.mark.parametrize("command", ["pip install uv && uv run orchestra demo", "pip install uv && uv run pytest"])
def test_the_two_commands_stand_alone_and_are_the_ones_that_ci_runs(command: str) -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert snippet("sh", command) == f"{command}\n"
    assert f"\n{command}\n" in ci


def test_the_client_configuration_is_the_example_and_is_json() -> None:
    example = (ROOT / "mcp.json.example").read_text(encoding="utf-8")

    assert snippet("json", "mcpServers") == example
    assert json.loads(example)["mcpServers"]["orchestra"]["command"] == "uv"


def test_a_provider_can_be_added_by_the_rows_that_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "orchestra.toml"
    file.write_text(snippet("toml", "[providers.example]"), encoding="utf-8")

    config = load({"ORCHESTRA_HOME": str(tmp_path), "EXAMPLE_API_KEY": "k"})
    plan = routing.plan(
        CompletionRequest(messages=(Message("user", (Text("Hi"),)),), provider="example", task="general_chat"),
        routing.Surroundings(
            config=config, pricing=Pricing.of(config.settings), health=HealthView({}, 0, ""), local={}
        ),
        task_reason="",
    )

    assert plan.route[0].deployment.key == "example/large-2"


def test_the_rules_that_are_shown_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text(snippet("toml", "[[rules]]"), encoding="utf-8")

    assert [rule.name for rule in load({"ORCHESTRA_HOME": str(tmp_path)}).rules] == ["quiet hours", "confidential"]


def test_every_provider_and_its_variable_is_in_the_table(tmp_path: Path) -> None:
    catalog = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog

    for provider in catalog.providers.values():
        assert all(f"`{variable}`" in README for variable in provider.key_env)
        assert provider.key_env or provider.title in README


def test_the_version_is_in_the_project_file_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
