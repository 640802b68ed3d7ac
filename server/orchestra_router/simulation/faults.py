"""What a script may hold: the next answers of a simulated provider, good, bad and ugly.

`after_events` counts the events that brought a piece of visible answer (text, tool arguments), so that it means the
same in every format; what a format sends before the first of them (an opening event, a thought) is sent too. If the
answer has no more such events, all of it is sent but its end.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestra_router.simulation.answering import Says
from orchestra_router.simulation.failures import Kind


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer as given. Without a body: the provider's own error for this status, or, below 400, its normal

    answer with these headers added.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes | str | Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ServerError:
    """The provider's own error for a status of 500 and up."""

    status: int = 500


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is closed without an answer; with `reset`, by a TCP reset."""

    reset: bool = False


@dataclass(slots=True)
class Hang:
    """No answer until `release()`, then the normal one; or none, if the client leaves first."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the request has arrived and hangs."""
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self) -> None:
        self.released.set()


@dataclass(frozen=True, slots=True)
class Truncate:
    """A plain answer whose body ends before the announced length. It was produced whole, so it is billed whole."""

    keep_bytes: int = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream that stops in the middle: by a dropped connection, or with `cleanly`, a proper end without the last event.

    A plain answer is truncated instead.
    """

    after_events: int = 0
    cleanly: bool = False


@dataclass(frozen=True, slots=True)
class StreamError:
    """An error inside a stream that began with 200. A plain answer is a 200 whose body is the error."""

    after_events: int = 0
    kind: Kind = "server"


@dataclass(slots=True)
class Endless:
    """A stream that goes on until the client leaves. A plain answer has no end either: it hangs."""

    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes on the wire as they are, then the line closes."""

    data: bytes


Step = Reply | ServerError | Drop | Hang | Truncate | Cut | StreamError | Endless | Raw | Says
