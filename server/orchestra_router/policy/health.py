"""What can be asked now and what is set aside: the circuit breakers, kept in the store for every process and start."""

import datetime as dt
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from orchestra_router.clock import Clock
from orchestra_router.config import Config
from orchestra_router.deployments import Deployment
from orchestra_router.errors import AuthFailed, ModelGone, OutOfMoney, ProviderError, StoreError
from orchestra_router.observe import logger
from orchestra_router.policy import breaker, headroom
from orchestra_router.policy.breaker import Claim, Moment, State, targets
from orchestra_router.policy.headroom import Headroom, Need, limited
from orchestra_router.providers.headroom import allowances
from orchestra_router.store.alert_records import Alert
from orchestra_router.store.health_records import HealthChange, HealthRow, HealthStore, SharedAllowance, Window
from orchestra_router.store.owner import this_process
from orchestra_router.types import Allowance, Probe

PROBE_GRACE_MS = 5_000
"""A claim outlives its probe's time by this much, for settling."""

MOST_FAILED_LAST = 1_000


@dataclass(frozen=True, slots=True)
class Block:
    """Why a deployment is not to be asked now. `until_ms` None: until something changes."""

    reason: str
    until_ms: int | None
    cause: str
    replacement: str = ""
    state: State = "open"
    since_ms: int = 0
    trips: int = 1


@dataclass(frozen=True, slots=True)
class HealthView:
    """The health of everything at one moment; a plan made from it stays explainable."""

    rows: Mapping[str, HealthRow]
    now_ms: int
    catalog: str
    allowances: Mapping[str, tuple[Allowance, ...]] = field(default_factory=dict[str, tuple[Allowance, ...]])
    """By deployment and key: what was left of the rate limits there."""

    @property
    def knows_nothing(self) -> bool:
        """Nothing has failed, and nobody has named a rate limit."""
        return not (self.rows or self.allowances)

    def unwell(self) -> Mapping[str, HealthRow]:
        """Those of `rows` that may speak against somebody; most are of what has answered again since."""
        return {target: row for target, row in self.rows.items() if not row.closed}

    def block(self, deployment: Deployment, *, fingerprint: str) -> Block | None:
        """The longest-lasting reason not to ask `deployment`, if there is one."""
        if not self.rows:
            return None
        blocks = [
            block
            for row in breaker.of(self.rows, targets(deployment, fingerprint=fingerprint))
            if (block := self._block(row)) is not None
        ]
        return max(blocks, key=lambda block: block.until_ms or float("inf"), default=None)

    def left(self, deployment: Deployment, *, fingerprint: str) -> tuple[Allowance, ...]:
        """What is known to be left of the rate limits there."""
        known = self.allowances.get(limited(deployment, fingerprint=fingerprint), ())
        return tuple(one for one in known if one.reset_ms > self.now_ms)

    def half_open(self, deployment: Deployment, *, fingerprint: str) -> HealthRow | None:
        """What the next attempt at `deployment` is the one probe of, if it is one."""
        if not self.rows:
            return None
        rows = breaker.of(self.rows, targets(deployment, fingerprint=fingerprint))
        return next((row for row in rows if breaker.state_of(row, self._moment) == "half_open"), None)

    def shortage(self, deployment: Deployment, need: Need, *, fingerprint: str) -> Block | None:
        """Why the rate limit of `deployment` cannot take one more request yet, by what it said itself."""
        known = self.allowances.get(limited(deployment, fingerprint=fingerprint), ())
        return _shortage(known, need, now_ms=self.now_ms)

    @property
    def _moment(self) -> Moment:
        return Moment(now_ms=self.now_ms, catalog=self.catalog)

    def _block(self, row: HealthRow) -> Block | None:
        if row.closed:
            return None
        state = breaker.state_of(row, self._moment)
        if state in ("closed", "half_open"):
            return None
        until_ms, reason = row.until_ms, f"set aside: {row.cause}"
        if state == "probing":
            until_ms, reason = row.probe_until_ms, f"set aside, and being tried by another request: {row.cause}"
        elif until_ms is not None:
            reason = f"cooling {(until_ms - self.now_ms + 999) // 1000} s: {row.cause}"
        return Block(reason, until_ms, row.cause, row.replacement, state, row.since_ms, row.trips)


class Health:
    """Keeps the rows. Failing open: what cannot be read or written sets nothing aside.

    A deployment whose breakers are closed costs nothing but the one read of `view`.
    """

    def __init__(self, store: HealthStore, config: Config, clock: Clock) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._rows: Mapping[str, HealthRow] = {}
        self._headroom = Headroom()
        self.on_alert: Callable[[], None] = _nothing
        """Called once an alert is in the outbox."""
        self._failed_last: set[str] = set()
        """Deployments whose last request in this process failed; at most `MOST_FAILED_LAST`."""

    async def view(self) -> HealthView:
        """The health of everything now, other processes' failures included."""
        try:
            standing = await self._store.health()
        except StoreError as error:
            logger.warning("health could not be read: %s", error)
        else:
            self._rows = {row.target: row for row in standing.rows}
            self._headroom.learn(standing.allowances)
        return HealthView(self._rows, self._clock.now_ms(), self._config.catalog.version, self._headroom.view())

    def heard(
        self, deployment: Deployment, headers: Mapping[str, str], *, fingerprint: str
    ) -> tuple[SharedAllowance, ...]:
        """Learn what an answer's headers say of the rate limits. Returns what other processes should know of them."""
        now_ms = self._clock.now_ms()
        name = limited(deployment, fingerprint=fingerprint)
        return self._headroom.heard(name, allowances(headers, now_ms=now_ms), now_ms=now_ms)

    def take(self, deployment: Deployment, need: Need, *, fingerprint: str) -> Block | None:
        """Count a request off that is sent now; or say why the rate limit there does not take it."""
        if self._headroom.knows_nothing:
            return None
        name = limited(deployment, fingerprint=fingerprint)
        block = _shortage(self._headroom.known(name), need, now_ms=self._clock.now_ms())
        if block is None:
            self._headroom.take(name, need)
        return block

    async def failed(self, deployment: Deployment, error: ProviderError, *, fingerprint: str, began_ms: int) -> None:
        """Learn from `error`, the last one of a request's tries at `deployment` with one key, begun at `began_ms`."""
        target = breaker.blamed(error, deployment, fingerprint=fingerprint)
        if target is None:
            return
        if error.cools != "key":  # that says nothing of what another key will meet
            if len(self._failed_last) >= MOST_FAILED_LAST:
                self._failed_last.clear()
            self._failed_last.add(deployment.key)
        at = self._now()
        kind = target.partition(":")[0]
        window = Window(
            deployment.provider.name,
            deployment.offer.id if kind == "deployment" else None,
            at.now_ms - breaker.WINDOW_MS,
        )

        def change(rows: Mapping[str, HealthRow], outcomes: breaker.Outcomes) -> tuple[HealthRow, ...]:
            row = breaker.after_failure(
                rows.get(target), error, target=target, outcomes=outcomes, began_ms=began_ms, at=at
            )
            return () if row is None else (row,)

        alert = self._alert(target, error, deployment, fingerprint=fingerprint)
        rows = await self._change((target,), change, window=window, alert=alert)
        if alert is not None and target in rows and rows[target].since_ms == at.now_ms:
            logger.warning("%s", alert.text)
            self.on_alert()

    def failed_last(self, deployment: Deployment) -> bool:
        """Whether the request before this one failed there, in this process."""
        return deployment.key in self._failed_last

    async def succeeded(self, deployment: Deployment, *, fingerprint: str, began_ms: int) -> None:
        """Close what had opened before the attempt began that now succeeded."""
        self._failed_last.discard(deployment.key)
        if not self._rows:
            return
        at = self._now()
        known = breaker.of(self._rows, targets(deployment, fingerprint=fingerprint))
        open_ = tuple(r.target for r in known if breaker.after_success(r, began_ms=began_ms, at=at) is not None)
        if not open_:
            return

        def change(rows: Mapping[str, HealthRow], _: breaker.Outcomes) -> tuple[HealthRow, ...]:
            closed = (breaker.after_success(row, began_ms=began_ms, at=at) for row in rows.values())
            return tuple(row for row in closed if row is not None)

        await self._change(open_, change)

    def is_marked(self, deployment: Deployment, *, fingerprint: str) -> bool:
        """Whether something is known against `deployment`, its provider or that key, be it over."""
        return bool(self._rows and breaker.of(self._rows, targets(deployment, fingerprint=fingerprint)))

    async def claim(self, deployment: Deployment, *, fingerprint: str, seconds: float, bypass: bool) -> str | None:
        """The id of the one probe that `deployment` now waits for, claimed for `seconds`; "" when it needs none.

        None: it is not to be asked. `bypass` asks also what is open, for everything else is, too.
        """
        names = targets(deployment, fingerprint=fingerprint)
        known = breaker.of(self._rows, names)
        if all(breaker.state_of(row, self._now()) == "closed" for row in known):
            return ""
        at = self._now()
        claim = Claim(
            probe_id=secrets.token_hex(8),
            process=this_process(),
            until_ms=at.now_ms + round(seconds * 1000) + PROBE_GRACE_MS,
            bypass=bypass,
        )

        def change(rows: Mapping[str, HealthRow], _: breaker.Outcomes) -> tuple[HealthRow, ...]:
            return breaker.claimed(rows.values(), claim, at) or ()

        rows = breaker.of(await self._change(names, change), names)
        if any(row.probe_id == claim.probe_id for row in rows):
            return claim.probe_id
        return "" if all(breaker.state_of(row, at) == "closed" for row in rows) else None

    async def release(self, deployment: Deployment, probe_id: str, *, fingerprint: str) -> None:
        """Let the next request probe, where this one's did not say anything."""
        names = targets(deployment, fingerprint=fingerprint)
        if any(row.probe_id == probe_id for row in breaker.of(self._rows, names)):
            await self._change(names, lambda rows, _: breaker.released(rows.values(), probe_id))

    async def probed(self, probes: Mapping[str, Probe]) -> None:
        """Learn from the providers' own lists: what answers or is listed again comes back, what has ended goes."""
        view = await self.view()
        for name, probe in probes.items():
            if probe.error:
                continue
            well = {f"provider:{name}", *(f"key:{name}:{fingerprint}" for fingerprint in probe.keys)}
            well |= {f"deployment:{name}/{model.id}" for model in probe.models if not model.retired}
            for target in well & view.rows.keys():
                await self._restore(target)
            ended = {model.id: model for model in probe.models if model.retired}
            for deployment in self._config.catalog.deployments_at(name):
                if (listed := ended.get(deployment.offer.id)) is not None:
                    gone = ModelGone()
                    gone.replacement = listed.replacement or self._config.catalog.replacement(deployment)
                    await self.failed(deployment, gone, fingerprint="", began_ms=view.now_ms)

    def _alert(self, target: str, error: ProviderError, deployment: Deployment, *, fingerprint: str) -> Alert | None:
        """A key that is refused or out of credit is not mended by waiting, so a person is told, once a day."""
        if not isinstance(error, AuthFailed | OutOfMoney):
            return None
        provider, now_ms = deployment.provider.name, self._clock.now_ms()
        variable = self._config.keys.variable(provider, fingerprint) or "this server"
        return Alert(
            kind="key",
            holder=target,
            period=f"{dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC):%Y-%m-%d}",
            threshold_nusd=0,
            text=f"{provider} {error.summary}: the key from {variable} is set aside",
            at_ms=now_ms,
        )

    def _now(self) -> Moment:
        return Moment(
            now_ms=self._clock.now_ms(),
            catalog=self._config.catalog.version,
            cooldown_s=self._config.settings.cooldown_s,
        )

    async def _change(
        self,
        names: tuple[str, ...],
        change: HealthChange,
        *,
        window: Window | None = None,
        alert: Alert | None = None,
    ) -> Mapping[str, HealthRow]:
        try:
            rows = await self._store.change_health(names, change, window=window, alert=alert)
        except StoreError as error:
            logger.warning("health could not be written: %s", error)
            return {}
        self._rows = {**self._rows, **rows}
        return rows

    async def _restore(self, target: str) -> None:
        try:
            await self._store.restore(target)
        except StoreError as error:
            logger.warning("health could not be written: %s", error)


def _nothing() -> None:
    pass


def _shortage(known: Iterable[Allowance], need: Need, *, now_ms: int) -> Block | None:
    short = headroom.shortage(known, need, now_ms=now_ms)
    if short is None:
        return None
    what = short.kind.replace("_", " ")
    reason = f"its rate limit has {short.remaining:,} {what} left for {(short.reset_ms - now_ms) / 1000:.1f} s"
    return Block(reason, short.reset_ms, headroom.CAUSE)
