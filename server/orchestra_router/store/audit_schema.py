"""The statements of the migration that brings the audit trail; see audit.py for what they hold."""

AUDIT = (
    """
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY CHECK (number >= 1),
        at_ms INTEGER NOT NULL CHECK (at_ms >= 0),
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        body TEXT,
        body_hash TEXT NOT NULL,
        hash TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX audit_by_subject ON audit (subject)",
    # Where the chain begins and ends, so that rows cut off at either end are missed too.
    """
    CREATE TABLE audit_ends (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        first_number INTEGER NOT NULL,
        hash_before TEXT NOT NULL,
        last_number INTEGER NOT NULL,
        last_hash TEXT NOT NULL
    ) STRICT
    """,
    "INSERT INTO audit_ends VALUES (1, 1, '', 0, '')",
    # Mistakes of ours end here; somebody who takes these triggers out is found by `verify`.
    """
    CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
    WHEN NEW.body IS NOT NULL OR OLD.number <> NEW.number OR OLD.at_ms <> NEW.at_ms OR OLD.kind <> NEW.kind
        OR OLD.subject <> NEW.subject OR OLD.body_hash <> NEW.body_hash OR OLD.hash <> NEW.hash BEGIN
        SELECT RAISE(ABORT, 'the audit trail never changes; only the body of a row may be erased');
    END
    """,
    """
    CREATE TRIGGER audit_keeps_its_rows BEFORE DELETE ON audit
    WHEN OLD.number >= (SELECT first_number FROM audit_ends) BEGIN
        SELECT RAISE(ABORT, 'a row of the audit trail goes only when its time is over');
    END
    """,
)
