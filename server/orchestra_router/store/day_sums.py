"""The schema of the sums that reports read: one row per day, access key and value of a dimension.

Triggers keep them, as they keep `spend`: an attempt is counted when its hold ends, a request when it is recorded, an
adjustment when it is written. Deleting an old row takes nothing away, so what retention deletes stays in the sums.

One row per dimension and not per combination: a year of a busy team is some ten thousand rows to read, where the
combinations would be nearly as many as the attempts. A request counts where its first attempt is: once in all, once
per provider and once per model, so that every row is the number of distinct requests.
"""

from orchestra_router.store.ledger_records import EMBEDDING

_TABLE = """
    CREATE TABLE day_sums (
        dimension TEXT NOT NULL,
        day TEXT NOT NULL,
        access_key TEXT NOT NULL,
        value TEXT NOT NULL,
        requests INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        answered INTEGER NOT NULL DEFAULT 0,
        latency_ms INTEGER NOT NULL DEFAULT 0,
        spent_nusd INTEGER NOT NULL DEFAULT 0,
        uncertain INTEGER NOT NULL DEFAULT 0,
        uncertain_nusd INTEGER NOT NULL DEFAULT 0,
        adjusted_nusd INTEGER NOT NULL DEFAULT 0,
        compared INTEGER NOT NULL DEFAULT 0,
        reported_nusd INTEGER NOT NULL DEFAULT 0,
        computed_nusd INTEGER NOT NULL DEFAULT 0,
        input_fresh INTEGER NOT NULL DEFAULT 0,
        cache_read INTEGER NOT NULL DEFAULT 0,
        cache_write INTEGER NOT NULL DEFAULT 0,
        output INTEGER NOT NULL DEFAULT 0,
        reasoning INTEGER NOT NULL DEFAULT 0,
        searches INTEGER NOT NULL DEFAULT 0,
        calls INTEGER NOT NULL DEFAULT 0,
        hits INTEGER NOT NULL DEFAULT 0,
        misses INTEGER NOT NULL DEFAULT 0,
        saved_nusd INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (dimension, day, access_key, value)
    ) STRICT, WITHOUT ROWID
"""

# ROW is NEW or OLD in a trigger, and the table itself where what was there before is counted; SIGN is 1 or -1.
_CUT = """
    (
        SELECT '' AS dimension
        UNION ALL SELECT 'provider'
        UNION ALL SELECT 'model'
        UNION ALL SELECT 'task'
        UNION ALL SELECT 'user'
    ) AS cut
"""

_VALUE = """
    CASE cut.dimension
        WHEN 'provider' THEN ROW.provider
        WHEN 'model' THEN ROW.model
        WHEN 'task' THEN ROW.task
        WHEN 'user' THEN ROW.user
        ELSE ''
    END
"""

_FIRST = """
    NOT EXISTS (
        SELECT 1
        FROM attempts AS earlier
        WHERE earlier.request_id = ROW.request_id
            AND (earlier.number, earlier.attempt_id) < (ROW.number, ROW.attempt_id)
            AND CASE cut.dimension
                WHEN 'provider' THEN earlier.provider = ROW.provider
                WHEN 'model' THEN earlier.model = ROW.model
                ELSE true
            END
    )
"""

# The attempts that embed a prompt cost something and are counted, but nobody asked for them.
_FIRST_OF_A_REQUEST = f"(ROW.request_id NOT GLOB '{EMBEDDING}*' AND {_FIRST})"

# Most requests have one attempt. Whether there is another does not depend on the cut, so it is looked up once for all.
_FIRST_OR_ONLY = f"""
    (
        ROW.request_id NOT GLOB '{EMBEDDING}*' AND (
            NOT EXISTS (SELECT 1 FROM attempts WHERE request_id = ROW.request_id AND attempt_id <> ROW.attempt_id)
            OR {_FIRST}
        )
    )
"""  # noqa: S608 - our own text

_COUNT_ATTEMPT = """
    INSERT INTO day_sums (
        dimension, day, access_key, value, requests, attempts, failed, answered, latency_ms, spent_nusd, uncertain,
        uncertain_nusd, compared, reported_nusd, computed_nusd, input_fresh, cache_read, cache_write, output,
        reasoning, searches
    )
    SELECT
        cut.dimension,
        ROW.day,
        ROW.access_key,
        VALUE,
        SIGN * FIRST,
        SIGN,
        SIGN * (ROW.outcome <> 'ok'),
        SIGN * (ROW.outcome = 'ok'),
        SIGN * iif(ROW.outcome = 'ok', ROW.latency_ms, 0),
        SIGN * ROW.cost_nusd,
        SIGN * (ROW.state = 'uncertain'),
        SIGN * iif(ROW.state = 'uncertain', ROW.cost_nusd, 0),
        SIGN * (ROW.computed_nusd IS NOT NULL),
        SIGN * iif(ROW.computed_nusd IS NULL, 0, coalesce(ROW.reported_nusd, 0)),
        SIGN * coalesce(ROW.computed_nusd, 0),
        SIGN * coalesce(ROW.input_fresh, 0),
        SIGN * coalesce(ROW.cache_read, 0),
        SIGN * (coalesce(ROW.cache_write, 0) + coalesce(ROW.cache_write_1h, 0)),
        SIGN * coalesce(ROW.output, 0),
        SIGN * coalesce(ROW.reasoning, 0),
        SIGN * coalesce(ROW.searches, 0)
    FROM SOURCE
    WHERE ROW.state <> 'held'
    ON CONFLICT (dimension, day, access_key, value) DO UPDATE SET
        requests = requests + excluded.requests,
        attempts = attempts + excluded.attempts,
        failed = failed + excluded.failed,
        answered = answered + excluded.answered,
        latency_ms = latency_ms + excluded.latency_ms,
        spent_nusd = spent_nusd + excluded.spent_nusd,
        uncertain = uncertain + excluded.uncertain,
        uncertain_nusd = uncertain_nusd + excluded.uncertain_nusd,
        compared = compared + excluded.compared,
        reported_nusd = reported_nusd + excluded.reported_nusd,
        computed_nusd = computed_nusd + excluded.computed_nusd,
        input_fresh = input_fresh + excluded.input_fresh,
        cache_read = cache_read + excluded.cache_read,
        cache_write = cache_write + excluded.cache_write,
        output = output + excluded.output,
        reasoning = reasoning + excluded.reasoning,
        searches = searches + excluded.searches;
"""

_COUNT_REQUEST = """
    INSERT INTO day_sums (dimension, day, access_key, value, calls, hits, misses, saved_nusd)
    SELECT
        cut.dimension,
        ROW.day,
        ROW.access_key,
        VALUE,
        SIGN,
        SIGN * (ROW.cache IN ('HIT', 'SEMANTIC HIT')),
        SIGN * (ROW.cache IN ('MISS', 'SEMANTIC MISS')),
        SIGN * ROW.saved_nusd
    FROM SOURCE
    WHERE true
    ON CONFLICT (dimension, day, access_key, value) DO UPDATE SET
        calls = calls + excluded.calls,
        hits = hits + excluded.hits,
        misses = misses + excluded.misses,
        saved_nusd = saved_nusd + excluded.saved_nusd;
"""

# Most requests have nothing to say here, and their rows are not touched.
_COUNT_ESCALATION = """
    INSERT INTO day_sums (
        dimension, day, access_key, value, cheap_steps, escalated, escalation_saved_nusd, wasted_nusd
    )
    SELECT
        cut.dimension,
        ROW.day,
        ROW.access_key,
        VALUE,
        SIGN * (ROW.escalated IS NOT NULL),
        SIGN * coalesce(ROW.escalated, 0),
        SIGN * ROW.escalation_saved_nusd,
        SIGN * ROW.wasted_nusd
    FROM SOURCE
    WHERE ROW.escalated IS NOT NULL OR ROW.wasted_nusd > 0
    ON CONFLICT (dimension, day, access_key, value) DO UPDATE SET
        cheap_steps = cheap_steps + excluded.cheap_steps,
        escalated = escalated + excluded.escalated,
        escalation_saved_nusd = escalation_saved_nusd + excluded.escalation_saved_nusd,
        wasted_nusd = wasted_nusd + excluded.wasted_nusd;
"""


def _sql(template: str, *, row: str, sign: str = "1", also: str = "", first: str = _FIRST) -> str:
    """`template` for the row named `row`, and for the whole table `also` where one is named."""
    source = f"{also} CROSS JOIN {_CUT}" if also else _CUT
    filled = template.replace("FIRST", first).replace("SOURCE", source).replace("VALUE", _VALUE)
    return filled.replace("SIGN", sign).replace("ROW.", f"{row}.")


DAY_SUMS = (
    # What our prices say an attempt costs that its provider has put a price on itself.
    "ALTER TABLE attempts ADD COLUMN computed_nusd INTEGER CHECK (computed_nusd >= 0)",
    _TABLE,
    _sql(_COUNT_ATTEMPT, row="attempts", also="attempts"),
    _sql(_COUNT_REQUEST, row="requests", also="requests"),
    "CREATE TRIGGER attempts_summed AFTER INSERT ON attempts WHEN NEW.state <> 'held' BEGIN"
    + _sql(_COUNT_ATTEMPT, row="NEW")
    + "END",
    "CREATE TRIGGER attempts_ended AFTER UPDATE OF state ON attempts WHEN OLD.state = 'held' BEGIN"
    + _sql(_COUNT_ATTEMPT, row="NEW")
    + "END",
    "CREATE TRIGGER attempts_resummed AFTER UPDATE OF state, cost_nusd ON attempts WHEN OLD.state <> 'held' BEGIN"
    + _sql(_COUNT_ATTEMPT, row="OLD", sign="-1")
    + _sql(_COUNT_ATTEMPT, row="NEW")
    + "END",
    "CREATE TRIGGER requests_summed AFTER INSERT ON requests BEGIN" + _sql(_COUNT_REQUEST, row="NEW") + "END",
    "CREATE TRIGGER requests_resummed AFTER UPDATE ON requests BEGIN"
    + _sql(_COUNT_REQUEST, row="OLD", sign="-1")
    + _sql(_COUNT_REQUEST, row="NEW")
    + "END",
)

ADJUSTMENTS = (
    """
    CREATE TABLE adjustments (
        adjustment_id INTEGER NOT NULL PRIMARY KEY,
        attempt_id TEXT NOT NULL,
        day TEXT NOT NULL,
        delta_nusd INTEGER NOT NULL CHECK (delta_nusd <> 0),
        cost_nusd INTEGER NOT NULL CHECK (cost_nusd >= 0),
        cost_source TEXT NOT NULL,
        reason TEXT NOT NULL CHECK (reason <> ''),
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0)
    ) STRICT
    """,
    "CREATE INDEX adjustments_by_attempt ON adjustments (attempt_id)",
    "CREATE INDEX adjustments_by_day ON adjustments (day)",
    """
    CREATE TRIGGER adjustments_fit BEFORE INSERT ON adjustments
    WHEN NOT EXISTS (
        SELECT 1
        FROM attempts
        WHERE attempt_id = NEW.attempt_id
            AND day = NEW.day
            AND state = 'settled'
            AND NEW.cost_nusd = NEW.delta_nusd + cost_nusd + coalesce(
                (SELECT sum(delta_nusd) FROM adjustments WHERE attempt_id = NEW.attempt_id), 0
            )
    ) BEGIN
        SELECT RAISE(ABORT, 'an adjustment starts from what a settled attempt counts at now');
    END
    """,
    """
    CREATE TRIGGER adjustments_stand BEFORE UPDATE ON adjustments BEGIN
        SELECT RAISE(ABORT, 'an adjustment is adjusted by another, never changed');
    END
    """,
    """
    CREATE TRIGGER adjustments_counted AFTER INSERT ON adjustments BEGIN
        UPDATE spend SET spent_nusd = spent_nusd + NEW.delta_nusd
        FROM (SELECT * FROM attempts WHERE attempt_id = NEW.attempt_id) AS adjusted
        WHERE spend.period IN (adjusted.day, adjusted.month)
            AND spend.holder IN (
                'global',
                'key:' || adjusted.access_key,
                iif(adjusted.user = '', NULL, 'user:' || adjusted.user),
                iif(adjusted.task = '', NULL, 'task:' || adjusted.task)
            );
        UPDATE day_sums SET
            spent_nusd = day_sums.spent_nusd + NEW.delta_nusd,
            adjusted_nusd = adjusted_nusd + NEW.delta_nusd
        FROM (SELECT * FROM attempts WHERE attempt_id = NEW.attempt_id) AS adjusted
        WHERE day_sums.day = adjusted.day
            AND day_sums.access_key = adjusted.access_key
            AND (day_sums.dimension, day_sums.value) IN (
                VALUES ('', ''), ('provider', adjusted.provider), ('model', adjusted.model),
                    ('task', adjusted.task), ('user', adjusted.user)
            );
    END
    """,
)

ESCALATION_SUMS = (
    "ALTER TABLE day_sums ADD COLUMN cheap_steps INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE day_sums ADD COLUMN escalated INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE day_sums ADD COLUMN escalation_saved_nusd INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE day_sums ADD COLUMN wasted_nusd INTEGER NOT NULL DEFAULT 0",
    _sql(_COUNT_ESCALATION, row="requests", also="requests"),
    "CREATE TRIGGER escalations_summed AFTER INSERT ON requests BEGIN" + _sql(_COUNT_ESCALATION, row="NEW") + "END",
    "CREATE TRIGGER escalations_resummed AFTER UPDATE ON requests BEGIN"
    + _sql(_COUNT_ESCALATION, row="OLD", sign="-1")
    + _sql(_COUNT_ESCALATION, row="NEW")
    + "END",
)

RESUMMED_BY_WHAT_COUNTS = (
    # Not by the user, the session and the labels: those change only when a person is erased, and the sums with them.
    "DROP TRIGGER requests_resummed",
    "CREATE TRIGGER requests_resummed AFTER UPDATE OF day, access_key, task, cache, provider, model, saved_nusd ON requests"
    " BEGIN" + _sql(_COUNT_REQUEST, row="OLD", sign="-1") + _sql(_COUNT_REQUEST, row="NEW") + "END",
    "DROP TRIGGER escalations_resummed",
    "CREATE TRIGGER escalations_resummed AFTER UPDATE OF day, access_key, task, provider, model, escalated,"
    " escalation_saved_nusd, wasted_nusd ON requests BEGIN"
    + _sql(_COUNT_ESCALATION, row="OLD", sign="-1")
    + _sql(_COUNT_ESCALATION, row="NEW")
    + "END",
)

EMBEDDINGS_ARE_NO_REQUESTS = (
    "DROP TRIGGER attempts_summed",
    "CREATE TRIGGER attempts_summed AFTER INSERT ON attempts WHEN NEW.state <> 'held' BEGIN"
    + _sql(_COUNT_ATTEMPT, first=_FIRST_OF_A_REQUEST, row="NEW")
    + "END",
    "DROP TRIGGER attempts_ended",
    "CREATE TRIGGER attempts_ended AFTER UPDATE OF state ON attempts WHEN OLD.state = 'held' BEGIN"
    + _sql(_COUNT_ATTEMPT, first=_FIRST_OF_A_REQUEST, row="NEW")
    + "END",
    "DROP TRIGGER attempts_resummed",
    "CREATE TRIGGER attempts_resummed AFTER UPDATE OF state, cost_nusd ON attempts WHEN OLD.state <> 'held' BEGIN"
    + _sql(_COUNT_ATTEMPT, first=_FIRST_OF_A_REQUEST, row="OLD", sign="-1")
    + _sql(_COUNT_ATTEMPT, first=_FIRST_OF_A_REQUEST, row="NEW")
    + "END",
)


def attempt_summed(row: str, sign: str = "1") -> str:
    """A statement that adds the attempt in `row` to the sums, if it has ended."""
    return _sql(_COUNT_ATTEMPT, first=_FIRST_OR_ONLY, row=row, sign=sign)


def request_summed(row: str) -> str:
    """Statements that add the request in `row` to the sums."""
    return _sql(_COUNT_REQUEST, row=row) + _sql(_COUNT_ESCALATION, row=row)
