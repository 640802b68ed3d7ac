"""What a rule of the guard is: a kind of thing to find, where it stands in a text, and what is done about it."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Action = Literal["redact", "block", "flag", "off"]
Span = tuple[int, int]
LETTER = (
    r"[^\W\u0e00-\u0eff\u1100-\u11ff\u2e80-\u30ff\u3130-\u318f\u31f0-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    r"\uff66-\uff9f]"
)
"""A letter, figure or underscore of a script that sets its words apart. Others touch a number without being part of it."""
BEGIN = rf"(?<!{LETTER})"
END = rf"(?!{LETTER})"
"""As `\\b` around a number, and also between it and a script that writes no spaces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a text must hold for a rule to find anything in it, so that most texts pass without a closer look."""

    figures: int = 0
    """So many, of any script."""
    marks: str = ""
    """One character, as often as it stands here."""
    texts: tuple[str, ...] = ()
    """One of these, in small letters."""
    characters: int = 0
    """So many without a blank between them."""


ANYTHING = Needs()


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

    @property
    def needs(self) -> Needs: ...

    def spans(self, text: str) -> Iterable[Span]:
        """Where it stands, from left to right, without overlap, in a text that holds what is needed.

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
    needs: Needs = ANYTHING

    @property
    def setting(self) -> str:
        return f"guard_{self.kind}"

    def spans(self, text: str) -> Iterator[Span]:
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


def looks_like_a_date(found: str) -> bool:
    return re.fullmatch(r"\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}(?:[ ]\d{1,2})?", found) is not None


def replaced(text: str, spans: Sequence[Span], instead: Callable[[str], str]) -> str:
    """`text` with `instead(found)` in place of each of `spans`."""
    pieces: list[str] = []
    end = 0
    for start, stop in spans:
        pieces += (text[end:start], instead(text[start:stop]))
        end = stop
    return "".join((*pieces, text[end:]))
