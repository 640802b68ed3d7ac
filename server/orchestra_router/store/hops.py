"""The ways to the database: which connection some work goes to, and what it waits for."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio

from orchestra_router.clock import Clock
from orchestra_router.errors import StoreError
from orchestra_router.store import opening
from orchestra_router.store.connection import Connection, Glance, Reports

T = TypeVar("T")
Item = TypeVar("Item")

RETRY_OPEN_S = 0.02

ANY = ""
"""Stands for every entry of the cache."""


class Hops:
    """Work is one hop to a connection's thread, and part of one transaction. Made by `open`.

    What is read for a person to look at has a connection of its own, so that no call waits for a report. The look in
    the cache and at what is set aside, which every call takes, is a few look-ups by key: it is done at once, on the
    event loop's own thread, where it takes a tenth of a hop. In a WAL no read waits for anybody.
    """

    def __init__(self, connection: Connection, path: Path, *, busy_timeout_s: float) -> None:
        self._connection = connection
        self._closed = False
        self.path = path
        self.file = opening.identity(path)
        """Which file is open: not the one at `path` any more, if somebody has replaced that."""
        connection.explain = explain = partial(_explained, path=path)
        self._glance = Glance(lambda: opening.connect_to_read(path, self.file, busy_timeout_s=0))
        self._reports = Reports(
            lambda: opening.connect_to_read(path, self.file, busy_timeout_s=busy_timeout_s), explain=explain
        )
        self._being_written: Counter[str] = Counter()
        """Keys of the cache, what is comparable with what, and `ANY`, that this process has yet to write."""

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, busy_timeout_s: float) -> "Hops":
        """As `SqliteStore.open`."""
        give_up = clock.monotonic() + busy_timeout_s
        while True:
            connection = Connection(lambda: opening.connect(path, busy_timeout_s=busy_timeout_s))
            try:
                await connection.start()
            except sqlite3.Error as error:
                # SQLite does not wait for the lock that turns the WAL on, when two processes make the file at once.
                if not opening.is_locked(error) or clock.monotonic() >= give_up:
                    raise opening.explain(error, path) from error
            else:
                return cls(connection, path, busy_timeout_s=busy_timeout_s)
            await clock.sleep(RETRY_OPEN_S)

    async def close(self) -> None:
        """Finish what is queued and close. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            with anyio.CancelScope(shield=True):
                await self._connection.drained()
                await self._reports.close()
                self._glance.close()
                # Behind the other: whoever closes last puts the WAL into the database, if it can write.
                await self._connection.close()

    # --- reading ---------------------------------------------------------------------------------------------

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise self._ended()
        return await self._connection.read(work)

    async def glance(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, at once, for what is found by its key. What this process has yet to write may be missing."""
        if self._closed:
            raise self._ended()
        try:
            return self._glance.read(work)
        except (sqlite3.Error, StoreError):
            # Perhaps the last process to close the file is at it; the other connection waits for that, or says why not.
            self._glance.close()
            return await self.read(work)

    async def look(self, work: Callable[[sqlite3.Connection], T], names: Collection[str]) -> T:
        """As `glance`, in the cache, unless this process has yet to write something under one of `names`."""
        is_written = self._being_written.keys().isdisjoint((ANY, *names))
        return await (self.glance(work) if is_written else self.read(work))

    async def report(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, for what may take long."""
        if self._closed:
            raise self._ended()
        await self._connection.drained()
        if self._closed:  # meanwhile
            raise self._ended()
        return await self._reports.read(work)

    # --- writing: what goes wrong is raised where the result is asked for -------------------------------------

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Shielded: a cancelled caller still learns what happened, and meets its cancellation at its next await."""
        written = self._written(work)
        with anyio.CancelScope(shield=True):
            await asyncio.wait({written})
        return written.result()

    def write_in_cache(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """As `write`, of any entry of the cache, and not shielded."""
        return self.mark(self._written(work), (ANY,))

    def write_first(self, work: Callable[[sqlite3.Connection], T], is_final: Callable[[T], bool]) -> asyncio.Future[T]:
        """As `Connection.write_first`, as are the next two."""
        return self._refused() if self._closed else self._connection.write_first(work, is_final)

    def write_later(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        return self._refused() if self._closed else self._connection.write_later(work)

    def write_together(
        self, of_all: Callable[[sqlite3.Connection, Sequence[Item]], None], item: Item
    ) -> asyncio.Future[None]:
        return self._refused() if self._closed else self._connection.write_together(of_all, item)

    def mark(self, written: asyncio.Future[T], names: Collection[str]) -> asyncio.Future[T]:
        """A write after which looks in the cache for `names` find something else."""
        self._being_written.update(names)

        def forget(_: asyncio.Future[T]) -> None:
            self._being_written.subtract(names)
            for name in names:
                if not self._being_written[name]:
                    del self._being_written[name]

        written.add_done_callback(forget)
        return written

    def _written(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        return self._refused() if self._closed else self._connection.write(work)

    def _refused(self) -> asyncio.Future[Any]:
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        refused.set_exception(self._ended())
        return refused

    def _ended(self) -> StoreError:
        return StoreError(f"{self.path} has been closed, because this process is ending.")


def _explained(error: Exception, *, path: Path) -> Exception:
    if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
        return opening.explain(error, path)
    return error  # our own code sent a value that the schema refuses; the database is well
