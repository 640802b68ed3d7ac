"""What a text is looked through for before a pattern is tried on it: never more than the pattern itself asks for."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.config import load
from orchestra_router.policy.classification.needed import may_match, needed

PAIRS = Path(__file__).parent / "data" / "pairs.jsonl"


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"\bsearch (?:the web|online)\b", "search "),
        (r"\b(?:write|fix)\b.{0,60}\b(?:code|function)\b", "code function"),
        (r"colou?r", "colo"),
        (r"(?:very )?good", "good"),
        (r"(?:ab){2}", "ab"),
        (r"x(?:a|b|)y", "x"),
        (r"[xyz]\s=", "="),
        (r"\d+", ""),
        (r"(?:a|\d)", ""),
        (r"(?:)", ""),
    ],
)
def test_what_every_match_holds_is_read_off_the_pattern(pattern: str, texts: str) -> None:
    assert " ".join(needed(re.compile(pattern, re.IGNORECASE))) == texts


def test_no_prompt_is_passed_over_that_a_pattern_of_the_catalog_matches(tmp_path: Path) -> None:
    words = load({"ORCHESTRA_HOME": str(tmp_path)}).catalog.keywords
    rows = [json.loads(line) for line in PAIRS.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
    texts = [value for row in rows for value in row.values() if isinstance(value, str) and value.isascii()]
    patterns = [pattern for each in words.values() for pattern in (*each.strong, *each.weak)]

    missed = [
        (pattern.pattern, text)
        for text in texts
        for pattern in patterns
        if not may_match(pattern, text.lower()) and pattern.search(text)
    ]

    assert len(texts) > 500
    assert missed == []


@given(
    st.sampled_from([r"a(?:bc|d)+e", r"(?i:AB)c|d(?=e)e", r"(?<!x)ab?c{1,3}", r"[ab]c|(?:de){0,2}f", r"(a|b)\1c"]),
    st.text("abcdefx", max_size=12),
)
def test_whatever_matches_may_match(pattern: str, text: str) -> None:
    compiled = re.compile(pattern, re.IGNORECASE)

    assert may_match(compiled, text.lower()) or compiled.search(text) is None
