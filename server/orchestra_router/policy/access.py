"""Who may do what, and on whose account. Decided by how the caller came in, never by what a request says.

Every surface asks one place, `Access.allowed`, for one of the verbs below before it does anything. What no role is given
is refused, a verb that nobody has listed included.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast, get_args

from orchestra_router.clock import Clock
from orchestra_router.errors import AccessDenied, InvalidRequest
from orchestra_router.store.key_records import AccessKey, KeySecret, state_at
from orchestra_router.types import LOCAL_KEY, CompletionRequest, Limits, Scope, changed

if TYPE_CHECKING:  # no client should have to wait for the store
    from orchestra_router.store.base import Store

Role = Literal["admin", "operator", "caller", "viewer"]
Verb = Literal[
    "connect",
    "complete",
    "plan",
    "status",
    "probe",
    "costs_own",
    "costs_all",
    "requests_own",
    "requests_all",
    "cache",
    "change_cache",
    "learned",
    "forget_learned",
    "metrics",
    "dashboard",
    "config",
    "audit",
    "adjust_costs",
    "approve",
    "keys",
    "export",
    "erase",
    "maintain",
]
"""What can be done. Those on `_own` reach what was asked with the caller's own key, those on `_all` everybody's."""

_SEES: frozenset[Verb] = frozenset({"connect", "plan", "status", "costs_own", "requests_own", "learned"})
_SEES_ALL: frozenset[Verb] = frozenset({"costs_all", "requests_all", "metrics", "dashboard"})
_ASKS: frozenset[Verb] = frozenset({"complete"})
_OPERATES: frozenset[Verb] = frozenset({"probe", "cache", "change_cache", "forget_learned", "config", "audit"})
_ADMINISTERS: frozenset[Verb] = frozenset({"adjust_costs", "approve", "keys", "export", "erase", "maintain"})

ALLOWED: Mapping[Role, frozenset[Verb]] = {
    "viewer": _SEES | _SEES_ALL,
    "caller": _SEES | _ASKS,
    "operator": _SEES | _SEES_ALL | _ASKS | _OPERATES,
    "admin": _SEES | _SEES_ALL | _ASKS | _OPERATES | _ADMINISTERS,
}
_NOTHING: frozenset[Verb] = frozenset()
ROLES: tuple[Role, ...] = get_args(Role)

LOCAL = Scope()
"""The person who started this process: over stdio there is nobody else. The settings may say who it is."""
USED_EVERY_MS = 600_000
"""How exactly it is kept when a key was last used."""
NOTED_EVERY_S = 60.0
"""How often the same refusal of the same key goes on record, so that whoever tries keys cannot flood the audit trail."""
_NAME = re.compile(r"[\w.@+-]{0,100}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who has been let in. `limits` are his key's, and part of the scope, which goes wherever money goes."""

    scope: Scope
    role: Role
    key_id: str = LOCAL_KEY

    @property
    def limits(self) -> Limits:
        return self.scope.limits

    def may(self, verb: Verb) -> bool:
        return verb in ALLOWED.get(self.role, _NOTHING)

    def only(self, verb: Verb) -> str | None:
        """The access key whose doings the caller is kept to; None where `verb` lets him at everybody's."""
        return None if self.may(verb) else self.key_id

    def speaking_for(self, *, user: str = "", session: str = "") -> "Caller":
        """The same caller, who says for which person he asks, and in which session of theirs.

        Raises:
            AccessDenied: his key is one person's, and this is another.
            InvalidRequest: that can be no name.
        """
        for name in (user, session):
            check_name(name)
        if user and self.scope.user and user != self.scope.user and self.key_id != LOCAL_KEY:
            raise AccessDenied(f"The access key {self.key_id} is for one user, and not for this one.")
        return replace(self, scope=replace(self.scope, user=user or self.scope.user, session=session))


class Access:
    """The callers of one process. `own_secret` is what `ORCHESTRA_KEY` holds; "": whoever started it is the admin."""

    def __init__(
        self, store: "Store", clock: Clock, *, user: str = "", session: str = "", own_secret: str = ""
    ) -> None:
        """`user` and `session` are for whom this process asks, where its key does not say."""
        self._store = store
        self._clock = clock
        self._own_secret = own_secret
        self._user = user
        self._session = session
        self._local = Caller(replace(LOCAL, user=user, session=session), "admin")
        self._noted: dict[tuple[str, str], float] = {}
        """By key and what it was refused: when that last went on record."""

    async def own(self) -> Caller:
        """Whoever started this process.

        Raises:
            AccessDenied: `ORCHESTRA_KEY` holds no key that is valid here.
        """
        if not self._own_secret:
            return self._local
        try:
            caller = await self.authenticate(self._own_secret)
        except AccessDenied as error:
            raise AccessDenied(f"ORCHESTRA_KEY: {error}") from None
        user = caller.scope.user or self._user
        return replace(caller, scope=replace(caller.scope, user=user, session=self._session))

    async def authenticate(self, secret: str) -> Caller:
        """Whose key `secret` is. Looked up each time, so that what was revoked is refused at once.

        Raises:
            AccessDenied: nobody's, or it has expired or been revoked; which of these is told to nobody but the audit
                trail.
            StoreError: the database cannot be used.
        """
        from orchestra_router.policy import access_keys  # noqa: PLC0415 - most processes never meet a key

        presented = access_keys.read(secret)
        now_ms = self._clock.now_ms()
        key = await self._store.access_key(presented.key_id)
        match = access_keys.matching(presented, key.secrets if key is not None else ())
        if (problem := _problem(key, match, now_ms)) is None and key is not None:
            if key.used_ms is None or now_ms - key.used_ms >= USED_EVERY_MS:
                await self._store.key_used(key.key_id, at_ms=now_ms)
            scope = Scope(access_key=key.key_id, user=key.user, limits=key.limits)
            return Caller(scope, cast("Role", key.role), key.key_id)
        await self._note(key.key_id if key is not None else "unknown", problem or "")
        raise AccessDenied(
            "This access key is not valid here. Check that it was copied whole; if it was, ask who gave it to you for a"
            " new one."
        )

    async def allowed(self, caller: Caller | None, verb: Verb) -> Caller:
        """The caller, who may do `verb`. None stands for whoever started this process.

        Raises:
            AccessDenied: he may not.
        """
        if caller is None:
            caller = await self.own()
        if not caller.may(verb):
            await self._note(caller.key_id, f"not allowed: {verb}")
            raise AccessDenied(
                f"The access key {caller.key_id} has the role {caller.role}, which does not allow this ({verb})."
                " Ask who gave it to you for a key with another role."
            )
        return caller

    async def _note(self, key_id: str, problem: str) -> None:
        from orchestra_router.store import trail  # noqa: PLC0415 - as above

        now = self._clock.monotonic()
        last = self._noted.get((key_id, problem))
        if last is not None and now - last < NOTED_EVERY_S:
            return
        self._noted[key_id, problem] = now
        await self._store.audit(trail.key_event(key_id, "refused", at_ms=self._clock.now_ms(), why=problem))


def check_name(name: str) -> None:
    """Raises: InvalidRequest: no user or session can be called so."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequest("A user or session has at most 100 letters, digits and . _ @ + -.")


def admitted(request: CompletionRequest, caller: Caller, *, trace_id: str = "") -> CompletionRequest:
    """`request` under the scope that pays for it, whatever scope it carried, and in the trace `trace_id`, if that is known.

    Whoever may not let a call go over its budget cannot by asking for it either.
    """
    approval = request.approval if caller.may("approve") else None
    return changed(request, scope=caller.scope, approval=approval, trace_id=trace_id or request.trace_id)


def _problem(key: AccessKey | None, match: KeySecret | None, now_ms: int) -> str | None:
    if key is None:
        return "no such key"
    if match is None:
        return "wrong secret"
    if (state := state_at(key, now_ms)) != "active":
        return state
    if match.until_ms is not None and match.until_ms <= now_ms:
        return "replaced by a rotation"
    # Written by a version that knows more roles.
    return None if key.role in ROLES else "unknown role"
