"""A person's own patterns. Their form is anybody's, so each search has a time limit, and one that passes it blocks."""

from collections.abc import Iterator

from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.rules.base import Action, Span

SEARCH_S = 1.0
"""Seconds one text may take; a fair pattern reads megabytes in that time."""


class CustomRule:
    def __init__(self, kind: str, pattern: str, action: Action) -> None:
        import regex  # noqa: PLC0415 - few have patterns of their own

        self.kind = kind
        self.action: Action = action
        self._pattern = regex.compile(pattern)

    @property
    def setting(self) -> str:
        return f"guard_patterns.{self.kind}.action"

    def spans(self, text: str) -> Iterator[Span]:
        try:
            for match in self._pattern.finditer(text, timeout=SEARCH_S):
                if match.end() > match.start():
                    yield match.span()
        except TimeoutError:
            raise GuardrailBlocked(
                f"The pattern of guard_patterns.{self.kind} takes too long on this text, so the text was not passed on."
                " Rewrite the pattern without repeats inside repeats."
            ) from None
