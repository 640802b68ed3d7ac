"""Weighs the signals of a prompt, and the vector of its meaning where there is one: multinomial logistic regression.

The weights are data (`classifier.json`), made from labelled prompts by `tests/tasks/train.py`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp
from typing import TYPE_CHECKING, Any

from orchestra_router.catalog import TaskWords
from orchestra_router.policy.classification import signals
from orchestra_router.policy.classification.signals import Patterns

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

LEAST_SHARE = 0.25
"""A signal below this share of the strongest one did not decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """How likely each task is, best first, and what spoke for the best, strongest first."""

    tasks: tuple[tuple[str, float], ...]
    signals: tuple[str, ...]
    embedded: bool
    """Whether the meaning was looked at, too."""

    @property
    def confidence(self) -> float:
        return self.tasks[0][1]


@dataclass(frozen=True, slots=True)
class Model:
    tasks: tuple[str, ...]
    bias: tuple[float, ...]
    weights: Mapping[str, tuple[float, ...]]
    """Signal -> what it is worth to each of `tasks`."""
    vector: "NDArray[float32] | None" = None
    """What each dimension of a vector is worth to each of `tasks`, where one is looked at."""

    def scores(
        self,
        text: str,
        patterns: Patterns,
        *,
        vector: "NDArray[float32] | None" = None,
        without: frozenset[str] = frozenset(),
    ) -> Scores:
        """Of the tasks that are not in `without`."""
        strengths = strengths_of(text, patterns, self.weights)
        logits = list(self.bias)
        for name, strength in strengths.items():
            for place, weight in enumerate(self.weights[name]):
                logits[place] += strength * weight
        if vector is not None and self.vector is not None:
            logits = [logit + float(more) for logit, more in zip(logits, vector @ self.vector, strict=True)]
        ranked = sorted(
            ((task, logit) for task, logit in zip(self.tasks, logits, strict=True) if task not in without),
            key=lambda pair: -pair[1],
        )
        powers = [exp(logit - ranked[0][1]) for _, logit in ranked]
        return Scores(
            tasks=tuple((task, power / sum(powers)) for (task, _), power in zip(ranked, powers, strict=True)),
            signals=self._deciding(strengths, patterns, ranked[0][0]),
            embedded=vector is not None,
        )

    def _deciding(self, strengths: Mapping[str, float], patterns: Patterns, task: str) -> tuple[str, ...]:
        place = self.tasks.index(task)
        worth = {
            name: strength * (self.weights[name][place] - sum(self.weights[name]) / len(self.tasks))
            for name, strength in strengths.items()
        }
        shown: dict[str, float] = {}
        for name, value in sorted(worth.items(), key=lambda pair: -pair[1]):
            for quoted in _quotes(name, patterns, task):
                shown.setdefault(quoted, value)
        most = max(shown.values(), default=0.0)
        return tuple(quoted for quoted, value in shown.items() if value > 0 and value >= LEAST_SHARE * most)


def strengths_of(text: str, patterns: Patterns, known: Mapping[str, object]) -> dict[str, float]:
    """Every signal of `text` that is `known`."""
    fixed = patterns.strengths() | signals.looks(text)
    return {name: strength for name, strength in fixed.items() if name in known} | signals.term_strengths(
        signals.terms(text), known
    )


@cache
def rules() -> Model:
    """The classifier that needs nothing but the words."""
    return _model("rules")


@cache
def rules_and_meaning() -> Model:
    """The classifier that looks at a vector, too, made by `embedder`."""
    return _model("both")


def embedder() -> str:
    """The identity of the embedder whose vectors can be read here."""
    return _stored()["embedder"]


@cache
def _stored() -> dict[str, Any]:
    text = files("orchestra_router.policy.classification").joinpath("classifier.json").read_text(encoding="utf-8")
    return json.loads(text)


def _model(name: str) -> Model:
    stored = _stored()
    kind = stored[name]
    scale: float = kind["scale"]
    vector = None
    if raw := kind.get("vector"):
        import numpy as np  # noqa: PLC0415 - loaded by whoever made the vector

        eighths = np.frombuffer(base64.b64decode(raw), np.int8).reshape(-1, len(stored["tasks"]))
        vector = eighths.astype(np.float32) * np.float32(kind["vector_scale"])
    return Model(
        tasks=tuple(stored["tasks"]),
        bias=tuple(kind["bias"]),
        weights={signal: tuple(scale * weight for weight in row) for signal, row in kind["weights"].items()},
        vector=vector,
    )


def _quotes(name: str, patterns: Patterns, task: str) -> Sequence[str]:
    """How a signal is shown: by the words of the text that gave it."""
    kind, _, of = name.partition(" ")
    if kind in {"strong", "weak"} and of in patterns.strong:
        return (patterns.strong if kind == "strong" else patterns.weak)[of] if of == task else ()
    return (name.removeprefix("^"),) if any(map(str.isalpha, name)) and not name.startswith(" ") else ()


def own_task(patterns: Patterns, words: Mapping[str, TaskWords], built_in: Sequence[str]) -> tuple[str, str] | None:
    """The user's own task that `patterns` point to, by one strong sign or two weak ones, and the sign."""
    counts = {
        task: (len(patterns.strong[task]), len(patterns.weak[task]))
        for task in words
        if task not in built_in and (patterns.strong[task] or len(patterns.weak[task]) > 1)
    }
    if not counts:
        return None
    best = max(counts, key=lambda task: counts[task])
    return best, (*patterns.strong[best], *patterns.weak[best])[0]
