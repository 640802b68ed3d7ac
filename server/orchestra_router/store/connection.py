"""SQLite connections, each on a thread of its own: one for all that is short, and one for reports.

A hop to that thread costs more than a statement does, and a commit waits for the disk. So a call is one hop, and the
writes that wait while a transaction runs are the next transaction together: each is whole or not at all.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import aiosqlite
import anyio

T = TypeVar("T")


class _Job(Generic[T]):
    """A write that waits for its transaction. The thread sets `result` or `error`; `told` is the caller's."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self.work = work
        self.result: T
        self.error: BaseException | None = None
        self.told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self) -> None:
        if self.told.done():  # its task was cancelled past our shield; the write stands all the same
            return
        if self.error is not None:
            self.told.set_exception(self.error)
        else:
            self.told.set_result(None)


class Connection(aiosqlite.Connection):
    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # A process that ends without closing must not hang on this thread; what was committed is on the disk.
        self._thread.daemon = True
        self._waiting: list[_Job[Any]] = []
        self._committing = False

    async def start(self) -> None:
        """Start the thread and connect on it. Shielded, so that no half-made connection is left behind."""
        self._thread.start()
        with anyio.CancelScope(shield=True):
            try:
                self._connection = await self._hop(self._connector)
            except BaseException:
                # Wait for the thread: it must not report to an event loop that is gone.
                stopped = self.stop()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - as below
                await cast("asyncio.Future[None]", stopped)
                raise

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads. It must not write: nothing here holds the lock against other processes."""
        return await self._hop(lambda: work(self._conn))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` returns, once its transaction is on the disk.

        `work` may be run again if it was rolled back for another's fault, so it touches nothing but the database.
        Shielded: a cancelled caller still learns what happened, and meets its cancellation at its next await.
        """
        job = _Job(work)
        self._waiting.append(job)
        if not self._committing:
            self._commit_waiting()
        with anyio.CancelScope(shield=True):
            await job.told
        return job.result

    def _commit_waiting(self) -> None:
        jobs, self._waiting = self._waiting, []
        self._committing = True
        self._hop(lambda: commit(self._conn, jobs)).add_done_callback(lambda hop: self._committed(jobs, hop))

    def _committed(self, jobs: Sequence[_Job[Any]], hop: "asyncio.Future[None]") -> None:
        self._committing = False
        if self._waiting:  # before the answers go out, so that the thread is not left idle
            self._commit_waiting()
        failure = hop.exception()
        for job in jobs:
            job.error = job.error or failure
            job.tell()

    def _hop(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((done, work))  # pyright: ignore[reportUnknownMemberType] - aiosqlite leaves it half typed
        return done


class Reports:
    """A second connection, for reads that take long. It is opened when the first of them is asked for.

    In a WAL it neither waits for who writes nor keeps them waiting, and each read is of one moment.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        self._connector = connector
        self._connection: Connection | None = None
        self._turn = anyio.Lock()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Not to be called after `close`."""
        async with self._turn:
            connection = self._connection or await self._opened()
        return await connection.read(lambda db: _at_one_moment(db, work))

    async def close(self) -> None:
        """Finish what is queued and close."""
        async with self._turn:
            if self._connection is not None:
                await self._connection.close()

    async def _opened(self) -> Connection:
        connection = Connection(self._connector)
        await connection.start()
        self._connection = connection
        return connection


def _at_one_moment(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN")
    try:
        return work(db)
    finally:
        db.rollback()


def commit(db: sqlite3.Connection, jobs: Sequence[_Job[Any]]) -> None:
    """Run `jobs` in one transaction, or each in its own when one of them is at fault."""
    try:
        db.execute("BEGIN IMMEDIATE")
        for job in jobs:
            job.result = job.work(db)
        db.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - the edge of the thread: it is raised where the job is awaited
        for job in jobs:
            job.error = error
        db.rollback()
        if len(jobs) > 1 and not isinstance(error, sqlite3.OperationalError):  # a lock or the disk is the same for all
            for job in jobs:
                job.error = None
                commit(db, [job])
