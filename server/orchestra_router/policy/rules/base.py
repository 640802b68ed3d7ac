"""What a rule of the guard is: a kind of thing to find, where it stands in a text, and what is done about it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

Action = Literal["redact", "block", "flag", "off"]
Span = tuple[int, int]
DIGITS = tuple("0123456789")


class Rule(Protocol):
    """Finds one kind of thing. `spans` takes time linear in the text, or a bounded time."""

    @property
    def kind(self) -> str: ...

    @property
    def action(self) -> Action: ...

    @property
    def setting(self) -> str:
        """What a person sets to change the action."""
        ...

    def spans(self, text: str) -> Iterator[Span]:
        """Where it stands, from left to right, without overlap.

        Raises:
            GuardrailBlocked: nobody can tell, so the text may not pass.
        """
        ...


@dataclass(frozen=True, slots=True)
class PatternRule:
    """A pattern of bounded repeats, and what of a match is really meant."""

    kind: str
    pattern: re.Pattern[str]
    """Its group `value`, where it has one, is what is found; the rest is context."""
    action: Action
    within: Callable[[str], Span | None] | None = None
    """Where in a match the thing stands, None where it is something else. Without it the match is the thing."""
    hints: tuple[str, ...] = ()
    """One of these, in small letters, is in every match, so that most texts pass without a closer look."""

    @property
    def setting(self) -> str:
        return f"guard_{self.kind}"

    def spans(self, text: str) -> Iterator[Span]:
        if self.hints:
            lowered = text.lower()
            if not any(hint in lowered for hint in self.hints):
                return
        group = "value" if "value" in self.pattern.groupindex else 0
        place = 0
        while (match := self.pattern.search(text, place)) is not None:
            start, end = match.span(group)
            if self.within is None:
                found: Span | None = (0, end - start)
            else:
                found = self.within(text[start:end])
            if found is None:
                place = max(end, match.start() + 1)
            else:
                yield start + found[0], start + found[1]
                place = max(start + found[1], match.start() + 1)
