"""SQLite connections, each on a thread of its own: one for all that is short, and one for reports.

A hop to that thread costs more than a statement does, and a commit waits for the disk. So whatever is asked for in one
turn of the event loop, or waits while the thread is busy, is one hop. What is urgent goes at once or comes first, in a
transaction of its own, and its callers are told before the rest is begun; then the other writes in another, each whole
or not at all; then the reads, which see them all. What nobody waits for is carried out later, many at a time.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

import aiosqlite
import anyio

T = TypeVar("T")
Item = TypeVar("Item")
Explain = Callable[[Exception], Exception]

LATER_S = 0.02
"""How long a write that nobody waits for may wait for others."""
TOGETHER = 32
"""So many of those go with the next hop, behind what is urgent: whoever waited for that is off to a provider."""
CHECKPOINT_EVERY = 8
"""Hops that have written what is not urgent, before the WAL is put into the database behind the next of them."""


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
        if self.told.done():  # told before, or its caller was cancelled; a write stands all the same
            return
        if self.error is not None:
            self.told.set_exception(explain(self.error))
        else:
            self.told.set_result(self.result)


class Urgent(Job[T]):
    """What comes ahead of writes that were asked for before, and is done again behind them where they may matter."""

    __slots__ = ("is_final",)

    def __init__(self, work: Callable[[sqlite3.Connection], T], is_final: Callable[[T], bool]) -> None:
        super().__init__(work)
        self.is_final = is_final

    def is_to_be_done_again(self) -> bool:
        # A caller who has left asked for the end of what is written, which would come too early.
        return self.error is None and not self.told.cancelled() and not self.is_final(self.result)


class Part(Job[None]):
    """One of many that are carried out as one: `of_all` is called with all their items."""

    __slots__ = ("item", "of_all")

    def __init__(self, of_all: Callable[[sqlite3.Connection, Sequence[Any]], None], item: Any) -> None:
        super().__init__(lambda db: of_all(db, [item]), durable=False)
        self.of_all = of_all
        self.item = item


class Connection(aiosqlite.Connection):
    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # A process that ends without closing must not hang on this thread; what was committed is on the disk.
        self._thread.daemon = True
        self.explain: Explain = _as_it_is
        """Makes of an error what callers are told."""
        self._urgent: list[Urgent[Any]] = []
        self._writes: list[Job[Any]] = []
        self._reads: list[Job[Any]] = []
        self._is_due = False
        """Whether the next hop takes more than what is urgent."""
        self._timer: asyncio.TimerHandle | None = None
        self._until_checkpoint = CHECKPOINT_EVERY
        """Hops."""
        self._is_woken = False
        self._is_busy = False

    async def start(self) -> None:
        """Start the thread and connect on it. Shielded, so that no half-made connection is left behind."""
        self._thread.start()
        with anyio.CancelScope(shield=True):
            try:
                connected: asyncio.Future[sqlite3.Connection] = asyncio.get_running_loop().create_future()
                self._send(connected, self._connector)
                self._connection = await connected
            except BaseException:
                # Wait for the thread: it must not report to an event loop that is gone.
                stopped = self.stop()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - as below
                await cast("asyncio.Future[None]", stopped)
                raise

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads, of every write that was asked for before. It must not write itself."""
        job = Job(work)
        self._reads.append(job)
        self._is_due = True
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
        self._is_due = True
        self._wake()
        return job.told

    def write_first(
        self, work: Callable[[sqlite3.Connection], T], is_final: Callable[[T], bool]
    ) -> "asyncio.Future[T]":
        """As `write`, durable and ahead of all others. Where the result is not final, it is the one behind them."""
        job = Urgent(work, is_final)
        self._urgent.append(job)
        if not self._is_busy:
            self._go()  # now: a turn of the loop is long for who waits for this alone
        return job.told

    def write_later(self, work: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """As `write` and not durable, when there is time, with others that can wait."""
        return self._when_there_is_time(Job(work, durable=False))

    def write_together(
        self, of_all: Callable[[sqlite3.Connection, Sequence[Item]], None], item: Item
    ) -> "asyncio.Future[None]":
        """As `write_later`, with all that wait for the same `of_all`, in their order.

        They come ahead of other writes of the same hop. Should it be one item's fault, each is carried out alone.
        """
        return self._when_there_is_time(Part(of_all, item))

    async def drained(self) -> None:
        """Returns once every write that was asked for has been carried out."""
        if self._urgent or self._writes or self._is_busy:
            await self.read(_nothing)

    async def close(self) -> None:
        """Carry out what was asked for, and close. Nothing may be asked for after that."""
        await self.read(_nothing)
        await super().close()

    def _when_there_is_time(self, job: Job[T]) -> "asyncio.Future[T]":
        self._writes.append(job)
        if len(self._writes) >= TOGETHER:
            self._is_due = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATER_S, self._late)
        return job.told

    def _late(self) -> None:
        self._is_due = True
        self._wake()

    def _wake(self) -> None:
        # At the end of this turn of the loop: others may ask for something in it, too.
        if not (self._is_woken or self._is_busy):
            self._is_woken = True
            asyncio.get_running_loop().call_soon(self._go)

    def _go(self) -> None:
        self._is_woken = False
        if self._is_busy:  # something urgent went first; the rest goes behind it
            return
        self._is_busy = True
        urgent, self._urgent = self._urgent, []
        # Those that are not due go along all the same: what is urgent may have to come behind them.
        writes, self._writes = self._writes, []
        is_due, self._is_due = self._is_due, False
        reads: list[Job[Any]] = []
        if is_due:
            reads, self._reads = self._reads, reads
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        is_checkpoint_due = is_due and self._until_checkpoint <= 0
        if is_checkpoint_due:
            self._until_checkpoint = CHECKPOINT_EVERY
        on_the_loop = asyncio.get_running_loop().call_soon_threadsafe

        def hop() -> None:
            left: list[Job[Any]] = []
            failure: Exception | None = None
            try:
                left = carry_out(self._conn, urgent, writes, reads, partial(on_the_loop, self._tell), is_due=is_due)
                if is_checkpoint_due:
                    on_the_loop(self._tell, (*urgent, *writes, *reads))
                    checkpoint(self._conn)
            except Exception as error:  # noqa: BLE001 - the edge of the thread, as below
                failure = error
            written = [] if left else writes
            on_the_loop(
                partial(self._carried_out, is_written=bool(written)), (*urgent, *written, *reads), left, failure
            )

        self._send(None, hop)

    def _carried_out(
        self, jobs: Sequence[Job[Any]], left: list[Job[Any]], failure: Exception | None, *, is_written: bool
    ) -> None:
        self._until_checkpoint -= is_written
        self._is_busy = False
        self._writes[:0] = left
        if self._urgent or self._is_due:  # before the answers go out, so that the thread is not left idle
            self._go()
        for job in jobs:
            job.error = job.error or failure
        self._tell(jobs)

    def _tell(self, jobs: Sequence[Job[Any]]) -> None:
        for job in jobs:
            job.tell(self.explain)

    def _send(self, done: asyncio.Future[T] | None, work: Callable[[], T]) -> None:
        self._tx.put_nowait((done, work))  # pyright: ignore[reportUnknownMemberType] - aiosqlite leaves it half typed


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


def carry_out(
    db: sqlite3.Connection,
    urgent: Sequence[Urgent[Any]],
    writes: Sequence[Job[Any]],
    reads: Sequence[Job[Any]],
    tell: Callable[[Sequence[Job[Any]]], object],
    *,
    is_due: bool,
) -> list[Job[Any]]:
    """Returns the writes that are left for another time: those that are not due, unless something comes behind them."""
    _commit_durably(db, urgent)
    again = [job for job in urgent if job.is_to_be_done_again()] if writes else []
    if not (is_due or again):
        return [*writes]
    if urgent and (writes or reads):
        tell([job for job in urgent if job not in again])
    _commit_durably(db, writes)
    _commit_durably(db, again)
    for job in reads:
        try:
            job.result = job.work(db)
        except Exception as error:  # noqa: BLE001 - the edge of the thread: it is raised where the job is awaited
            job.error = error
    return []


def _commit_durably(db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
    """As `commit`, waiting for the disk where one of the jobs is to be on it."""
    if not jobs:
        return
    relaxed = not any(job.durable for job in jobs)
    if relaxed:
        db.execute("PRAGMA synchronous = NORMAL")
    try:
        commit(db, jobs)
    finally:
        if relaxed:
            db.execute("PRAGMA synchronous = FULL")


def checkpoint(db: sqlite3.Connection) -> None:
    """Put the WAL into the database, as far as nobody is in the way."""
    try:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlite3.Error:
        # As when SQLite does it on its own: what is written is in the WAL, and another time will do.
        db.rollback()


def commit(db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
    """Run `jobs` in one transaction, or each in its own when one of them is at fault."""
    try:
        db.execute("BEGIN IMMEDIATE")
        _run(db, jobs)
        db.execute("COMMIT")
    except Exception as error:  # noqa: BLE001 - the edge of the thread: it is raised where the job is awaited
        for job in jobs:
            job.error = error
        db.rollback()
        if len(jobs) > 1 and not isinstance(error, sqlite3.OperationalError):  # a lock or the disk is the same for all
            for job in jobs:
                job.error = None
                commit(db, [job])


def _run(db: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
    parts: dict[Callable[[sqlite3.Connection, Sequence[Any]], None], list[Part]] = {}
    others: list[Job[Any]] = []
    for job in jobs:
        if isinstance(job, Part):
            parts.setdefault(job.of_all, []).append(job)
            job.result = None
        else:
            others.append(job)
    for of_all, alike in parts.items():
        of_all(db, [part.item for part in alike])
    for job in others:
        job.result = job.work(db)


def _nothing(_: sqlite3.Connection) -> None:
    """What has nothing to read."""
