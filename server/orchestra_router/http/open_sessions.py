"""How many MCP sessions of the older era each access key has open, so that no key can take the room of all.

The SDK (2.3) counts them together and tells nobody. What is seen from outside is enough: an answer names the session that it
opened, and each further request names the one that it belongs to.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from orchestra_router.http.refusals import Refused


@dataclass(eq=False, slots=True)
class Opened:
    key_id: str
    requests: int
    """Under way, a stream that only listens among them."""
    until: float
    """When it ends by itself if nothing more is asked, on the event loop's clock."""


class OpenSessions:
    def __init__(self, *, most_per_key: int, idle_s: float) -> None:
        """A session ends when no request of it has been under way for `idle_s`."""
        self._most = most_per_key
        self._idle_s = idle_s
        self._opening: set[Opened] = set()
        self._open: dict[str, Opened] = {}

    @contextmanager
    def opening(self, key_id: str) -> Generator[Opened]:
        """The time of a request that may open a session of the key; `keep` says that it did.

        Raises:
            Refused: the key has as many as it may.
        """
        now = anyio.current_time()
        self._open = {name: one for name, one in self._open.items() if one.requests or one.until > now}
        theirs = sum(one.key_id == key_id for one in self._opening.union(self._open.values()))
        if theirs >= self._most:
            raise Refused(
                429,
                "too_many_sessions",
                f"This access key has {self._most} MCP sessions open, which is all it may. End those that nobody uses (DELETE"
                f" with their `mcp-session-id`); each ends by itself {self._idle_s / 60:.0f} minutes after its last request.",
                kind="rate_limit_error",
            )
        session = Opened(key_id, 1, now)
        self._opening.add(session)
        try:
            yield session
        finally:
            self._opening.discard(session)
            self._rest(session)

    def keep(self, name: str, session: Opened) -> None:
        self._open[name] = session

    @contextmanager
    def request(self, name: str, key_id: str) -> Generator[None]:
        """The time of a request of the session `name`, if that is one of the key's."""
        session = self._open.get(name)
        if session is None or session.key_id != key_id:
            yield
            return
        session.requests += 1
        try:
            yield
        finally:
            self._rest(session)

    def end(self, name: str, key_id: str) -> None:
        """The session is over, if it was one of the key's."""
        session = self._open.get(name)
        if session is not None and session.key_id == key_id:
            del self._open[name]

    def _rest(self, session: Opened) -> None:
        session.requests -= 1
        session.until = anyio.current_time() + self._idle_s
