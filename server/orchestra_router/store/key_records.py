"""What the store keeps of access keys. A secret itself is never among it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from orchestra_router.store.audit_records import AuditEvent
from orchestra_router.types import UNLIMITED, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySecret:
    """One secret of a key, as it is checked. After a rotation there are two for a while."""

    salt: str
    hash: str
    created_ms: int
    until_ms: int | None = None
    """None: as long as the key itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    key_id: str
    """Public: it names the key in reports, in the audit trail and in what the secret's holder sends."""
    name: str
    role: str
    user: str = ""
    """Everything is asked for this person; "": whom the caller names."""
    limits: Limits = UNLIMITED
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    used_ms: int | None = None
    """When it was last used, to within a few minutes."""
    secrets: tuple[KeySecret, ...] = field(default=(), repr=False)


KeyState = Literal["active", "expired", "revoked"]
KeyChange = Callable[[AccessKey], AccessKey]
"""Pure: it may be called again when its transaction did not come through."""


def state_at(key: AccessKey, now_ms: int) -> KeyState:
    if key.revoked_ms is not None:
        return "revoked"
    return "expired" if key.expires_ms is not None and key.expires_ms <= now_ms else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """Why an access key may not ask just now."""

    what: Literal["requests", "tokens", "concurrency", "key"]
    """"key": it has been revoked, or has expired, since it was looked at."""
    limit: int = 0
    used: int = 0
    free_ms: int | None = None
    """When there is room again; None where nobody can say, or never."""


class KeyStore(Protocol):
    """The access keys' part of a store."""

    async def access_key(self, key_id: str) -> AccessKey | None: ...

    async def access_keys(self) -> tuple[AccessKey, ...]:
        """All of them, the oldest first."""
        ...

    async def add_access_key(self, key: AccessKey, event: AuditEvent) -> None: ...

    async def change_access_key(
        self, key_id: str, change: KeyChange, event: Callable[[AccessKey, AccessKey], AuditEvent]
    ) -> tuple[AccessKey, AccessKey] | None:
        """Write what `change` makes of a key, secrets included, and `event` of both. None: there is no such key."""
        ...

    async def key_used(self, key_id: str, *, at_ms: int) -> None: ...
