"""Names of people and places: by Presidio where it is installed, and nothing passes where it is wanted and is not.

Most machines have neither Presidio nor a model, so what it must answer is shown by a stand-in with its interface; the
last test asks the real one, where `ORCHESTRA_TEST_NAME_MODEL` names a model.
"""

import importlib.util
import os
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.rules.names import NamesRule
from orchestra_router.types import CompletionRequest, Message, Text


def asked(text: str) -> CompletionRequest:
    return CompletionRequest(messages=(Message("user", (Text(text),)),))


@dataclass
class Found:
    start: int
    end: int


@dataclass
class Analyzer:
    """As presidio_analyzer.AnalyzerEngine (2.2): keyword arguments, and results with `start` and `end`."""

    nlp_engine: str
    supported_languages: list[str]

    def analyze(self, *, text: str, language: str, entities: list[str], score_threshold: float) -> list[Found]:
        assert (language, entities, score_threshold) == ("en", ["PERSON", "LOCATION"], 0.6)
        if "break" in text:
            raise RuntimeError(text)
        places = [(text.find(name), name) for name in ("Angela Merkel", "Merkel", "Berlin")]
        return [Found(start, start + len(name)) for start, name in places if start >= 0]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The models that are there; Presidio and spaCy are, too."""
    models = {"en_core_web_lg"}

    def provider(nlp_configuration: dict[str, Any]) -> SimpleNamespace:
        (model,) = nlp_configuration["models"]
        return SimpleNamespace(create_engine=lambda: model["model_name"])

    for name, holds in {
        "spacy": {},
        "spacy.util": {"is_package": models.__contains__},
        "presidio_analyzer": {"AnalyzerEngine": Analyzer},
        "presidio_analyzer.nlp_engine": {"NlpEngineProvider": provider},
    }.items():
        module = ModuleType(name)
        for attribute, value in holds.items():
            setattr(module, attribute, value)
        monkeypatch.setitem(sys.modules, name, module)
    return models


@pytest.mark.usefixtures("installed")
def test_names_become_placeholders_and_come_back() -> None:
    guarded = Guardrails([NamesRule("redact")]).check_prompt(asked("Angela Merkel lives in Berlin."))

    assert guarded.request.messages[0].text == "[NAME_1] lives in [NAME_2]."
    assert guarded.restore_text("[NAME_1] it is.") == "Angela Merkel it is."


@pytest.mark.usefixtures("installed")
def test_a_text_that_could_not_be_checked_is_not_sent_and_not_repeated() -> None:
    with pytest.raises(GuardrailBlocked, match="could not check the text") as refused:
        Guardrails([NamesRule("redact")]).check_prompt(asked("break it, Merkel"))

    assert "Merkel" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_without_its_model_nothing_passes_and_nothing_is_fetched(installed: set[str]) -> None:
    installed.clear()

    with pytest.raises(GuardrailBlocked, match="python -m spacy download en_core_web_lg"):
        Guardrails([NamesRule("flag")]).check_prompt(asked("Hello"))


@pytest.mark.skipif(importlib.util.find_spec("presidio_analyzer") is not None, reason="it is installed here")
def test_without_presidio_nothing_passes() -> None:
    with pytest.raises(GuardrailBlocked, match=r"pip install 'orchestra-router\[presidio\]'"):
        Guardrails([NamesRule("redact")]).check_prompt(asked("Hello"))


@pytest.mark.skipif("ORCHESTRA_TEST_NAME_MODEL" not in os.environ, reason="no model is named")
def test_the_real_presidio_finds_people_and_places() -> None:
    rule = NamesRule("redact", os.environ["ORCHESTRA_TEST_NAME_MODEL"])
    text = "Yesterday Angela Merkel met John Smith in Berlin."

    assert [text[start:end] for start, end in rule.spans(text)] == ["Angela Merkel", "John Smith", "Berlin"]
