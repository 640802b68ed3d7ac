"""Lets one attempt at a deployment begin, in its turn.

That is within the provider's rate limit, as one of the calls that may be made there at the same time, and as the only one
that tries what is half open. The turns are this process's own; limits and probes are shared by all on the data folder.
"""

from types import TracebackType

import anyio

from orchestra_router.clock import Clock
from orchestra_router.config import Config
from orchestra_router.deployments import Candidate, Provider
from orchestra_router.errors import DeadlineExceeded, PassedOver, ProviderError
from orchestra_router.policy.headroom import SHORT_WAIT_S, Need
from orchestra_router.policy.health import Health

LOOK_AGAIN_S = 0.25
PROBE_PATIENCE_S = 10.0
"""Where nothing else can be asked, another request's probe is waited for so long."""


class Admission:
    def __init__(self, health: Health, config: Config, clock: Clock) -> None:
        self._health = health
        self._config = config
        self._clock = clock
        self._turns: dict[str, anyio.Semaphore] = {}
        """By provider. Whoever waits longest is next."""

    def admitted(self, candidate: Candidate, *, deadline: float) -> "Turn":
        """Everything of one attempt at `candidate` happens in here: `async with admission.admitted(...)`.

        `deadline` is on the clock's monotonic scale.

        Raises:
            PassedOver: it is not to be asked just now.
            DeadlineExceeded: its turn did not come in time.
        """
        return Turn(self, candidate, deadline)

    async def enter(self, candidate: Candidate, deadline: float) -> str:
        """Take a turn, which `leave` gives back. Returns the id of the probe that this is, or ""."""
        await self._within_limits(candidate, deadline)
        turns = await self._take_turn(candidate.deployment.provider, deadline)
        try:
            return await self._claim(candidate, deadline)
        except BaseException:
            turns.release()
            raise

    async def leave(self, candidate: Candidate, probe_id: str) -> None:
        try:
            if probe_id:
                with anyio.CancelScope(shield=True):
                    await self._health.release(candidate.deployment, probe_id, fingerprint=candidate.fingerprint)
        finally:
            self._turns[candidate.deployment.provider.name].release()

    async def _within_limits(self, candidate: Candidate, deadline: float) -> None:
        if candidate.not_before_ms:
            await self._wait_until(candidate.not_before_ms, deadline)
        need = Need(candidate.likely_input, candidate.likely_output)
        while (block := self._health.take(candidate.deployment, need, fingerprint=candidate.fingerprint)) is not None:
            seconds = ((block.until_ms or 0) - self._clock.now_ms()) / 1000
            if seconds > SHORT_WAIT_S:
                reason = f"{candidate.deployment.key} was not asked: {block.reason}."
                raise PassedOver(reason, retry_after_s=seconds)
            await self._wait_until(block.until_ms or 0, deadline)

    async def _wait_until(self, moment_ms: int, deadline: float) -> None:
        seconds = (moment_ms - self._clock.now_ms()) / 1000
        if seconds <= 0:
            return
        if seconds >= self._left(deadline):
            raise PassedOver("Its rate limit ends after this request's time.", retry_after_s=seconds)
        await self._clock.sleep(seconds)

    async def _take_turn(self, provider: Provider, deadline: float) -> anyio.Semaphore:
        turns = self._turns.get(provider.name)
        if turns is None:
            turns = self._turns[provider.name] = anyio.Semaphore(provider.max_concurrent)
        try:
            turns.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait_for_turn(turns, provider, deadline)
        return turns

    async def _wait_for_turn(self, turns: anyio.Semaphore, provider: Provider, deadline: float) -> None:
        with anyio.move_on_after(self._left(deadline)) as waiting:
            await turns.acquire()
        if waiting.cancelled_caught:
            raise DeadlineExceeded(
                f"This request's time ran out while {provider.max_concurrent} others were asking {provider.name}."
                " Ask less at once, or raise its max_concurrent."
            )

    async def _claim(self, candidate: Candidate, deadline: float) -> str:
        if not self._health.is_marked(candidate.deployment, fingerprint=candidate.fingerprint):
            return ""
        seconds = max(0.0, min(self._config.settings.request_timeout_s, self._left(deadline)))
        give_up = min(self._clock.monotonic() + PROBE_PATIENCE_S, deadline)
        while True:
            probe_id = await self._health.claim(
                candidate.deployment,
                fingerprint=candidate.fingerprint,
                seconds=seconds,
                bypass=candidate.is_probe,
            )
            if probe_id is not None:
                return probe_id
            if not candidate.is_probe or self._clock.monotonic() >= give_up:
                raise PassedOver(
                    f"{candidate.deployment.key} has been set aside meanwhile.", retry_after_s=LOOK_AGAIN_S
                )
            await self._clock.sleep(LOOK_AGAIN_S)

    def _left(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock.monotonic())


class Turn:
    """An attempt's turn, taken on entering and given back by any exit."""

    __slots__ = ("_admission", "_candidate", "_deadline", "_probe_id")

    def __init__(self, admission: Admission, candidate: Candidate, deadline: float) -> None:
        self._admission = admission
        self._candidate = candidate
        self._deadline = deadline
        self._probe_id = ""

    async def __aenter__(self) -> None:
        self._probe_id = await self._admission.enter(self._candidate, self._deadline)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ProviderError):
            error.probing = bool(self._probe_id)
        await self._admission.leave(self._candidate, self._probe_id)
