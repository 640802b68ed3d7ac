"""`orchestra cache eval`: how often labelled pairs of prompts would share an answer, rightly and wrongly."""

import argparse
import json
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestra_router.commands.base import Commands, count, load_config, table
from orchestra_router.errors import EmbedderUnavailable, InvalidRequest
from orchestra_router.settings import BALANCED_THRESHOLD
from orchestra_router.types import CompletionRequest, Message, Text

# Each command imports what it needs when it runs: a client waits for `serve`, and needs little of the rest.
# ruff: noqa: PLC0415 - see above

if TYPE_CHECKING:
    from orchestra_router.config import Config
    from orchestra_router.embedding.base import EmbedderSource

Json = dict[str, Any]
SWEPT_THRESHOLDS = (0.95, 0.93, 0.90, 0.85)
LEVELS = (1, 2, 3, 4)
TEXTS_AT_ONCE = 64
MOST_PROBLEMS = 10


class Pair(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(hide_input_in_errors=True)

    a: str = Field(min_length=1)
    b: str = Field(min_length=1)
    label: Literal["same", "different"]
    category: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    pair: Pair
    compared: bool
    """Both prompts are of a kind that is compared by meaning at all."""
    similarity: float | None
    """None without an embedder."""


def add_to(group: Commands) -> None:
    command = group.reporting("eval", _run, "Measure on labelled pairs which prompts would share an answer.")
    command.add_argument("file", type=Path, help="JSON lines with a, b, label (same, different) and maybe category")
    command.add_argument("--threshold", type=_share, help="least similarity; else the setting cache_threshold")
    command.add_argument(
        "--guard", type=int, choices=LEVELS, help="the guard's level; else the setting cache_guard_level"
    )
    command.add_argument("--sweep", action="store_true", help="several thresholds, at every level")


def _share(text: str) -> float:
    """A similarity, as the setting `cache_threshold` says it."""
    try:
        value = BALANCED_THRESHOLD if text == "balanced" else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("a similarity is a number from 0 to 1, such as 0.95, or `balanced`")
    return value


def _run(asked: argparse.Namespace) -> int:
    pairs = read(asked.file)
    config = load_config()
    judged, problem = anyio.run(judge, pairs, config)
    threshold = config.settings.cache_threshold if asked.threshold is None else asked.threshold
    level = config.settings.cache_guard_level if asked.guard is None else asked.guard
    found = report(judged, threshold=threshold, level=level)
    if asked.sweep:
        found["sweep"] = [
            {
                name: value
                for name, value in report(judged, threshold=each, level=guard).items()
                if name != "by_category"
            }
            for each in SWEPT_THRESHOLDS
            for guard in LEVELS
        ]
    if problem:
        found["note"] = (
            f"Without an embedder only the same words are served, whatever the threshold and level: {problem}"
        )
    print(json.dumps(found, indent=2) if asked.json else _text(found))
    return 0


def read(path: Path) -> list[Pair]:
    """The pairs of a file of JSON lines.

    Raises:
        InvalidRequest: it cannot be read, is empty, or has lines that are no pairs; the message names them.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidRequest(f"{path} cannot be read: {reason}.") from None
    pairs: list[Pair] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pairs.append(Pair.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            problems.append(f"line {number}: {field + ': ' if field else ''}{first['msg']}")
    if problems:
        more = f"\n  and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        shown = "".join(f"\n  {problem}" for problem in problems[:MOST_PROBLEMS])
        raise InvalidRequest(f'{path} needs lines like {{"a": "...", "b": "...", "label": "same"}}:{shown}{more}')
    if not pairs:
        raise InvalidRequest(f"{path} holds no pairs.")
    return pairs


def report(judged: Sequence[Judged], *, threshold: float, level: int) -> Json:
    """How many pairs of each label, and of each category, would be served."""
    labels: dict[str, Json] = {label: {"n": 0, "served": 0} for label in ("same", "different")}
    categories: dict[str, Json] = {}
    for each in judged:
        served = _is_served(each, threshold=threshold, level=level)
        rows = [labels[each.pair.label]]
        if each.pair.category:
            rows.append(_row(categories, each.pair))
        for row in rows:
            row["n"] += 1
            row["served"] += served
    return {
        "threshold": threshold,
        "guard": level,
        **labels,
        "not_compared": sum(not each.compared for each in judged),
        "by_category": dict(sorted(categories.items())),
    }


def _row(categories: dict[str, Json], pair: Pair) -> Json:
    """A category with pairs of both labels has a row for each."""
    name = pair.category
    if name in categories and categories[name]["label"] != pair.label:
        name = f"{name} ({pair.label})"
    return categories.setdefault(name, {"n": 0, "served": 0, "label": pair.label})


def _is_served(judged: Judged, *, threshold: float, level: int) -> bool:
    from orchestra_router.policy.cache.matching import refusal, refusal_by_words
    from orchestra_router.policy.lexical_guard import parse

    if not judged.compared:
        return judged.pair.a == judged.pair.b
    a, b = parse(judged.pair.a), parse(judged.pair.b)
    if judged.similarity is None:
        return refusal_by_words(a, b) is None
    return refusal(a, b, judged.similarity, threshold=threshold, level=level) is None


async def judge(pairs: Sequence[Pair], config: "Config") -> tuple[list[Judged], str]:
    """The pairs with what does not depend on threshold and level, and why there is no embedder, or ""."""
    async with _embedder(config) as source:
        return await _judged(pairs, config, source)


@asynccontextmanager
async def _embedder(config: "Config") -> "AsyncGenerator[EmbedderSource]":
    """The one that requests are compared by. What an endpoint costs is in the ledger, as it is for them."""
    if "/" in config.settings.embedder:
        from orchestra_router.router import open_router

        async with open_router(config) as router:
            yield router.embedder
    else:
        from orchestra_router.embedding.local import LazyEmbedder

        yield LazyEmbedder.of(config.settings)


async def _judged(pairs: Sequence[Pair], config: "Config", source: "EmbedderSource") -> tuple[list[Judged], str]:
    from orchestra_router.embedding.base import NO_PAYER

    embedder = await source.get(NO_PAYER)
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.a, pair.b)))
    compared = {text: await _is_compared(text, config, source) for text in texts}
    vectors: dict[str, Any] = {}
    problem = ""
    if embedder is None:
        problem = source.state().problem or "switched off in the settings"
    else:
        try:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                batch = texts[start : start + TEXTS_AT_ONCE]
                vectors |= dict(zip(batch, await embedder.embed(batch), strict=True))
        except EmbedderUnavailable as error:
            problem = str(error)
    judged = [
        Judged(
            pair,
            compared=compared[pair.a] and compared[pair.b],
            similarity=None if problem else float(vectors[pair.a] @ vectors[pair.b]),
        )
        for pair in pairs
    ]
    return judged, problem


async def _is_compared(text: str, config: "Config", source: "EmbedderSource") -> bool:
    """As for a request that asks for nothing but an answer to `text`."""
    from orchestra_router.embedding.prompt import PromptVector
    from orchestra_router.policy import tasks
    from orchestra_router.policy.cache.eligibility import eligibility

    asked = CompletionRequest(messages=(Message("user", (Text(text),)),))
    vector = PromptVector(source, text) if config.settings.embedder == "local" else None
    request, _ = await tasks.with_task(asked, config.catalog, vector)
    return eligibility(request, config.catalog, setting="semantic", ttl_s=config.settings.cache_ttl_s).compared


def _text(found: Json) -> str:
    parts = [f"threshold {found['threshold']}, guard level {found['guard']}"]
    parts += [
        table(
            ("pairs", "label", "n", "served"),
            [
                *(
                    (name, row["label"], str(row["n"]), str(row["served"]))
                    for name, row in found["by_category"].items()
                ),
                *(
                    ("all", label, str(found[label]["n"]), str(found[label]["served"]))
                    for label in ("same", "different")
                ),
            ],
        )
    ]
    parts.append(
        f"{count(found['not_compared'], 'pair')} never compared: words of time, web searches, creative writing, length"
    )
    if "sweep" in found:
        columns = ("threshold", "guard", "same served", "different served")
        rows = [
            (f"{row['threshold']:.2f}", str(row["guard"]), *(_of(row[label]) for label in ("same", "different")))
            for row in found["sweep"]
        ]
        parts.append(table(columns, rows))
    return "\n\n".join([*parts, *([found["note"]] if "note" in found else [])])


def _of(row: Json) -> str:
    return f"{row['served']} of {row['n']} ({100 * row['served'] / row['n']:.1f} %)" if row["n"] else "none"
