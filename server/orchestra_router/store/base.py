"""What the router asks of a store. SQLite is behind it; another database has to pass the same tests.

Each part of it stands with its records, in the module that is named for them.
"""

from typing import Protocol

from orchestra_router.store.adjustment_records import AdjustmentStore
from orchestra_router.store.alert_records import AlertStore
from orchestra_router.store.audit_records import AuditStore
from orchestra_router.store.cache_records import CacheStore
from orchestra_router.store.health_records import HealthStore
from orchestra_router.store.key_records import KeyStore
from orchestra_router.store.learned_records import LearnedStore
from orchestra_router.store.ledger_records import LedgerStore
from orchestra_router.store.log_records import LogStore
from orchestra_router.store.personal_records import PersonalStore
from orchestra_router.store.report_records import ReportStore
from orchestra_router.store.request_records import RequestStore
from orchestra_router.store.view_records import ViewStore


class Store(
    LedgerStore,
    AlertStore,
    CacheStore,
    HealthStore,
    LearnedStore,
    RequestStore,
    ReportStore,
    ViewStore,
    AdjustmentStore,
    AuditStore,
    LogStore,
    PersonalStore,
    KeyStore,
    Protocol,
):
    """Every method is one transaction, safe for several tasks and several processes on one file.

    Raises everywhere: `StoreError` when the database cannot be used.
    """

    async def claim_chore(self, name: str, *, now_ms: int, until_ms: int, latest_ms: int) -> bool:
        """Whether the chore `name` is due, and now the caller's until `until_ms`. Nothing is due after `latest_ms`."""
        ...

    async def postpone_chore(self, name: str, *, due_ms: int) -> None: ...

    async def forget(self, *, attempts_before: str, requests_before: str, most: int) -> int:
        """Delete at most `most` attempts, and requests, of the days before; the sums stay. Returns how many rows."""
        ...

    async def close(self) -> None: ...
