"""Weighs the signals of a prompt, and the vector of its meaning where there is one: multinomial logistic regression.

The weights are data (`classifier.json`), made from labelled prompts by `tests/tasks/train.py`.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import exp
from operator import itemgetter, mul
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio.to_thread

from orchestra_router.policy.classification import signals
from orchestra_router.policy.classification.signals import Patterns

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

_Shown = tuple[float, str]
"""What something is worth, and the words that are shown of it."""
_first = itemgetter(0)
LEAST_SHARE = 0.25
"""A signal below this share of the strongest one did not decide."""


class Scores(NamedTuple):
    tasks: Sequence[tuple[float, str]]
    """How likely each task is, best first."""
    has_signals: bool
    """Whether any word speaks for the best."""
    embedded: bool
    """Whether the meaning was looked at, too."""


@dataclass(frozen=True, slots=True)
class Model:
    tasks: tuple[str, ...]
    bias: tuple[float, ...]
    weights: Mapping[str, tuple[float, ...]]
    """Signal -> what it is worth to each of `tasks`, and to all of them on average."""
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
        fixed, terms = _signals_of(text, patterns, self.weights)
        (*of_fixed, _), (*of_terms, _) = self._columns(fixed), self._columns(terms)
        values, term_strength = tuple(fixed.values()), next(iter(terms.values()), 0.0)
        logits = [
            bias + sum(map(mul, values, fixed_weights)) + term_strength * sum(term_weights)
            for bias, fixed_weights, term_weights in zip(self.bias, of_fixed, of_terms, strict=True)
        ]
        if vector is not None and self.vector is not None:
            logits = [logit + float(more) for logit, more in zip(logits, vector @ self.vector, strict=True)]
        ranked = sorted(zip(logits, self.tasks, strict=True), key=_first, reverse=True)
        if without:
            ranked = [row for row in ranked if row[1] not in without]
        most, best = ranked[0]
        powers = [exp(logit - most) for logit, _ in ranked]
        total = sum(powers)
        return Scores(
            tasks=[(power / total, task) for (_, task), power in zip(ranked, powers, strict=True)],
            has_signals=any(worth > 0 for worth, _ in self._shown(fixed, terms, patterns, best)),
            embedded=vector is not None,
        )

    def signals(self, text: str, patterns: Patterns, task: str) -> tuple[str, ...]:
        """What speaks for `task`, strongest first."""
        return self._deciding(self._shown(*_signals_of(text, patterns, self.weights), patterns, task))

    def _columns(self, names: Iterable[str]) -> Sequence[tuple[float, ...]]:
        """For each task the weights of `names`, and then the averages of these."""
        return list(zip(*map(self.weights.__getitem__, names), strict=True)) or [()] * (len(self.tasks) + 1)

    def _shown(
        self, fixed: Mapping[str, float], terms: Mapping[str, float], patterns: Patterns, task: str
    ) -> Iterator[_Shown]:
        """What the patterns of `task` matched, and the words that speak for it."""
        place = self.tasks.index(task)
        for kind, found in (("strong", patterns.strong), ("weak", patterns.weak)):
            name = f"{kind} {task}"
            if task in found and (strength := fixed.get(name) or terms.get(name)):
                worth = strength * (self.weights[name][place] - self.weights[name][-1])
                for matched in found[task]:
                    yield worth, matched
        for term, strength in terms.items():
            weight = self.weights[term][place] - self.weights[term][-1]
            if weight > 0 and _is_word(term, self.tasks):
                yield strength * weight, term.removeprefix("^")

    def _deciding(self, shown: Iterable[_Shown]) -> tuple[str, ...]:
        """Those of `shown` that come near the one that is worth most, each once."""
        deciding: dict[str, None] = {}
        least = 0.0
        for worth, sign in sorted(shown, key=_first, reverse=True):
            if worth <= 0 or worth < least:
                break
            least = least or LEAST_SHARE * worth
            deciding[sign] = None
        return tuple(deciding)


def strengths_of(text: str, patterns: Patterns, known: Mapping[str, object]) -> dict[str, float]:
    """Every signal of `text` that is `known`."""
    fixed, terms = _signals_of(text, patterns, known)
    return fixed | terms


def _signals_of(
    text: str, patterns: Patterns, known: Mapping[str, object]
) -> tuple[dict[str, float], dict[str, float]]:
    """Those of its looks and the patterns, and those of its words; what is both counts as words."""
    terms = signals.term_strengths(signals.terms(text), known)
    fixed = patterns.strengths() | signals.looks(text)
    return {name: value for name, value in fixed.items() if name in known and name not in terms}, terms


@cache
def rules() -> Model:
    """The classifier that needs nothing but the words."""
    return _model("rules")


@cache
def rules_and_meaning() -> Model:
    """The classifier that looks at a vector, too, made by `embedder`."""
    return _model("both")


async def ready() -> None:
    """Returns once that one is in memory, which takes some milliseconds: beside the event loop."""
    if not rules_and_meaning.cache_info().currsize:
        await anyio.to_thread.run_sync(rules_and_meaning)


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
    shared: dict[float, float] = {}
    return Model(
        tasks=tuple(stored["tasks"]),
        bias=tuple(kind["bias"]),
        weights={signal: _row(row, scale, shared) for signal, row in kind["weights"].items()},
        vector=vector,
    )


def _row(weights: Sequence[int], scale: float, shared: dict[float, float]) -> tuple[float, ...]:
    """What a model keeps of a signal. The same number is the same object everywhere: there are thousands of rows."""
    scaled = [scale * weight for weight in weights]
    return tuple([shared.setdefault(number, number) for number in (*scaled, sum(scaled) / len(scaled))])


def _is_word(signal: str, tasks: Sequence[str]) -> bool:
    kind, _, of = signal.partition(" ")
    is_pattern = kind in {"strong", "weak"} and of in tasks
    return not is_pattern and not signal.startswith(" ") and any(map(str.isalpha, signal))


def own_task(patterns: Patterns, built_in: Sequence[str]) -> tuple[str, str] | None:
    """The user's own task that `patterns` point to, by one strong sign or two weak ones, and the sign."""
    strong, weak = patterns.strong, patterns.weak
    counts = {
        task: (len(strong.get(task, ())), len(weak.get(task, ())))
        for task in (*strong, *weak)
        if task not in built_in and (task in strong or len(weak[task]) > 1)
    }
    if not counts:
        return None
    best = max(counts, key=lambda task: counts[task])
    return best, (*strong.get(best, ()), *weak.get(best, ()))[0]
