"""What is set aside after failures, for how long, and by whose fault.

Blame is put where it belongs: on the provider (nobody can reach it), on the key (it is refused, out of credit or
over its rate) or on one model at one provider. It is kept in the store, so that every process and the next start
know it.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from orchestra_router.clock import Clock
from orchestra_router.config import Config
from orchestra_router.deployments import Deployment
from orchestra_router.errors import (
    AuthFailed,
    InvalidAnswer,
    ModelGone,
    OutOfMoney,
    ProviderError,
    RateLimited,
    StoreError,
)
from orchestra_router.observe import logger
from orchestra_router.store.base import HealthRow, Store
from orchestra_router.types import Probe

FAILURES_TO_COOL = 3
"""In a row, before something that may recover by itself is set aside."""
LONGEST_COOLING_S = 600.0
ACCOUNT_COOLING_S = 3_600.0
"""Credit changes at the vendor, with no sign here, so it is asked again now and then."""
WINDOW_MS = 1_200_000
"""Failures further apart than this are not in a row."""
LONG_LIMIT_S = 600.0
"""A rate limit that lasts longer is a quota, and those are kept for each model."""
LONGEST_WAIT_S = 86_400.0
"""A longer wait than a day's quota takes is not believed."""


@dataclass(frozen=True, slots=True)
class Block:
    """Why a deployment is not to be asked now. `until_ms` None: until something changes."""

    reason: str
    until_ms: int | None
    cause: str
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class HealthView:
    """The health of everything at one moment; a plan made from it stays explainable."""

    rows: Mapping[str, HealthRow]
    now_ms: int
    catalog: str

    def block(self, deployment: Deployment, *, fingerprint: str) -> Block | None:
        """The longest-lasting reason not to ask `deployment`, if there is one."""
        blocks = [
            block
            for target in targets(deployment, fingerprint=fingerprint)
            if (row := self.rows.get(target)) is not None and (block := self._active(row)) is not None
        ]
        return max(blocks, key=lambda block: block.until_ms or float("inf"), default=None)

    def _active(self, row: HealthRow) -> Block | None:
        if row.until_ms is None:
            if row.cause == ModelGone.code and row.catalog != self.catalog:
                return None  # the catalog has changed since: worth another look
            return Block(f"set aside: {row.cause}", None, row.cause, row.replacement)
        if row.until_ms <= self.now_ms:
            return None
        seconds = (row.until_ms - self.now_ms + 999) // 1000
        return Block(f"cooling {seconds} s: {row.cause}", row.until_ms, row.cause)


class Health:
    """Keeps the rows. Failing open: what cannot be read or written sets nothing aside."""

    def __init__(self, store: Store, config: Config, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._rows: Mapping[str, HealthRow] = {}

    async def view(self) -> HealthView:
        """The health of everything now, other processes' failures included."""
        try:
            self._rows = {row.target: row for row in await self._store.health()}
        except StoreError as error:
            logger.warning("health could not be read: %s", error)
        return HealthView(self._rows, self._clock.now_ms(), self._config.catalog.version)

    async def failed(self, deployment: Deployment, error: ProviderError) -> None:
        fingerprint = self._config.keys.fingerprint(deployment.provider.name)
        target = blamed(error, deployment, fingerprint=fingerprint)
        row = after_failure(
            error,
            deployment,
            fingerprint=fingerprint,
            before=self._rows.get(target or ""),
            now_ms=self._clock.now_ms(),
            cooldown_s=self._config.settings.cooldown_s,
            catalog=self._config.catalog.version,
        )
        if row is not None:
            self._rows = {**self._rows, row.target: row}
            await self._write(self._store.set_aside(row))

    async def succeeded(self, deployment: Deployment, *, began_ms: int) -> None:
        """Forget what was held against `deployment` before the attempt that now succeeded began."""
        for target in targets(deployment, fingerprint=self._config.keys.fingerprint(deployment.provider.name)):
            if target in self._rows and self._rows[target].since_ms <= began_ms:
                self._rows = {name: row for name, row in self._rows.items() if name != target}
                await self._write(self._store.restore(target))

    async def probed(self, probes: Mapping[str, Probe]) -> None:
        """Learn from the providers' own lists: what answers or is listed again comes back, what has ended goes."""
        rows = (await self.view()).rows
        for name, probe in probes.items():
            if probe.error:
                continue
            well = {f"provider:{name}", f"key:{name}:{self._config.keys.fingerprint(name)}"}
            well |= {f"deployment:{name}/{model.id}" for model in probe.models if not model.retired}
            for target in well & rows.keys():
                await self._write(self._store.restore(target))
            ended = {model.id: model for model in probe.models if model.retired}
            for deployment in self._config.catalog.deployments_at(name):
                if (listed := ended.get(deployment.offer.id)) is not None:
                    gone = ModelGone()
                    gone.replacement = listed.replacement or self._config.catalog.replacement(deployment)
                    await self.failed(deployment, gone)

    async def _write(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except StoreError as error:
            logger.warning("health could not be written: %s", error)


def targets(deployment: Deployment, *, fingerprint: str) -> tuple[str, str, str]:
    """What a failure of `deployment` can be blamed on. A changed key is another target, so it starts afresh."""
    provider = deployment.provider.name
    return f"provider:{provider}", f"key:{provider}:{fingerprint}", f"deployment:{deployment.key}"


def after_failure(
    error: ProviderError,
    deployment: Deployment,
    *,
    fingerprint: str,
    before: HealthRow | None,
    now_ms: int,
    cooldown_s: float,
    catalog: str,
) -> HealthRow | None:
    """The row that `error` leaves behind, or None when nothing is to blame. `before` is the target's last row."""
    target = blamed(error, deployment, fingerprint=fingerprint)
    # A whole answer that says nothing is about its prompt; the next prompt may fare better.
    if target is None or (isinstance(error, InvalidAnswer) and error.usage is not None):
        return None
    recent = before is not None and now_ms - before.since_ms <= WINDOW_MS
    failures = (before.failures if before is not None and recent else 0) + 1
    seconds = _cooling_s(error, failures, cooldown_s)
    return HealthRow(
        target=target,
        cause=error.code,
        since_ms=now_ms,
        until_ms=None if seconds is None else now_ms + round(seconds * 1000),
        failures=failures,
        catalog=catalog,
        replacement=error.replacement,
    )


def blamed(error: ProviderError, deployment: Deployment, *, fingerprint: str) -> str | None:
    provider, key, model = targets(deployment, fingerprint=fingerprint)
    if isinstance(error, RateLimited) and (error.retry_after_s or 0) > LONG_LIMIT_S:
        return model
    return {"provider": provider, "key": key, "deployment": model, "nothing": None}[error.cools]


def _cooling_s(error: ProviderError, failures: int, cooldown_s: float) -> float | None:
    """Seconds to set the blamed aside; None: until the key or the catalog changes, or a probe finds it well."""
    if isinstance(error, ModelGone | AuthFailed):
        return error.retry_after_s  # named only where the verdict was inferred
    if isinstance(error, OutOfMoney):
        return ACCOUNT_COOLING_S
    if isinstance(error, RateLimited):
        return min(LONGEST_WAIT_S, error.retry_after_s if error.retry_after_s is not None else cooldown_s)
    if failures < FAILURES_TO_COOL:
        return 0.0
    return min(LONGEST_COOLING_S, cooldown_s * 2.0 ** (failures - FAILURES_TO_COOL))
