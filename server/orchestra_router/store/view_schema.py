"""The schema of what the dashboard looks at: the sums of each deployment's day, and what went wrong there.

Triggers keep them, as they keep `day_sums`, which has one row per value of one dimension and so cannot say what a user
spent at a provider, nor how long the slowest answers took. `day_cells` has the combinations, twice: of everyone
together, which is some rows a day however many people ask, and by user and task (`by_payer`), which is read only where
one of those is picked. The answers of a cell took about equally long (`from_ms`, as in `learned`), so that percentiles
can be read of any days; -1 holds the failures and -2 the requests.

What fails is rare, so `day_failures` keeps every dimension of it.
"""

from itertools import pairwise

STEPS_MS = (
    *(0, 25, 50, 100, 140, 200, 280, 400, 560, 800, 1_100, 1_600, 2_200, 3_200, 4_500, 6_400, 9_000, 12_800, 18_000),
    *(25_600, 36_000, 51_200, 72_000),
)
"""Where each step of latency begins; the factor from one to the next is about 1.4."""
FAILED = -1
REQUESTS = -2

_KEY = "by_payer, user, task, day, from_ms, access_key, provider, model"

STEP = (
    f"CASE WHEN ROW.outcome <> 'ok' THEN {FAILED} "
    + " ".join(f"WHEN ROW.latency_ms < {end} THEN {begin}" for begin, end in pairwise(STEPS_MS))
    + f" ELSE {STEPS_MS[-1]} END"
)
"""The step of an attempt. ROW is NEW or OLD in a trigger, and a table elsewhere."""
OF_AN_ATTEMPT = {
    "attempts": "1",
    "spent_nusd": "ROW.cost_nusd",
    "input_tokens": "coalesce(ROW.input_fresh, 0) + coalesce(ROW.cache_read, 0) + coalesce(ROW.cache_write, 0)"
    " + coalesce(ROW.cache_write_1h, 0)",
    "output_tokens": "coalesce(ROW.output, 0) + coalesce(ROW.reasoning, 0)",
}
OF_A_REQUEST = {
    "calls": "1",
    "hits": "ROW.cache IN ('HIT', 'SEMANTIC HIT')",
    "misses": "ROW.cache IN ('MISS', 'SEMANTIC MISS')",
    "saved_nusd": "ROW.saved_nusd",
}


def _cells(adds: dict[str, str], *, step: str, row: str, sign: str = "1", also: str = "", only: str = "true") -> str:
    """A statement that adds to the cells of the row named `row`, or of all that are in `also`."""
    return (
        f"INSERT INTO day_cells ({_KEY}, {', '.join(adds)})"  # noqa: S608 - constants of ours
        f" SELECT cut.by_payer, iif(cut.by_payer, ROW.user, ''), iif(cut.by_payer, ROW.task, ''), ROW.day, {step},"
        f" ROW.access_key, ROW.provider, ROW.model, {', '.join(f'{sign} * ({added})' for added in adds.values())}"
        f" FROM {f'{also} CROSS JOIN' if also else ''} (SELECT 0 AS by_payer UNION ALL SELECT 1) AS cut WHERE {only}"
        f" ON CONFLICT ({_KEY}) DO UPDATE SET"
        f" {', '.join(f'{column} = {column} + excluded.{column}' for column in adds)};"
    ).replace("ROW.", f"{row}.")


def _failures(kind: str, *, row: str, sign: str = "1", also: str = "", only: str = "true") -> str:
    """The same for `day_failures`; `kind` is what failed, attempts or requests."""
    return (
        f"INSERT INTO day_failures (day, access_key, user, task, provider, model, outcome, {kind})"  # noqa: S608 - constants of ours
        " SELECT ROW.day, ROW.access_key, ROW.user, ROW.task, ROW.provider, ROW.model, ROW.outcome,"
        f" {sign}{f' FROM {also}' if also else ''} WHERE ROW.outcome <> 'ok' AND {only}"
        " ON CONFLICT (day, access_key, user, task, provider, model, outcome)"
        f" DO UPDATE SET {kind} = {kind} + excluded.{kind};"
    ).replace("ROW.", f"{row}.")


def attempt_in_cells(row: str, sign: str = "1", also: str = "") -> tuple[str, str]:
    ended = "ROW.state <> 'held'"
    return (
        _cells(OF_AN_ATTEMPT, step=STEP, row=row, sign=sign, also=also, only=ended),
        _failures("attempts", row=row, sign=sign, also=also, only=ended),
    )


def request_in_cells(row: str, sign: str = "1", also: str = "") -> tuple[str, str]:
    return (
        _cells(OF_A_REQUEST, step=str(REQUESTS), row=row, sign=sign, also=also),
        _failures("requests", row=row, sign=sign, also=also),
    )


def trigger(name: str, when: str, *statements: str) -> str:
    return f"CREATE TRIGGER {name} {when} BEGIN {' '.join(statements)} END"


VIEWS = (
    # Why the deployment that answered was on the route.
    "ALTER TABLE requests ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
    # Holds all that requests are picked by, so that the last few of one user are found without reading everyone's.
    "CREATE INDEX requests_by_time ON requests (created_ms, access_key, user, task, outcome)",
    f"""
    CREATE TABLE day_cells (
        by_payer INTEGER NOT NULL CHECK (by_payer IN (0, 1)),
        user TEXT NOT NULL,
        task TEXT NOT NULL,
        day TEXT NOT NULL,
        from_ms INTEGER NOT NULL CHECK (from_ms >= {REQUESTS}),
        access_key TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        {" ".join(f"{column} INTEGER NOT NULL DEFAULT 0," for column in (*OF_AN_ATTEMPT, *OF_A_REQUEST))}
        PRIMARY KEY ({_KEY})
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE day_failures (
        day TEXT NOT NULL,
        access_key TEXT NOT NULL,
        user TEXT NOT NULL,
        task TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        outcome TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        requests INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (day, access_key, user, task, provider, model, outcome)
    ) STRICT, WITHOUT ROWID
    """,
    *attempt_in_cells("attempts", also="attempts"),
    *request_in_cells("requests", also="requests"),
    _cells(
        {"spent_nusd": "adjustments.delta_nusd"},
        step=STEP,
        row="attempts",
        also="adjustments JOIN attempts USING (attempt_id)",
    ),
    trigger("cells_counted", "AFTER INSERT ON attempts WHEN NEW.state <> 'held'", *attempt_in_cells("NEW")),
    trigger("cells_ended", "AFTER UPDATE OF state ON attempts WHEN OLD.state = 'held'", *attempt_in_cells("NEW")),
    trigger(
        "cells_recounted",
        "AFTER UPDATE OF state, cost_nusd ON attempts WHEN OLD.state <> 'held'",
        *attempt_in_cells("OLD", "-1"),
        *attempt_in_cells("NEW"),
    ),
    trigger("cells_requested", "AFTER INSERT ON requests", *request_in_cells("NEW")),
    trigger("cells_rerequested", "AFTER UPDATE ON requests", *request_in_cells("OLD", "-1"), *request_in_cells("NEW")),
    trigger(
        "cells_adjusted",
        "AFTER INSERT ON adjustments",
        _cells(
            {"spent_nusd": "NEW.delta_nusd"},
            step=STEP,
            row="attempts",
            also="attempts",
            only="attempts.attempt_id = NEW.attempt_id",
        ),
    ),
)
