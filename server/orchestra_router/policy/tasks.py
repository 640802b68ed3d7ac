"""Which kind of task a prompt is: no model is asked, the same prompt gets the same answer.

named by the caller -> one of the user's own tasks, by its patterns -> the classifier, by words alone where those
are clear, else by the meaning too -> general chat, where it stays unclear
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from orchestra_router.catalog import Catalog, TaskWords
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy import names
from orchestra_router.policy.classification import classifier, signals
from orchestra_router.policy.classification.classifier import Model, Scores
from orchestra_router.policy.classification.languages import uncovered
from orchestra_router.policy.classification.signals import Index, Patterns
from orchestra_router.policy.plain_questions import is_plain_question
from orchestra_router.types import CompletionRequest, changed

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

DEFAULT_TASK = "general_chat"
SHOWN_SIGNS = 2
SHOWN_CHARACTERS = 40
MOST_REMEMBERED = 256
"""Texts whose task is remembered for one catalog, in memory: two megabytes of English at most."""
MOST_CATALOGS = 4
"""Whose words are kept ready."""
LEAST_CONFIDENCE = 0.4
"""A task less likely than that is no reason to leave general chat, which is good enough for any."""
CLEAR_CONFIDENCE = 0.9
"""Above it the words alone decide: the meaning costs some milliseconds, and would hardly say otherwise."""
LEAST_CONFIDENCE_ELSEWHERE = 0.7
"""The least in a language that the classifier was not set up for."""

Method = Literal["request", "own patterns", "rules", "rules and meaning"]


class Why(NamedTuple):
    reason: str
    """In words for people."""
    signals: tuple[str, ...] = ()
    """The words that decided, strongest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    task: str
    method: Method
    confidence: float = 1.0
    """How likely the task is, of 1; where it is general chat for want of anything clear, how likely the best was."""
    why: Callable[[], Why] = field(repr=False)
    """Found out when somebody asks: most requests only want their task."""

    @property
    def reason(self) -> str:
        return self.why().reason

    @property
    def signals(self) -> tuple[str, ...]:
        return self.why().signals


_WEB_SEARCH = frozenset({"web_search"})
_NOT_OF_PLAIN_QUESTIONS = frozenset({"web_search", "creative_writing"})
_NOTHING = frozenset[str]()
_BY_THE_CALLER = partial(Why, "named by the caller")
_SEARCH_WAS_ASKED_FOR = partial(Why, "web search was asked for")
_NOTHING_TO_TELL_IT_BY = partial(Why, "no task named, and nothing to tell it by")


async def with_task(
    request: CompletionRequest, catalog: Catalog, vector: PromptVector | None = None
) -> tuple[CompletionRequest, Classification]:
    """`request` with its task named, and how it was found. A task may imply a web search.

    Raises:
        InvalidRequest: the caller named a task that is not in the catalog.
    """
    if request.task is None:
        # A pinned model is asked whatever the task, which then only names it in reports.
        found = await classified(request, catalog.keywords, vector if request.model is None else None)
    elif request.task in catalog.tasks:
        found = Classification(task=request.task, method="request", why=_BY_THE_CALLER)
    else:
        raise InvalidRequest(names.unknown("task", request.task, catalog.tasks))
    # A pinned model answers as it can; a search is bought only where the route is ours or it was asked for.
    search = request.web_search or (request.model is None and catalog.tasks[found.task].web_search)
    return changed(request, task=found.task, web_search=search), found


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
        return Classification(task="web_search", method="request", why=_SEARCH_WAS_ASKED_FOR)
    text = signals.ends(asked(request))
    if not text.strip():
        return Classification(task=DEFAULT_TASK, method="rules", why=_NOTHING_TO_TELL_IT_BY)
    return _reader(_Words(words)).read(text, meaning, has_tools=bool(request.tools))


@dataclass(frozen=True, slots=True, eq=False)
class _Words:
    """Words that are the same only as the very same."""

    words: Mapping[str, TaskWords]

    def __hash__(self) -> int:
        return id(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Words) and other.words is self.words


@lru_cache(maxsize=MOST_CATALOGS)
def _reader(words: _Words) -> "_Reader":
    return _Reader(words.words)


class _Reader:
    """Reads texts with the words of one catalog."""

    def __init__(self, words: Mapping[str, TaskWords]) -> None:
        self._index = Index(words)
        # A question that comes again, as one that the cache answers does, is not read again.
        self._by_words = lru_cache(maxsize=MOST_REMEMBERED)(partial(self._read, None))

    def read(self, text: str, meaning: "NDArray[float32] | None", *, has_tools: bool) -> Classification:
        without = _WEB_SEARCH if has_tools else _NOTHING
        return self._by_words(text, without) if meaning is None else self._read(meaning, text, without)

    def _read(self, meaning: "NDArray[float32] | None", text: str, without: frozenset[str]) -> Classification:
        patterns = self._index.found(text)
        model = classifier.rules() if meaning is None else classifier.rules_and_meaning()
        if own := classifier.own_task(patterns, model.tasks):
            task, sign = own
            why = partial(Why, f"no task named; {_quoted((sign,))[0]} points to {task}", (sign,))
            return Classification(task=task, method="own patterns", why=why)
        scores = model.scores(text, patterns, vector=meaning, without=without)
        least = LEAST_CONFIDENCE_ELSEWHERE if uncovered(text) else LEAST_CONFIDENCE
        is_told = scores.has_signals or scores.embedded
        task = scores.best if is_told and scores.confidence >= least else DEFAULT_TASK
        if task in _NOT_OF_PLAIN_QUESTIONS and scores.confidence < CLEAR_CONFIDENCE and is_plain_question(text):
            task = DEFAULT_TASK
        return Classification(
            task=task,
            method="rules and meaning" if scores.embedded else "rules",
            confidence=scores.confidence,
            why=partial(_why, task, scores, model, text, patterns),
        )


def asked(request: CompletionRequest) -> str:
    """The text that says what is wanted: the last of the user's turns."""
    for message in reversed(request.messages):
        if message.role == "user":
            return message.text
    return ""


def _why(task: str, scores: Scores, model: Model, text: str, patterns: Patterns) -> Why:
    """Why the `scores` that `model` gave `text` led to `task`."""
    best, confidence = scores.best, scores.confidence
    signs = model.signals(text, patterns, best)
    told = [*(_quoted(signs) or ["its form"]), *(["its meaning"] if scores.embedded else [])]
    points = "points" if len(told) == 1 else "point"
    language = uncovered(text)
    if not signs and not scores.embedded:
        reason = "no task named, and its words point to none"
    elif best == task:
        reason = f"no task named; {' and '.join(told)} {points} to {best} ({confidence:.0%})"
    else:
        reason = f"no task named, and it may be {best} ({confidence:.0%}) or {scores.second}"
    return Why(f"{reason}; it is written in {language}, which is not covered" if language else reason, signs)


def _quoted(signs: Iterable[str]) -> list[str]:
    shown: list[str] = []
    for sign in signs:
        quoted = f'"{" ".join(sign.split())[:SHOWN_CHARACTERS].lower()}"'
        if quoted not in shown:
            shown.append(quoted)
        if len(shown) == SHOWN_SIGNS:
            break
    return shown
