"""The circuit breaker of a provider, a key, or a model at a provider. Pure functions.

    closed     ──too many of the latest requests failed, or one failure that says enough──> open
    open       ──its time is up──> half open
    half open  ──its one probe answers──> closed          ──its one probe fails──> open, for longer

Blame is put where it belongs: on the provider (nobody can reach it), on the key (it is refused, out of credit or over
its rate), on one model at one provider, or on a key's quota of one model. Every time is in milliseconds since 1970.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestra_router import errors
from orchestra_router.deployments import Deployment
from orchestra_router.errors import (
    AuthFailed,
    ConnectFailed,
    InvalidAnswer,
    ModelGone,
    OutOfMoney,
    ProviderError,
    RateLimited,
)
from orchestra_router.store.health_records import HealthRow, Outcome

Outcomes = Sequence[Outcome]
State = Literal["closed", "open", "half_open", "probing"]
"""Probing: half open, and its one probe is under way."""

WINDOW_REQUESTS = 10
"""The latest requests that count ..."""
WINDOW_MS = 1_200_000
"""... unless they are older than this."""
FAILURES_TO_OPEN = 3
"""Fewer prove nothing, whatever their share is."""
SHARE_TO_OPEN = 0.5
LONGEST_COOLING_S = 600.0
REMEMBERED_MS = 1_200_000
"""One that opens again within this time after it closed stays open for longer."""
ACCOUNT_COOLING_S = 3_600.0
"""Credit changes at the vendor, with no sign here, so it is asked again now and then."""
LONG_LIMIT_S = 600.0
"""A rate limit that lasts longer is a quota, and those are kept for each model and key."""
LONGEST_WAIT_S = 86_400.0
"""A longer wait than a day's quota takes is not believed."""

AT_ONCE = (ModelGone, AuthFailed, OutOfMoney, RateLimited)
"""One of these says enough."""
_OF_A_MODEL = frozenset(
    kind.code
    for kind in (errors.ServerFailed, errors.ReadTimeout, InvalidAnswer, errors.StreamBroken, errors.PermissionRefused)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When something is decided, and by which settings."""

    now_ms: int
    catalog: str
    """The version of the catalog; a model that was gone under another one is worth another look."""
    cooldown_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to make the one probe of whatever is half open, until `until_ms`."""

    probe_id: str
    process: str
    until_ms: int
    bypass: bool = False
    """Also of what is open: everything else is, too."""


def targets(deployment: Deployment, *, fingerprint: str) -> tuple[str, str, str, str]:
    """What a failure of `deployment` can be blamed on. A changed key is another target, so it starts afresh."""
    provider = deployment.provider.name
    return (
        f"provider:{provider}",
        f"key:{provider}:{fingerprint}",
        f"deployment:{deployment.key}",
        f"quota:{deployment.key} {fingerprint}",
    )


def blamed(error: ProviderError, deployment: Deployment, *, fingerprint: str) -> str | None:
    """The target that `error` speaks against; None when it speaks against none."""
    # A whole answer that says nothing is about its prompt; the next prompt may fare better.
    if isinstance(error, InvalidAnswer) and error.usage is not None:
        return None
    provider, key, model, quota = targets(deployment, fingerprint=fingerprint)
    if isinstance(error, RateLimited) and (error.retry_after_s or 0) > LONG_LIMIT_S:
        return quota
    return {"provider": provider, "key": key, "deployment": model, "nothing": None}[error.cools]


def state_of(row: HealthRow | None, at: Moment) -> State:
    if (
        row is None
        or row.closed
        or (row.cause == ModelGone.code and row.until_ms is None and row.catalog != at.catalog)
    ):
        return "closed"
    if row.probe_id and row.probe_until_ms > at.now_ms:
        return "probing"
    return "half_open" if row.until_ms is not None and row.until_ms <= at.now_ms else "open"


def after_failure(
    row: HealthRow | None,
    error: ProviderError,
    *,
    target: str,
    outcomes: Outcomes,
    began_ms: int,
    at: Moment,
) -> HealthRow | None:
    """`row` after `error` of an attempt that began at `began_ms`; None when it stays as it is.

    `outcomes` are the latest of `target`, newest first, this attempt among them.
    """
    state = state_of(row, at)
    if row is not None and state != "closed":
        if began_ms < row.since_ms and not isinstance(error, AT_ONCE):
            return None  # it began before this opened, so it tells nothing new
        waits = row.until_ms is None or row.until_ms > at.now_ms
        trips = row.trips if waits else row.trips + 1
    elif isinstance(error, AT_ONCE) or too_many(outcomes, target=target, since_ms=row.since_ms if row else 0):
        recent = row is not None and at.now_ms - row.since_ms <= REMEMBERED_MS
        trips = row.trips + 1 if row is not None and recent else 1
    else:
        return None
    seconds = _cooling_s(error, trips, at.cooldown_s)
    until_ms = None if seconds is None else at.now_ms + round(seconds * 1000)
    if row is not None and state != "closed" and _later(row.until_ms, until_ms):
        return None
    return HealthRow(
        target=target,
        cause=error.code,
        since_ms=at.now_ms,
        until_ms=until_ms,
        trips=trips,
        catalog=at.catalog,
        replacement=error.replacement,
    )


def after_success(row: HealthRow | None, *, began_ms: int, at: Moment) -> HealthRow | None:
    """`row` after an attempt that began at `began_ms` answered; None when it stays as it is."""
    if row is None or row.closed or row.since_ms > began_ms:
        return None
    return replace(row, closed=True, since_ms=at.now_ms, probe_id="", probe_process="", probe_until_ms=0)


def claimed(rows: Iterable[HealthRow], claim: Claim, at: Moment) -> tuple[HealthRow, ...] | None:
    """The rows that `claim` takes, marked; () when all are closed; None when one of them is not to be had."""
    taken: list[HealthRow] = []
    for row in rows:
        state = state_of(row, at)
        if state == "closed":
            continue
        if state == "probing" or (state == "open" and not (claim.bypass and row.until_ms is not None)):
            return None
        taken.append(replace(row, probe_id=claim.probe_id, probe_process=claim.process, probe_until_ms=claim.until_ms))
    return tuple(taken)


def released(rows: Iterable[HealthRow], probe_id: str) -> tuple[HealthRow, ...]:
    """The rows that this probe had claimed, for the next one to claim."""
    return tuple(
        replace(row, probe_id="", probe_process="", probe_until_ms=0) for row in rows if row.probe_id == probe_id
    )


def too_many(outcomes: Outcomes, *, target: str, since_ms: int) -> bool:
    """Whether the latest requests after `since_ms` failed too often. A request counts once, by its last attempt."""
    kind = target.partition(":")[0]
    verdicts: dict[str, bool] = {}
    for outcome in outcomes:
        failed = _failed(outcome, kind)
        if failed is not None and outcome.created_ms >= since_ms:
            verdicts.setdefault(outcome.request_id, failed)
    latest = list(verdicts.values())[:WINDOW_REQUESTS]
    failures = sum(latest)
    return failures >= FAILURES_TO_OPEN and failures >= SHARE_TO_OPEN * len(latest)


def _failed(outcome: Outcome, kind: str) -> bool | None:
    """Whether it speaks against a target of this kind, or for it; None: neither."""
    if kind == "provider":
        if outcome.outcome == ConnectFailed.code:
            return True
        return False if outcome.status is not None else None
    if outcome.outcome == InvalidAnswer.code and outcome.counted:
        return None
    if outcome.outcome in _OF_A_MODEL:
        return True
    return False if outcome.outcome == "ok" else None


def _cooling_s(error: ProviderError, trips: int, cooldown_s: float) -> float | None:
    """Seconds to set the blamed aside; None: until the key or the catalog changes, or a probe finds it well."""
    growing = min(LONGEST_COOLING_S, cooldown_s * 2.0 ** min(trips - 1, 20))
    if isinstance(error, ModelGone | AuthFailed):
        return error.retry_after_s  # named only where the verdict was inferred
    if isinstance(error, OutOfMoney):
        return ACCOUNT_COOLING_S
    if isinstance(error, RateLimited) and error.retry_after_s is not None:
        return min(LONGEST_WAIT_S, error.retry_after_s)
    return growing


def _later(until_ms: int | None, other_ms: int | None) -> bool:
    return until_ms is None or (other_ms is not None and until_ms >= other_ms)


def of(rows: Mapping[str, HealthRow], names: Iterable[str]) -> tuple[HealthRow, ...]:
    """Those of `rows` that there are."""
    return tuple(rows[name] for name in names if name in rows)
