"""The README and the guides say what is so: commands exist, snippets work, tables are the code's, links lead somewhere."""

import json
import re
import tomllib
from base64 import b64decode
from pathlib import Path
from urllib.parse import unquote

import pytest

from orchestra_router.clients import CLIENTS, EXAMPLE_KEYS, Client, Entry
from orchestra_router.clients import snippet as entry_snippet
from orchestra_router.config import load, settings_table
from orchestra_router.http.error_reference import reference as error_reference
from orchestra_router.keys import PLACEHOLDER
from orchestra_router.policy import routing
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.pricing import Pricing
from orchestra_router.types import CompletionRequest, Message, Text

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))


def snippet(page: Path, language: str, containing: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return next(text for text in found if containing in text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_test_that_a_page_names_is_there() -> None:
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))
    }
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))}

    assert named - there == set()


def test_every_guide_can_be_found_from_the_readme() -> None:
    found: set[Path] = set()
    due = [README]
    while due:
        page = due.pop()
        if page in found or page.suffix != ".md" or not page.exists():
            continue
        found.add(page)
        links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        due += [(page.parent / link).resolve() for link in links if "://" not in link]

    assert [page.name for page in PAGES if page not in found] == []


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.name)
def test_each_clients_page_shows_its_entry(client: Client) -> None:
    page = ROOT / "docs" / "clients" / f"{client.name}.md"
    entry = Entry("uvx", ("orchestra-router",), dict.fromkeys(EXAMPLE_KEYS, PLACEHOLDER))

    assert snippet(page, client.form, client.table).rstrip() == entry_snippet(client, entry).rstrip()
    assert snippet(page, "sh", "install") == f"orchestra install {client.name}\n"
    assert client.then in page.read_text(encoding="utf-8")


def test_the_install_buttons_hold_the_entry() -> None:
    vscode = (ROOT / "docs" / "clients" / "vscode.md").read_text(encoding="utf-8")
    cursor = (ROOT / "docs" / "clients" / "cursor.md").read_text(encoding="utf-8")
    start = {"command": "uvx", "args": ["orchestra-router"]}

    assert json.loads(unquote(re.findall(r"install\?name=orchestra&config=([^)]+)", vscode)[0])) == {
        "type": "stdio",
        **start,
    }
    assert json.loads(b64decode(re.findall(r"install-mcp\?name=orchestra&config=([^)]+)", cursor)[0])) == start


def test_the_readme_fits_on_a_screen_or_two() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 90


def test_the_settings_table_is_made_from_the_settings() -> None:
    page = SETTINGS.read_text(encoding="utf-8")
    shown = page.partition("<!-- settings -->\n")[2].partition("\n<!-- /settings -->")[0]

    assert shown == settings_table()


def test_the_table_of_errors_is_made_from_the_errors() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")

    assert page.partition("<!-- errors -->\n")[2].partition("\n<!-- /errors -->")[0] == error_reference()


@pytest.mark.parametrize("command", ["pip install uv && uv run orchestra demo", "pip install uv && uv run pytest"])
def test_the_two_commands_stand_alone_and_are_the_ones_that_ci_runs(command: str) -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert snippet(README, "sh", command) == f"{command}\n"
    assert f"\n{command}\n" in ci


def test_the_client_configuration_is_the_example_and_is_json() -> None:
    example = (ROOT / "mcp.json.example").read_text(encoding="utf-8")

    assert snippet(README, "json", "mcpServers") == example
    assert json.loads(example)["mcpServers"]["orchestra"]["command"] == "uv"


def test_a_provider_can_be_added_by_the_rows_that_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "orchestra.toml"
    file.write_text(snippet(ROOT / "docs" / "providers.md", "toml", "[providers.example]"), encoding="utf-8")

    config = load({"ORCHESTRA_HOME": str(tmp_path), "EXAMPLE_API_KEY": "k"})
    plan = routing.plan(
        CompletionRequest(messages=(Message("user", (Text("Hi"),)),), provider="example", task="general_chat"),
        Surroundings(config=config, pricing=Pricing.of(config.settings), health=HealthView({}, 0, ""), local={}),
        task_reason="",
    )

    assert plan.route[0].deployment.key == "example/large-2"


def test_the_rules_that_are_shown_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text(
        snippet(ROOT / "docs" / "routing.md", "toml", "[[rules]]"), encoding="utf-8"
    )

    assert [rule.name for rule in load({"ORCHESTRA_HOME": str(tmp_path)}).rules] == ["quiet hours", "confidential"]


def settings_shown() -> list[tuple[str, str]]:
    """Each piece of an `orchestra.toml` in the guides, with its page."""
    pages = [page for page in PAGES if page.parent.name != "clients"]
    return [
        (page.name, text)
        for page in pages
        for text in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    ]


@pytest.mark.parametrize(("page", "text"), settings_shown(), ids=lambda shown: shown.splitlines()[0])
def test_every_setting_that_is_shown_can_be_used(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "orchestra.toml").write_text(text, encoding="utf-8")

    assert load({"ORCHESTRA_HOME": str(tmp_path)}).file is not None, page


def test_every_provider_and_its_variable_is_in_the_table(tmp_path: Path) -> None:
    catalog = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog
    page = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")

    for provider in catalog.providers.values():
        assert all(f"`{variable}`" in page for variable in provider.key_env)
        assert provider.key_env or provider.title in page


def test_the_version_is_in_the_project_file_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
