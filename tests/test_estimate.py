"""The bound on a prompt's tokens: never below what a tokenizer may make of it."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.policy.estimate import PART_OVERHEAD, TOOLS_OVERHEAD, measure
from orchestra_router.types import Tool
from worlds import ask

most_of = st.text(st.characters(codec="utf-8"), max_size=60)


@given(most_of)
def test_the_bound_holds_for_a_token_a_byte_however_the_text_is_normalised(text: str) -> None:
    bound = measure(ask(text)).most_input

    for form in ("NFC", "NFKC"):
        assert bound >= len(unicodedata.normalize(form, text).encode()) >= 0
    assert bound >= len(text.encode())


def test_a_letter_that_stands_for_a_sentence_counts_as_the_sentence() -> None:
    assert measure(ask("\ufdfa" * 1000)).most_input >= 33_000


def test_every_tool_counts_with_the_words_around_it() -> None:
    tools = tuple(Tool(f"t{number}", "Adds.", {"type": "object"}) for number in range(50))

    assert measure(ask("Hi.", tools=tools)).most_input >= TOOLS_OVERHEAD + 50 * PART_OVERHEAD
