"""Budgets that hold: the ledger under every order of events, and under several processes at once."""

import asyncio
import itertools
import sqlite3
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clocks import FakeClock
from ledgers import DAY, NOW_MS, TODAY, a_database, a_hold, add_key, child, ended, kept_sums, sums_of_rows
from orchestra_router.store import ledger, opening
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import AttemptState, Denied, Limit, Period, Spent
from orchestra_router.store.owner import this_process
from orchestra_router.types import Scope, Usage

LATER_MS = NOW_MS + 3_600_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


# --- one hold --------------------------------------------------------------------------------------------------


async def test_a_hold_counts_against_every_budget_of_its_scope(store: SqliteStore) -> None:
    scope = Scope(access_key="team", user="ada")

    await add_key(store, "team")

    await store.hold(a_hold(amount_nusd=100, scope=scope), [])

    for holder in ("global", "key:team", "user:ada"):
        for period in (TODAY.day, TODAY.month):
            assert await store.spent(holder, period) == Spent(spent_nusd=0, held_nusd=100)


async def test_a_caller_without_a_user_has_no_user_budget(store: SqliteStore) -> None:
    await store.hold(a_hold(scope=Scope(user="")), [])

    assert await store.spent("user:", TODAY.day) == Spent(0, 0)


async def test_a_hold_may_use_a_budget_up_to_its_last_billionth_and_no_further(store: SqliteStore) -> None:
    exact = await store.hold(a_hold("a1", 1_000), [DAY])
    one_more = await store.hold(a_hold("a2", 1), [DAY])

    assert exact is None
    assert one_more == Denied(DAY, spent_nusd=0, held_nusd=1_000, left_nusd=0, in_flight=True)


async def test_what_a_person_has_approved_counts_for_that_hold_alone_and_only_so_far(store: SqliteStore) -> None:
    await store.hold(a_hold("a1", 1_000), [DAY])

    approved = await store.hold(replace(a_hold("a2", 50), approved_nusd=50, approved_by="local at x"), [DAY])
    another = await store.hold(replace(a_hold("a3", 50), approved_nusd=50), [DAY])
    unasked = await store.hold(a_hold("a4", 1), [DAY])

    assert approved is None
    assert isinstance(another, Denied)
    assert another.left_nusd == -50
    assert unasked is not None


async def test_what_costs_nothing_is_not_refused_over_an_empty_budget(store: SqliteStore) -> None:
    await store.hold(a_hold("a1", 1_000), [DAY])
    await store.settle(ended("a1", 1_200))

    assert await store.hold(a_hold("local", 0), [DAY]) is None


async def test_of_several_empty_budgets_the_one_that_lasts_longest_is_named(store: SqliteStore) -> None:
    month = Limit("global", TODAY.month, 50)
    key = Limit("key:local", TODAY.day, 10)

    denied = await store.hold(a_hold(amount_nusd=2_000), [key, DAY, month])

    assert denied == Denied(month, spent_nusd=0, held_nusd=0, left_nusd=10)


async def test_a_denied_hold_leaves_no_trace(store: SqliteStore) -> None:
    await store.hold(a_hold(amount_nusd=2_000), [DAY])

    assert await store.attempts_of("r1") == ()
    assert await store.spent("global", TODAY.day) == Spent(0, 0)


async def test_a_new_day_has_its_own_budget_and_the_month_goes_on(store: SqliteStore) -> None:
    tomorrow = Period("2026-11-24", "2026-11")
    month = Limit("global", "2026-11", 1_500)
    await store.hold(a_hold("a1", 1_000), [DAY, month])

    too_much = await store.hold(a_hold("a2", 600, period=tomorrow), [Limit("global", tomorrow.day, 1_000), month])
    enough = await store.hold(a_hold("a3", 500, period=tomorrow), [Limit("global", tomorrow.day, 1_000), month])

    assert too_much == Denied(month, spent_nusd=0, held_nusd=1_000, left_nusd=500, in_flight=True)
    assert enough is None


# --- how it ends -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "cost", "spent"), [("settled", 60, 60), ("released", 0, 0), ("uncertain", 100, 100)])
async def test_ending_a_hold_frees_it_and_counts_what_is_owed(
    store: SqliteStore, state: AttemptState, cost: int, spent: int
) -> None:
    await store.hold(a_hold("a1", 100), [])

    changed = (await store.settle(ended("a1", cost, state=state))).changed

    assert changed
    assert await store.spent("global", TODAY.day) == Spent(spent_nusd=spent, held_nusd=0)


async def test_settling_twice_changes_nothing(store: SqliteStore) -> None:
    await store.hold(a_hold("a1", 100), [])
    await store.settle(ended("a1", 60))

    dearer = (await store.settle(ended("a1", 99))).changed
    freed = (await store.settle(ended("a1", 0, state="released"))).changed

    assert (dearer, freed) == (False, False)
    assert await store.spent("global", TODAY.day) == Spent(60, 0)


async def test_the_truth_may_come_late_and_corrects_the_estimate(store: SqliteStore) -> None:
    await store.hold(a_hold("a1", 100), [])
    await store.settle(ended("a1", 100, state="uncertain"))

    changed = (await store.settle(ended("a1", 40, usage=Usage(input_fresh=7)))).changed

    assert changed
    assert await store.spent("global", TODAY.month) == Spent(40, 0)
    assert (await store.attempts_of("r1"))[0]["input_fresh"] == 7


async def test_an_attempt_that_was_reclaimed_too_early_and_turns_out_free_is_charged_no_more(
    store: SqliteStore,
) -> None:
    await store.hold(a_hold("a1", 100), [])
    await store.reclaim(now_ms=LATER_MS)

    changed = [
        (await store.settle(ended("a1", 0, state=state))).changed for state in ("released", "released", "settled")
    ]

    assert changed == [True, False, False]
    assert await store.spent("global", TODAY.day) == Spent(0, 0)
    assert (await store.attempts_of("r1"))[0]["state"] == "released"


async def test_an_unknown_attempt_is_not_settled(store: SqliteStore) -> None:
    assert not (await store.settle(ended("never held"))).changed


async def test_a_trail_is_found_by_request_and_by_trace_oldest_first(store: SqliteStore) -> None:
    await store.hold(a_hold("a2", number=2), [])
    await store.hold(a_hold("a1", number=1), [])
    await store.hold(a_hold("other", request_id="r2"), [])

    by_request = await store.attempts_of("r1")
    by_trace = await store.attempts_of("trace-of-r1")

    assert [row["attempt_id"] for row in by_request] == ["a1", "a2"]
    assert by_trace == by_request


async def test_a_cancelled_caller_still_learns_what_became_of_its_write(store: SqliteStore) -> None:
    is_claimed = False

    with anyio.CancelScope() as scope:
        scope.cancel()
        is_claimed = await store.claim_chore("retention", now_ms=1, until_ms=5, latest_ms=9)

    assert is_claimed
    assert not await store.claim_chore("retention", now_ms=2, until_ms=6, latest_ms=9)


async def test_a_cancelled_caller_of_a_hold_can_end_it_at_once(store: SqliteStore) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.hold(a_hold("a1", 100), [])
    store.settle(ended("a1", 0, state="released"))

    assert scope.cancelled_caught
    assert await store.spent("global", TODAY.day) == Spent(0, 0)
    (attempt,) = await store.attempts_of("r1")
    assert attempt["state"] == "released"


async def test_a_settlement_is_written_for_whom_nobody_waits_and_before_the_next_hold(store: SqliteStore) -> None:
    limit = Limit("global", TODAY.day, 150)
    await store.hold(a_hold("a1", 100), [limit])

    store.settle(ended("a1", 60))

    assert await store.hold(a_hold("a2", 90), [limit]) is None
    assert await store.spent("global", TODAY.day) == Spent(60, 90)


async def test_closing_writes_what_nobody_waited_for(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    await store.hold(a_hold("a1", 100), [])
    store.settle(ended("a1", 60))
    await store.close()

    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    assert await store.spent("global", TODAY.day) == Spent(60, 0)
    await store.close()


async def test_a_task_that_is_cancelled_past_the_shield_leaves_a_whole_write_and_a_working_store(
    store: SqliteStore,
) -> None:
    task = asyncio.create_task(store.hold(a_hold("a1", 100), []))
    await asyncio.sleep(0)

    task.cancel()

    assert await store.hold(a_hold("a2", 10), []) is None
    assert task.cancelled()
    assert await store.spent("global", TODAY.day) == Spent(0, 110)


async def test_a_bad_write_fails_alone_among_those_committed_with_it(store: SqliteStore) -> None:
    outcomes: dict[str, bool] = {}

    async def hold(name: str, attempt_id: str) -> None:
        try:
            await store.hold(a_hold(attempt_id, 1), [])
        except sqlite3.IntegrityError:
            outcomes[name] = False
        else:
            outcomes[name] = True

    async with anyio.create_task_group() as group:
        for name, attempt_id in (("first", "a1"), ("second", "a2"), ("twice", "a2"), ("last", "a3")):
            group.start_soon(hold, name, attempt_id)

    assert outcomes == {"first": True, "second": True, "twice": False, "last": True}
    assert await store.spent("global", TODAY.day) == Spent(0, 3)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE attempts SET state = 'held'",
        "UPDATE attempts SET state = 'lost'",
        "UPDATE attempts SET amount_nusd = 0",
        "UPDATE attempts SET day = '2026-11-24'",
        "UPDATE attempts SET cost_nusd = -1",
        "UPDATE attempts SET cost_nusd = 0.5",
        "DELETE FROM attempts WHERE state = 'held'",
    ],
)
def test_the_database_itself_refuses_what_would_break_the_sums(change: str) -> None:
    db = a_database()
    ledger.hold(db, a_hold("a1"), [], owner=this_process())
    ledger.settle(db, ended("a1"))
    ledger.hold(db, a_hold("a2"), [], owner=this_process())

    with pytest.raises(sqlite3.IntegrityError):
        db.execute(change)

    assert kept_sums(db) == sums_of_rows(db)
    db.close()


# --- what dead processes leave ---------------------------------------------------------------------------------


def test_an_expired_hold_of_another_process_becomes_uncertain_at_its_worst_case() -> None:
    db = a_database()
    ledger.hold(db, a_hold("a1", 100), [], owner="1/elsewhere/another machine")

    early = ledger.reclaim(db, now_ms=NOW_MS)
    late = ledger.reclaim(db, now_ms=LATER_MS)

    assert (early, late) == (0, 1)
    assert ledger.spent(db, "global", TODAY.day) == Spent(100, 0)
    db.close()


def test_a_process_reclaims_what_it_left_itself_once_that_has_expired() -> None:
    db = a_database()
    ledger.hold(db, a_hold("a1", 100), [], owner=this_process())

    early = ledger.reclaim(db, now_ms=NOW_MS)
    late = ledger.reclaim(db, now_ms=LATER_MS)

    assert (early, late) == (0, 1)
    assert ledger.spent(db, "global", TODAY.day) == Spent(100, 0)
    db.close()


def test_a_hold_whose_ending_only_waits_to_be_written_is_not_reclaimed() -> None:
    db = a_database()
    ledger.hold(db, a_hold("a1", 100), [], owner=this_process())

    assert ledger.reclaim(db, now_ms=LATER_MS, keep=("a1",)) == 0
    assert ledger.spent(db, "global", TODAY.day) == Spent(0, 100)
    db.close()


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows only the expiry tells")
def test_an_earlier_process_of_the_same_number_is_dead() -> None:
    pid, _, place = this_process().split("/", 2)
    db = a_database()
    ledger.hold(db, a_hold("a1", 100), [], owner=f"{pid}/an earlier life/{place}")

    assert ledger.reclaim(db, now_ms=NOW_MS) == 1
    db.close()


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows only the expiry tells")
async def test_the_hold_of_a_killed_process_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "orchestra.db"
    async with child("hang", path) as victim:
        await victim.ready()
        await victim.go()
        assert await victim.says() == "held"
        store = await SqliteStore.open(path, clock=FakeClock())
        while_it_lived = await store.reclaim(now_ms=NOW_MS)
        victim.process.kill()
        await victim.process.wait()

        reclaimed = [await store.reclaim(now_ms=NOW_MS) for _ in range(2)]

    assert while_it_lived == 0
    assert reclaimed == [1, 0]
    assert await store.spent("global", TODAY.day) == Spent(spent_nusd=100, held_nusd=0)
    assert (await store.attempts_of("r1"))[0]["state"] == "uncertain"
    await store.close()


# --- at once ---------------------------------------------------------------------------------------------------


async def test_several_processes_never_pass_a_limit_and_use_it_up(tmp_path: Path) -> None:
    path = tmp_path / "orchestra.db"
    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(child("hold", path, f"p{n}", "8")) for n in range(3)]
        for each in children:
            await each.ready()
        for each in children:
            await each.go()
        succeeded = [int(await each.says()) for each in children]

    store = await SqliteStore.open(path, clock=FakeClock())
    assert sum(succeeded) == 10  # of 24 that asked for 100 each, under a limit of 1,000
    assert await store.spent("global", TODAY.day) == Spent(0, 1_000)
    await store.close()


async def test_many_tasks_never_pass_a_limit_and_use_it_up(store: SqliteStore) -> None:
    denials: list[object] = []

    async def hold(number: int) -> None:
        denials.append(await store.hold(a_hold(f"a{number}", 30), [DAY]))

    async with anyio.create_task_group() as group:
        for number in range(64):
            group.start_soon(hold, number)

    assert denials.count(None) == 33
    assert await store.spent("global", TODAY.day) == Spent(0, 990)


# --- in any order ----------------------------------------------------------------------------------------------


OWNERS = (this_process(), "1/elsewhere/another machine")
SCOPES = (Scope(), Scope(user="ada"), Scope(access_key="team", user="ada"))
PERIODS = (TODAY, Period("2026-11-24", "2026-11"), Period("2026-12-01", "2026-12"))

MAY_BECOME = {"held": ("settled", "released", "uncertain"), "uncertain": ("settled", "released")}


class AnyOrder(RuleBasedStateMachine):
    """Holds, endings of every kind, repeats and sweeps, in any order, under the limits of a day, a month and a task.

    On a real file that several connections have open: each statement comes from the next of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        path = Path(self.folder.name) / "orchestra.db"
        self.connections = [opening.connect(path, busy_timeout_s=0) for _ in range(3)]
        self.turns = itertools.cycle(self.connections)
        self.amounts: list[int] = []

    @property
    def db(self) -> sqlite3.Connection:
        return next(self.turns)

    def limits(self, scope: Scope, period: Period) -> Sequence[Limit]:
        return [
            Limit("global", period.day, 500),
            Limit("global", period.month, 800),
            Limit(f"key:{scope.access_key}", period.day, 300),
            Limit("task:coding", period.month, 700),
        ]

    @rule(
        amount=st.integers(0, 250),
        scope=st.sampled_from(SCOPES),
        period=st.sampled_from(PERIODS),
        owner=st.sampled_from(OWNERS),
    )
    def hold(self, amount: int, scope: Scope, period: Period, owner: str) -> None:
        limits = self.limits(scope, period)
        hold = a_hold(f"a{len(self.amounts)}", amount, scope=scope, period=period)
        affordable = all(
            sum(kept_sums(self.db).get((limit.holder, limit.period), (0, 0))) + amount <= limit.limit_nusd
            for limit in limits
        )

        denied = ledger.hold(self.db, hold, limits, owner=owner)

        assert (denied is None) == affordable
        if denied is None:
            self.amounts.append(amount)

    @rule(data=st.data(), state=st.sampled_from(["settled", "released", "uncertain", "held"]), times=st.integers(1, 2))
    def end(self, data: st.DataObject, state: AttemptState, times: int) -> None:
        if self.amounts:
            index = data.draw(st.integers(0, len(self.amounts) - 1))
            held = self.amounts[index]
            # What is not known counts at the whole hold: only then is there room for the truth, whatever it is.
            cost = {"held": 0, "released": 0, "uncertain": held}.get(state)
            cost = data.draw(st.integers(0, held)) if cost is None else cost
            (was,) = self.db.execute("SELECT state FROM attempts WHERE attempt_id = ?", (f"a{index}",)).fetchone()
            before = kept_sums(self.db)
            changed = [ledger.settle(self.db, ended(f"a{index}", cost, state=state)).changed for _ in range(times)]
            # Only the truth about an uncertain attempt, or a first ending, is a change; a repeat is none.
            assert changed[1:].count(True) == 0
            assert changed[0] == (state in MAY_BECOME.get(was, ()))
            assert changed[0] or kept_sums(self.db) == before

    @rule(now_ms=st.sampled_from([NOW_MS, LATER_MS]))
    def reclaim(self, now_ms: int) -> None:
        ledger.reclaim(self.db, now_ms=now_ms)

    @invariant()
    def the_sums_are_those_of_the_rows(self) -> None:
        assert kept_sums(self.db) == sums_of_rows(self.db)

    @invariant()
    def no_limit_is_passed(self) -> None:
        sums = kept_sums(self.db)
        for period in PERIODS:
            for scope in SCOPES:
                for limit in self.limits(scope, period):
                    assert sum(sums.get((limit.holder, limit.period), (0, 0))) <= limit.limit_nusd

    def teardown(self) -> None:
        for index in range(len(self.amounts)):
            ledger.settle(self.db, ended(f"a{index}", 0, state="released"))
        # After quiet no hold is left.
        assert all(held == 0 for _, held in kept_sums(self.db).values())
        for connection in self.connections:
            connection.close()
        self.folder.cleanup()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
