"""`orchestra route eval FILE`: how well tasks are recognised on a person's own prompts."""

import argparse
import json
from pathlib import Path
from typing import Any

import anyio

from orchestra_router.commands.base import count, load_config, table

# ruff: noqa: PLC0415 - a command imports what it needs when it runs


def run(asked: argparse.Namespace) -> int:
    from orchestra_router.embedding.local import LazyEmbedder
    from orchestra_router.policy import task_eval

    config = load_config()
    rows = task_eval.read(Path(asked.file), config.catalog.tasks)
    embedder = None if asked.rules else LazyEmbedder.of(config.settings)
    found = anyio.run(task_eval.evaluated, rows, config.catalog.keywords, embedder)
    problem = embedder.state().problem if embedder is not None else ""
    if asked.json:
        print(json.dumps(found | ({"notes": [problem]} if problem else {}), indent=2))
    else:
        print(_as_text(found, problem))
    return 0


def _as_text(found: dict[str, Any], problem: str) -> str:
    confusion = found["confusion"]
    columns = sorted({*confusion, *(task for row in confusion.values() for task in row)})
    lines = [
        (label, *(str(row.get(task, "")) for task in columns), f"{found['recall'][label]:.1%}")
        for label, row in confusion.items()
    ]
    methods = ", ".join(f"{count} by {method}" for method, count in found["method"].items())
    return "\n".join(
        [
            table(("label \\ found", *columns, "recall"), lines),
            f"{count(found['n'], 'prompt')}: {found['strict']:.1%} as labelled, {found['lenient']:.1%} with alternatives",
            f"decided: {methods}",
            *([problem] if problem else []),
        ]
    )
