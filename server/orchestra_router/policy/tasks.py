"""Which kind of task a prompt is, from its words alone: no model is asked, the same prompt gets the same answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestra_router.catalog import Catalog, TaskWords
from orchestra_router.errors import InvalidRequest
from orchestra_router.types import CompletionRequest

DEFAULT_TASK = "general_chat"
SHOWN_SIGNS = 2
SHOWN_CHARACTERS = 40
READ_CHARACTERS = 4_000
"""What is asked stands at the beginning or the end; the middle of a long prompt is material."""


def with_task(request: CompletionRequest, catalog: Catalog) -> tuple[CompletionRequest, str]:
    """`request` with its task named, and why it is that one. A task may imply a web search.

    Raises:
        InvalidRequest: the caller named a task that is not in the catalog.
    """
    if request.task is None:
        task, reason = classify(request, catalog.keywords)
    elif request.task in catalog.tasks:
        task, reason = request.task, "named by the caller"
    else:
        raise InvalidRequest(f"Unknown task {request.task!r}. Known: {', '.join(sorted(catalog.tasks))}.")
    # A pinned model answers as it can; a search is bought only where the route is ours or it was asked for.
    search = request.web_search or (request.model is None and catalog.tasks[task].web_search)
    return replace(request, task=task, web_search=search), reason


def classify(request: CompletionRequest, words: Mapping[str, TaskWords]) -> tuple[str, str]:
    """The task of `request`, and why: the one that most words and phrases of the last turn point to.

    One word that could mean anything is not enough. No such task, or a tie at the top, is general chat: the answer
    there is good enough for everything. A web search is never guessed where the caller has tools of its own.
    """
    if request.web_search:
        return "web_search", "web search was asked for"
    users = [message.text for message in request.messages if message.role == "user"]
    text = _ends(users[-1]) if users else ""
    found = {
        task: signs
        for task, patterns in words.items()
        if not (task == "web_search" and request.tools) and (signs := _signs(text, patterns, task))
    }
    most = max(map(len, found.values()), default=0)
    leaders = [task for task, signs in found.items() if len(signs) == most]
    if len(leaders) != 1:
        return DEFAULT_TASK, "no task named, and its words point to none"
    return leaders[0], f"no task named; {_quoted(found[leaders[0]])} points to {leaders[0]}"


def _signs(text: str, patterns: TaskWords, task: str) -> list[str]:
    """What in `text` points to `task`, strongest first; nothing where it is too little."""
    strong = [match for pattern in patterns.strong if (match := pattern.search(text))]
    weak = [match for pattern in patterns.weak if (match := pattern.search(text))]
    # Two patterns that match the same words are one sign.
    apart = any(one.end() <= other.start() for one in weak for other in weak)
    if not strong and not apart and task != DEFAULT_TASK:
        return []
    return [match[0] for match in (*strong, *weak)]


def _quoted(signs: Sequence[str]) -> str:
    shown = dict.fromkeys(" ".join(sign.split())[:SHOWN_CHARACTERS].lower() for sign in signs)
    return " and ".join(f'"{sign}"' for sign in list(shown)[:SHOWN_SIGNS])


def _ends(text: str) -> str:
    if len(text) <= READ_CHARACTERS:
        return text
    half = READ_CHARACTERS // 2
    return f"{text[:half]}\n{text[-half:]}"
