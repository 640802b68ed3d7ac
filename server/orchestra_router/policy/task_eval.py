"""How well tasks are recognised on labelled prompts: what `orchestra route eval` measures."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from orchestra_router.catalog import TaskWords
from orchestra_router.embedding.local import LazyEmbedder
from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy import tasks
from orchestra_router.types import CompletionRequest, Message, Text

MOST_SHOWN = 5
"""Problems of a file that are told; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Labelled:
    prompt: str
    label: str
    alt: tuple[str, ...]
    """Other tasks that would do."""


def read(path: Path, known: Iterable[str]) -> list[Labelled]:
    """The labelled prompts of a file of JSON lines: `prompt`, `label`, and where others would do, `alt`.

    Raises:
        InvalidRequest: it cannot be read, or a line cannot; the message names the lines.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from None
    tasks_known = tuple(known)
    rows: list[Labelled] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(_row(line, tasks_known))
            except ValueError as problem:
                problems.append(f"line {number}: {problem}")
    if problems:
        more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
        raise InvalidRequest(f"{path} cannot be used. {'; '.join(problems[:MOST_SHOWN])}{more}.")
    if not rows:
        raise InvalidRequest(f'{path} holds no prompts. One a line: {{"prompt": "...", "label": "{tasks_known[0]}"}}.')
    return rows


def _row(line: str, known: tuple[str, ...]) -> Labelled:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(row, dict):
        raise ValueError("is no object")  # noqa: TRY004 - of the file, told with its other problems
    fields = cast("dict[str, Any]", row)
    prompt, label = fields.get("prompt"), fields.get("label")
    alt: object = [] if fields.get("alt") is None else fields["alt"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("`prompt` is missing, empty or no text")
    if not isinstance(alt, list):
        raise ValueError('`alt` is no list of tasks, such as ["coding"]')  # noqa: TRY004 - as above
    names = [label, *cast("list[object]", alt)]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{json.dumps(unknown[0])[:40]} is no task; known: {', '.join(known)}")
    return Labelled(prompt, cast("str", label), tuple(cast("list[str]", names[1:])))


async def evaluated(
    rows: Iterable[Labelled], words: Mapping[str, TaskWords], embedder: LazyEmbedder | None
) -> dict[str, Any]:
    """Shares of `rows` whose task was recognised, by the code that requests take. Without `embedder`, by words alone.

    `strict` counts the label, `lenient` the alternatives, too; `recall` is strict, by label; `confusion` counts
    label -> task found.
    """
    confusion: dict[str, Counter[str]] = {}
    lenient = 0
    methods: Counter[str] = Counter()
    for row in rows:
        request = CompletionRequest(messages=(Message("user", (Text(row.prompt),)),))
        vector = PromptVector(embedder, row.prompt) if embedder is not None else None
        found = await tasks.classified(request, words, vector)
        confusion.setdefault(row.label, Counter())[found.task] += 1
        lenient += found.task in {row.label, *row.alt}
        methods[found.method] += 1
    n = methods.total()
    return {
        "n": n,
        "strict": sum(found[label] for label, found in confusion.items()) / n,
        "lenient": lenient / n,
        "recall": {label: found[label] / found.total() for label, found in sorted(confusion.items())},
        "confusion": {label: dict(found) for label, found in sorted(confusion.items())},
        "method": dict(methods),
    }
