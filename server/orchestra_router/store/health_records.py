"""What the store keeps of the providers' health, for every process to know."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestra_router.store.alert_records import Alert
from orchestra_router.types import Allowance


@dataclass(frozen=True, slots=True)
class SharedAllowance:
    """A rate limit that is nearly used up, for every process to know. `target` is a deployment with one key."""

    target: str
    allowance: Allowance
    at_ms: int
    """When the provider said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRow:
    """One circuit breaker that has opened. `target` is "provider:xai", "key:xai:1a2b3c4d", "quota:xai/grok-4.7 1a2b3c4d" or "deployment:xai/grok-4.7"."""

    target: str
    cause: str
    """The code of the error that opened it."""
    since_ms: int
    """When it opened; or when it closed, if it is closed again."""
    until_ms: int | None
    """None: until `catalog` changes, or a probe finds it well again."""
    trips: int
    """How often it has opened, one time soon after the other."""
    catalog: str = ""
    replacement: str = ""
    closed: bool = False
    """It answers again, and is kept for `trips` only."""
    probe_id: str = ""
    """The one attempt that may try it now; "" where none does."""
    probe_process: str = ""
    probe_until_ms: int = 0
    """When the probe has not ended by then, another may be made."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the providers' health."""

    rows: tuple[HealthRow, ...]
    allowances: tuple[SharedAllowance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended, for the rolling window of a circuit breaker."""

    request_id: str
    created_ms: int
    outcome: str
    """"ok", or the code of the error."""
    status: int | None
    counted: bool
    """The provider said how many tokens it used: there was a whole answer."""


@dataclass(frozen=True, slots=True)
class Window:
    """The attempts to look at: the latest at `provider` since a time, of one `offer_id` or of every model."""

    provider: str
    offer_id: str | None
    since_ms: int


HealthChange = Callable[[Mapping[str, HealthRow], Sequence[Outcome]], Sequence[HealthRow]]
"""From the rows there are, by target, and the window's outcomes, newest first, to the rows to write. Pure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What happened lately with one model at one provider. Failures are the provider's; a caller's own do not count."""

    provider: str
    offer_id: str
    attempts_today: int
    failed_today: int
    spent_today_nusd: int
    answered: int
    """Since the beginning of the time asked for, as are `failed` and the rest."""
    failed: int
    latencies_ms: tuple[int, ...]
    """Of the latest answers, in no order."""
    last_error: str = ""
    last_error_ms: int | None = None


class HealthStore(Protocol):
    """The part of a store that knows how the providers are."""

    async def health(self) -> Standing: ...

    async def change_health(
        self,
        targets: Sequence[str],
        change: HealthChange,
        *,
        window: Window | None = None,
        alert: Alert | None = None,
    ) -> Mapping[str, HealthRow]:
        """Read the rows of `targets`, write what `change` makes of them, and return them as they are then.

        `alert` is raised with it, if anything changes. `change` may be called again when its transaction did not come through. A claim of a process that has died is
        shown to it as none.
        """
        ...

    async def restore(self, target: str) -> None:
        """Forget it."""
        ...

    async def traffic(self, *, day: str, since_ms: int) -> tuple[Traffic, ...]:
        """Every deployment that was asked since `since_ms`; "today" is `day`, which began later."""
        ...
