"""Browsers that have signed in: a cookie in place of the key, for a while.

The cookie says nothing by itself. Whose key it stands for is asked each time, so a key that is revoked ends its sessions.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from orchestra_router.http.callers import Authenticate
from orchestra_router.http.refusals import Refused
from orchestra_router.policy.access import Caller

COOKIE = "orchestra_session"
SESSION_S = 12 * 3600
INVITATION_S = 600
"""How long a link that signs in is good, once."""
MOST_SESSIONS = 1_000
MOST_PER_KEY = 50
"""So that whoever signs in again and again ends sessions of his own, not those of others."""


@dataclass(slots=True)
class _Held:
    """Secrets under the hash of what stands for them. The oldest goes when there are too many, of one or of all."""

    now: Callable[[], float]
    lasts_s: float
    held: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])

    def begin(self, secret: str) -> str:
        token = secrets.token_urlsafe(32)
        theirs = [name for name, (held, _) in self.held.items() if held == secret]
        for oldest in theirs[: 1 - MOST_PER_KEY]:
            del self.held[oldest]
        while len(self.held) >= MOST_SESSIONS:
            del self.held[next(iter(self.held))]
        self.held[_hash(token)] = (secret, self.now() + self.lasts_s)
        return token

    def secret(self, token: str) -> str | None:
        secret, until = self.held.get(_hash(token), ("", 0.0))
        return secret if self.now() < until else None

    def end(self, token: str) -> None:
        self.held.pop(_hash(token), None)


class Sessions:
    """Those of one process. `monotonic` is its clock, in seconds."""

    def __init__(self, authenticate: Authenticate, monotonic: Callable[[], float]) -> None:
        self._authenticate = authenticate
        self._sessions = _Held(monotonic, SESSION_S)
        self._invitations = _Held(monotonic, INVITATION_S)

    def invite(self, secret: str) -> str:
        """A token that signs in once with the key `secret`."""
        return self._invitations.begin(secret)

    def accept(self, token: str) -> str:
        """The secret that the invitation `token` stands for; it is used up.

        Raises:
            Refused: there is no such invitation, it was used, or its time is over.
        """
        secret = self._invitations.secret(token)
        self._invitations.end(token)
        if secret is None:
            raise Refused(
                401,
                "invitation_over",
                "This link has been used, or its time is over. Sign in with an access key, or ask for a new link.",
                kind="authentication_error",
            )
        return secret

    def begin(self, response: Response, request: Request, secret: str) -> None:
        """Let the browser that `response` goes to come with a cookie from now on."""
        response.set_cookie(
            _cookie(request),
            self._sessions.begin(secret),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    async def caller(self, request: Request) -> Caller | None:
        """Who comes with the cookie of a session; None where there is none, or it is over.

        Raises:
            AccessDenied: their key is not good any more.
        """
        secret = self._sessions.secret(request.cookies.get(_cookie(request), ""))
        return None if secret is None else await self._authenticate(secret)

    def end(self, response: Response, request: Request) -> None:
        self._sessions.end(request.cookies.get(_cookie(request), ""))
        response.delete_cookie(_cookie(request), httponly=True, samesite="strict")


def _cookie(request: Request) -> str:
    """Cookies are shared by all ports of a machine, so that another server's would take the place of ours."""
    return f"{COOKIE}_{request.url.port or 'default'}"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
