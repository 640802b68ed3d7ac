"""The triggers that run with every call: what earlier steps spread over thirteen of them, in fewer, and shorter.

Each trigger is a program of its own, and a list of rows that is gone through twice becomes a table of its own; both
cost more than the sums that they add up. So each thing that happens has one trigger, whose rows come from lists that are
gone through once.
"""

from itertools import pairwise

from orchestra_router.store.day_sums import attempt_summed, request_summed
from orchestra_router.store.view_schema import STEPS_MS, attempt_in_cells, request_in_cells, trigger

_HOUR = "strftime('%Y-%m-%dT%H', NEW.created_ms / 1000, 'unixepoch')"
_PAYERS = (
    ("'global'", "NEW.day", "true"),
    ("'global'", "NEW.month", "true"),
    # What an hour usually costs is known for everyone together.
    ("'global'", _HOUR, "true"),
    ("'key:' || NEW.access_key", "NEW.day", "true"),
    ("'key:' || NEW.access_key", "NEW.month", "true"),
    ("'user:' || NEW.user", "NEW.day", "NEW.user <> ''"),
    ("'user:' || NEW.user", "NEW.month", "NEW.user <> ''"),
    ("'task:' || NEW.task", "NEW.day", "NEW.task <> ''"),
    ("'task:' || NEW.task", "NEW.month", "NEW.task <> ''"),
)
"""Whom an attempt is charged to, in which period, and when that is anybody."""


def _charged(*, spent: str, held: str, more_spent: str, more_held: str) -> str:
    """A statement that charges all who pay; `spent` and `held` are what who had none of either has then."""
    rows = " UNION ALL ".join(f"SELECT {who}, {when}, {spent}, {held} WHERE {if_any}" for who, when, if_any in _PAYERS)
    return (
        f"INSERT INTO spend (holder, period, spent_nusd, held_nusd) {rows} ON CONFLICT (holder, period)"
        f" DO UPDATE SET spent_nusd = spent_nusd + {more_spent}, held_nusd = held_nusd + {more_held};"
    )


_HELD = _charged(
    spent="iif(NEW.state = 'held', 0, NEW.cost_nusd)",
    held="iif(NEW.state = 'held', NEW.amount_nusd, 0)",
    more_spent="excluded.spent_nusd",
    more_held="excluded.held_nusd",
)
_ENDED = _charged(spent="NEW.cost_nusd", held="0", more_spent="excluded.spent_nusd", more_held="-OLD.amount_nusd")
_CORRECTED = _charged(spent="0", held="0", more_spent="NEW.cost_nusd - OLD.cost_nusd", more_held="0")

_UNCERTAIN = """
    INSERT INTO spend (holder, period, spent_nusd, held_nusd)
    SELECT 'uncertain', NEW.day, NEW.cost_nusd, 0 WHERE NEW.state = 'uncertain'
    ON CONFLICT (holder, period) DO UPDATE SET spent_nusd = spent_nusd + excluded.spent_nusd;
"""
_NO_LONGER_UNCERTAIN = """
    UPDATE spend SET spent_nusd = spent_nusd - OLD.cost_nusd
    WHERE OLD.state = 'uncertain' AND holder = 'uncertain' AND period = OLD.day;
"""

_LEARNED_MS = tuple(begin for begin in STEPS_MS if begin not in {25, 50})
"""Where each step of `learned` begins."""
_LEARNED_STEP = (
    "CASE WHEN NEW.outcome <> 'ok' THEN -1 "
    + " ".join(f"WHEN NEW.latency_ms < {end} THEN {begin}" for begin, end in pairwise(_LEARNED_MS))
    + f" ELSE {_LEARNED_MS[-1]} END"
)

# Only what says something about the model: not a bad request, a refused key or a caller who left. One comparison after the
# other, for a list of more than two values becomes a table, too.
_SAYS_SOMETHING = " OR ".join(
    f"NEW.outcome = '{outcome}'"
    for outcome in (
        *("ok", "connect_failed", "rate_limited", "server_failed", "timeout", "invalid_answer", "stream_broken"),
    )
)
_LEARNED = f"""
    INSERT INTO learned (day, task, provider, model, from_ms, attempts, latency_ms, cost_nusd, output_tokens)
    SELECT
        NEW.day, NEW.task, NEW.provider, NEW.model,
        {_LEARNED_STEP},
        1, NEW.latency_ms, NEW.cost_nusd, coalesce(NEW.output, 0) + coalesce(NEW.reasoning, 0)
    WHERE NEW.task <> '' AND ({_SAYS_SOMETHING})
    ON CONFLICT (day, task, provider, model, from_ms) DO UPDATE SET
        attempts = attempts + 1,
        latency_ms = latency_ms + excluded.latency_ms,
        cost_nusd = cost_nusd + excluded.cost_nusd,
        output_tokens = output_tokens + excluded.output_tokens;
    DELETE FROM learned WHERE day < date(NEW.day, '-60 days');
"""  # noqa: S608 - our own text

_REPLACED = (
    "attempts_counted",
    "attempts_recounted",
    "attempts_end_once",
    "attempts_learned",
    "attempts_summed",
    "attempts_ended",
    "attempts_resummed",
    "cells_counted",
    "cells_ended",
    "cells_recounted",
    "requests_summed",
    "escalations_summed",
    "cells_requested",
)

FEWER_TRIGGERS = (
    *(f"DROP TRIGGER {name}" for name in _REPLACED),
    trigger("attempts_counted", "AFTER INSERT ON attempts", _HELD),
    trigger(
        "attempts_came_ended",
        "AFTER INSERT ON attempts WHEN NEW.state <> 'held'",
        _UNCERTAIN,
        attempt_summed("NEW"),
        *attempt_in_cells("NEW"),
    ),
    trigger(
        "attempts_ended",
        "AFTER UPDATE OF state ON attempts WHEN OLD.state = 'held' AND NEW.state <> 'held'",
        _ENDED,
        _UNCERTAIN,
        attempt_summed("NEW"),
        *attempt_in_cells("NEW"),
        _LEARNED,
    ),
    trigger(
        "attempts_corrected",
        "AFTER UPDATE OF state, cost_nusd ON attempts WHEN OLD.state <> 'held'",
        _CORRECTED,
        _UNCERTAIN,
        _NO_LONGER_UNCERTAIN,
        attempt_summed("OLD", "-1"),
        attempt_summed("NEW"),
        *attempt_in_cells("OLD", "-1"),
        *attempt_in_cells("NEW"),
    ),
    # Behind the change and not before it, which would look for the row once more.
    trigger(
        "attempts_end_once",
        "AFTER UPDATE OF state ON attempts"
        " WHEN OLD.state <> 'held' AND NOT (OLD.state = 'uncertain' AND NEW.state IN ('settled', 'released'))",
        "SELECT RAISE(ABORT, 'this attempt has ended');",
    ),
    trigger("requests_counted", "AFTER INSERT ON requests", request_summed("NEW"), *request_in_cells("NEW")),
)
"""The step of the migrations that brings them."""
