"""Lets one attempt at a deployment begin: what is half open is tried by one request at a time."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from orchestra_router.clock import Clock
from orchestra_router.config import Config
from orchestra_router.deployments import Candidate
from orchestra_router.errors import PassedOver, ProviderError
from orchestra_router.policy.health import Health

LOOK_AGAIN_S = 0.25
PROBE_PATIENCE_S = 10.0
"""Where nothing else can be asked, another request's probe is waited for so long."""


class Admission:
    def __init__(self, health: Health, config: Config, clock: Clock) -> None:
        self._health = health
        self._config = config
        self._clock = clock

    @asynccontextmanager
    async def admitted(self, candidate: Candidate, *, seconds_left: float) -> AsyncGenerator[None]:
        """Everything of one attempt at `candidate` happens in here. What it claims ends with it, by any exit.

        Raises:
            PassedOver: it is not to be asked just now.
        """
        probe_id = await self._claim(candidate, seconds_left=seconds_left)
        try:
            yield
        except ProviderError as error:
            error.probing = bool(probe_id)
            raise
        finally:
            if probe_id:
                with anyio.CancelScope(shield=True):
                    await self._health.release(candidate.deployment, probe_id)

    async def _claim(self, candidate: Candidate, *, seconds_left: float) -> str:
        seconds = max(0.0, min(self._config.settings.request_timeout_s, seconds_left))
        give_up = self._clock.monotonic() + min(PROBE_PATIENCE_S, seconds_left)
        while True:
            probe_id = await self._health.claim(candidate.deployment, seconds=seconds, bypass=candidate.is_probe)
            if probe_id is not None:
                return probe_id
            if not candidate.is_probe or self._clock.monotonic() >= give_up:
                raise PassedOver(
                    f"{candidate.deployment.key} has been set aside meanwhile.", retry_after_s=LOOK_AGAIN_S
                )
            await self._clock.sleep(LOOK_AGAIN_S)
