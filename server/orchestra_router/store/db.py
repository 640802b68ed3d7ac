"""The store on SQLite: one file, shared by every process of the user."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from orchestra_router.clock import Clock
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
    requests,
    retention,
    traced,
    traffic,
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
from orchestra_router.store.health_records import HealthChange, HealthRow, Standing, Traffic, Window
from orchestra_router.store.hops import Hops
from orchestra_router.store.key_records import AccessKey, KeyChange, Throttled
from orchestra_router.store.learned_records import LearnedRows
from orchestra_router.store.ledger_records import Denied, Hold, Limit, Settled, Settlement, Spent
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


class SqliteStore:
    """Each method says what a part of the store does and how urgent it is, and leaves the SQL to that part's module.

    Made by `open`.
    """

    def __init__(self, hops: Hops) -> None:
        self._hops = hops

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
        return cls(await Hops.open(path, clock=clock, busy_timeout_s=busy_timeout_s))

    async def close(self) -> None:
        """Finish what is queued and close. Closing twice is fine."""
        await self._hops.close()

    # --- ledger ----------------------------------------------------------------------------------------------

    async def hold(self, hold: Hold, limits: Sequence[Limit]) -> Denied | Throttled | None:
        def work(db: sqlite3.Connection) -> Denied | Throttled | None:
            if opening.identity(self._hops.path) != self._hops.file:
                # Other processes would count in another file, and each would have the whole budget.
                raise opening.removed(self._hops.path)
            return traced.hold(db, hold, limits)

        # Settlements that wait to be written can only leave more to spend, so that they matter where there is too little.
        return await self._hops.write_first(work, _is_granted)

    def settle(self, settlement: Settlement) -> asyncio.Future[Settled]:
        # A hold that a power cut brings back counts at its worst case, so nobody waits for the disk here.
        def work(db: sqlite3.Connection) -> Settled:
            health.keep_allowances(db, settlement.allowances)
            return ledger.settle(db, settlement)

        # One that leaves less than the next hold would find goes ahead of that.
        return self._hops.write_first(work, _always) if settlement.is_overrun else self._hops.write_later(work)

    async def reclaim(self, *, now_ms: int, keep: Collection[str] = ()) -> int:
        return await self._hops.write(lambda db: ledger.reclaim(db, now_ms=now_ms, keep=keep))

    async def spent(self, holder: str, period: str) -> Spent:
        return await self._hops.read(lambda db: ledger.spent(db, holder, period))

    # --- alerts ----------------------------------------------------------------------------------------------

    async def claim(self, *, by: str, now_ms: int, until_ms: int) -> Delivery | None:
        return await self._hops.write(lambda db: alerts.claim(db, by=by, now_ms=now_ms, until_ms=until_ms))

    async def delivered(self, delivery_id: str, *, by: str) -> None:
        await self._hops.write(lambda db: alerts.delivered(db, delivery_id, by=by))

    async def postpone(self, delivery_id: str, *, by: str, due_ms: int) -> None:
        await self._hops.write(lambda db: alerts.postpone(db, delivery_id, by=by, due_ms=due_ms))

    async def next_delivery_ms(self) -> int | None:
        return await self._hops.read(alerts.next_delivery_ms)

    async def drop_undelivered(self, *, raised_before_ms: int) -> int:
        return await self._hops.write(lambda db: alerts.drop_undelivered(db, raised_before_ms=raised_before_ms))

    # --- cache -----------------------------------------------------------------------------------------------

    async def looked_up(self, question: CacheQuestion, *, now_ms: int) -> CacheFindings:
        def work(db: sqlite3.Connection) -> CacheFindings:
            return cache.looked_up(db, question, now_ms=now_ms)

        return await self._hops.look(work, (question.key, *_comparable_with(question.rough, question.figures)))

    async def on_shelf(self, question: ShelfQuestion, *, now_ms: int) -> ShelfFindings:
        def work(db: sqlite3.Connection) -> ShelfFindings:
            return cache.on_shelf(db, question, now_ms=now_ms)

        return await self._hops.look(work, _comparable_with(question.rough, question.figures))

    async def vectors(self, shelf: str, embedder: str, *, after: int) -> tuple[ShelvedVector, ...]:
        return await self._hops.read(lambda db: cache.vectors(db, shelf, embedder, after=after))

    async def entries(self, entry_ids: Sequence[str], *, now_ms: int) -> tuple[CacheEntry, ...]:
        return await self._hops.look(lambda db: cache.entries(db, entry_ids, now_ms=now_ms), ())

    def keep(
        self, entry: CacheEntry, vector: CacheVector | None, *, limits: CacheLimits, now_ms: int
    ) -> asyncio.Future[None]:
        # Losing it costs money, but no answer.
        keeping = partial(cache.keep, entry=entry, vector=vector, limits=limits, now_ms=now_ms)
        return self._hops.mark(
            self._hops.write_together(_kept, keeping),
            {entry.key, entry.rough, f"{entry.rough} {entry.figures}"} if entry.rough else {entry.key},
        )

    async def keep_vectors(self, vectors: Sequence[CacheVector], readings: Sequence[CacheReading] = ()) -> None:
        def work(db: sqlite3.Connection) -> None:
            cache.keep_readings(db, readings)
            cache.keep_vectors(db, vectors)

        await self._hops.write_in_cache(work)

    async def drop_vectors(self, numbers: Sequence[int]) -> None:
        await self._hops.write_in_cache(lambda db: cache.drop_vectors(db, numbers))

    async def drop_cached(self, *, entry_id: str | None = None, expired_before_ms: int | None = None) -> int:
        return await self._hops.write_in_cache(
            lambda db: cache.drop_cached(db, entry_id=entry_id, expired_before_ms=expired_before_ms)
        )

    async def cache_entry(self, entry_id: str) -> CacheEntry | None:
        return await self._hops.read(lambda db: cache_feedback.entry(db, entry_id))

    async def cache_entries(self, *, most: int) -> tuple[CacheEntry, ...]:
        return await self._hops.report(lambda db: cache_feedback.newest(db, most=most))

    async def cache_matches(
        self, *, entry_id: str | None = None, served: bool | None = None, most: int
    ) -> tuple[CacheMatch, ...]:
        return await self._hops.report(
            lambda db: cache_feedback.matches(db, entry_id=entry_id, served=served, most=most)
        )

    async def mark_wrong(self, entry_id: str, pairs: Sequence[WrongPair], *, now_ms: int) -> bool:
        return await self._hops.write_in_cache(lambda db: cache_feedback.mark_wrong(db, entry_id, pairs, now_ms=now_ms))

    async def cache_contents(self) -> CacheContents:
        return await self._hops.report(cache_feedback.contents)

    async def cache_rates(
        self, *, first_day: str, last_day: str, group_by: CacheGroupBy | None = None
    ) -> tuple[CacheRates, ...]:
        return await self._hops.report(
            lambda db: cache_feedback.rates(db, first_day=first_day, last_day=last_day, group_by=group_by)
        )

    # --- health ----------------------------------------------------------------------------------------------

    async def health(self) -> Standing:
        return await self._hops.glance(health.health)

    async def change_health(
        self,
        targets: Sequence[str],
        change: HealthChange,
        *,
        window: Window | None = None,
        alert: Alert | None = None,
    ) -> Mapping[str, HealthRow]:
        return await self._hops.write(lambda db: health.change_health(db, targets, change, window=window, alert=alert))

    async def restore(self, target: str) -> None:
        await self._hops.write(lambda db: health.restore(db, target))

    async def traffic(self, *, day: str, since_ms: int) -> tuple[Traffic, ...]:
        return await self._hops.report(lambda db: traffic.traffic(db, day=day, since_ms=since_ms))

    # --- what was learned ------------------------------------------------------------------------------------

    async def learned(self, *, first_day: str) -> LearnedRows:
        return await self._hops.read(lambda db: learned.learned(db, first_day=first_day))

    async def forget_learned(self, *, task: str | None = None) -> int:
        return await self._hops.write(lambda db: learned.forget(db, task=task))

    # --- records and reports ---------------------------------------------------------------------------------

    def record(self, record: RequestRecord) -> asyncio.Future[None]:
        # What an answer cost is in the ledger; of a power cut's last moment the record may be lost.
        return self._hops.write_together(traced.record, record)

    async def attempts_of(self, request_or_trace_id: str) -> tuple[Mapping[str, object], ...]:
        return await self._hops.read(lambda db: requests.attempts_of(db, request_or_trace_id))

    async def requests_of(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        return await self._hops.read(lambda db: requests.requests_of(db, request_or_trace_id, most=most))

    async def report(
        self,
        *,
        first_day: str,
        last_day: str,
        group_by: GroupBy | None = None,
        field: str = "",
        access_key: str | None = None,
    ) -> tuple[ReportRow, ...]:
        return await self._hops.report(
            lambda db: reports.report(
                db, first_day=first_day, last_day=last_day, group_by=group_by, field=field, access_key=access_key
            )
        )

    async def cache_report(self, *, first_day: str, last_day: str, access_key: str | None = None) -> CacheReport:
        return await self._hops.report(
            lambda db: reports.cache_report(db, first_day=first_day, last_day=last_day, access_key=access_key)
        )

    async def alerts(
        self, *, first_day: str, last_day: str, access_key: str | None = None
    ) -> tuple[Mapping[str, object], ...]:
        return await self._hops.report(
            lambda db: reports.alerts(db, first_day=first_day, last_day=last_day, access_key=access_key)
        )

    # --- the dashboard ---------------------------------------------------------------------------------------

    async def figures(self, cut: Cut, *, by: Dimension = "", per_quarter: bool = False) -> tuple[Figures, ...]:
        read = views.quarters if per_quarter else views.figures
        return await self._hops.report(lambda db: read(db, cut, by=by))

    async def latencies(self, cut: Cut, *, per_quarter: bool = False) -> tuple[Latencies, ...]:
        return await self._hops.report(lambda db: views.latencies(db, cut, per_quarter=per_quarter))

    async def latencies_by_deployment(self, cut: Cut) -> tuple[Latencies, ...]:
        return await self._hops.report(lambda db: views.latencies_by_deployment(db, cut))

    async def failures(self, cut: Cut) -> tuple[Failures, ...]:
        return await self._hops.report(lambda db: views.failures(db, cut))

    async def recent_requests(
        self, cut: Cut, *, since_ms: int, until_ms: int, before: str = "", only_failed: bool = False, most: int
    ) -> tuple[RecentRequest, ...]:
        return await self._hops.report(
            lambda db: views.recent(
                db, cut, since_ms=since_ms, until_ms=until_ms, before=before, only_failed=only_failed, most=most
            )
        )

    async def choices(self, *, first_day: str, last_day: str) -> Choices:
        return await self._hops.report(lambda db: views.choices(db, first_day=first_day, last_day=last_day))

    async def version(self) -> int:
        return await self._hops.report(views.version)

    # --- price fixes and retention ---------------------------------------------------------------------------

    async def used(self, provider: str, *, first_day: str, last_day: str) -> tuple[UsedRow, ...]:
        return await self._hops.report(
            lambda db: adjustments.used(db, provider, first_day=first_day, last_day=last_day)
        )

    async def priced_attempts(
        self, *, first_day: str, last_day: str, model: str = "", after: int = 0, most: int
    ) -> tuple[PricedAttempt, ...]:
        return await self._hops.report(
            lambda db: adjustments.priced_attempts(
                db, first_day=first_day, last_day=last_day, model=model, after=after, most=most
            )
        )

    async def adjust(self, adjusted: Sequence[Adjustment]) -> int:
        return await self._hops.write(lambda db: traced.adjust(db, adjusted))

    async def claim_chore(self, name: str, *, now_ms: int, until_ms: int, latest_ms: int) -> bool:
        return await self._hops.write(
            lambda db: retention.claim_chore(db, name, now_ms=now_ms, until_ms=until_ms, latest_ms=latest_ms)
        )

    async def postpone_chore(self, name: str, *, due_ms: int) -> None:
        await self._hops.write(lambda db: retention.postpone_chore(db, name, due_ms=due_ms))

    async def forget(self, *, attempts_before: str, requests_before: str, most: int) -> int:
        return await self._hops.write(
            lambda db: retention.forget(db, attempts_before=attempts_before, requests_before=requests_before, most=most)
        )

    # --- audit -----------------------------------------------------------------------------------------------

    async def audit(self, event: AuditEvent, *, if_new: bool = False) -> None:
        await self._hops.write(lambda db: audit.append_news(db, event) if if_new else audit.append(db, event))

    async def verify_audit(self, *, known: tuple[int, str] | None = None) -> AuditCheck:
        return await self._hops.report(lambda db: audit.verify(db, known=known))

    async def drop_audit(self, *, before_ms: int, now_ms: int, most: int) -> int:
        return await self._hops.write(lambda db: audit.drop_before(db, before_ms, now_ms=now_ms, most=most))

    async def audit_rows(self, *, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:
        return await self._hops.report(lambda db: audit.rows(db, after=after, limit=limit))

    # --- the request log -------------------------------------------------------------------------------------

    async def exchanges(self, request_or_trace_id: str, *, most: int) -> tuple[Mapping[str, object], ...]:
        return await self._hops.report(lambda db: request_log.exchanges(db, request_or_trace_id, most=most))

    async def newest_requests(self, *, user: str | None = None, most: int) -> tuple[Mapping[str, object], ...]:
        return await self._hops.report(lambda db: request_log.newest(db, user=user, most=most))

    async def drop_exchanges(self, *, before_ms: int, most: int) -> int:
        return await self._hops.write(lambda db: request_log.drop_before(db, before_ms, most=most))

    # --- one person's data -----------------------------------------------------------------------------------

    async def export_user(self, user: str, write: Callable[[str, Row], None]) -> None:
        await self._hops.report(lambda db: personal.export(db, user, write))

    async def erase_user(self, user: str, *, now_ms: int) -> Erased:
        return await self._hops.write_in_cache(lambda db: personal.erase(db, user, now_ms=now_ms))

    async def rebuild(self) -> bool:
        # As a read: it begins no transaction, and SQLite rebuilds a database outside of any.
        return await self._hops.read(lambda db: personal.rebuild(db, self._hops.path))

    # --- access keys -----------------------------------------------------------------------------------------

    async def access_key(self, key_id: str) -> AccessKey | None:
        return await self._hops.read(lambda db: access_keys.get(db, key_id))

    async def access_keys(self) -> tuple[AccessKey, ...]:
        return await self._hops.report(access_keys.every)

    async def add_access_key(self, key: AccessKey, event: AuditEvent) -> None:
        await self._hops.write(lambda db: access_keys.add(db, key, event))

    async def change_access_key(
        self, key_id: str, change: KeyChange, event: Callable[[AccessKey, AccessKey], AuditEvent]
    ) -> tuple[AccessKey, AccessKey] | None:
        return await self._hops.write(lambda db: access_keys.change(db, key_id, change, event))

    async def key_used(self, key_id: str, *, at_ms: int) -> None:
        await self._hops.write(lambda db: access_keys.used(db, key_id, at_ms=at_ms))


def _always(_: Settled) -> bool:
    return True


def _is_granted(denied: Denied | Throttled | None) -> bool:
    return denied is None


def _comparable_with(rough: str, figures: str) -> tuple[str, ...]:
    """What may be compared with such a prompt, as it is named while it is written. Of no figures: with any."""
    if not rough:
        return ()
    return (f"{rough} {figures}", f"{rough} ") if figures else (rough,)


def _kept(db: sqlite3.Connection, keeping: Sequence[Callable[[sqlite3.Connection], None]]) -> None:
    for keep in keeping:
        keep(db)
