"""Which kind of task a prompt is, from its words alone: no model is asked, the same prompt gets the same answer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestra_router.config import Catalog
from orchestra_router.errors import InvalidRequest
from orchestra_router.types import CompletionRequest

DEFAULT_TASK = "general_chat"
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


def classify(request: CompletionRequest, keywords: Mapping[str, Sequence[re.Pattern[str]]]) -> tuple[str, str]:
    """The task of `request`, and why, by the number of different patterns of each task that the last turn matches.

    No match, or a tie at the top, is general chat: the answer there is good enough for everything.
    """
    if request.web_search:
        return "web_search", "web search was asked for"
    users = [message.text for message in request.messages if message.role == "user"]
    text = _ends(users[-1]) if users else ""
    scores = {task: sum(bool(pattern.search(text)) for pattern in patterns) for task, patterns in keywords.items()}
    best = max(scores.values(), default=0)
    leaders = [task for task, score in scores.items() if score == best]
    if best == 0 or len(leaders) > 1:
        return DEFAULT_TASK, "no task named, and its words point to none"
    return leaders[0], f"no task named; {best} of its words or phrases point to {leaders[0]}"


def _ends(text: str) -> str:
    if len(text) <= READ_CHARACTERS:
        return text
    half = READ_CHARACTERS // 2
    return f"{text[:half]}\n{text[-half:]}"
