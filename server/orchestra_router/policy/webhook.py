"""Alerts to a webhook: signed, one after the other, again and again until they are taken or a day old.

What waits is in the store's outbox, so a restart loses nothing; a claim keeps two processes from sending the same one.
All of it in the background: no request waits for it, and none fails because of it.
"""

import asyncio
import datetime as dt
import hashlib
import hmac
import json
import random
import secrets
from contextlib import suppress

import anyio

from orchestra_router.clock import Clock
from orchestra_router.errors import ProviderError, StoreError
from orchestra_router.observe import logger
from orchestra_router.store.alert_records import AlertStore, Delivery
from orchestra_router.transport import Transport
from orchestra_router.types import WireRequest, usd

TIMEOUT_S = 10.0
CLAIM_MS = 30_000
"""Longer than a delivery can take; after it the process that claimed it is taken for dead."""
MOST_PAUSE_S = 600.0
KEEP_MS = 86_400_000
"""An alert this old is told to nobody any more; it stays in the report."""


class Webhook:
    """Delivers to `url`. The receiver proves with `secret` that it was us, and with the timestamp that it was now:

    `x-orchestra-signature` is "sha256=" and the HMAC-SHA256, in hex, of `x-orchestra-timestamp`, a dot and the body.
    `x-orchestra-delivery` stays the same when a delivery is repeated.
    """

    def __init__(self, store: AlertStore, transport: Transport, clock: Clock, *, url: str, secret: str) -> None:
        self._store = store
        self._transport = transport
        self._clock = clock
        self._url = url
        self._secret = secret.encode()
        self._claim = secrets.token_hex(8)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what an earlier process has left."""
        self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """There is a new alert."""
        self._woken.set()

    async def aclose(self) -> None:
        """Stop at once: what is under way stays in the outbox, and may be delivered twice under one id."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            pause_s: float | None = None
            try:
                pause_s = await self._deliver_all()
            except StoreError as error:
                logger.error("alerts cannot be delivered now: %s", error)
            except Exception:  # noqa: BLE001 - the edge of the task: a defect here must not end all deliveries
                logger.exception("alerts cannot be delivered now")
            await self._wait(pause_s)

    async def _deliver_all(self) -> float | None:
        """Deliver what is due. Returns the seconds until something is due again; None when nothing waits."""
        await self._store.drop_undelivered(raised_before_ms=self._clock.now_ms() - KEEP_MS)
        while (delivery := await self._claimed()) is not None:
            if (why := await self._post(delivery)) is None:
                await self._store.delivered(delivery.delivery_id, by=self._claim)
                continue
            pause_s = min(MOST_PAUSE_S, 2.0**delivery.tries) * (0.5 + random.random())  # noqa: S311 - spreads retries
            logger.warning("an alert could not be delivered (%s); trying again in %.0f s", why, pause_s)
            due_ms = self._clock.now_ms() + round(pause_s * 1000)
            await self._store.postpone(delivery.delivery_id, by=self._claim, due_ms=due_ms)
        due_ms = await self._store.next_delivery_ms()
        return None if due_ms is None else min(MOST_PAUSE_S, max(0.1, (due_ms - self._clock.now_ms()) / 1000))

    async def _claimed(self) -> Delivery | None:
        now_ms = self._clock.now_ms()
        return await self._store.claim(by=self._claim, now_ms=now_ms, until_ms=now_ms + CLAIM_MS)

    async def _post(self, delivery: Delivery) -> str | None:
        """Why it was not taken; None when it was."""
        wire = signed(delivery, url=self._url, secret=self._secret, now_ms=self._clock.now_ms())
        try:
            response = await self._transport.send(wire, timeout_s=TIMEOUT_S)
        except ProviderError as error:
            return error.code
        return None if 200 <= response.status < 300 else f"status {response.status}"

    async def _wait(self, pause_s: float | None) -> None:
        """Until there is a new alert, or `pause_s` are over."""
        if pause_s is None:
            await self._woken.wait()
            return
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await self._clock.sleep(pause_s)
                group.cancel_scope.cancel()

            group.start_soon(sleep)
            await self._woken.wait()
            group.cancel_scope.cancel()


def signed(delivery: Delivery, *, url: str, secret: bytes, now_ms: int) -> WireRequest:
    alert = delivery.alert
    body = json.dumps(
        {
            "id": delivery.delivery_id,
            "kind": alert.kind,
            "text": alert.text,
            "holder": alert.holder,
            "period": alert.period,
            "threshold_usd": usd(alert.threshold_nusd),
            "at": dt.datetime.fromtimestamp(alert.at_ms / 1000, dt.UTC).isoformat(timespec="seconds"),
        }
    ).encode()
    timestamp = str(now_ms // 1000)
    signature = hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "x-orchestra-delivery": delivery.delivery_id,
        "x-orchestra-timestamp": timestamp,
        "x-orchestra-signature": f"sha256={signature}",
    }
    return WireRequest(url=url, headers=headers, body=body)
