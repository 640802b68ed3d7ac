"""SQLite connections, each on a thread of its own: one for all that is short, and one for reports.

A hop to that thread costs more than a statement does, and a commit waits for the disk. So whatever is asked for in one
turn of the event loop, or waits while the thread is busy, is one hop: the writes one transaction together, each whole
or not at all, then the reads, which see them.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import aiosqlite
import anyio

T = TypeVar("T")
Explain = Callable[[Exception], Exception]


def _as_it_is(error: Exception) -> Exception:
    return error


class Job(Generic[T]):
    """What waits for its turn. The thread sets `result` or `error`; `told` is the caller's."""

    __slots__ = ("durable", "error", "result", "told", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> None:
        self.work = work
        self.durable = durable
        self.result: T
        self.error: Exception | None = None
        self.told: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def tell(self, explain: Explain) -> None:
        if self.told.done():  # its task was cancelled past our shield; a write stands all the same
            return
        if self.error is not None:
            self.told.set_exception(explain(self.error))
        else:
            self.told.set_result(self.result)


class Connection(aiosqlite.Connection):
    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # A process that ends without closing must not hang on this thread; what was committed is on the disk.
        self._thread.daemon = True
        self.explain: Explain = _as_it_is
        """Makes of an error what callers are told."""
        self._writes: list[Job[Any]] = []
        self._reads: list[Job[Any]] = []
        self._is_woken = False
        self._is_busy = False

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
        """What `work` reads, of every write that was asked for before. It must not write itself."""
        job = Job(work)
        self._reads.append(job)
        self._wake()
        return await job.told

    def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = True) -> "asyncio.Future[T]":
        """What `work` returns, once its transaction is written; writes are carried out in the order of the calls.

        `work` may be run again if it was rolled back for another's fault, so it touches nothing but the database. It is
        carried out whether or not anybody waits for it. `durable`: it is on the disk then; otherwise it survives the
        end of every process, and a power cut from the next durable write on.
        """
        job = Job(work, durable=durable)
        self._writes.append(job)
        self._wake()
        return job.told

    async def drained(self) -> None:
        """Returns once every write that was asked for has been carried out."""
        if self._writes or self._is_busy:
            await self.read(_nothing)

    def _wake(self) -> None:
        # At the end of this turn of the loop: others may ask for something in it, too.
        if not (self._is_woken or self._is_busy):
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        self._is_woken = False
        writes, self._writes = self._writes, []
        reads, self._reads = self._reads, []
        self._is_busy = True
        self._hop(lambda: carry_out(self._conn, writes, reads)).add_done_callback(
            lambda hop: self._carried_out((*writes, *reads), hop)
        )

    def _carried_out(self, jobs: Sequence[Job[Any]], hop: "asyncio.Future[None]") -> None:
        self._is_busy = False
        if self._writes or self._reads:  # before the answers go out, so that the thread is not left idle
            self._go()
        failure = hop.exception()
        for job in jobs:
            if isinstance(failure, Exception):
                job.error = job.error or failure
            job.tell(self.explain)

    def _hop(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tx.put_nowait((done, work))  # pyright: ignore[reportUnknownMemberType] - aiosqlite leaves it half typed
        return done


class Reports:
    """A second connection, for reads that take long. It is opened when the first of them is asked for.

    In a WAL it neither waits for who writes nor keeps them waiting, and each read is of one moment.
    """

    def __init__(self, connector: Callable[[], sqlite3.Connection], *, explain: Explain) -> None:
        self._connector = connector
        self._explain = explain
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
        connection.explain = self._explain
        await connection.start()
        self._connection = connection
        return connection


class Glance:
    """A third connection, read on the event loop's own thread. It is opened at the first read."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        self._connector = connector
        self._db: sqlite3.Connection | None = None

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Raises: sqlite3.Error, StoreError: it cannot be read now; whoever is to wait for it does so elsewhere."""
        if self._db is None:
            self._db = self._connector()
        return work(self._db)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _at_one_moment(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN")
    try:
        return work(db)
    finally:
        db.rollback()


def carry_out(db: sqlite3.Connection, writes: Sequence[Job[Any]], reads: Sequence[Job[Any]]) -> None:
    if writes:
        relaxed = not any(job.durable for job in writes)
        if relaxed:
            db.execute("PRAGMA synchronous = NORMAL")
        try:
            commit(db, writes)
        finally:
            if relaxed:
                db.execute("PRAGMA synchronous = FULL")
    for job in reads:
        try:
            job.result = job.work(db)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: it is raised where the job is awaited
            job.error = error


def commit(db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
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


def _nothing(_: sqlite3.Connection) -> None:
    """What has nothing to read."""
