"""Retention: records of attempts and requests, the request log and the audit trail are deleted when they are old; the sums stay.

Once a day, by one process at a time, in transactions so small that no call waits for one.
"""

import datetime as dt
from typing import Protocol

import anyio

from orchestra_router.clock import Clock
from orchestra_router.errors import StoreError
from orchestra_router.observe import logger
from orchestra_router.policy.budget import period_at
from orchestra_router.store.base import Store

CHORE = "retention"
DAY_MS = 86_400_000
LEASE_MS = 3_600_000
"""A process that dies at it is followed by another after this long."""
CHECK_S = 3_600
BATCH = 200
PAUSE_S = 0.05
"""Between two transactions, so that others get in."""


class RetentionSettings(Protocol):
    @property
    def timezone(self) -> str: ...

    @property
    def keep_attempts_days(self) -> int: ...

    @property
    def keep_requests_days(self) -> int: ...

    @property
    def keep_audit_days(self) -> int: ...

    @property
    def keep_log_days(self) -> int: ...


async def keep_at_it(store: Store, settings: RetentionSettings, clock: Clock) -> None:
    """Forget what is due now and every day from now on, until it is cancelled."""
    while True:
        try:
            await forget_if_due(store, settings, clock)
        except StoreError as error:
            logger.warning("old records could not be deleted; they will be later. %s", error)
        except Exception:  # noqa: BLE001 - the edge of a background task, which must not end
            logger.exception("old records could not be deleted")
        # In real time: nothing in a request depends on it.
        await anyio.sleep(CHECK_S)


async def forget_if_due(
    store: Store, settings: RetentionSettings, clock: Clock, *, batch: int = BATCH, pause_s: float = PAUSE_S
) -> int:
    """Delete what is too old if no process has today; returns how many records.

    Raises:
        StoreError: the database cannot be written.
    """
    now_ms = clock.now_ms()
    if not await store.claim_chore(CHORE, now_ms=now_ms, until_ms=now_ms + LEASE_MS, latest_ms=now_ms + DAY_MS):
        return 0
    today = dt.date.fromisoformat(period_at(now_ms, settings.timezone).day)
    attempts_before = (today - dt.timedelta(days=settings.keep_attempts_days)).isoformat()
    requests_before = (today - dt.timedelta(days=settings.keep_requests_days)).isoformat()
    total = 0
    while forgotten := await store.forget(attempts_before=attempts_before, requests_before=requests_before, most=batch):
        total += forgotten
        await anyio.sleep(pause_s)
    audit_before_ms = now_ms - settings.keep_audit_days * DAY_MS if settings.keep_audit_days else 0
    while dropped := await store.drop_audit(before_ms=audit_before_ms, now_ms=now_ms, most=batch):
        total += dropped
        await anyio.sleep(pause_s)
    log_before_ms = now_ms - settings.keep_log_days * DAY_MS
    while dropped := await store.drop_exchanges(before_ms=log_before_ms, most=batch):
        total += dropped
        await anyio.sleep(pause_s)
    await store.postpone_chore(CHORE, due_ms=now_ms + DAY_MS)
    return total
