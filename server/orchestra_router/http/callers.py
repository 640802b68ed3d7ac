"""Who calls."""

import hmac
import secrets
from collections.abc import Awaitable, Callable

from orchestra_router.policy.access import Caller
from orchestra_tools.service import Service

Authenticate = Callable[[str], Awaitable[Caller]]
"""The caller whose secret it is. Raises `AccessDenied`, alike for every secret that is not let in."""


def authenticating(service: Service) -> tuple[str, Authenticate]:
    """A secret that is good for this process, and for whoever started it; and who is let in by that or an access key."""
    secret = secrets.token_urlsafe(32)

    async def authenticate(given: str) -> Caller:
        if hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
            return await (await service.router()).own_caller()
        return await (await service.router()).authenticate(given)

    return secret, authenticate
