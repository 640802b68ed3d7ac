"""Who calls, and what that role may do."""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from orchestra_router.http.refusals import Refused
from orchestra_router.policy.access import LOCAL
from orchestra_router.types import Scope

Role = Literal["admin"]
Verb = Literal["status", "costs_own", "complete"]


@dataclass(frozen=True, slots=True)
class Caller:
    scope: Scope
    role: Role
    key_id: str


Authenticate = Callable[[str], Awaitable[Caller]]
"""The caller whose secret it is. Raises `Refused`, alike for every secret that is not let in."""


def may(role: Role, verb: Verb) -> bool:
    return verb in _ALLOWED[role]


_ALLOWED: dict[Role, frozenset[Verb]] = {"admin": frozenset(("status", "costs_own", "complete"))}


def owner_only() -> tuple[str, Authenticate]:
    """A secret that is good for this process, and for whoever started it."""
    secret = secrets.token_urlsafe(32)

    async def authenticate(given: str) -> Caller:
        if not hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
            raise Refused(401, "access_denied", "This access key is not known.", kind="authentication_error")
        return Caller(LOCAL, "admin", LOCAL.access_key)

    return secret, authenticate
