"""What this installation has seen of its models."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRow:
    """The attempts of one task at one deployment that took about equally long; those that failed are one row."""

    task: str
    provider: str
    model: str
    answered: int
    """1 if these did answer, 0 if they failed."""
    attempts: int
    latency_ms: int
    """Of all of them together, as are the cost and the tokens."""
    cost_nusd: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EscalationRow:
    """How often a cheap step's answer was good enough, for one kind of prompt."""

    task: str
    prompt_kind: str
    provider: str
    model: str
    tried: int
    escalated: int


@dataclass(frozen=True, slots=True)
class LearnedRows:
    seen: tuple[SeenRow, ...] = ()
    escalations: tuple[EscalationRow, ...] = ()


class LearnedStore(Protocol):
    """The part of a store that remembers how the models did."""

    async def learned(self, *, first_day: str) -> LearnedRows:
        """What was seen from the calendar day `first_day` on."""
        ...

    async def forget_learned(self, *, task: str | None = None) -> int:
        """Forget what was learned, of one task or (None) of all. Returns how many attempts were behind it."""
        ...
