"""Numbered names for what the guard takes out, and what each of them stands for. In memory, and nowhere else.

In a session the same value has the same name in all requests, so that a model can tell one customer from another
through a whole conversation. A request gives back what it held itself, never what another one did.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection

from orchestra_router.clock import Clock
from orchestra_router.types import Scope

PLACEHOLDER = re.compile(r"\[[A-Z0-9_]{1,80}\]")
MOST_SESSIONS = 500
"""The one that was used least recently is forgotten first."""
IDLE_S = 3600.0
"""Seconds without a request after which a session is forgotten."""
ROOM_CHARACTERS = 100_000
"""For the values of one session; one that does not fit keeps its name for its request only."""
VALUE_CHARACTERS = 100
"""What a value takes besides its own characters, roughly."""


class Names:
    """The names of one session, or of one request without any."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._last: dict[str, int] = {}
        self._room = ROOM_CHARACTERS
        self._lock = threading.Lock()  # large prompts are checked in threads of their own

    def name(self, kind: str, original: str, taken: Collection[str]) -> str:
        """What `original` is called, and from now on; none of `taken`, which the caller wrote himself."""
        with self._lock:
            known = self._names.get((kind, original))
            if known is not None and known not in taken:
                return known
            number = self._last.get(kind, 0) + 1
            while (name := f"[{kind.upper()}_{number}]") in taken:
                number += 1
            # A number is never given twice, so an old answer cannot come to mean another value.
            self._last[kind] = number
            size = 0 if known is not None else len(original) + VALUE_CHARACTERS
            if size <= self._room:
                self._room -= size
                self._names[kind, original] = name
            return name


class Placeholders:
    """The names in one request, and the way back."""

    def __init__(self, names: Names | None, *, taken: Callable[[], Collection[str]]) -> None:
        """`names` are a session's. `taken` are placeholders that the caller wrote: they would be "restored" to
        somebody's number.

        It is asked for them once something is found.
        """
        self._names = names
        self._find_taken = taken
        self._taken: Collection[str] | None = None
        self._here: dict[tuple[str, str], str] = {}
        self.originals: dict[str, str] = {}

    def instead(self, kind: str, original: str) -> str:
        # What an earlier rule replaced may be inside of what a later one finds.
        original = PLACEHOLDER.sub(lambda match: self.originals.get(match[0], match[0]), original)
        if (name := self._here.get((kind, original))) is None:
            if self._taken is None or self._names is None:
                self._taken = self._find_taken()
                self._names = self._names or Names()
            name = self._here[kind, original] = self._names.name(kind, original, self._taken)
            self.originals[name] = original
        return name


class Sessions:
    """The names of the sessions that were used lately."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: OrderedDict[Scope, tuple[Names, float]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, scope: Scope) -> Names | None:
        """Those of the session of `scope`, which nobody else in another scope shares; None where it has none."""
        now = self._clock.monotonic()
        with self._lock:
            while self._sessions and next(iter(self._sessions.values()))[1] + IDLE_S <= now:
                self._sessions.popitem(last=False)
            if not scope.session:
                return None
            names, _ = self._sessions.pop(scope, (None, now))
            names = names or Names()
            self._sessions[scope] = names, now
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
            return names
