"""The record of each request, written when it has ended; failing open.

The money is in the ledger already, and an answer that was paid for is not thrown away because its record cannot be
written. What the database does not take is kept, and written before the next record.
"""

from collections import deque
from dataclasses import replace

from orchestra_router.errors import StoreError
from orchestra_router.observe import logger
from orchestra_router.store.base import RequestRecord, Store

MOST_UNWRITTEN = 1_000
"""Records kept in memory; past that the oldest is lost, and reports do not know its labels."""


class Records:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._unwritten: deque[RequestRecord] = deque(maxlen=MOST_UNWRITTEN)
        """Oldest first."""

    async def write(self, record: RequestRecord) -> None:
        try:
            await self.catch_up()
            await self._store.record(record)
        except StoreError as error:
            # Without its texts, which are as long as callers make them.
            self._unwritten.append(replace(record, exchange=None))
            logger.error("request %s could not be recorded yet: %s", record.request_id, error)

    async def catch_up(self) -> None:
        """Write what could not be written before.

        Raises:
            StoreError: it still cannot be.
        """
        while self._unwritten:
            record = self._unwritten.popleft()
            try:
                await self._store.record(record)
            except StoreError:
                self._unwritten.appendleft(record)
                raise

    async def aclose(self) -> None:
        """To be called before the store is closed."""
        try:
            await self.catch_up()
        except StoreError as error:
            logger.error("%d request(s) are not on record: %s", len(self._unwritten), error)
