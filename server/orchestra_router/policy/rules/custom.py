"""A person's own patterns. Their form is anybody's, so each search has a time limit, and one that passes it blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestra_router import patterns
from orchestra_router.errors import GuardrailBlocked
from orchestra_router.policy.rules.base import ANYTHING, Action, Needs, Span


@dataclass(frozen=True, slots=True)
class CustomRule:
    kind: str
    pattern: str
    action: Action
    needs: Needs = ANYTHING

    @property
    def setting(self) -> str:
        return f"guard_patterns.{self.kind}.action"

    def spans(self, text: str) -> Iterator[Span]:
        try:
            yield from patterns.spans(self.pattern, text)
        except TimeoutError:
            raise GuardrailBlocked(
                f"The pattern of guard_patterns.{self.kind} takes too long on this text, so the text was not passed on."
                " Rewrite the pattern without repeats inside repeats."
            ) from None
