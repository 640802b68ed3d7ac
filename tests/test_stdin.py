"""What arrives on stdin, mended before it is parsed."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.stdin import mended


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (r'"cut \ud83d"', "cut \ufffd"),
        (r'"\uD83D cut"', "\ufffd cut"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
        (r'"whole \ud83d\ude00"', "whole \U0001f600"),
        (r'"text \\ud83d"', r"text \ud83d"),
        (r'"\\\ud83d"', "\\\ufffd"),
        (r'"\ud7ff\ue000"', "\ud7ff\ue000"),
    ],
)
def test_half_a_character_is_replaced_and_nothing_else(line: str, read: str) -> None:
    assert json.loads(mended(line)) == read


@given(st.text(st.characters(exclude_categories=())))
def test_every_text_of_javascript_becomes_text(text: str) -> None:
    read = json.loads(mended(json.dumps(text)))

    assert read == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_whoever_else_reads_stdin_meanwhile_finds_it_empty() -> None:
    code = (
        "import os; from orchestra_router.stdin import claimed_stdin\n"
        "with claimed_stdin() as lines: print(repr(os.read(0, 9)), repr(lines.readline()))\n"
        "print(repr(os.read(0, 9)))"
    )

    said = subprocess.check_output([sys.executable, "-c", code], input=b"{}\n", env=dict(os.environ))

    assert said.decode().split() == ["b''", r"'{}\n'", "b''"]
