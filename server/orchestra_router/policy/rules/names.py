"""Names and addresses of people, by Presidio and its language model. Whoever switches it on wants it: it never fails open."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.rules.base import ANYTHING, Action, Span

ENTITIES = ("PERSON", "LOCATION")
LEAST_SCORE = 0.6
MODEL = "en_core_web_lg"


class NamesRule:
    """Needs presidio-analyzer and a spaCy model. Without them nothing may pass."""

    kind = "name"
    setting = "guard_name"
    needs = ANYTHING

    def __init__(self, action: Action, model: str = MODEL) -> None:
        """`model` is a spaCy model or its folder; its name begins with the language it was made for."""
        self.action: Action = action
        self._model = model
        self._language = Path(model).name[:2]
        self._analyzer: Any = None

    def spans(self, text: str) -> Iterator[Span]:
        analyzer = self._loaded()
        try:
            found = analyzer.analyze(
                text=text, language=self._language, entities=list(ENTITIES), score_threshold=LEAST_SCORE
            )
        except Exception:  # noqa: BLE001 - whatever a model raises, the text has not been checked; its words stay out
            raise GuardrailBlocked(
                "Presidio could not check the text for names, so it was not passed on. See guard_name."
            ) from None
        end = 0
        for result in sorted(found, key=lambda result: (result.start, -result.end)):
            if result.start >= end:
                end = result.end
                yield result.start, result.end

    def _loaded(self) -> Any:
        if self._analyzer is None:
            try:
                self._analyzer = _analyzer(self._model, self._language)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever stops it
                raise GuardrailBlocked(
                    f"guard_name is on, but Presidio cannot be used ({type(error).__name__}), so nothing is passed on."
                    f" Run `pip install 'orchestra-router[presidio]'` and `python -m spacy download {self._model}`, or"
                    ' set guard_name = "off".'
                ) from None
        return self._analyzer


def _analyzer(model: str, language: str) -> Any:
    # By name: it is not installed where types are checked.
    if not import_module("spacy.util").is_package(model) and not Path(model).is_dir():
        raise FileNotFoundError(model)  # Presidio would fetch it from the network
    engines = import_module("presidio_analyzer.nlp_engine")
    models = [{"lang_code": language, "model_name": model}]
    engine = engines.NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models})
    return import_module("presidio_analyzer").AnalyzerEngine(
        nlp_engine=engine.create_engine(), supported_languages=[language]
    )
