"""What a person should know, and how it reaches them."""

from dataclasses import dataclass
from typing import Literal, Protocol

AlertKind = Literal["spend", "budget", "rate", "uncertain", "price", "model", "key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something a person should know. Raised once for each `kind`, `holder`, `period` and `threshold_nusd`."""

    kind: AlertKind
    holder: str
    """Whose money it is about; for a price, a model or a key, which one."""
    period: str
    """A day, a month or an hour ("2026-11-23T16", UTC)."""
    threshold_nusd: int
    text: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An alert to raise once `holder` has spent `threshold_nusd` in `period`, and more than what is usual."""

    kind: AlertKind
    holder: str
    period: str
    threshold_nusd: int
    text: str
    times_usual: int = 0
    """More than so many times the median of the periods of this length since `since`. 0: that does not matter."""
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What something is at now; an alert is raised when it was something else before."""

    kind: AlertKind
    subject: str
    about: str
    """`subject`, as a sentence about it begins."""
    value: str
    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An alert that waits in the outbox, claimed by one process."""

    delivery_id: str
    alert: Alert
    tries: int
    """How often it could not be delivered before."""


class AlertStore(Protocol):
    """The outbox of a store: alerts that are to be delivered."""

    async def claim(self, *, by: str, now_ms: int, until_ms: int) -> Delivery | None:
        """The next alert of the outbox that is due, for `by` alone until then; None when none is."""
        ...

    async def delivered(self, delivery_id: str, *, by: str) -> None: ...

    async def postpone(self, delivery_id: str, *, by: str, due_ms: int) -> None:
        """Give the claim back; the next try is not before `due_ms`."""
        ...

    async def next_delivery_ms(self) -> int | None: ...

    async def drop_undelivered(self, *, raised_before_ms: int) -> int:
        """Give up on what is too old to tell anybody; returns how many."""
        ...
