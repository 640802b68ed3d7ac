"""The schema, as the steps that made it. A released step is never edited; a change is a new step at the end."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from orchestra_router.store.access_keys import ACCESS_KEYS
from orchestra_router.store.alerts_schema import ALERTS, KIND_IN_THE_KEY
from orchestra_router.store.audit_schema import AUDIT
from orchestra_router.store.cache_schema import ROUGH_PARTITION, SEMANTIC_CACHE
from orchestra_router.store.call_schema import FEWER_TRIGGERS
from orchestra_router.store.day_sums import ADJUSTMENTS, DAY_SUMS, EMBEDDINGS_ARE_NO_REQUESTS, ESCALATION_SUMS
from orchestra_router.store.erasure_schema import ERASURE
from orchestra_router.store.request_log import REQUEST_LOG
from orchestra_router.store.retention import CHORES
from orchestra_router.store.spend_schema import TASKS_AND_HOURS
from orchestra_router.store.view_schema import VIEWS

APPLICATION_ID = 0x4F524348
"""Marks a file as ours in its header: "ORCH"."""


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    statements: tuple[str, ...]


MIGRATIONS: tuple[Step, ...] = (
    Step(
        "ledger",
        (
            """
            CREATE TABLE attempts (
                attempt_id TEXT NOT NULL PRIMARY KEY,
                request_id TEXT NOT NULL,
                trace_id TEXT NOT NULL,
                number INTEGER NOT NULL CHECK (number >= 1),
                access_key TEXT NOT NULL,
                user TEXT NOT NULL,
                session TEXT NOT NULL,
                day TEXT NOT NULL,
                month TEXT NOT NULL,
                task TEXT NOT NULL,
                provider TEXT NOT NULL,
                model TEXT NOT NULL,
                offer_id TEXT NOT NULL,
                amount_nusd INTEGER NOT NULL CHECK (amount_nusd >= 0),
                created_ms INTEGER NOT NULL CHECK (created_ms >= 0),
                expires_ms INTEGER NOT NULL CHECK (expires_ms >= 0),
                owner TEXT NOT NULL,
                state TEXT NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'settled', 'released', 'uncertain')),
                cost_nusd INTEGER NOT NULL DEFAULT 0 CHECK (cost_nusd >= 0),
                cost_source TEXT NOT NULL DEFAULT 'none',
                reported_nusd INTEGER CHECK (reported_nusd >= 0),
                input_fresh INTEGER CHECK (input_fresh >= 0),
                cache_read INTEGER CHECK (cache_read >= 0),
                cache_write INTEGER CHECK (cache_write >= 0),
                cache_write_1h INTEGER CHECK (cache_write_1h >= 0),
                output INTEGER CHECK (output >= 0),
                reasoning INTEGER CHECK (reasoning >= 0),
                searches INTEGER CHECK (searches >= 0),
                reported_total INTEGER CHECK (reported_total >= 0),
                outcome TEXT NOT NULL DEFAULT '',
                status INTEGER,
                latency_ms INTEGER NOT NULL DEFAULT 0 CHECK (latency_ms >= 0),
                first_token_ms INTEGER CHECK (first_token_ms >= 0),
                waited_ms INTEGER NOT NULL DEFAULT 0 CHECK (waited_ms >= 0),
                provider_request_id TEXT NOT NULL DEFAULT '',
                finished_ms INTEGER NOT NULL DEFAULT 0 CHECK (finished_ms >= 0),
                CHECK (state NOT IN ('held', 'released') OR cost_nusd = 0)
            ) STRICT
            """,
            "CREATE INDEX attempts_by_day ON attempts (day)",
            "CREATE INDEX attempts_by_request ON attempts (request_id)",
            "CREATE INDEX attempts_by_trace ON attempts (trace_id)",
            "CREATE INDEX attempts_held ON attempts (expires_ms) WHERE state = 'held'",
            """
            CREATE TABLE spend (
                holder TEXT NOT NULL,
                period TEXT NOT NULL,
                spent_nusd INTEGER NOT NULL CHECK (spent_nusd >= 0),
                held_nusd INTEGER NOT NULL CHECK (held_nusd >= 0),
                PRIMARY KEY (holder, period)
            ) STRICT, WITHOUT ROWID
            """,
            # Triggers keep the sums, so that every process and every version on the file keeps the same ones.
            """
            CREATE TRIGGER attempts_counted AFTER INSERT ON attempts BEGIN
                INSERT INTO spend (holder, period, spent_nusd, held_nusd)
                SELECT
                    payer.holder,
                    charged.period,
                    CASE WHEN NEW.state IN ('settled', 'uncertain') THEN NEW.cost_nusd ELSE 0 END,
                    CASE WHEN NEW.state = 'held' THEN NEW.amount_nusd ELSE 0 END
                FROM (
                    SELECT 'global' AS holder
                    UNION ALL SELECT 'key:' || NEW.access_key
                    UNION ALL SELECT 'user:' || NEW.user WHERE NEW.user <> ''
                ) AS payer
                CROSS JOIN (SELECT NEW.day AS period UNION ALL SELECT NEW.month) AS charged
                WHERE true
                ON CONFLICT (holder, period) DO UPDATE SET
                    spent_nusd = spent_nusd + excluded.spent_nusd,
                    held_nusd = held_nusd + excluded.held_nusd;
            END
            """,
            """
            CREATE TRIGGER attempts_recounted AFTER UPDATE OF state, cost_nusd ON attempts BEGIN
                UPDATE spend SET
                    spent_nusd = spent_nusd
                        + CASE WHEN NEW.state IN ('settled', 'uncertain') THEN NEW.cost_nusd ELSE 0 END
                        - CASE WHEN OLD.state IN ('settled', 'uncertain') THEN OLD.cost_nusd ELSE 0 END,
                    held_nusd = held_nusd
                        + CASE WHEN NEW.state = 'held' THEN NEW.amount_nusd ELSE 0 END
                        - CASE WHEN OLD.state = 'held' THEN OLD.amount_nusd ELSE 0 END
                WHERE period IN (NEW.day, NEW.month)
                    AND holder IN ('global', 'key:' || NEW.access_key, iif(NEW.user = '', NULL, 'user:' || NEW.user));
            END
            """,
            """
            CREATE TRIGGER attempts_keep_their_payer
            BEFORE UPDATE OF attempt_id, access_key, user, day, month, amount_nusd ON attempts BEGIN
                SELECT RAISE(ABORT, 'who pays for an attempt, when, and what was held never change');
            END
            """,
            """
            CREATE TRIGGER attempts_end_once BEFORE UPDATE OF state ON attempts
            WHEN OLD.state <> 'held' AND NOT (OLD.state = 'uncertain' AND NEW.state = 'settled') BEGIN
                SELECT RAISE(ABORT, 'this attempt has ended');
            END
            """,
            """
            CREATE TRIGGER attempts_held_stay BEFORE DELETE ON attempts WHEN OLD.state = 'held' BEGIN
                SELECT RAISE(ABORT, 'an attempt that holds money must end before it is deleted');
            END
            """,
            """
            CREATE TABLE alerts (
                holder TEXT NOT NULL,
                period TEXT NOT NULL,
                threshold_nusd INTEGER NOT NULL CHECK (threshold_nusd >= 0),
                at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
                PRIMARY KEY (holder, period, threshold_nusd)
            ) STRICT, WITHOUT ROWID
            """,
        ),
    ),
    Step(
        "cache",
        (
            """
            CREATE TABLE cache (
                key TEXT NOT NULL PRIMARY KEY,
                entry_id TEXT NOT NULL UNIQUE,
                access_key TEXT NOT NULL,
                user TEXT NOT NULL,
                session TEXT NOT NULL,
                body TEXT NOT NULL,
                cost_nusd INTEGER NOT NULL CHECK (cost_nusd >= 0),
                hits INTEGER NOT NULL DEFAULT 0 CHECK (hits >= 0),
                created_ms INTEGER NOT NULL CHECK (created_ms >= 0),
                expires_ms INTEGER NOT NULL CHECK (expires_ms >= 0)
            ) STRICT
            """,
            "CREATE INDEX cache_by_age ON cache (created_ms)",
            "CREATE INDEX cache_by_expiry ON cache (expires_ms)",
            # count(*) reads the whole index; a bound that is checked on every write needs the number at once.
            "CREATE TABLE cache_size (entries INTEGER NOT NULL CHECK (entries >= 0)) STRICT",
            "INSERT INTO cache_size (entries) VALUES (0)",
            """
            CREATE TRIGGER cache_grew AFTER INSERT ON cache BEGIN
                UPDATE cache_size SET entries = entries + 1;
            END
            """,
            """
            CREATE TRIGGER cache_shrank AFTER DELETE ON cache BEGIN
                UPDATE cache_size SET entries = entries - 1;
            END
            """,
        ),
    ),
    Step(
        "health",
        (
            """
            CREATE TABLE health (
                target TEXT NOT NULL PRIMARY KEY,
                cause TEXT NOT NULL,
                since_ms INTEGER NOT NULL CHECK (since_ms >= 0),
                until_ms INTEGER CHECK (until_ms >= 0),
                failures INTEGER NOT NULL CHECK (failures >= 0),
                catalog TEXT NOT NULL,
                replacement TEXT NOT NULL
            ) STRICT, WITHOUT ROWID
            """,
        ),
    ),
    Step(
        "requests",
        (
            """
            CREATE TABLE requests (
                request_id TEXT NOT NULL PRIMARY KEY,
                trace_id TEXT NOT NULL,
                access_key TEXT NOT NULL,
                user TEXT NOT NULL,
                session TEXT NOT NULL,
                day TEXT NOT NULL,
                month TEXT NOT NULL,
                task TEXT NOT NULL,
                outcome TEXT NOT NULL,
                cache TEXT NOT NULL,
                provider TEXT NOT NULL,
                model TEXT NOT NULL,
                cost_nusd INTEGER NOT NULL CHECK (cost_nusd >= 0),
                saved_nusd INTEGER NOT NULL CHECK (saved_nusd >= 0),
                attempts INTEGER NOT NULL CHECK (attempts >= 0),
                created_ms INTEGER NOT NULL CHECK (created_ms >= 0),
                latency_ms INTEGER NOT NULL CHECK (latency_ms >= 0),
                redactions TEXT NOT NULL,
                metadata TEXT NOT NULL
            ) STRICT
            """,
            "CREATE INDEX requests_by_day ON requests (day)",
            "CREATE INDEX requests_by_trace ON requests (trace_id)",
        ),
    ),
    Step(
        "learned",
        (
            # One row for the answers of a day that took about equally long (`from_ms`, steps of a factor of about 1.4),
            # so that medians can be read; -1 holds the failures.
            """
            CREATE TABLE learned (
                day TEXT NOT NULL,
                task TEXT NOT NULL,
                provider TEXT NOT NULL,
                model TEXT NOT NULL,
                from_ms INTEGER NOT NULL CHECK (from_ms >= -1),
                attempts INTEGER NOT NULL CHECK (attempts >= 0),
                latency_ms INTEGER NOT NULL CHECK (latency_ms >= 0),
                cost_nusd INTEGER NOT NULL CHECK (cost_nusd >= 0),
                output_tokens INTEGER NOT NULL CHECK (output_tokens >= 0),
                PRIMARY KEY (day, task, provider, model, from_ms)
            ) STRICT, WITHOUT ROWID
            """,
            # Only what says something about the model: not a bad request, a refused key or a caller who left.
            """
            CREATE TRIGGER attempts_learned AFTER UPDATE OF state ON attempts
            WHEN OLD.state = 'held' AND NEW.task <> '' AND NEW.outcome IN (
                'ok', 'connect_failed', 'rate_limited', 'server_failed', 'timeout', 'invalid_answer', 'stream_broken'
            ) BEGIN
                INSERT INTO learned (
                    day, task, provider, model, from_ms, attempts, latency_ms, cost_nusd, output_tokens
                )
                VALUES (
                    NEW.day, NEW.task, NEW.provider, NEW.model,
                    CASE
                        WHEN NEW.outcome <> 'ok' THEN -1
                        WHEN NEW.latency_ms < 100 THEN 0 WHEN NEW.latency_ms < 140 THEN 100
                        WHEN NEW.latency_ms < 200 THEN 140 WHEN NEW.latency_ms < 280 THEN 200
                        WHEN NEW.latency_ms < 400 THEN 280 WHEN NEW.latency_ms < 560 THEN 400
                        WHEN NEW.latency_ms < 800 THEN 560 WHEN NEW.latency_ms < 1100 THEN 800
                        WHEN NEW.latency_ms < 1600 THEN 1100 WHEN NEW.latency_ms < 2200 THEN 1600
                        WHEN NEW.latency_ms < 3200 THEN 2200 WHEN NEW.latency_ms < 4500 THEN 3200
                        WHEN NEW.latency_ms < 6400 THEN 4500 WHEN NEW.latency_ms < 9000 THEN 6400
                        WHEN NEW.latency_ms < 12800 THEN 9000 WHEN NEW.latency_ms < 18000 THEN 12800
                        WHEN NEW.latency_ms < 25600 THEN 18000 WHEN NEW.latency_ms < 36000 THEN 25600
                        WHEN NEW.latency_ms < 51200 THEN 36000 WHEN NEW.latency_ms < 72000 THEN 51200
                        ELSE 72000
                    END,
                    1, NEW.latency_ms, NEW.cost_nusd, coalesce(NEW.output, 0) + coalesce(NEW.reasoning, 0)
                )
                ON CONFLICT (day, task, provider, model, from_ms) DO UPDATE SET
                    attempts = attempts + 1,
                    latency_ms = latency_ms + excluded.latency_ms,
                    cost_nusd = cost_nusd + excluded.cost_nusd,
                    output_tokens = output_tokens + excluded.output_tokens;
                DELETE FROM learned WHERE day < date(NEW.day, '-60 days');
            END
            """,
            """
            CREATE TABLE escalations (
                day TEXT NOT NULL,
                task TEXT NOT NULL,
                prompt_kind TEXT NOT NULL,
                provider TEXT NOT NULL,
                model TEXT NOT NULL,
                tried INTEGER NOT NULL CHECK (tried >= 0),
                escalated INTEGER NOT NULL CHECK (escalated BETWEEN 0 AND tried),
                PRIMARY KEY (day, task, prompt_kind, provider, model)
            ) STRICT, WITHOUT ROWID
            """,
            """
            CREATE TRIGGER escalations_age AFTER INSERT ON escalations BEGIN
                DELETE FROM escalations WHERE day < date(NEW.day, '-60 days');
            END
            """,
        ),
    ),
    Step("day sums", DAY_SUMS),
    Step("adjustments", ADJUSTMENTS),
    Step(
        "breaker",
        (
            # What cools is found out again soon; what is gone or refused stays known.
            "DELETE FROM health WHERE until_ms IS NOT NULL",
            "ALTER TABLE health RENAME COLUMN failures TO trips",
            "ALTER TABLE health ADD COLUMN closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1))",
            "ALTER TABLE health ADD COLUMN probe_id TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE health ADD COLUMN probe_process TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE health ADD COLUMN probe_until_ms INTEGER NOT NULL DEFAULT 0 CHECK (probe_until_ms >= 0)",
            # Holds all that the status of a provider reads, so that no row is fetched for it.
            """
            CREATE INDEX attempts_by_provider
            ON attempts (provider, created_ms, offer_id, state, outcome, latency_ms, cost_nusd, day)
            """,
        ),
    ),
    Step("sums of tasks and hours", TASKS_AND_HOURS),
    Step("alerts of every kind", ALERTS),
    Step("semantic cache", SEMANTIC_CACHE),
    Step("chores", CHORES),
    Step(
        "escalation",
        (
            # Whether a cheap step was tried and had to be gone beyond; NULL: there was none.
            "ALTER TABLE requests ADD COLUMN escalated INTEGER CHECK (escalated IN (0, 1))",
            "ALTER TABLE requests ADD COLUMN escalation_saved_nusd INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE requests ADD COLUMN wasted_nusd INTEGER NOT NULL DEFAULT 0 CHECK (wasted_nusd >= 0)",
        ),
    ),
    Step(
        "allowances",
        (
            """
            CREATE TABLE allowances (
                target TEXT NOT NULL,
                kind TEXT NOT NULL,
                remaining INTEGER NOT NULL CHECK (remaining >= 0),
                most INTEGER CHECK (most >= 0),
                reset_ms INTEGER NOT NULL CHECK (reset_ms >= 0),
                at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
                PRIMARY KEY (target, kind)
            ) STRICT, WITHOUT ROWID
            """,
        ),
    ),
    Step("audit", AUDIT),
    Step("sums of escalations", ESCALATION_SUMS),
    Step("kind of an alert in its key", KIND_IN_THE_KEY),
    Step(
        "the late truth may be nothing",
        (
            "DROP TRIGGER attempts_end_once",
            """
            CREATE TRIGGER attempts_end_once BEFORE UPDATE OF state ON attempts
            WHEN OLD.state <> 'held' AND NOT (OLD.state = 'uncertain' AND NEW.state IN ('settled', 'released')) BEGIN
                SELECT RAISE(ABORT, 'this attempt has ended');
            END
            """,
        ),
    ),
    Step("erasure", ERASURE),
    Step("views", VIEWS),
    Step("request log", REQUEST_LOG),
    Step("access keys", ACCESS_KEYS),
    Step("embeddings are no requests", EMBEDDINGS_ARE_NO_REQUESTS),
    Step("rough partition of the cache", ROUGH_PARTITION),
    Step("fewer triggers", FEWER_TRIGGERS),
)


class ForeignDatabase(Exception):
    """The file belongs to another program."""


class NewerDatabase(Exception):
    """The file was written by a newer version; `args[0]` is the number of its last step."""


def migrate(db: sqlite3.Connection, *, keep_copy: Callable[[int], None] | None = None) -> None:
    """Bring `db` up to the last step, in one transaction. Several processes may do so at once.

    A file that is not ours, or is newer than this version, is left as it is. Before one of an earlier format is changed,
    `keep_copy` is told the format; nobody else writes meanwhile.

    Raises:
        ForeignDatabase, NewerDatabase: it is one of those.
        sqlite3.Error: the file cannot be read or written.
    """
    _checked_version(db)  # before the lock, for taking it already writes to the folder
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _checked_version(db)
        if keep_copy is not None and 0 < version < len(MIGRATIONS):
            keep_copy(version)
        for step in MIGRATIONS[version:]:
            for statement in step.statements:
                db.execute(statement)
        if version < len(MIGRATIONS):
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        # On a read-only file BEGIN IMMEDIATE passes, and a write that does nothing fails. Better now than at a hold.
        db.execute("DELETE FROM spend WHERE false")
        db.execute("COMMIT")
    finally:
        db.rollback()  # does nothing after the commit


def _checked_version(db: sqlite3.Connection) -> int:
    application, version, tables = db.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application != APPLICATION_ID and (application, version, tables) != (0, 0, 0):
        raise ForeignDatabase
    if version > len(MIGRATIONS):
        raise NewerDatabase(version)
    return version
