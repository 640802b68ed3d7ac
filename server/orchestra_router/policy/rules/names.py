"""Names and addresses of people, by Presidio and its language model. Whoever switches it on wants it: it never fails open."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.rules.base import Action, Span

ENTITIES = ("PERSON", "LOCATION")
LEAST_SCORE = 0.6


class NamesRule:
    """Needs presidio-analyzer and a spaCy model. Without them nothing may pass."""

    kind = "name"
    setting = "guard_name"

    def __init__(self, action: Action) -> None:
        self.action: Action = action
        self._analyzer: Any = None

    def spans(self, text: str) -> Iterator[Span]:
        analyzer = self._loaded()
        try:
            found = analyzer.analyze(text=text, language="en", entities=list(ENTITIES), score_threshold=LEAST_SCORE)
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
                # By name: it is not installed where types are checked.
                self._analyzer = import_module("presidio_analyzer").AnalyzerEngine()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever stops it, SystemExit where a model is missing
                raise GuardrailBlocked(
                    f"guard_name is on, but Presidio cannot be used ({type(error).__name__}), so nothing is passed on."
                    ' Install presidio-analyzer and a spaCy model, or set guard_name = "off".'
                ) from None
        return self._analyzer
