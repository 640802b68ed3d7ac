"""The steps of the migrations that let a person's data be erased; see erasure.py for what becomes of it."""

from orchestra_router.store.day_sums import RESUMMED_BY_WHAT_COUNTS

NOBODY = "(erased)"
"""Whom an attempt is charged to once its user was erased. No user can have this name."""

ERASURE = (
    # Without a salt, whoever guesses what an erased body said could tell by its hash that the guess is right.
    "ALTER TABLE audit ADD COLUMN salt TEXT NOT NULL DEFAULT ''",
    # The one change of a payer: a user becomes nobody. The sums move with it, so no total changes.
    "DROP TRIGGER attempts_keep_their_payer",
    """
    CREATE TRIGGER attempts_keep_their_payer
    BEFORE UPDATE OF
        attempt_id, access_key, user, task, day, month, created_ms, amount_nusd, approved_nusd, approved_by
    ON attempts
    WHEN NEW.user NOT IN (OLD.user, '(erased)')
        OR (
            NEW.attempt_id, NEW.access_key, NEW.task, NEW.day, NEW.month, NEW.created_ms, NEW.amount_nusd,
            NEW.approved_nusd, NEW.approved_by
        ) <> (
            OLD.attempt_id, OLD.access_key, OLD.task, OLD.day, OLD.month, OLD.created_ms, OLD.amount_nusd,
            OLD.approved_nusd, OLD.approved_by
        ) BEGIN
        SELECT RAISE(ABORT, 'who pays for an attempt, when, and what was held never change');
    END
    """,
    *RESUMMED_BY_WHAT_COUNTS,
)
