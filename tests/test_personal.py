"""What is kept about a person can be had and erased, and nothing that others rely on changes with it."""

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings

from clocks import FakeClock
from histories import Step, play, steps
from ledgers import DAY, NOW_MS, TODAY, a_database, a_hold, a_record, an_alert, ended, kept_sums, raise_alert
from orchestra_router.cli import main
from orchestra_router.simulation import Says
from orchestra_router.store import audit, cache_feedback, ledger, personal, reports, requests, views
from orchestra_router.store.audit_records import AuditEvent
from orchestra_router.store.cache import note_use
from orchestra_router.store.cache_records import CacheMatch, WrongPair
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.erasure_schema import NOBODY
from orchestra_router.store.personal_records import Row
from orchestra_router.store.report_records import GroupBy, ReportRow
from orchestra_router.store.view_records import Cut
from orchestra_router.types import Scope
from test_day_sums import GROUPS
from worlds import World, ask, open_world

ANNA = "anna.walrus"
WORDS = "quokkamarmalade"
ANSWER = "narwhalbiscuit"
BUDGETS = f'\n[budgets.user."{ANNA}"]\nday_usd = 5\n'

MEANING: dict[str, Any] = {"cache": "semantic", "embedder": "off", "cache_ttl_s": 30_000_000}
"""Prompts are kept to be compared, by their words."""


def bytes_in(home: Path) -> bytes:
    return b"".join(file.read_bytes() for file in home.rglob("*") if file.name.startswith("orchestra.db"))


def says(world: World, text: str) -> None:
    for provider in world.providers.providers.values():
        provider.script(*(Says(text=text),) * 20)


async def exported(store: SqliteStore, user: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    await store.export_user(user, lambda kind, row: found[kind].append(row))
    return found


async def lived(home: Path) -> None:
    """Anna asks as a user, Bob with a label that names her, and Bob for himself."""
    async with open_world(home, toml=BUDGETS, user=ANNA, session="annas-session", **MEANING) as world:
        says(world, ANSWER)
        await world.router.complete(ask(f"{WORDS} one", trace_id="annas-trace", provider="openai"))
        await world.router.complete(ask(f"{WORDS} one", trace_id="annas-trace", provider="openai"))
        text = f"80 % of the day budget of {ANNA} is spent"
        await raise_alert(world.router.store, replace(an_alert(), kind="budget", holder=f"user:{ANNA}", text=text))
    async with open_world(home, user="bob", **MEANING) as world:
        says(world, ANSWER)
        world.clock.advance(60)
        await world.router.complete(ask(f"{WORDS} two", metadata={"user": ANNA, "app": "docs"}, provider="openai"))
        world.clock.advance(60)
        await world.router.complete(ask("Something of Bob's.", metadata={"app": "docs"}, provider="openai"))


async def test_everything_about_a_person_can_be_had(tmp_path: Path) -> None:
    await lived(tmp_path)
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())

    found = await exported(store, ANNA)
    await store.close()

    assert {kind: len(rows) for kind, rows in found.items()} == {
        "request": 3,
        "attempt": 2,
        "spend": 2,
        "day": 1,
        "cell": 2,
        "alert": 1,
        "cache entry": 1,
        "audit": 5,
    }
    assert WORDS in str(found["cache entry"][0]["prompt"])
    assert "Something of Bob's" not in json.dumps(found, default=str)


async def test_nothing_of_an_erased_person_is_left_in_the_files_and_the_money_is_all_there(tmp_path: Path) -> None:
    await lived(tmp_path)
    async with open_world(tmp_path, user="bob", **MEANING) as other:
        store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
        before = await store.report(first_day=TODAY.day, last_day=TODAY.day)
        by_user = {
            row.group: row for row in await store.report(first_day=TODAY.day, last_day=TODAY.day, group_by="user")
        }

        erased = await store.erase_user(ANNA, now_ms=NOW_MS)
        assert await store.rebuild()

        left = bytes_in(tmp_path)
        words = (ANNA, WORDS, "annas-session", "annas-trace")
        assert [word for word in words if word.encode() in left] == []
        assert b"Something of Bob's" in left
        assert (erased.requests, erased.attempts, erased.cache_entries, erased.alerts) == (3, 2, 2, 1)
        assert await exported(store, ANNA) == {}
        assert await store.report(first_day=TODAY.day, last_day=TODAY.day) == before
        after = {row.group: row for row in await store.report(first_day=TODAY.day, last_day=TODAY.day, group_by="user")}
        assert after[NOBODY].spent_nusd == by_user[ANNA].spent_nusd > 0
        assert after["bob"] == by_user["bob"]
        check = await store.verify_audit()
        assert (check.problems, check.erased) == ((), erased.audit_rows)
        # Whoever is still running goes on as before.
        assert (await other.router.complete(ask("Something of Bob's.", provider="openai"))).cache == "HIT"
        await store.close()


@settings(max_examples=30, deadline=None)
@given(history=steps)
def test_no_sum_changes_when_a_person_is_erased(history: list[Step]) -> None:
    db = a_database()
    play(db, history)
    groups: tuple[GroupBy | None, ...] = (None, *GROUPS)
    before: dict[GroupBy | None, tuple[ReportRow, ...]] = {
        group: reports.report(db, first_day="2026-11-01", last_day="2026-11-30", group_by=group) for group in groups
    }
    budgets = kept_sums(db)

    personal.erase(db, "ada", now_ms=NOW_MS)

    for group, rows in before.items():
        renamed = [_as_nobody(row) for row in rows] if group == "user" else rows
        assert sorted(
            reports.report(db, first_day="2026-11-01", last_day="2026-11-30", group_by=group), key=str
        ) == sorted(renamed, key=str)
    assert kept_sums(db) == {
        (holder.replace("user:ada", f"user:{NOBODY}"), day): sums for (holder, day), sums in budgets.items()
    }


@settings(max_examples=20, deadline=None)
@given(history=steps)
def test_the_dashboard_shows_nobody_in_place_of_an_erased_person(history: list[Step]) -> None:
    db = a_database()
    play(db, history)
    month = {"first_day": "2026-11-01", "last_day": "2026-11-30"}
    everyone = Cut(**month)
    before = (views.figures(db, everyone, by="provider"), views.latencies(db, everyone), views.failures(db, everyone))
    theirs = [row for row in views.figures(db, Cut(**month, user="ada"), by="provider") if row.attempts or row.calls]

    personal.erase(db, "ada", now_ms=NOW_MS)

    assert (
        views.figures(db, everyone, by="provider"),
        views.latencies(db, everyone),
        views.failures(db, everyone),
    ) == before
    assert [
        row for row in views.figures(db, Cut(**month, user=NOBODY), by="provider") if row.attempts or row.calls
    ] == theirs
    assert not views.figures(db, Cut(**month, user="ada"))


def _as_nobody(row: ReportRow) -> ReportRow:
    return replace(row, group=NOBODY) if row.group == "ada" else row


def test_two_erased_people_are_one_nobody() -> None:
    db = a_database()
    for number, user in enumerate(("ada", "bob")):
        ledger.hold(db, a_hold(f"a{number}", request_id=f"r{number}", scope=Scope(user=user)), [], owner="")
        ledger.settle(db, ended(f"a{number}", 60))

    for user in ("ada", "bob"):
        personal.erase(db, user, now_ms=NOW_MS)

    assert kept_sums(db)[f"user:{NOBODY}", TODAY.day] == (120, 0)
    (row,) = reports.report(db, first_day=TODAY.day, last_day=TODAY.day, group_by="user")
    assert (row.group, row.spent_nusd, row.attempts) == (NOBODY, 120, 2)


def test_an_attempt_that_was_running_is_settled_on_nobody() -> None:
    db = a_database()
    ledger.hold(db, a_hold("a1", scope=Scope(user="ada")), [], owner="")

    running = personal.erase(db, "ada", now_ms=NOW_MS).running
    ledger.settle(db, ended("a1", 60))

    assert running == 1
    assert kept_sums(db)[f"user:{NOBODY}", TODAY.day] == (60, 0)
    assert kept_sums(db)["global", TODAY.day] == (60, 0)


@pytest.mark.parametrize(
    "change", ["user = 'bob'", "access_key = 'x', user = '(erased)'", "amount_nusd = 1", "day = '2026-01-01'"]
)
def test_a_payer_changes_in_no_other_way(change: str) -> None:
    db = a_database()
    ledger.hold(db, a_hold("a1", scope=Scope(user="ada")), [DAY], owner="")

    with pytest.raises(sqlite3.IntegrityError, match="never change"):
        db.execute(f"UPDATE attempts SET {change}")  # noqa: S608 - ours


def test_prompts_that_were_compared_go_where_the_scope_does_not_say_whose_they_are() -> None:
    db = a_database()
    everyone = '["local", "", ""]'
    pair = WrongPair(who=everyone, asked=f"{WORDS} a", asked_hash="1", earlier="of Bob", earlier_hash="2")
    for user, text, at_ms in (("ada", f"{WORDS} a", NOW_MS + 5), ("bob", "of Bob", NOW_MS + 500)):
        match = CacheMatch(
            entry_id="e", who=everyone, earlier="old", asked=text, similarity=0.96, refusal="", served=True,
            at_ms=at_ms, expires_ms=NOW_MS + 10_000,
        )  # fmt: skip
        record = replace(a_record(user, scope=Scope(user=user), created_ms=at_ms - 5), cache_match=match)
        requests.record(db, [record])
        note_use(db, record)
    cache_feedback.mark_wrong(db, "none", [pair], now_ms=NOW_MS)

    erased = personal.erase(db, "ada", now_ms=NOW_MS)

    assert erased.cache_pairs == 3
    assert [row["asked"] for row in db.execute("SELECT asked FROM cache_matches")] == ["of Bob"]
    assert db.execute("SELECT count(*) FROM cache_wrong").fetchone()[0] == 0


def test_a_key_that_was_for_an_erased_person_alone_is_revoked_and_names_nobody() -> None:
    db = a_database()
    for key, user in (("k1", "ada"), ("k2", "bob")):
        db.execute(
            "INSERT INTO access_keys (key_id, name, role, user, limits, created_ms) VALUES (?, ?, 'caller', ?, '{}', 1)",
            (key, f"laptop of {user}", user),
        )

    erased = personal.erase(db, "ada", now_ms=NOW_MS)

    rows = db.execute("SELECT key_id, name, user, revoked_ms FROM access_keys ORDER BY key_id").fetchall()
    assert [tuple(row) for row in rows] == [("k1", NOBODY, NOBODY, NOW_MS), ("k2", "laptop of bob", "bob", None)]
    assert erased.access_keys == 1


# --- the trail ---------------------------------------------------------------------------------------------------


def trail(users: str = "abab") -> sqlite3.Connection:
    db = a_database()
    for number, user in enumerate(users):
        audit.append(
            db, AuditEvent(at_ms=number, kind="request", subject=f"r{number}", body={"user": user, "n": number})
        )
    return db


def test_the_chain_is_whole_without_what_was_erased_and_says_so() -> None:
    db = trail()

    personal.erase(db, "a", now_ms=9)

    check = audit.verify(db)
    assert (check.problems, check.erased, check.rows) == ((), 2, 5)
    newest = audit.rows(db, after=4, limit=1)[0]
    assert (newest.kind, newest.body) == ("erasure", {"erased": 2, "rows": [[1, 1], [3, 3]]})


def test_a_body_that_nobody_erased_is_still_missed() -> None:
    db = trail()
    personal.erase(db, "a", now_ms=9)

    db.execute("UPDATE audit SET body = NULL WHERE number = 2")

    assert audit.verify(db).problems == ("the body of row 2 is gone",)


def test_no_guess_at_an_erased_body_can_be_checked() -> None:
    """The hash of what was erased is still there, but what it was salted with is not."""
    db, again = trail("a"), trail("a")
    hashes = [one.execute("SELECT body_hash, salt FROM audit").fetchone() for one in (db, again)]
    personal.erase(db, "a", now_ms=9)

    assert hashes[0]["body_hash"] != hashes[1]["body_hash"]
    salt = db.execute("SELECT salt FROM audit WHERE number = 1").fetchone()["salt"]
    assert (len(hashes[0]["salt"]), salt) == (32, "")


@pytest.mark.parametrize(
    "body",
    [
        {"user": ANNA},
        {"metadata": {"user": ANNA}},
        {"budget": f"user:{ANNA}"},
        {"settings": {"user": ANNA}},
        {"settings": {"budgets": {"user": {ANNA: {"day_usd": "5"}}}}},
    ],
    ids=["who asked", "a label", "a budget", "the settings", "the settings' budgets"],
)
def test_every_row_of_the_trail_that_names_a_person_is_found(body: dict[str, Any]) -> None:
    db = trail("b")
    audit.append(db, AuditEvent(at_ms=1, kind="any", subject="any", body=body))

    erased = personal.erase(db, ANNA, now_ms=9)

    assert erased.audit_rows == 1
    assert ANNA not in "\n".join(db.iterdump())


# --- the files ---------------------------------------------------------------------------------------------------


async def test_where_somebody_is_reading_the_files_are_not_said_to_be_clean(tmp_path: Path) -> None:
    await lived(tmp_path)
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock(), busy_timeout_s=0.01)
    await store.erase_user(ANNA, now_ms=NOW_MS)

    with closing(sqlite3.connect(tmp_path / "orchestra.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM attempts").fetchone()
        while_read = await store.rebuild()
    afterwards = await store.rebuild()
    await store.close()

    assert (while_read, afterwards) == (False, True)
    assert ANNA.encode() not in bytes_in(tmp_path)


# --- the commands ------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    anyio.run(lived, tmp_path)
    (tmp_path / "orchestra.toml").write_text(BUDGETS, encoding="utf-8")
    monkeypatch.setenv("ORCHESTRA_HOME", str(tmp_path))
    return tmp_path


def test_the_commands_show_a_person_what_is_kept_and_erase_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--user", ANNA]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["record"] for row in rows} >= {"request", "attempt", "cache entry", "audit"}

    assert main(["erase", "--user", ANNA]) == 1
    assert "Say --yes if you are sure" in capsys.readouterr().err

    assert main(["backup"]) == 0
    capsys.readouterr()
    assert main(["erase", "--user", ANNA, "--yes"]) == 0
    told = capsys.readouterr().out
    assert "Made anonymous: 3 requests and 2 attempts" in told
    (copy,) = home.glob("orchestra.backup-*.db")
    assert f"The copy {copy} was not touched." in told
    copy.unlink()
    assert "The setting `budgets.user` still names this user" in told
    assert main(["audit", "verify"]) == 0
    assert "erased with a person's data" in capsys.readouterr().out
    assert WORDS.encode() not in bytes_in(home)


def test_a_name_that_nobody_has_erases_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["erase", "--user", "nobody-at-all", "--yes", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert {told[name] for name in ("requests", "attempts", "cache_entries", "audit_rows")} == {0}
    assert ANNA.encode() in bytes_in(home)
