"""Patterns that somebody else wrote: they match, or say why they may not, and always stop."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestra_router.patterns import BadPattern, check, found


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"\d{3}-\d{2}", "call 555-12 now", True),
        (r"^yes|no$", "yes, sir", True),
        (r"(?i)total", "TOTAL: 3", True),
        (r"(?<=a)b(?!c)", "abd", True),
        (r"(?P<q>['\"]).*(?P=q)", "'it'", True),
        (r"\p{Lu}", "kein Ö", True),
        (r"[[:digit:]]", "no", False),
        (r"[]a]{2}", "]a", True),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "123e4567-e89b-12d3-a456-426614174000", True),
    ],
)
def test_a_pattern_matches_as_pythons_do(pattern: str, text: str, matches: bool) -> None:
    assert found(pattern, text) is matches


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("(", "is not a regular expression"),
        ("a" * 2_001, "longer than 2,000"),
        ("(" * 900 + ")" * 900, "nested too deep"),
        ("((?:a{500}){500}){500}", "repeats too much"),
        ("[^]]{500}{500}", "repeats too much"),
        ("a{99999999999999999999}", "repeats too much"),
        (r"(?x)#[\n(?:a{500}){500}{500}#]", "not supported"),
        (r"(?#[)(a{500}){500}{500}(?#])", "not supported"),
        ("(?R)", "not supported"),
        ("(a)(?1)", "not supported"),
        ("(?P<x>a)(?&x)", "not supported"),
        ("(?:foo){e<=1}", "not supported"),
    ],
)
def test_a_pattern_that_is_none_or_too_dear_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(BadPattern, match=says):
        check(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a+)+$", "a" * 5_000 + "b"),
        (r"(.*a){12}$", "a" * 24_000 + "b"),
        (r"(?:(?:a*)*)*$", "a" * 50_000 + "b"),
        (r"(.)*(.)*(.)*(.)*(.)*\d", "x" * 30_000),
    ],
)
def test_a_search_that_would_not_end_is_stopped(pattern: str, text: str) -> None:
    began = time.monotonic()

    with pytest.raises(TimeoutError):
        found(pattern, text)

    assert time.monotonic() - began < 5  # without a limit: hours


@given(pattern=st.text(alphabet="ab(){}[]?*+|\\^$.,0123456789:=!<>#PxRe-", max_size=40), text=st.text(max_size=40))
def test_any_pattern_is_tried_or_refused(pattern: str, text: str) -> None:
    try:
        found(pattern, text)
    except (BadPattern, TimeoutError):
        return
