"""What an embedder is, and what the process knows about its own."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestra_router.types import NOBODY, Attempt, Scope

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


class Purse(Protocol):
    """What a request may still cost."""

    def held(self, amount_nusd: int, *, within_s: float = ...) -> AbstractAsyncContextManager[None]: ...

    def pay(self, amount_nusd: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for a vector, where it costs something, and what it may take."""

    scope: Scope = NOBODY
    """Whose budgets it counts against."""
    purse: Purse | None = None
    """Of the request it is for; None: only the budgets limit it."""
    deadline: float | None = None
    """On the clock's monotonic scale, in seconds; None: somebody may wait for it as long as it takes."""
    paid: list[Attempt] = field(default_factory=list[Attempt], compare=False)
    """What was asked for it, and at what cost, is added here."""


NO_PAYER = Payer()


class Embedder(Protocol):
    """Turns texts into vectors whose dot product says how alike the texts are."""

    @property
    def identity(self) -> str:
        """The model and the hash of its weights. Vectors of two identities cannot be compared."""
        ...

    @property
    def dimensions(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> "NDArray[float32]":
        """One row of unit length for each of `texts`, shape (n, dimensions). Computed off the event loop.

        Raises:
            EmbedderUnavailable: it cannot, or not any more; the message says what to do.
        """
        ...


class EmbedderSource(Protocol):
    """The process's embedder, loaded by whoever needs it first."""

    @property
    def is_free(self) -> bool:
        """Whether embedding costs no money."""
        ...

    async def get(self, payer: Payer) -> Embedder | None:
        """What it costs, if it does, is paid by `payer`. None when there is none; `state` says why."""
        ...

    def state(self) -> "EmbedderState":
        """What is active, or would be at the first need."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderState:
    """Which embedder is active, for people."""

    identity: str = ""
    """"" when there is none."""
    source: str = ""
    """Where it is: a folder, or an endpoint."""
    problem: str = ""
    """Why there is none, and what to do about it; "" when there is one, or none is wanted."""

    @property
    def told(self) -> str:
        """The same in one sentence."""
        if self.identity:
            return f"{self.identity} from {self.source}"
        return f"none: {self.problem or 'switched off in the settings.'}"
