"""The schema of `spend` once tasks, hours and uncertain money count in it too, and of who lets a call go over it."""

TASKS_AND_HOURS = (
    "ALTER TABLE attempts ADD COLUMN approved_nusd INTEGER NOT NULL DEFAULT 0 CHECK (approved_nusd >= 0)",
    "ALTER TABLE attempts ADD COLUMN approved_by TEXT NOT NULL DEFAULT ''",
    "DROP TRIGGER attempts_counted",
    "DROP TRIGGER attempts_recounted",
    "DROP TRIGGER attempts_keep_their_payer",
    """
    INSERT INTO spend (holder, period, spent_nusd, held_nusd)
    SELECT payer.holder, payer.period, sum(payer.spent_nusd), sum(payer.held_nusd)
    FROM (
        -- What is older than its records are kept is in the day's sums only.
        SELECT 'task:' || value AS holder, day AS period, spent_nusd, 0 AS held_nusd
        FROM day_sums WHERE dimension = 'task' AND value <> ''
        UNION ALL
        SELECT 'task:' || value, substr(day, 1, 7), spent_nusd, 0
        FROM day_sums WHERE dimension = 'task' AND value <> ''
        UNION ALL
        SELECT 'task:' || task, day, 0, amount_nusd FROM attempts WHERE task <> '' AND state = 'held'
        UNION ALL
        SELECT 'task:' || task, month, 0, amount_nusd FROM attempts WHERE task <> '' AND state = 'held'
        UNION ALL
        SELECT
            'global',
            strftime('%Y-%m-%dT%H', created_ms / 1000, 'unixepoch'),
            cost_nusd,
            iif(state = 'held', amount_nusd, 0)
        FROM attempts
        UNION ALL
        SELECT 'uncertain', day, uncertain_nusd, 0 FROM day_sums WHERE dimension = ''
    ) AS payer
    GROUP BY payer.holder, payer.period
    """,
    """
    CREATE TRIGGER attempts_counted AFTER INSERT ON attempts BEGIN
        INSERT INTO spend (holder, period, spent_nusd, held_nusd)
        SELECT
            payer.holder,
            payer.period,
            CASE WHEN NEW.state IN ('settled', 'uncertain') THEN NEW.cost_nusd ELSE 0 END,
            CASE WHEN NEW.state = 'held' THEN NEW.amount_nusd ELSE 0 END
        FROM (
            SELECT whose.holder, charged.period
            FROM (
                SELECT 'global' AS holder
                UNION ALL SELECT 'key:' || NEW.access_key
                UNION ALL SELECT 'user:' || NEW.user WHERE NEW.user <> ''
                UNION ALL SELECT 'task:' || NEW.task WHERE NEW.task <> ''
            ) AS whose
            CROSS JOIN (SELECT NEW.day AS period UNION ALL SELECT NEW.month) AS charged
            -- What an hour usually costs is known for everyone together.
            UNION ALL SELECT 'global', strftime('%Y-%m-%dT%H', NEW.created_ms / 1000, 'unixepoch')
        ) AS payer
        WHERE true
        ON CONFLICT (holder, period) DO UPDATE SET
            spent_nusd = spent_nusd + excluded.spent_nusd,
            held_nusd = held_nusd + excluded.held_nusd;
        INSERT INTO spend (holder, period, spent_nusd, held_nusd)
        SELECT 'uncertain', NEW.day, NEW.cost_nusd, 0 WHERE NEW.state = 'uncertain'
        ON CONFLICT (holder, period) DO UPDATE SET spent_nusd = spent_nusd + excluded.spent_nusd;
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
        WHERE period IN (NEW.day, NEW.month, strftime('%Y-%m-%dT%H', NEW.created_ms / 1000, 'unixepoch'))
            AND holder IN (
                'global',
                'key:' || NEW.access_key,
                iif(NEW.user = '', NULL, 'user:' || NEW.user),
                iif(NEW.task = '', NULL, 'task:' || NEW.task)
            );
        INSERT INTO spend (holder, period, spent_nusd, held_nusd)
        SELECT 'uncertain', NEW.day, NEW.cost_nusd, 0 WHERE NEW.state = 'uncertain'
        ON CONFLICT (holder, period) DO UPDATE SET spent_nusd = spent_nusd + excluded.spent_nusd;
        UPDATE spend SET spent_nusd = spent_nusd - OLD.cost_nusd
        WHERE OLD.state = 'uncertain' AND holder = 'uncertain' AND period = OLD.day;
    END
    """,
    """
    CREATE TRIGGER attempts_keep_their_payer
    BEFORE UPDATE OF
        attempt_id, access_key, user, task, day, month, created_ms, amount_nusd, approved_nusd, approved_by
    ON attempts BEGIN
        SELECT RAISE(ABORT, 'who pays for an attempt, when, and what was held never change');
    END
    """,
)
