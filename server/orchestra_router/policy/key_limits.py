"""What an access key is held to: whom it may ask, about what, how strictly it is guarded, and how much.

How much is counted by the store, in the transaction of each hold.
"""

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import get_args

from orchestra_router.config import Catalog, GuardAction, Settings
from orchestra_router.deployments import Deployment
from orchestra_router.errors import AccessDenied, KeyLimitReached
from orchestra_router.policy.cache.stage import Look
from orchestra_router.policy.tasks import Classification
from orchestra_router.store.key_records import Throttled
from orchestra_router.store.ledger_records import Hold
from orchestra_router.types import UNLIMITED, Limits

STRICTNESS: tuple[GuardAction, ...] = ("off", "flag", "redact", "block")
SOON_S = 1.0
"""When to ask again where requests under way are in the way: some are answered by then."""


def reached(throttled: Throttled, hold: Hold) -> AccessDenied | KeyLimitReached:
    """The error for a hold that the limits of its key are in the way of."""
    key = f"The access key {hold.scope.access_key}"
    if throttled.what == "key":
        return AccessDenied(f"{key} was revoked, or has expired, while this request was under way.")
    if throttled.what == "concurrency":
        error = KeyLimitReached(
            f"{key} may have {throttled.limit} requests under way at the same time, and has. Try again when one of them"
            " is done.",
            retry_after_s=SOON_S,
        )
        error.in_flight = throttled.limit > 0
        return error
    said = f"{key} may ask {throttled.limit:,} {throttled.what} a minute, and {throttled.used:,} are used up."
    if throttled.free_ms is None:
        return KeyLimitReached(f"{said} This request alone needs more. Ask for less, or for a higher limit.")
    seconds = max(1, math.ceil((throttled.free_ms - hold.created_ms) / 1000))
    return KeyLimitReached(f"{said} Try again in {seconds} s.", retry_after_s=float(seconds))


# --- whom it may ask, and about what -----------------------------------------------------------------------------


def may_ask(limits: Limits, provider: str) -> bool:
    return not limits.providers or _is_one_of(provider, limits.providers)


def forbidden(limits: Limits, deployment: Deployment) -> str | None:
    """What a key's limits have against `deployment`; None where they have nothing."""
    provider = deployment.provider.name
    if not may_ask(limits, provider):
        return f"this access key may not ask {provider}"
    names = (deployment.model.name, deployment.offer.id, deployment.key)
    if limits.models and not any(_is_one_of(name, limits.models) for name in names):
        return "this access key may not use this model"
    return None


def permitted(look: Look, limits: Limits, catalog: Catalog) -> Look:
    """`look`, which is no hit where the key may not ask who wrote the answer, or not any more."""
    if look.hit is None or limits is UNLIMITED:
        return look
    written = look.hit.cached
    if written.provider not in catalog.providers:
        return Look(status="MISS", reason="who wrote the answer is in the catalog no more")
    reason = forbidden(limits, catalog.deployment(written.model, written.provider))
    return look if reason is None else Look(status="MISS", reason=reason)


def may_ask_about(limits: Limits, task: str) -> bool:
    return not limits.tasks or _is_one_of(task, limits.tasks)


def check_task(limits: Limits, found: Classification) -> None:
    """Raises: AccessDenied: the key is for other tasks than the one that was `found`."""
    if not may_ask_about(limits, found.task):
        raise AccessDenied(
            f"This access key may not ask about the task {found.task} ({found.reason}), only about {', '.join(limits.tasks)}. Name the"
            " task if that is what it is about."
        )


def _is_one_of(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


# --- how strictly it is guarded ----------------------------------------------------------------------------------


def guard_kinds(settings: Settings) -> frozenset[str]:
    """What the guard looks for, and a key may be stricter about."""
    built_in = (name.removeprefix("guard_") for name, _ in _guards(settings))
    return frozenset((*built_in, *settings.guard_patterns))


def guarded(settings: Settings, guard: Iterable[tuple[str, str]]) -> Settings:
    """`settings` with a key's own actions, where these are stricter. A key never loosens what holds for all."""
    changes: dict[str, object] = {}
    patterns = dict(settings.guard_patterns)
    for kind, action in guard:
        if kind in patterns:
            patterns[kind] = patterns[kind].model_copy(update={"action": _stricter(patterns[kind].action, action)})
        elif (name := f"guard_{kind}") in Settings.model_fields:
            changes[name] = _stricter(getattr(settings, name), action)
    return settings.model_copy(update={**changes, "guard_patterns": patterns})


def _guards(settings: Settings) -> Iterable[tuple[str, object]]:
    for name in Settings.model_fields:
        value: object = getattr(settings, name)
        if name.startswith("guard_") and value in get_args(GuardAction):
            yield name, value


def _stricter(one: str, other: str) -> str:
    return max(one, other, key=lambda action: [*STRICTNESS].index(action) if action in STRICTNESS else -1)
