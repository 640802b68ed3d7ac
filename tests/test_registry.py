import subprocess
import sys

import pytest

from formats import ask, deployment
from orchestra_router.deployments import Provider
from orchestra_router.providers import chat, gemini, messages, responses
from orchestra_router.providers.base import Adapter
from orchestra_router.providers.registry import adapter, format_for
from orchestra_router.types import Format, Tool

FORMATS: dict[Format, Adapter] = {"chat": chat, "responses": responses, "messages": messages, "gemini": gemini}
LOOK_UP = Tool("look_up", "", {"type": "object"})
OPENAI = Provider(name="openai", base_url="https://openai.test/v1", responses=True, search_style="responses")


@pytest.mark.parametrize("wire_format", FORMATS)
def test_every_format_has_the_module_of_its_name(wire_format: Format) -> None:
    found = adapter(wire_format)

    assert found is FORMATS[wire_format]


def test_a_format_is_not_imported_before_it_is_needed() -> None:
    script = (
        "import sys; from orchestra_router.providers.registry import adapter; adapter('messages');"
        "print(sorted(n.rpartition('.')[2] for n in sys.modules if n.startswith('orchestra_router.providers.')))"
    )

    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert "'messages'" in shown
    assert not any(other in shown for other in ("'chat'", "'responses'", "'gemini'"))


def test_a_plain_question_goes_out_in_the_providers_own_format() -> None:
    model = deployment(OPENAI, tools_need_responses=True)

    found = format_for(model, ask())

    assert found == "chat"


def test_a_search_goes_to_responses_where_the_provider_searches_there() -> None:
    model = deployment(OPENAI)

    found = format_for(model, ask(web_search=True))

    assert found == "responses"


@pytest.mark.parametrize(("effort", "expected"), [(None, "responses"), ("low", "responses"), ("none", "chat")])
def test_tools_go_to_responses_while_the_model_reasons(effort: str | None, expected: str) -> None:
    model = deployment(OPENAI, tools_need_responses=True, efforts=("none", "low"))

    found = format_for(model, ask(tools=(LOOK_UP,), effort=effort))

    assert found == expected


def test_a_model_that_cannot_stop_reasoning_gets_its_tools_over_responses_whatever_is_asked() -> None:
    model = deployment(OPENAI, tools_need_responses=True, efforts=("low", "high"))

    found = format_for(model, ask(tools=(LOOK_UP,), effort="none"))

    assert found == "responses"


def test_tools_stay_where_the_model_takes_them() -> None:
    model = deployment(OPENAI)

    found = format_for(model, ask(tools=(LOOK_UP,)))

    assert found == "chat"


@pytest.mark.parametrize("wire_format", ["chat", "messages", "gemini"])
def test_a_provider_without_responses_is_never_asked_there(wire_format: Format) -> None:
    provider = Provider(name="other", base_url="https://other.test", format=wire_format, search_style="responses")

    found = format_for(
        deployment(provider, tools_need_responses=True), ask(tools=(LOOK_UP,), web_search=True, effort="high")
    )

    assert found == wire_format
