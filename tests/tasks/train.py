"""Makes `classifier.json` from labelled prompts, and says how well it does on prompts it has not seen.

    uv run python tests/tasks/train.py [--quick] [FILE ...]

The prompts are those in `training/`, one a line, and those of each FILE, JSON lines with `prompt` and `label`.
With `--quick` nothing is measured.
"""

import base64
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from numpy.typing import NDArray

from orchestra_router.config import load
from orchestra_router.embedding.local import LazyEmbedder
from orchestra_router.policy.classification import classifier, signals
from orchestra_router.policy.classification.signals import Index, Patterns

HERE = Path(__file__).parent
TARGET = Path(classifier.__file__).with_name("classifier.json")
TASKS = ("coding", "complex_reasoning", "creative_writing", "general_chat", "web_search")
LOOKS = tuple(signals.looks("1 2é\n?") | signals.looks("a{"))
LEAST_SEEN = 2
"""Prompts that a term must stand in to be learned."""
PENALTY = 0.001
"""Chosen by five-fold cross-validation from 0.0001 to 0.003, as was the vector's strength, from 1 to 3."""
VECTOR_STRENGTH = 1.5
STEPS = 1_500
FOLDS = 5

Floats = NDArray[np.float64]


def read(files: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    pairs = [
        (line.replace("\\n", "\n"), TASKS.index(task))
        for task in TASKS
        for line in (HERE / "training" / f"{task}.txt").read_text(encoding="utf-8").splitlines()
    ]
    for file in files:
        rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
        pairs += [(row["prompt"], TASKS.index(row["label"])) for row in rows]
    return [text for text, _ in pairs], np.array([label for _, label in pairs])


def known_signals(texts: Sequence[str]) -> list[str]:
    counts = Counter(term for text in texts for term in set(signals.terms(signals.ends(text))))
    fixed = [f"{kind} {task}" for kind in ("strong", "weak") for task in TASKS]
    return [*fixed, *LOOKS, *sorted(term for term, count in counts.items() if count >= LEAST_SEEN)]


def matrix(texts: Sequence[str], patterns: Sequence[Patterns], known: Sequence[str]) -> Floats:
    places = {name: place for place, name in enumerate(known)}
    rows = np.zeros((len(texts), len(known)))
    for row, text, found in zip(rows, texts, patterns, strict=True):
        for name, strength in classifier.strengths_of(signals.ends(text), found, places).items():
            row[places[name]] = strength
    return rows


def fitted(rows: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Weights and biases of multinomial logistic regression, by Adam over all rows."""
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    wanted = np.eye(len(TASKS))[labels]
    weights, first, second = (np.zeros((rows.shape[1], len(TASKS))) for _ in range(3))
    for step in range(1, STEPS + 1):
        logits = rows @ weights
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        slope = rows.T @ (shares - wanted) / len(rows)
        slope[:-1] += PENALTY * weights[:-1]
        first += 0.1 * (slope - first)
        second += 0.001 * (slope**2 - second)
        rate = 0.1 * min(1.0, 3 * (1 - step / STEPS))
        weights -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return weights[:-1], weights[-1]


def cross_validated(texts: list[str], patterns: list[Patterns], vectors: Floats, labels: NDArray[np.int64]) -> None:
    fold = np.random.default_rng(0).integers(0, FOLDS, len(texts))
    right = {"rules": np.zeros(len(texts), bool), "rules and meaning": np.zeros(len(texts), bool)}
    for number in range(FOLDS):
        seen, unseen = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        rows = matrix(texts, patterns, known_signals([texts[place] for place in seen]))
        for name, data in (("rules", rows), ("rules and meaning", np.hstack([rows, vectors]))):
            weights, bias = fitted(data[seen], labels[seen])
            right[name][unseen] = (data[unseen] @ weights + bias).argmax(axis=1) == labels[unseen]
    for name, found in right.items():
        recall = {task: round(float(found[labels == place].mean()), 3) for place, task in enumerate(TASKS)}
        print(f"{name}: {found.mean():.3f} of {len(texts)} right; {recall}")


def stored(known: Sequence[str], weights: Floats, bias: Floats) -> dict[str, Any]:
    scale = float(np.abs(weights).max()) / 127
    whole = np.rint(weights / scale).astype(int)
    rows = {name: row.tolist() for name, row in zip(known, whole, strict=True) if np.abs(row).max() > 1}
    return {"scale": round(scale, 6), "bias": [round(value, 4) for value in bias.tolist()], "weights": rows}


async def main(arguments: Sequence[str]) -> None:
    texts, labels = read([file for file in arguments if file != "--quick"])
    home = Path("/nowhere")
    words = load({"ORCHESTRA_HOME": str(home)}).catalog.keywords
    embedder = await LazyEmbedder(home, None, wanted=True).get()
    assert embedder is not None, "the weights are not installed"
    index = Index(words)
    patterns = [index.found(signals.ends(text)) for text in texts]
    vectors = VECTOR_STRENGTH * (await embedder.embed(texts)).astype(float)
    if "--quick" not in arguments:
        cross_validated(texts, patterns, vectors, labels)

    known = known_signals(texts)
    rows = matrix(texts, patterns, known)
    rules = stored(known, *fitted(rows, labels))
    weights, bias = fitted(np.hstack([rows, vectors]), labels)
    both = stored(known, weights[: len(known)], bias)
    of_vector = VECTOR_STRENGTH * weights[len(known) :]
    both["vector_scale"] = float(np.abs(of_vector).max()) / 127
    both["vector"] = base64.b64encode(np.rint(of_vector / both["vector_scale"]).astype(np.int8).tobytes()).decode()
    everything = {"tasks": TASKS, "embedder": embedder.identity, "rules": rules, "both": both}
    TARGET.write_text(json.dumps(everything, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {TARGET.stat().st_size / 1000:.0f} kB, {len(rules['weights'])} signals")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
