"""Looking after the access keys: making, changing, rotating and revoking them. Each of it goes on record."""

import fnmatch
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from orchestra_router.clock import Clock
from orchestra_router.config import Config
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy import access_keys, key_limits, names
from orchestra_router.policy.access import ROLES, Access, Caller, Role, check_name
from orchestra_router.policy.guardrails import is_id
from orchestra_router.store import trail
from orchestra_router.store.audit_records import AuditEvent
from orchestra_router.store.key_records import AccessKey, KeyChange, KeyStore, state_at
from orchestra_router.types import Limits

LONGEST_NAME = 100
_WILDCARDS = str.maketrans("*?[]!", "aaaaa")
"""What a pattern may have and no id has, as what one may have."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with its secret, which nobody can be told again."""

    key: AccessKey
    secret: str = field(repr=False)
    """The whole of what its holder needs: `ork_<id>_<secret>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a key is made with, and can be changed to."""

    name: str
    role: Role = "caller"
    user: str = ""
    limits: Limits = field(default_factory=Limits)
    expires_ms: int | None = None


class Keyring:
    """Every method is for whoever may manage keys, and raises `AccessDenied` for anybody else."""

    def __init__(self, store: KeyStore, access: Access, clock: Clock, config: Config) -> None:
        self._config = config
        self._store = store
        self._access = access
        self._clock = clock

    async def create(self, terms: Terms, *, caller: Caller | None = None) -> NewKey:
        """Raises: InvalidRequest: the terms cannot be."""
        caller = await self._access.allowed(caller, "keys")
        now_ms = self._clock.now_ms()
        _check(terms, now_ms, self._config)
        key_id = access_keys.new_id()
        secret, kept = access_keys.new_secret(at_ms=now_ms)
        key = AccessKey(key_id=key_id, created_ms=now_ms, secrets=(kept,), **_columns(terms))
        event = trail.key_event(key_id, "created", at_ms=now_ms, by=caller.key_id, **_said(terms))
        await self._store.add_access_key(key, event)
        return NewKey(key, access_keys.shown(key_id, secret))

    async def every(self, *, caller: Caller | None = None) -> tuple[AccessKey, ...]:
        await self._access.allowed(caller, "keys")
        return await self._store.access_keys()

    async def get(self, key_id: str, *, caller: Caller | None = None) -> AccessKey:
        """Raises: InvalidRequest: there is none of this id."""
        await self._access.allowed(caller, "keys")
        return _known(await self._store.access_key(key_id))

    async def edit(self, key_id: str, change: Callable[[Terms], Terms], *, caller: Caller | None = None) -> AccessKey:
        """Change the terms of a key. They hold from its next request on.

        Raises:
            InvalidRequest: there is none of this id, or the new terms cannot be.
        """
        now_ms = self._clock.now_ms()

        def changed(key: AccessKey) -> AccessKey:
            terms = change(terms_of(key))
            # One that has expired can still be renamed.
            stays = terms.expires_ms == key.expires_ms
            _check(replace(terms, expires_ms=None) if stays else terms, now_ms, self._config)
            return replace(key, **_columns(terms))

        def differs(before: AccessKey, after: AccessKey) -> dict[str, Any]:
            old, new = _said(terms_of(before)), _said(terms_of(after))
            # What is limited no more is said as well.
            return {name: new.get(name) for name in (*old, *new) if old.get(name) != new.get(name)}

        return await self._change(key_id, "changed", changed, caller, now_ms, differs)

    async def rotate(self, key_id: str, *, overlap_s: float, caller: Caller | None = None) -> NewKey:
        """A new secret, valid at once; what was valid before is so for `overlap_s` seconds more.

        Raises:
            InvalidRequest: there is none of this id, or it has been revoked.
        """
        now_ms = self._clock.now_ms()
        until_ms = now_ms + round(overlap_s * 1000)
        secret, kept = access_keys.new_secret(at_ms=now_ms)

        def changed(key: AccessKey) -> AccessKey:
            if state_at(key, now_ms) == "revoked":
                raise InvalidRequest(f"The access key {key_id} has been revoked, and stays so. Create another.")
            # Secrets whose time is over are dropped, so that there is never a row of them.
            ending = (
                replace(old, until_ms=min(until_ms, old.until_ms or until_ms))
                for old in key.secrets
                if old.until_ms is None or old.until_ms > now_ms
            )
            return replace(key, secrets=(*ending, kept))

        key = await self._change(key_id, "rotated", changed, caller, now_ms, lambda _, __: {"old_until_ms": until_ms})
        return NewKey(key, access_keys.shown(key_id, secret))

    async def revoke(self, key_id: str, *, caller: Caller | None = None) -> AccessKey:
        """Refuse it from now on, in every process; what it has under way may end, and begins nothing more.

        Raises:
            InvalidRequest: there is none of this id.
        """
        now_ms = self._clock.now_ms()

        def changed(key: AccessKey) -> AccessKey:
            return key if key.revoked_ms is not None else replace(key, revoked_ms=now_ms)

        return await self._change(key_id, "revoked", changed, caller, now_ms, lambda _, __: {})

    async def _change(
        self,
        key_id: str,
        event: str,
        change: KeyChange,
        caller: Caller | None,
        now_ms: int,
        details: Callable[[AccessKey, AccessKey], dict[str, Any]],
    ) -> AccessKey:
        by = (await self._access.allowed(caller, "keys")).key_id

        def told(before: AccessKey, after: AccessKey) -> AuditEvent:
            return trail.key_event(key_id, event, at_ms=now_ms, by=by, **details(before, after))

        found = await self._store.change_access_key(key_id, change, told)
        return _known(found and found[1])


def terms_of(key: AccessKey) -> Terms:
    role: Any = key.role
    return Terms(name=key.name, role=role, user=key.user, limits=key.limits, expires_ms=key.expires_ms)


def limits_said(limits: Limits) -> dict[str, Any]:
    """Those that are set, for people, programs and the audit trail."""
    said = {name: value for name, value in asdict(limits).items() if value not in (None, ())}
    if limits.guard:
        said["guard"] = dict(limits.guard)
    return said


def _columns(terms: Terms) -> dict[str, Any]:
    return {name: getattr(terms, name) for name in ("name", "role", "user", "limits", "expires_ms")}


def _said(terms: Terms) -> dict[str, Any]:
    said = {"name": terms.name, "role": terms.role, "user": terms.user, "expires_ms": terms.expires_ms}
    return {name: value for name, value in said.items() if value} | limits_said(terms.limits)


def _check(terms: Terms, now_ms: int, config: Config) -> None:
    """Raises: InvalidRequest."""
    if not terms.name.strip() or len(terms.name) > LONGEST_NAME or not terms.name.isprintable():
        raise InvalidRequest(f"A key needs a name of at most {LONGEST_NAME} characters, like 'Ada, laptop'.")
    check_name(terms.user)
    if terms.role not in ROLES:
        raise InvalidRequest(f"There is no role {terms.role!r}. Roles: {', '.join(ROLES)}.")
    if terms.expires_ms is not None and terms.expires_ms <= now_ms:
        raise InvalidRequest("The key would have expired already. Give a time to come.")
    limits = terms.limits
    numbers: Collection[int | None] = (
        limits.day_nusd,
        limits.month_nusd,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.concurrency,
    )
    if any(number is not None and number < 0 for number in numbers):
        raise InvalidRequest("A limit is 0 or more; leave it out to have none.")
    _check_names(limits, config)


def _check_names(limits: Limits, config: Config) -> None:
    catalog = config.catalog
    if not all(is_id(name.translate(_WILDCARDS)) for name in limits.models):
        raise InvalidRequest("A model is named by letters, digits and . _ : / @ + -, with * and ? for any of them.")
    for what, given, known in (
        ("provider", limits.providers, catalog.providers),
        ("task", limits.tasks, catalog.tasks),
    ):
        for name in given:
            if not fnmatch.filter(known, name):
                raise InvalidRequest(names.unknown(what, name, known))
    for kind, action in limits.guard:
        if kind not in key_limits.guard_kinds(config.settings):
            raise InvalidRequest(
                names.unknown("kind of what the guard finds", kind, key_limits.guard_kinds(config.settings))
            )
        if action not in key_limits.STRICTNESS:
            raise InvalidRequest(f"The guard's actions are {', '.join(key_limits.STRICTNESS)}, as in email=block.")


def _known(key: AccessKey | None) -> AccessKey:
    if key is None:
        raise InvalidRequest("There is no access key of this id. `orchestra keys list` shows those there are.")
    return key
