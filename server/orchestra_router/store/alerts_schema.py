"""The schema of alerts of every kind, and of the outbox that they wait in until somebody has delivered them."""

_TO_DELIVER = """
CREATE TRIGGER alerts_to_deliver AFTER INSERT ON alerts BEGIN
    INSERT INTO outbox (delivery_id, kind, holder, period, threshold_nusd, text, at_ms)
    VALUES (
        lower(hex(randomblob(8))), NEW.kind, NEW.holder, NEW.period, NEW.threshold_nusd, NEW.text, NEW.at_ms
    );
END
"""

ALERTS = (
    # An older version that is still running raises the first kind, and its alerts are told of like all others.
    "ALTER TABLE alerts ADD COLUMN kind TEXT NOT NULL DEFAULT 'spend'",
    "ALTER TABLE alerts ADD COLUMN text TEXT NOT NULL DEFAULT ''",
    """
    CREATE TABLE outbox (
        delivery_id TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL,
        holder TEXT NOT NULL,
        period TEXT NOT NULL,
        threshold_nusd INTEGER NOT NULL,
        text TEXT NOT NULL,
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
        due_ms INTEGER NOT NULL DEFAULT 0,
        claimed_until_ms INTEGER NOT NULL DEFAULT 0,
        claim TEXT NOT NULL DEFAULT ''
    ) STRICT, WITHOUT ROWID
    """,
    _TO_DELIVER,
    """
    CREATE TABLE seen (
        subject TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL,
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0)
    ) STRICT, WITHOUT ROWID
    """,
)

KIND_IN_THE_KEY = (
    # Two kinds of alert may have the same threshold; each is raised once.
    """
    CREATE TABLE alerts_by_kind (
        kind TEXT NOT NULL DEFAULT 'spend',
        holder TEXT NOT NULL,
        period TEXT NOT NULL,
        threshold_nusd INTEGER NOT NULL CHECK (threshold_nusd >= 0),
        text TEXT NOT NULL DEFAULT '',
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        PRIMARY KEY (kind, holder, period, threshold_nusd)
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO alerts_by_kind (kind, holder, period, threshold_nusd, text, at_ms)
    SELECT kind, holder, period, threshold_nusd, text, at_ms FROM alerts
    """,
    "DROP TABLE alerts",  # and with it its trigger, which must not deliver the copies again
    "ALTER TABLE alerts_by_kind RENAME TO alerts",
    _TO_DELIVER,
)
