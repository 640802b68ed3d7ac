"""The store on SQLite: one file, shared by every process of the user."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio

from orchestra_router.clock import Clock
from orchestra_router.errors import StoreError
from orchestra_router.store import (
    access_keys,
    adjustments,
    alerts,
    audit,
    cache,
    cache_feedback,
    health,
    learned,
    ledger,
    opening,
    personal,
    reports,
    request_log,
    retention,
    traffic,
    trail,
    views,
)
from orchestra_router.store.adjustment_records import Adjustment, PricedAttempt, UsedRow
from orchestra_router.store.alert_records import Alert, Delivery
from orchestra_router.store.audit_records import AuditCheck, AuditEvent, AuditRow
from orchestra_router.store.cache_records import (
    CacheContents,
    CacheEntry,
    CacheFindings,
    CacheGroupBy,
    CacheLimits,
    CacheMatch,
    CacheQuestion,
    CacheRates,
    CacheReading,
    CacheVector,
    ShelfFindings,
    ShelfQuestion,
    ShelvedVector,
    WrongPair,
)
from orchestra_router.store.connection import Connection, Glance, Reports
from orchestra_router.store.health_records import HealthChange, HealthRow, Standing, Traffic, Window
from orchestra_router.store.key_records import AccessKey, KeyChange, Throttled
from orchestra_router.store.learned_records import LearnedRows
from orchestra_router.store.ledger_records import Denied, Hold, Limit, Settled, Settlement, Spent
from orchestra_router.store.owner import this_process
from orchestra_router.store.personal_records import Erased, Row
from orchestra_router.store.report_records import CacheReport, GroupBy, ReportRow
from orchestra_router.store.request_records import RequestRecord
from orchestra_router.store.view_records import (
    Choices,
    Cut,
    Dimension,
    Failures,
    Figures,
    Latencies,
    RecentRequest,
)
from orchestra_router.types import LOCAL_KEY

T = TypeVar("T")
P = ParamSpec("P")

RETRY_OPEN_S = 0.02


ANY = ""
"""Stands for every entry of the cache."""


class SqliteStore:
    """A method is one hop to a connection's thread, and part of one transaction. Made by `open`.

    What is read for a person to look at has a connection of its own, so that no call waits for a report. The look in
    the cache and at what is set aside, which every call takes, is a few look-ups by key: it is done at once, on the
    event loop's own thread, where it takes a tenth of a hop. In a WAL no read waits for anybody.
    """

    def __init__(self, connection: Connection, path: Path, *, busy_timeout_s: float) -> None:
        self._connection = connection
        self._path = path
        self._closed = False
        self._file = opening.identity(path)
        connection.explain = explain = partial(_explained, path=path)
        self._glance = Glance(lambda: opening.connect_to_read(path, self._file, busy_timeout_s=0))
        self._reports = Reports(
            lambda: opening.connect_to_read(path, self._file, busy_timeout_s=busy_timeout_s), explain=explain
        )
        self._being_written: Counter[str] = Counter()
        """Keys of the cache, what is comparable with what, and `ANY`, that this process has yet to write."""

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        busy_timeout_s: float = opening.BUSY_TIMEOUT_S,
    ) -> "SqliteStore":
        """Open the database at `path`, creating it and its folder if need be.

        `busy_timeout_s` is how long a write waits for another process's before it fails.

        Raises:
            StoreError: it cannot be used; the message names the file and the way out, and the file is left as it is.
        """
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

    # --- ledger ----------------------------------------------------------------------------------------------

    async def hold(self, hold: Hold, limits: Sequence[Limit]) -> Denied | Throttled | None:
        def work(db: sqlite3.Connection) -> Denied | Throttled | None:
            if opening.identity(self._path) != self._file:
                # Other processes would count in another file, and each would have the whole budget.
                raise opening.removed(self._path)
            return _held(db, hold, limits)

        # Settlements that were asked for before can only leave more to spend, so that they matter where there is too little.
        return await self._to(self._connection.write_first, work, _is_granted)

    def settle(self, settlement: Settlement) -> asyncio.Future[Settled]:
        # A hold that a power cut brings back counts at its worst case, so nobody waits for the disk here.
        def work(db: sqlite3.Connection) -> Settled:
            health.keep_allowances(db, settlement.allowances)
            return ledger.settle(db, settlement)

        return self._to(self._connection.write_soon, work)

    async def reclaim(self, *, now_ms: int, keep: Collection[str] = ()) -> int:
        return await self._write(lambda db: ledger.reclaim(db, now_ms=now_ms, keep=keep))

    async def spent(self, holder: str, period: str) -> Spent:
        return await self._read(lambda db: ledger.spent(db, holder, period))

    # --- alerts ----------------------------------------------------------------------------------------------

    async def claim(self, *, by: str, now_ms: int, until_ms: int) -> Delivery | None:
        return await self._write(lambda db: alerts.claim(db, by=by, now_ms=now_ms, until_ms=until_ms))

    async def delivered(self, delivery_id: str, *, by: str) -> None:
        await self._write(lambda db: alerts.delivered(db, delivery_id, by=by))

    async def postpone(self, delivery_id: str, *, by: str, due_ms: int) -> None:
        await self._write(lambda db: alerts.postpone(db, delivery_id, by=by, due_ms=due_ms))

    async def next_delivery_ms(self) -> int | None:
        return await self._read(alerts.next_delivery_ms)

    async def drop_undelivered(self, *, raised_before_ms: int) -> int:
        return await self._write(lambda db: alerts.drop_undelivered(db, raised_before_ms=raised_before_ms))

    # --- cache -----------------------------------------------------------------------------------------------

    async def looked_up(self, question: CacheQuestion, *, now_ms: int) -> CacheFindings:
        def work(db: sqlite3.Connection) -> CacheFindings:
            return cache.looked_up(db, question, now_ms=now_ms)

        return await self._looked(work, {question.key, *_comparable_with(question.rough, question.figures)})

    async def on_shelf(self, question: ShelfQuestion, *, now_ms: int) -> ShelfFindings:
        def work(db: sqlite3.Connection) -> ShelfFindings:
            return cache.on_shelf(db, question, now_ms=now_ms)

        return await self._looked(work, {*_comparable_with(question.rough, question.figures)})

    async def vectors(self, shelf: str, embedder: str, *, after: int) -> tuple[ShelvedVector, ...]:
        return await self._read(lambda db: cache.vectors(db, shelf, embedder, after=after))

    async def entries(self, entry_ids: Sequence[str], *, now_ms: int) -> tuple[CacheEntry, ...]:
        return await self._looked(lambda db: cache.entries(db, entry_ids, now_ms=now_ms), ())

    def keep(
        self, entry: CacheEntry, vector: CacheVector | None, *, limits: CacheLimits, now_ms: int
    ) -> asyncio.Future[None]:
        # Losing it costs money, but no answer.
        keeping = partial(cache.keep, entry=entry, vector=vector, limits=limits, now_ms=now_ms)
        return self._marked(
            self._to(self._connection.write_later, _kept, keeping),
            {entry.key, entry.rough, f"{entry.rough} {entry.figures}"} if entry.rough else {entry.key},
        )

    async def keep_vectors(self, vectors: Sequence[CacheVector], readings: Sequence[CacheReading] = ()) -> None:
        def work(db: sqlite3.Connection) -> None:
            cache.keep_readings(db, readings)
            cache.keep_vectors(db, vectors)

        await self._cache_write(work)

    async def drop_vectors(self, numbers: Sequence[int]) -> None:
        await self._cache_write(lambda db: cache.drop_vectors(db, numbers))

    async def drop_cached(self, *, entry_id: str | None = None, expired_before_ms: int | None = None) -> int:
        return await self._cache_write(
            lambda db: cache.drop_cached(db, entry_id=entry_id, expired_before_ms=expired_before_ms)
        )

    async def cache_entry(self, entry_id: str) -> CacheEntry | None:
        return await self._read(lambda db: cache_feedback.entry(db, entry_id))

    async def cache_entries(self, *, most: int) -> tuple[CacheEntry, ...]:
        return await self._report(lambda db: cache_feedback.newest(db, most=most))

    async def cache_matches(
        self, *, entry_id: str | None = None, served: bool | None = None, most: int
    ) -> tuple[CacheMatch, ...]:
        return await self._report(lambda db: cache_feedback.matches(db, entry_id=entry_id, served=served, most=most))

    async def mark_wrong(self, entry_id: str, pairs: Sequence[WrongPair], *, now_ms: int) -> bool:
        return await self._cache_write(lambda db: cache_feedback.mark_wrong(db, entry_id, pairs, now_ms=now_ms))

    async def cache_contents(self) -> CacheContents:
        return await self._report(cache_feedback.contents)

    async def cache_rates(
        self, *, first_day: str, last_day: str, group_by: CacheGroupBy | None = None
    ) -> tuple[CacheRates, ...]:
        return await self._report(
            lambda db: cache_feedback.rates(db, first_day=first_day, last_day=last_day, group_by=group_by)
        )

    # --- health ----------------------------------------------------------------------------------------------

    async def health(self) -> Standing:
        return await self._glanced(health.health)

    async def change_health(
        self,
        targets: Sequence[str],
        change: HealthChange,
        *,
        window: Window | None = None,
        alert: Alert | None = None,
    ) -> Mapping[str, HealthRow]:
        return await self._write(lambda db: health.change_health(db, targets, change, window=window, alert=alert))

    async def restore(self, target: str) -> None:
        await self._write(lambda db: health.restore(db, target))

    async def traffic(self, *, day: str, since_ms: int) -> tuple[Traffic, ...]:
        return await self._report(lambda db: traffic.traffic(db, day=day, since_ms=since_ms))

    # --- what was learned ------------------------------------------------------------------------------------

    async def learned(self, *, first_day: str) -> LearnedRows:
        return await self._read(lambda db: learned.learned(db, first_day=first_day))

    async def forget_learned(self, *, task: str | None = None) -> int:
        return await self._write(lambda db: learned.forget(db, task=task))

    # --- records and reports ---------------------------------------------------------------------------------

    def record(self, record: RequestRecord) -> asyncio.Future[None]:
        # What an answer cost is in the ledger; of a power cut's last moment the record may be lost.
        return self._to(self._connection.write_later, _recorded, record)

    async def attempts_of(self, request_or_trace_id: str) -> tuple[Mapping[str, object], ...]:
        return await self._read(lambda db: reports.attempts_of(db, request_or_trace_id))

    async def requests_of(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        return await self._read(lambda db: reports.requests_of(db, request_or_trace_id, most=most))

    async def report(
        self,
        *,
        first_day: str,
        last_day: str,
        group_by: GroupBy | None = None,
        field: str = "",
        access_key: str | None = None,
    ) -> tuple[ReportRow, ...]:
        return await self._report(
            lambda db: reports.report(
                db, first_day=first_day, last_day=last_day, group_by=group_by, field=field, access_key=access_key
            )
        )

    async def cache_report(self, *, first_day: str, last_day: str, access_key: str | None = None) -> CacheReport:
        return await self._report(
            lambda db: reports.cache_report(db, first_day=first_day, last_day=last_day, access_key=access_key)
        )

    async def alerts(
        self, *, first_day: str, last_day: str, access_key: str | None = None
    ) -> tuple[Mapping[str, object], ...]:
        return await self._report(
            lambda db: reports.alerts(db, first_day=first_day, last_day=last_day, access_key=access_key)
        )

    # --- the dashboard ---------------------------------------------------------------------------------------

    async def figures(self, cut: Cut, *, by: Dimension = "", per_quarter: bool = False) -> tuple[Figures, ...]:
        read = views.quarters if per_quarter else views.figures
        return await self._report(lambda db: read(db, cut, by=by))

    async def latencies(self, cut: Cut, *, per_quarter: bool = False) -> tuple[Latencies, ...]:
        return await self._report(lambda db: views.latencies(db, cut, per_quarter=per_quarter))

    async def latencies_by_deployment(self, cut: Cut) -> tuple[Latencies, ...]:
        return await self._report(lambda db: views.latencies_by_deployment(db, cut))

    async def failures(self, cut: Cut) -> tuple[Failures, ...]:
        return await self._report(lambda db: views.failures(db, cut))

    async def recent_requests(
        self, cut: Cut, *, since_ms: int, until_ms: int, before: str = "", only_failed: bool = False, most: int
    ) -> tuple[RecentRequest, ...]:
        return await self._report(
            lambda db: views.recent(
                db, cut, since_ms=since_ms, until_ms=until_ms, before=before, only_failed=only_failed, most=most
            )
        )

    async def choices(self, *, first_day: str, last_day: str) -> Choices:
        return await self._report(lambda db: views.choices(db, first_day=first_day, last_day=last_day))

    async def version(self) -> int:
        return await self._report(views.version)

    # --- price fixes and retention ---------------------------------------------------------------------------

    async def used(self, provider: str, *, first_day: str, last_day: str) -> tuple[UsedRow, ...]:
        return await self._report(lambda db: adjustments.used(db, provider, first_day=first_day, last_day=last_day))

    async def priced_attempts(
        self, *, first_day: str, last_day: str, model: str = "", after: int = 0, most: int
    ) -> tuple[PricedAttempt, ...]:
        return await self._report(
            lambda db: adjustments.priced_attempts(
                db, first_day=first_day, last_day=last_day, model=model, after=after, most=most
            )
        )

    async def adjust(self, adjusted: Sequence[Adjustment]) -> int:
        return await self._write(lambda db: _adjusted(db, adjusted))

    async def claim_chore(self, name: str, *, now_ms: int, until_ms: int, latest_ms: int) -> bool:
        return await self._write(
            lambda db: retention.claim_chore(db, name, now_ms=now_ms, until_ms=until_ms, latest_ms=latest_ms)
        )

    async def postpone_chore(self, name: str, *, due_ms: int) -> None:
        await self._write(lambda db: retention.postpone_chore(db, name, due_ms=due_ms))

    async def forget(self, *, attempts_before: str, requests_before: str, most: int) -> int:
        return await self._write(
            lambda db: retention.forget(db, attempts_before=attempts_before, requests_before=requests_before, most=most)
        )

    # --- audit -----------------------------------------------------------------------------------------------

    async def audit(self, event: AuditEvent, *, if_new: bool = False) -> None:
        await self._write(lambda db: audit.append_news(db, event) if if_new else audit.append(db, event))

    async def verify_audit(self, *, known: tuple[int, str] | None = None) -> AuditCheck:
        return await self._report(lambda db: audit.verify(db, known=known))

    async def drop_audit(self, *, before_ms: int, now_ms: int, most: int) -> int:
        return await self._write(lambda db: audit.drop_before(db, before_ms, now_ms=now_ms, most=most))

    async def audit_rows(self, *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        return await self._report(lambda db: audit.rows(db, after=after, limit=limit))

    # --- the request log -------------------------------------------------------------------------------------

    async def exchanges(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        return await self._report(lambda db: request_log.exchanges(db, request_or_trace_id, most=most))

    async def newest_requests(self, *, user: str | None = None, most: int) -> tuple[Mapping[str, object], ...]:
        return await self._report(lambda db: request_log.newest(db, user=user, most=most))

    async def drop_exchanges(self, *, before_ms: int, most: int) -> int:
        return await self._write(lambda db: request_log.drop_before(db, before_ms, most=most))

    # --- one person's data -----------------------------------------------------------------------------------

    async def export_user(self, user: str, write: Callable[[str, Row], None]) -> None:
        await self._report(lambda db: personal.export(db, user, write))

    async def erase_user(self, user: str, *, now_ms: int) -> Erased:
        return await self._cache_write(lambda db: personal.erase(db, user, now_ms=now_ms))

    async def rebuild(self) -> bool:
        # As a read: it begins no transaction, and SQLite rebuilds a database outside of any.
        return await self._read(lambda db: personal.rebuild(db, self._path))

    # --- access keys -----------------------------------------------------------------------------------------

    async def access_key(self, key_id: str) -> AccessKey | None:
        return await self._read(lambda db: access_keys.get(db, key_id))

    async def access_keys(self) -> tuple[AccessKey, ...]:
        return await self._report(access_keys.every)

    async def add_access_key(self, key: AccessKey, event: AuditEvent) -> None:
        await self._write(lambda db: access_keys.add(db, key, event))

    async def change_access_key(
        self, key_id: str, change: KeyChange, event: Callable[[AccessKey, AccessKey], AuditEvent]
    ) -> tuple[AccessKey, AccessKey] | None:
        return await self._write(lambda db: access_keys.change(db, key_id, change, event))

    async def key_used(self, key_id: str, *, at_ms: int) -> None:
        await self._write(lambda db: access_keys.used(db, key_id, at_ms=at_ms))

    # --- the hop ---------------------------------------------------------------------------------------------

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        return await self._connection.read(work)

    async def _glanced(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `_read`, at once, for what is found by its key. What this process has yet to write may be missing."""
        self._check_open()
        try:
            return self._glance.read(work)
        except (sqlite3.Error, StoreError):
            # Perhaps the last process to close the file is at it; the other connection waits for that, or says why not.
            self._glance.close()
            return await self._read(work)

    async def _looked(self, work: Callable[[sqlite3.Connection], T], names: Collection[str]) -> T:
        """As `_glanced`, in the cache, unless this process has yet to write something under one of `names`."""
        is_written = not self._being_written.keys() & {ANY, *names}
        return await (self._glanced(work) if is_written else self._read(work))

    async def _report(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `_read`, for what may take long."""
        self._check_open()
        await self._connection.drained()
        return await self._reports.read(work)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Shielded: a cancelled caller still learns what happened, and meets its cancellation at its next await."""
        written = self._to(self._connection.write, work)
        with anyio.CancelScope(shield=True):
            await asyncio.wait({written})
        return written.result()

    def _to(self, write: Callable[P, asyncio.Future[T]], *work: P.args, **how: P.kwargs) -> asyncio.Future[T]:
        """As `_write`, for who does not wait. What goes wrong is raised where the result is asked for."""
        if self._closed:
            refused: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            refused.set_exception(self._ended())
            return refused
        return write(*work, **how)

    def _cache_write(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        return self._marked(self._to(self._connection.write, work), (ANY,))

    def _marked(self, written: asyncio.Future[T], names: Collection[str]) -> asyncio.Future[T]:
        """A write after which looks in the cache for `names` find something else."""
        self._being_written.update(names)

        def forget(_: asyncio.Future[T]) -> None:
            self._being_written.subtract(names)
            for name in names:
                if not self._being_written[name]:
                    del self._being_written[name]

        written.add_done_callback(forget)
        return written

    def _check_open(self) -> None:
        if self._closed:
            raise self._ended()

    def _ended(self) -> StoreError:
        return StoreError(f"{self._path} has been closed, because this process is ending.")


def _comparable_with(rough: str, figures: str) -> tuple[str, ...]:
    """What may be compared with such a prompt, as it is named while it is written. Of no figures: with any."""
    if not rough:
        return ()
    return (f"{rough} {figures}", f"{rough} ") if figures else (rough,)


def _explained(error: Exception, *, path: Path) -> Exception:
    if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
        return opening.explain(error, path)
    return error  # our own code sent a value that the schema refuses; the database is well


# --- what leaves a trace: in one transaction with the trail, so that there is never one without the other ------------


def _held(db: sqlite3.Connection, hold: Hold, limits: Sequence[Limit]) -> Denied | Throttled | None:
    if hold.scope.access_key != LOCAL_KEY and (throttled := access_keys.throttled(db, hold)) is not None:
        return throttled
    denied = ledger.hold(db, hold, limits, owner=this_process())
    if denied is None and hold.approved_nusd:
        audit.append(db, trail.approved(hold))
    return denied


def _is_granted(denied: Denied | Throttled | None) -> bool:
    return denied is None


def _recorded(db: sqlite3.Connection, records: Sequence[RequestRecord]) -> None:
    reports.record(db, records)
    events: list[AuditEvent] = []
    for record in records:
        learned.count_escalation(db, record)
        cache.note_use(db, record)
        if record.exchange is not None:
            request_log.keep(db, record.request_id, record.exchange, at_ms=record.created_ms)
        if record.refusal is not None:
            # Not when a hold is denied: it may be tried again, and something cheaper may be asked instead.
            events.append(trail.refused(record, record.refusal))
        events.append(trail.requested(record))
    audit.append_all(db, events)


def _adjusted(db: sqlite3.Connection, adjusted: Sequence[Adjustment]) -> int:
    written = adjustments.adjust(db, adjusted)
    if written:
        audit.append(db, trail.adjusted(written))
    return len(written)


def _kept(db: sqlite3.Connection, keeping: Sequence[Callable[[sqlite3.Connection], None]]) -> None:
    for keep in keeping:
        keep(db)
