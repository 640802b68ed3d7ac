"""The record of what happened: what is in it, and that nobody changes it unseen."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from clocks import FakeClock
from orchestra_router.errors import BudgetExceeded
from orchestra_router.store import audit
from orchestra_router.store.audit_records import AuditEvent, AuditRow
from orchestra_router.store.db import SqliteStore
from worlds import World, ask, open_world

SSN = "536-90-4399"


def event(number: int) -> AuditEvent:
    return AuditEvent(
        at_ms=1_000 * number, kind="request", subject=f"r{number}", body={"user": f"u{number % 2}", "n": number}
    )


async def written(path: Path, rows: int = 6) -> None:
    store = await SqliteStore.open(path, clock=FakeClock())
    for number in range(1, rows + 1):
        await store.audit(event(number))
    await store.close()


@contextmanager
def forged(path: Path) -> Generator[sqlite3.Connection]:
    """The file as somebody opens it who knows the program, and takes its triggers out first."""
    with closing(sqlite3.connect(path)) as db:
        for (name,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'"
        ).fetchall():
            db.execute(f"DROP TRIGGER {name}")
        yield db
        db.commit()


async def problems(path: Path, known: tuple[int, str] | None = None) -> tuple[str, ...]:
    store = await SqliteStore.open(path, clock=FakeClock())
    try:
        return (await store.verify_audit(known=known)).problems
    finally:
        await store.close()


async def test_a_record_that_nobody_touched_is_whole(tmp_path: Path) -> None:
    await written(tmp_path / "o.db")

    assert await problems(tmp_path / "o.db") == ()


COLUMNS = ["number", "at_ms", "kind", "subject", "body", "salt", "body_hash", "hash"]


@pytest.mark.parametrize("column", COLUMNS)
async def test_every_byte_of_a_row_that_is_changed_is_found(tmp_path: Path, column: str) -> None:
    path = tmp_path / "o.db"
    await written(path)
    with closing(sqlite3.connect(path)) as db:
        original = str(db.execute(f"SELECT {column} FROM audit WHERE number = 3").fetchone()[0])  # noqa: S608 - one of ours

    with forged(path) as db:
        db.row_factory = sqlite3.Row
        for place, character in enumerate(original):
            changed = original[:place] + ("7" if character != "7" else "8") + original[place + 1 :]
            value = int(changed) + 10 if column in {"number", "at_ms"} else changed
            where = "number = 3" if column != "number" else "subject = 'r3'"
            db.execute(f"UPDATE audit SET {column} = ? WHERE {where}", (value,))  # noqa: S608 - as above

            assert audit.verify(db).problems, (column, place)

            db.execute(f"UPDATE audit SET {column} = ? WHERE subject = 'r3' OR number = 3", (original,))  # noqa: S608 - as above
        assert audit.verify(db).problems == ()


TAMPERED: dict[str, tuple[str, str]] = {
    "a row taken out": ("DELETE FROM audit WHERE number = 3", "row 3 is missing"),
    "the first row taken out": ("DELETE FROM audit WHERE number = 1", "row 1 is missing"),
    "the last rows taken out": ("DELETE FROM audit WHERE number > 4", "rows 5 to 6 are missing"),
    "everything taken out": ("DELETE FROM audit", "rows 1 to 6 are missing"),
    "a row added": (
        "INSERT INTO audit SELECT 7, at_ms, kind, subject, body, body_hash, hash, salt FROM audit WHERE number = 6",
        "row 7 was changed",
    ),
    "a body taken away": ("UPDATE audit SET body = NULL WHERE number = 2", "the body of row 2 is gone"),
}


@pytest.mark.parametrize(("statement", "said"), TAMPERED.values(), ids=TAMPERED)
async def test_what_was_done_to_the_file_is_named(tmp_path: Path, statement: str, said: str) -> None:
    path = tmp_path / "o.db"
    await written(path)
    with forged(path) as db:
        db.execute(statement)

    assert any(said in problem for problem in await problems(path))


async def test_two_rows_that_changed_places_are_found(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await written(path)
    with forged(path) as db:
        for old, new in ((2, 100), (3, 2), (100, 3)):
            db.execute("UPDATE audit SET number = ? WHERE number = ?", (new, old))

    assert len(await problems(path)) >= 2


async def test_a_record_written_anew_as_a_whole_is_found_by_a_row_that_was_noted(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await written(path)
    with closing(sqlite3.connect(path)) as db:
        noted: tuple[int, str] = db.execute("SELECT number, hash FROM audit WHERE number = 4").fetchone()
    with forged(path) as db:
        db.execute("DELETE FROM audit")
        db.execute("UPDATE audit_ends SET first_number = 1, hash_before = '', last_number = 0, last_hash = ''")
    store = await SqliteStore.open(path, clock=FakeClock())
    for number in range(1, 7):
        await store.audit(AuditEvent(at_ms=5, kind="request", subject="innocent", body={"n": number}))
    await store.close()

    assert await problems(path) == ()
    assert await problems(path, known=noted) == ("row 4 is not the one that you know",)


async def test_an_end_that_was_cut_off_with_its_note_is_found_by_a_row_that_was_noted_only(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await written(path)
    with closing(sqlite3.connect(path)) as db:
        noted: tuple[int, str] = db.execute("SELECT number, hash FROM audit WHERE number = 6").fetchone()
    with forged(path) as db:
        db.execute("DELETE FROM audit WHERE number > 4")
        db.execute("UPDATE audit_ends SET last_number = 4, last_hash = (SELECT hash FROM audit WHERE number = 4)")

    assert await problems(path) == ()
    assert await problems(path, known=noted) == ("row 6 is not the one that you know",)


async def test_notes_of_the_trail_itself_that_make_no_sense_are_problems_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await written(path)
    store = await SqliteStore.open(path, clock=FakeClock())
    for kind in ("erasure", "retention"):
        for body in ({}, {"rows": 3, "up_to": "x"}, {"rows": [[1]], "up_to": None}):
            await store.audit(AuditEvent(at_ms=9, kind=kind, subject="audit", body=body))
    await store.audit(AuditEvent(at_ms=9, kind="erasure", subject="audit", body={"rows": [[1, 10**15]]}))
    found = (await store.verify_audit()).problems
    await store.close()

    assert [problem for problem in found if "cannot be read" in problem] == [
        f"the body of row {number} cannot be read" for number in range(7, 13)
    ]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET subject = 'x' WHERE number = 2", "DELETE FROM audit WHERE number = 2"]
)
async def test_the_database_itself_refuses_a_change(tmp_path: Path, statement: str) -> None:
    await written(tmp_path / "o.db")

    with closing(sqlite3.connect(tmp_path / "o.db")) as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(statement)


WRITER = """
import anyio, sys
from pathlib import Path
from typing import Any
from orchestra_router.clock import SystemClock
from orchestra_router.store.audit_records import AuditEvent, AuditRow
from orchestra_router.store.db import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), clock=SystemClock(), busy_timeout_s=60)
    for number in range(100):
        await store.audit(AuditEvent(at_ms=number, kind="request", subject=sys.argv[2], body={"n": number}))
    await store.close()

anyio.run(main)
"""


def started(path: Path, count: int) -> list[subprocess.Popen[bytes]]:
    return [subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"p{number}"]) for number in range(count)]


def test_the_chain_holds_over_several_processes(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    anyio.run(written, path, 1)

    codes = [process.wait(timeout=120) for process in started(path, 4)]

    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        check = audit.verify(db)
    assert codes == [0, 0, 0, 0]
    assert (check.rows, check.problems) == (401, ())


async def test_the_chain_holds_while_two_processes_write_it_and_old_rows_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    store = await SqliteStore.open(path, clock=FakeClock(), busy_timeout_s=60)
    for number in range(200):
        await store.audit(replace(event(number), at_ms=0))
    writers = started(path, 2)

    dropped, dropped_meanwhile = 0, 0
    while any(writer.poll() is None for writer in writers):
        if (await store.verify_audit()).last_number > 200 + dropped:
            dropped += await store.drop_audit(before_ms=1, now_ms=1_000, most=1)
            dropped_meanwhile = dropped
    while count := await store.drop_audit(before_ms=1, now_ms=1_000, most=7):
        dropped += count

    check, (oldest, *_) = await store.verify_audit(), await store.audit_rows()
    await store.close()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert dropped >= 200
    assert dropped_meanwhile > 0
    assert check.problems == ()
    assert oldest.number == dropped + 1


async def test_a_beginning_that_was_cut_off_by_hand_is_found(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    await written(path)
    with forged(path) as db:
        db.execute("UPDATE audit_ends SET first_number = 3, hash_before = (SELECT hash FROM audit WHERE number = 2)")
        db.execute("DELETE FROM audit WHERE number < 3")

    assert await problems(path) == ("no row says that the time of what was before row 3 was over",)


async def test_a_pattern_of_the_guard_is_on_record_by_its_name_only(tmp_path: Path) -> None:
    toml = '\n[guard_patterns]\nproject = { pattern = "Bluebird", action = "block" }\n'
    async with open_world(tmp_path, toml=toml) as world:
        (row,) = await world.router.store.audit_rows()

    assert row.body is not None
    assert row.body["settings"]["guard_patterns"] == ["project"]  # pyright: ignore[reportIndexIssue]
    assert "Bluebird" not in json.dumps(row.body)


async def test_a_request_its_decision_and_a_refused_budget_are_on_record_without_a_word_of_the_prompt(
    tmp_path: Path,
) -> None:
    async with open_world(tmp_path, budget_day_usd="0.000001") as world:
        with pytest.raises(BudgetExceeded):
            await world.router.complete(
                ask(f"My number is {SSN}. A secret plan.", provider="deepseek", metadata={"app": "docs"})
            )
        rows = await world.router.store.audit_rows()

    bodies = {row.kind: row.body or {} for row in rows}
    assert [row.kind for row in rows] == ["configuration", "budget", "request"]
    assert bodies["configuration"]["settings"]["budget_day_usd"] == "0.000001"  # pyright: ignore[reportIndexIssue, reportUnknownVariableType]
    assert bodies["budget"]["event"] == "refused"
    assert bodies["request"]["outcome"] == "budget_exceeded"
    assert bodies["request"]["metadata"] == {"app": "docs"}
    assert "plan" not in json.dumps(bodies)
    assert SSN not in json.dumps(bodies)


async def refusals(world: World) -> list[AuditRow]:
    rows = await world.router.store.audit_rows()
    return [row for row in rows if row.kind == "budget" and (row.body or {})["event"] == "refused"]


async def test_a_refusal_is_on_record_once_and_only_if_the_caller_was_told_of_it(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.005") as world:
        ledger = world.router._ledger  # pyright: ignore[reportPrivateUsage]
        (candidate,) = (await world.router.plan(ask(provider="deepseek"))).route
        async with ledger.reserve(
            candidate, ask(), request_id="in the way", number=1, spent_nusd=0, seconds_left=60, waited_s=0
        ):
            with pytest.raises(BudgetExceeded):
                await world.router.complete(ask(provider="deepseek", request_id="told"))
            await world.router.complete(ask(request_id="asked something free"))

        assert len(world.clock.slept) > 5
        assert [row.subject for row in await refusals(world)] == ["told"]


async def test_who_was_tried_and_why_is_on_record(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        done = await world.router.complete(ask("Hello"))
        (row,) = [row for row in await world.router.store.audit_rows() if row.kind == "request"]

    assert row.subject == done.request_id
    assert row.body is not None
    assert row.body["why"] == done.reason
    assert row.body["tried"] == [[done.attempts[0].deployment, "ok"]]


async def test_the_same_configuration_is_on_record_once_and_a_changed_one_again(tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [{}, {}, {"max_tokens": 100}]
    rows: list[AuditRow] = []
    for changed in settings:
        async with open_world(tmp_path, **changed) as world:
            rows = [row for row in await world.router.store.audit_rows() if row.kind == "configuration"]

    # The simulated providers have other ports each time, so the catalog is another one, too.
    assert rows[-1].body is not None
    assert rows[-1].body["settings"] == {**(rows[0].body or {})["settings"], "max_tokens": 100}  # pyright: ignore[reportUnknownMemberType, reportGeneralTypeIssues]


def test_the_command_says_whether_the_record_is_whole(
    tmp_path: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    whole = run("audit", "verify", "--json", home=tmp_path)
    line = run("audit", "verify", home=tmp_path).stdout.splitlines()[1].removeprefix("Newest row: ")
    with forged(tmp_path / "orchestra.db") as db:
        db.execute("UPDATE audit SET body = '{}' WHERE number = 1")
    changed = run("audit", "verify", "--known", line, home=tmp_path)
    exported = run("audit", "export", home=tmp_path)

    assert (whole.returncode, json.loads(whole.stdout)["whole"]) == (0, True)
    assert changed.returncode == 1
    assert "the body of row 1 was changed" in changed.stdout
    assert json.loads(exported.stdout.splitlines()[0])["kind"] == "configuration"


@pytest.fixture
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    def start(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestra_router", *arguments]
        return subprocess.run(command, env={"ORCHESTRA_HOME": str(home)}, capture_output=True, text=True, check=False)

    return start
