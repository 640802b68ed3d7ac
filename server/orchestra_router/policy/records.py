"""The record of each request, written after its answer has gone out; failing open.

The money is in the ledger already, so nobody waits for the record, and an answer that was paid for is not thrown away
because its record cannot be written. Records are queued in their order, and whatever this process reads later finds
them. What the database does not take is kept, and written with the next record or before the next report.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import anyio

from orchestra_router.errors import StoreError
from orchestra_router.observe import logger
from orchestra_router.store.request_records import RequestRecord, RequestStore

MOST_UNDERWAY = 1_000
"""Records that wait for the database; past that their requests wait, too, so that memory stays bounded."""
MOST_UNWRITTEN = 1_000
"""Records kept in memory that could not be written; past that the oldest is lost, and reports do not know its labels."""


class Records:
    def __init__(self, store: RequestStore) -> None:
        self._store = store
        self._underway: set[asyncio.Future[None]] = set()
        self._unwritten: deque[RequestRecord] = deque(maxlen=MOST_UNWRITTEN)
        """Oldest first."""
        self._is_trying = False
        """Whether the oldest of them is being written."""

    async def write(self, record: RequestRecord) -> None:
        """Queue `record`, waiting only while too many are in the queue, and then to the end."""
        try:
            while len(self._underway) >= MOST_UNDERWAY:
                with anyio.CancelScope(shield=True):
                    await asyncio.wait(self._underway, return_when=asyncio.FIRST_COMPLETED)
        finally:  # a task can be cancelled past that shield
            self._queue_with_oldest(record)

    async def settled(self) -> None:
        """Returns once every record so far is written, or is known not to be."""
        while self._underway:
            await asyncio.wait(self._underway)

    async def catch_up(self) -> None:
        """Returns once every record is written.

        Raises:
            StoreError: one cannot be.
        """
        await self.settled()
        while self._unwritten:
            # Whoever waits here may leave; the write stays, and what it does not take is kept.
            writing = self._queue(self._unwritten.popleft(), self._unwritten.appendleft)
            await asyncio.wait({writing})
            writing.result()

    async def aclose(self) -> None:
        """To be called before the store is closed."""
        try:
            await self.catch_up()
        except StoreError as error:
            logger.error("%d request(s) are not on record: %s", len(self._unwritten), error)

    def _queue_with_oldest(self, record: RequestRecord) -> None:
        if self._unwritten and not self._is_trying:
            # One at a time: while the database takes nothing, each of them is one more failure.
            self._is_trying = True
            self._queue(self._unwritten.popleft(), self._unwritten.appendleft).add_done_callback(self._tried)
        self._queue(record, self._unwritten.append)

    def _queue(self, record: RequestRecord, keep: Callable[[RequestRecord], None]) -> asyncio.Future[None]:
        writing = asyncio.ensure_future(self._store.record(record))
        self._underway.add(writing)
        writing.add_done_callback(partial(self._written, record, keep))
        return writing

    def _written(
        self, record: RequestRecord, keep: Callable[[RequestRecord], None], writing: asyncio.Future[None]
    ) -> None:
        self._underway.discard(writing)
        error = writing.exception()
        if isinstance(error, StoreError):
            # Without its texts, which are as long as callers make them.
            keep(replace(record, exchange=None))
            logger.error("request %s could not be recorded yet: %s", record.request_id, error)
        elif error is not None:
            logger.error("request %s is not on record, for it cannot be", record.request_id, exc_info=error)

    def _tried(self, oldest: asyncio.Future[None]) -> None:
        self._is_trying = False
        if oldest.exception() is None:  # the database takes records again
            while self._unwritten:
                self._queue(self._unwritten.popleft(), self._unwritten.append)
