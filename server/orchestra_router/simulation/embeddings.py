"""Embeddings endpoints: the same text has the same vector, and so have texts of the same long words in any order."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from orchestra_router.simulation.answering import count
from orchestra_router.simulation.failures import Refused
from orchestra_router.simulation.prices import Rates
from orchestra_router.simulation.wire import Body, Call

LONG_WORD = 5
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingModel:
    id: str
    dimensions: int
    prices: tuple[Rates, ...] = ()
    context: int = 8_192


class EmbeddingsRequest(Body):
    model: str
    input: str | list[str] = Field(min_length=1)
    encoding_format: Literal["float"] = "float"
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Vectors:
    """What is sent back, and what it used."""

    model: EmbeddingModel
    tokens: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """One vendor's endpoint."""

    models: tuple[EmbeddingModel, ...]
    most_texts: int

    def answer(self, call: Call) -> Vectors:
        """Raises: Refused."""
        request = call.read(EmbeddingsRequest)
        served: Mapping[str, EmbeddingModel] = {model.id: model for model in self.models}
        if (model := served.get(request.model)) is None:
            raise Refused("gone", f'model "{request.model}" not found, try pulling it first')
        texts = [request.input] if isinstance(request.input, str) else request.input
        if len(texts) > self.most_texts or not all(texts):
            raise Refused("bad_request", f"input: 1 to {self.most_texts} texts, none of them empty", param="input")
        if any(count(text) > model.context for text in texts):
            raise Refused("context", f"This model's maximum context length is {model.context} tokens.")
        tokens = sum(map(count, texts))
        rows: list[dict[str, Any]] = [
            {"object": "embedding", "index": index, "embedding": vector(text, model)}
            for index, text in enumerate(texts)
        ]
        document = {
            "object": "list",
            "data": rows,
            "model": model.id,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
        return Vectors(model, tokens, json.dumps(document).encode())


def vector(text: str, model: EmbeddingModel) -> list[float]:
    """Of unit length: the sum of a direction for each different long word, or word where none is long."""
    words: set[str] = set(_WORD.findall(text.lower()))
    words = {word for word in words if len(word) >= LONG_WORD} or words or {text}
    total = [0.0] * model.dimensions
    for word in sorted(words):
        bits = hashlib.shake_256(f"{model.id} {word}".encode()).digest(model.dimensions)
        total = [value + (1.0 if byte & 1 else -1.0) for value, byte in zip(total, bits, strict=True)]
    length = math.hypot(*total)
    return [value / length for value in total]


OPENAI = Embeddings(
    models=(
        EmbeddingModel(id="text-embedding-3-small", dimensions=1536, prices=(Rates("0.02", "0"),)),
        EmbeddingModel(id="text-embedding-3-large", dimensions=3072, prices=(Rates("0.13", "0"),)),
    ),
    most_texts=2048,
)
OLLAMA = Embeddings(
    models=(
        EmbeddingModel(id="nomic-embed-text", dimensions=768),
        EmbeddingModel(id="all-minilm", dimensions=384, context=512),
    ),
    most_texts=2048,
)
