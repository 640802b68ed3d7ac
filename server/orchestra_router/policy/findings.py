"""What the guard would find in a text, and how that compares with what somebody says is in it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestra_router.policy.rules.base import Action, Rule, Span, replaced
from orchestra_router.policy.rules.sieve import Sieve

Labels = Counter[tuple[str, str]]
"""(kind, value) -> how often it is in a text."""


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str
    action: Action
    value: str


@dataclass(frozen=True, slots=True)
class Score:
    """How the findings of one kind compare with the labels."""

    right: int = 0
    wrong: int = 0
    """Found, and not in the labels."""
    missed: int = 0

    @property
    def precision(self) -> float | None:
        """The share of what was found that is right; None where nothing was found."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else None

    @property
    def recall(self) -> float | None:
        """The share of what there is that was found; None where there is nothing."""
        return self.right / (self.right + self.missed) if self.right + self.missed else None


def findings(rules: Sequence[Rule], text: str) -> tuple[Finding, ...]:
    """In the order of the rules. What one of them takes out of the text, no later one sees, as in a request.

    Raises:
        GuardrailBlocked: a rule cannot tell.
    """
    found: list[Finding] = []

    def deal(rule: Rule, text: str, spans: Sequence[Span]) -> str:
        found.extend(Finding(rule.kind, rule.action, text[start:end]) for start, end in spans)
        return text if rule.action == "flag" else replaced(text, spans, lambda _: f"[{rule.kind.upper()}_1]")

    Sieve(rules).dealt(text, deal)
    return tuple(found)


def scores(compared: Iterable[tuple[Labels, Labels]]) -> dict[str, Score]:
    """By kind, over pairs of what was found and what there is; a value counts where all of it was found."""
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    for found, there in compared:
        for counts, labels in ((right, found & there), (wrong, found - there), (missed, there - found)):
            for (kind, _), count in labels.items():
                counts[kind] += count
    return {kind: Score(right[kind], wrong[kind], missed[kind]) for kind in sorted(right | wrong | missed)}
