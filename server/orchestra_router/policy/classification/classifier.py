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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import anyio.to_thread

from orchestra_router.policy.classification import signals
from orchestra_router.policy.classification.signals import Patterns

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

T = TypeVar("T")
_Shown = tuple[float, str]
"""What something is worth, and the words that are shown of it."""
_first = itemgetter(0)
_BITS = 16
"""For what a signal is worth to one task, and for what the most terms of a text are worth together."""
_MIDDLE = 128
"""What stands there for nothing: weights are bytes with a sign."""
LEAST_SHARE = 0.25
"""A signal below this share of the strongest one did not decide."""


class Scores(NamedTuple):
    logits: Mapping[str, float]
    """By task."""
    best: str
    confidence: float
    """How likely the best is, of 1."""
    has_signals: bool
    """Whether any word speaks for the best."""
    embedded: bool
    """Whether the meaning was looked at, too."""

    @property
    def second(self) -> str:
        return max((task for task in self.logits if task != self.best), key=self.logits.__getitem__)


@dataclass(frozen=True, slots=True)
class Model:
    tasks: tuple[str, ...]
    bias: tuple[float, ...]
    scale: float
    weights: Mapping[str, int]
    """Signal -> what it is worth to each of `tasks`, in units of `scale`, side by side in one number: one sum for all."""
    fixed: Mapping[str, tuple[float, ...]]
    """The same of looks and patterns, which are of different strength: task by task."""
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
        values = tuple(fixed.values())
        of_fixed = zip(*map(self.fixed.__getitem__, fixed), strict=True) if fixed else [()] * len(self.tasks)
        of_terms = _apart(sum(terms.values()), len(terms), len(self.tasks))
        each_term = self.scale * signals.term_strength(terms)
        logits = {
            task: bias + sum(map(mul, values, fixed_weights)) + each_term * term_weights
            for task, bias, fixed_weights, term_weights in zip(self.tasks, self.bias, of_fixed, of_terms, strict=True)
            if task not in without
        }
        if vector is not None and self.vector is not None:
            of_meaning = dict(zip(self.tasks, map(float, vector @ self.vector), strict=True))
            logits = {task: logit + of_meaning[task] for task, logit in logits.items()}
        best = max(logits, key=logits.__getitem__)
        most = logits[best]
        return Scores(
            logits,
            best,
            confidence=1 / sum([exp(logit - most) for logit in logits.values()]),
            has_signals=any(worth > 0 for worth, _ in self._shown(fixed, terms, patterns, best)),
            embedded=vector is not None,
        )

    def signals(self, text: str, patterns: Patterns, task: str) -> tuple[str, ...]:
        """What speaks for `task`, strongest first."""
        return self._deciding(self._shown(*_signals_of(text, patterns, self.weights), patterns, task))

    def _shown(
        self, fixed: Mapping[str, float], terms: Mapping[str, int], patterns: Patterns, task: str
    ) -> Iterator[_Shown]:
        """What the patterns of `task` matched, and the words that speak for it."""
        place = self.tasks.index(task)
        each_term = signals.term_strength(terms)
        for kind, found in (("strong", patterns.strong), ("weak", patterns.weak)):
            name = f"{kind} {task}"
            if task in found and (strength := fixed.get(name) or (each_term if name in terms else 0)):
                worth = strength * self._above_average(name, place)
                for matched in found[task]:
                    yield worth, matched
        for term in terms:
            weight = self._above_average(term, place)
            if weight > 0 and _is_word(term, self.tasks):
                yield each_term * weight, term.removeprefix("^")

    def _above_average(self, signal: str, place: int) -> float:
        """What `signal` is worth to the task at `place` more than to all of them on average."""
        worths = self.fixed.get(signal) or [
            self.scale * worth for worth in _apart(self.weights[signal], 1, len(self.tasks))
        ]
        return worths[place] - sum(worths) / len(worths)

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
    return fixed | dict.fromkeys(terms, signals.term_strength(terms))


def _signals_of(text: str, patterns: Patterns, known: Mapping[str, T]) -> tuple[dict[str, float], dict[str, T]]:
    """How strong its looks and the patterns are, and what is known of its words; what is both counts as words."""
    terms = {term: known[term] for term in signals.terms(text) if term in known}
    fixed = patterns.strengths() | signals.looks(text)
    return {name: value for name, value in fixed.items() if name in known and name not in terms}, terms


def _together(worths: Iterable[int]) -> int:
    """`worths` side by side in one number."""
    return sum((worth + _MIDDLE) << (_BITS * place) for place, worth in enumerate(worths))


def _apart(together: int, count: int, tasks: int) -> list[int]:
    """What `count` of these numbers, added up to `together`, are worth to each of so many `tasks`."""
    nothing = count * _MIDDLE
    return [(together >> (_BITS * place) & (1 << _BITS) - 1) - nothing for place in range(tasks)]


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
    tasks = tuple(stored["tasks"])
    rows: Mapping[str, Sequence[int]] = kind["weights"]
    return Model(
        tasks=tasks,
        bias=tuple(kind["bias"]),
        scale=scale,
        weights={signal: _together(row) for signal, row in rows.items()},
        fixed={
            signal: tuple([scale * worth for worth in row]) for signal, row in rows.items() if _is_fixed(signal, tasks)
        },
        vector=vector,
    )


def _is_fixed(signal: str, tasks: Sequence[str]) -> bool:
    """Whether `signal` is of the looks or the patterns."""
    kind, _, of = signal.partition(" ")
    return not kind or (kind in {"strong", "weak"} and of in tasks)


def _is_word(signal: str, tasks: Sequence[str]) -> bool:
    return not _is_fixed(signal, tasks) and any(map(str.isalpha, signal))


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
