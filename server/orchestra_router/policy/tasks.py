"""Which kind of task a prompt is: no model is asked, the same prompt gets the same answer.

named by the caller -> one of the user's own tasks, by its patterns -> the classifier, by words alone where those
are clear, else by the meaning too -> general chat, where it stays unclear
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from orchestra_router.catalog import Catalog, TaskWords
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy import names
from orchestra_router.policy.classification import classifier, signals
from orchestra_router.policy.classification.classifier import Scores
from orchestra_router.policy.classification.languages import uncovered
from orchestra_router.policy.classification.signals import Index
from orchestra_router.types import CompletionRequest, changed

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

DEFAULT_TASK = "general_chat"
SHOWN_SIGNS = 2
SHOWN_CHARACTERS = 40
MOST_REMEMBERED = 256
"""Texts whose task is remembered, in memory: a megabyte at most."""
MOST_CATALOGS = 4
"""Whose words are kept ready."""
LEAST_CONFIDENCE = 0.4
"""A task less likely than that is no reason to leave general chat, which is good enough for any."""
CLEAR_CONFIDENCE = 0.9
"""Above it the words alone decide: the meaning costs some milliseconds, and would hardly say otherwise."""
LEAST_CONFIDENCE_ELSEWHERE = 0.7
"""The least in a language that the classifier was not set up for."""

Method = Literal["request", "own patterns", "rules", "rules and meaning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    task: str
    reason: str
    """Why, in words for people."""
    method: Method
    confidence: float = 1.0
    """How likely the task is, of 1; where it is general chat for want of anything clear, how likely the best was."""
    signals: tuple[str, ...] = ()
    """The words that decided, strongest first."""


async def with_task(
    request: CompletionRequest, catalog: Catalog, vector: PromptVector | None = None
) -> tuple[CompletionRequest, str]:
    """`request` with its task named, and why it is that one. A task may imply a web search.

    Raises:
        InvalidRequest: the caller named a task that is not in the catalog.
    """
    if request.task is None:
        # A pinned model is asked whatever the task, which then only names it in reports.
        found = await classified(request, catalog.keywords, vector if request.model is None else None)
        task, reason = found.task, found.reason
    elif request.task in catalog.tasks:
        task, reason = request.task, "named by the caller"
    else:
        raise InvalidRequest(names.unknown("task", request.task, catalog.tasks))
    # A pinned model answers as it can; a search is bought only where the route is ours or it was asked for.
    search = request.web_search or (request.model is None and catalog.tasks[task].web_search)
    return changed(request, task=task, web_search=search), reason


async def classified(
    request: CompletionRequest, words: Mapping[str, TaskWords], vector: PromptVector | None = None
) -> Classification:
    """The task of `request`, by its words, and by the meaning that `vector` holds where they are not clear."""
    found = classify(request, words)
    if vector is None or found.method != "rules" or found.confidence >= CLEAR_CONFIDENCE:
        return found
    row = await vector.get(made_by=classifier.embedder())
    if row is None:
        return found
    await classifier.ready()
    return classify(request, words, meaning=row)


def classify(
    request: CompletionRequest, words: Mapping[str, TaskWords], *, meaning: "NDArray[float32] | None" = None
) -> Classification:
    """The task of `request` by its last turn, and by the `meaning` of that, where it is known.

    A web search is never guessed where the caller has tools of its own.
    """
    if request.web_search:
        return Classification(task="web_search", reason="web search was asked for", method="request")
    text = signals.ends(asked(request))
    if not text.strip():
        return Classification(task=DEFAULT_TASK, reason="no task named, and nothing to tell it by", method="rules")
    if meaning is None:
        # A question that comes again, as one that the cache answers does, is not read again.
        return _by_words(text, _Words(words), has_tools=bool(request.tools))
    return _classified(text, _Words(words), meaning, has_tools=bool(request.tools))


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """Words that are the same only as the very same."""

    words: Mapping[str, TaskWords]

    def __hash__(self) -> int:
        return id(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Words) and other.words is self.words


@lru_cache(maxsize=MOST_REMEMBERED)
def _by_words(text: str, words: _Words, *, has_tools: bool) -> Classification:
    return _classified(text, words, None, has_tools=has_tools)


@lru_cache(maxsize=MOST_CATALOGS)
def _index(words: _Words) -> Index:
    return Index(words.words)


def _classified(text: str, words: _Words, meaning: "NDArray[float32] | None", *, has_tools: bool) -> Classification:
    patterns = _index(words).found(text)
    model = classifier.rules() if meaning is None else classifier.rules_and_meaning()
    if own := classifier.own_task(patterns, model.tasks):
        task, sign = own
        reason = f"no task named; {_quoted((sign,))} points to {task}"
        return Classification(task=task, reason=reason, method="own patterns", signals=(sign,))
    without = frozenset({"web_search"}) if has_tools else frozenset[str]()
    return _decided(model.scores(text, patterns, vector=meaning, without=without), uncovered(text))


def asked(request: CompletionRequest) -> str:
    """The text that says what is wanted: the last of the user's turns."""
    return next((message.text for message in reversed(request.messages) if message.role == "user"), "")


def _decided(scores: Scores, uncovered_language: str) -> Classification:
    (best, confidence), (second, _) = scores.tasks[:2]
    method: Method = "rules and meaning" if scores.embedded else "rules"
    by = f"{_quoted(scores.signals) or 'its form'}{' and its meaning' if scores.embedded else ''}"
    if not scores.signals and not scores.embedded:
        task, reason = DEFAULT_TASK, "no task named, and its words point to none"
    elif best == DEFAULT_TASK or confidence >= (LEAST_CONFIDENCE_ELSEWHERE if uncovered_language else LEAST_CONFIDENCE):
        task, reason = best, f"no task named; {by} points to {best} ({confidence:.0%})"
    else:
        task = DEFAULT_TASK
        reason = f"no task named, and it may be {best} ({confidence:.0%}) or {second}"
    if uncovered_language:
        reason += f"; it is written in {uncovered_language}, which is not covered"
    return Classification(task=task, reason=reason, method=method, confidence=confidence, signals=scores.signals)


def _quoted(signs: Iterable[str]) -> str:
    shown: list[str] = []
    for sign in signs:
        quoted = f'"{" ".join(sign.split())[:SHOWN_CHARACTERS].lower()}"'
        if quoted not in shown:
            shown.append(quoted)
        if len(shown) == SHOWN_SIGNS:
            break
    return " and ".join(shown)
