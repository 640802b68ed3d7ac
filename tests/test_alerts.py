"""What is worth telling a person is told once, whichever process notices."""

import sqlite3
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import NOW_MS, TODAY, a_database, a_hold, an_alert, ended
from orchestra_router.config import Settings
from orchestra_router.errors import AllAttemptsFailed
from orchestra_router.policy.alerts import Watching
from orchestra_router.pricing import Pricing
from orchestra_router.simulation import Reply, ServerError
from orchestra_router.store import ledger
from orchestra_router.store.alert_records import Alert, Seen, Watch
from orchestra_router.store.alerts import LEAST_HOURS
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import Hold, Spent
from worlds import World, ask, open_world

HOUR_MS = 3_600_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


async def settled(
    store: SqliteStore, hold: Hold, cost_nusd: int, *watches: Watch, seen: Seen | None = None
) -> tuple[Alert, ...]:
    await store.hold(hold, [])
    sightings = () if seen is None else (seen,)
    settled = await store.settle(replace(ended(hold.attempt_id, cost_nusd), watches=watches, sightings=sightings))
    return settled.alerts


def a_watch(threshold_nusd: int, *, holder: str = "global", period: str = TODAY.day) -> Watch:
    return Watch(kind="spend", holder=holder, period=period, threshold_nusd=threshold_nusd, text="Too much.")


async def alerts_of(world: World, kind: str) -> list[str]:
    alerts = await world.router.store.alerts(first_day="2026-11-23", last_day="2026-11-24")
    return [str(alert["text"]) for alert in alerts if alert["kind"] == kind]


async def test_a_threshold_is_told_of_by_the_settlement_that_reaches_it_and_by_no_other(
    store: SqliteStore, tmp_path: Path
) -> None:
    other = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())

    told = [
        await settled(each, a_hold(f"a{number}"), 40, a_watch(100))
        for number, each in enumerate((store, other, store, other))
    ]

    assert [[alert.text for alert in alerts] for alerts in told] == [[], [], ["Too much."], []]
    await other.close()


def test_settlements_of_one_transaction_leave_nothing_open_whether_or_not_alerts_could_be_raised() -> None:
    db = a_database()
    db.execute(
        "CREATE TRIGGER refused BEFORE INSERT ON alerts WHEN NEW.threshold_nusd = 90"
        " BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    for number in range(4):
        ledger.hold(db, a_hold(f"a{number}"), [], owner="")
    db.execute("BEGIN IMMEDIATE")

    told = [
        ledger.settle(db, replace(ended(f"a{number}", 40), watches=(a_watch(threshold),)))
        for number, threshold in enumerate((40, 80, 90, 160))
    ]

    with pytest.raises(sqlite3.OperationalError, match="no such savepoint"):
        db.execute("RELEASE alerts")
    db.execute("COMMIT")
    assert [(len(one.alerts), one.unwatched) for one in told] == [(1, ""), (1, ""), (0, "no"), (1, "")]
    assert ledger.spent(db, "global", TODAY.day) == Spent(160, 0)
    db.close()


async def test_an_attempt_that_had_ended_before_tells_nothing(store: SqliteStore) -> None:
    await settled(store, a_hold(), 100)

    again = await store.settle(ended("a1", 100))

    assert (again.changed, again.alerts) == (False, ())


async def hours(store: SqliteStore, costs: list[int]) -> None:
    """One attempt in each of the hours before now, the oldest first."""
    for number, cost in enumerate(costs):
        hold = a_hold(f"h{number}", created_ms=NOW_MS - (len(costs) - number) * HOUR_MS)
        await settled(store, hold, cost)


def the_hour(times: int) -> Watch:
    return Watch(
        kind="rate",
        holder="global",
        period="2026-11-23T16",
        threshold_nusd=50,
        text="Unusual.",
        times_usual=times,
        since="2026-11-09T16",
    )


@pytest.mark.parametrize(("cost", "told"), [(100, 0), (101, 1)])
async def test_an_hour_is_unusual_beyond_its_multiple_of_the_median_hour(
    store: SqliteStore, cost: int, told: int
) -> None:
    await hours(store, [10] * (LEAST_HOURS - 1) + [9_000])  # one wild hour changes nothing

    assert len(await settled(store, a_hold("now"), cost, the_hour(10))) == told


async def test_nothing_is_unusual_while_too_little_is_known(store: SqliteStore) -> None:
    await hours(store, [10] * (LEAST_HOURS - 1))

    assert await settled(store, a_hold("now"), 9_000, the_hour(10)) == ()


async def test_a_small_hour_is_not_worth_a_word(store: SqliteStore) -> None:
    await hours(store, [1] * LEAST_HOURS)

    assert await settled(store, a_hold("now"), 49, the_hour(10)) == ()


async def test_a_change_is_told_once_and_what_is_new_is_no_change(store: SqliteStore) -> None:
    def seen(value: str) -> Seen:
        return Seen(kind="price", subject="price x/y", about="The price of x/y", value=value, day=TODAY.day)

    told = [
        await settled(store, a_hold(f"a{number}"), 1, seen=seen(value))
        for number, value in enumerate(("$1", "$1", "$2", "$2"))
    ]

    assert [alert.text for alerts in told for alert in alerts] == ["The price of x/y changed from $1 to $2"]


# --- through the router ----------------------------------------------------------------------------------------


async def test_a_budget_and_the_threshold_of_the_day_at_the_same_amount_are_both_told_of(tmp_path: Path) -> None:
    async with open_world(tmp_path, budget_day_usd="0.0060", alert_day_usd="0.0048") as world:
        world.providers["deepseek"].script(ServerError())
        with pytest.raises(AllAttemptsFailed):
            await world.router.complete(ask(provider="deepseek", max_retries=0, task="general_chat"))

        told = await alerts_of(world, "spend"), await alerts_of(world, "budget")
        deliveries = [await world.router.store.claim(by="me", now_ms=NOW_MS, until_ms=NOW_MS + 1) for _ in range(3)]

    assert told == (
        ["Spend of 2026-11-23 has passed the alert threshold of $0.0048"],
        ["80 % of the daily budget (2026-11-23), $0.006, is spent"],
    )
    assert sorted(each.alert.kind for each in deliveries if each is not None) == ["budget", "spend"]


def test_alerts_of_two_kinds_are_each_looked_for_until_they_have_been_told(tmp_path: Path) -> None:
    hold, settings = a_hold(), Settings(home=tmp_path, budget_day_usd=Decimal(1), alert_day_usd=Decimal("0.8"))
    watching = Watching(settings, Pricing.of(settings))

    before = watching.watches(hold)
    (spend,) = [watch for watch in before if watch.kind == "spend"]
    watching.told(replace(an_alert(period=spend.period, threshold_nusd=spend.threshold_nusd), holder=spend.holder))

    assert [watch for watch in before if watch not in watching.watches(hold)] == [spend]


async def test_spend_nobody_knows_is_told_of_beyond_its_threshold(tmp_path: Path) -> None:
    async with open_world(tmp_path, alert_uncertain_usd="0.000001") as world:
        world.providers["deepseek"].script(Reply(200, body={"choices": [{"message": {"content": "Hm."}}]}))
        await world.router.complete(ask("One.", provider="deepseek", max_retries=0))
        await world.router.complete(ask("Two.", provider="deepseek"))

        told = await alerts_of(world, "uncertain")

    assert told == ["Spend whose outcome nobody knows of 2026-11-23 has passed the alert threshold of $0.000001"]


async def test_a_price_that_is_another_than_the_last_time_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = '\n[models."deepseek-flash".at.deepseek]\nid = "deepseek-flash"\nprices = [{{ input = {}, output = 8 }}]\n'
    for rate in (1, 1, "2.5"):
        async with open_world(tmp_path, toml=own.format(rate)) as world:
            await world.router.complete(
                ask(f"At {rate}?", provider="deepseek", model="deepseek-flash", cache="refresh")
            )
            told = await alerts_of(world, "price")

    change = "at most $1 in and $8 out per million tokens to at most $2.5 in and $8 out per million tokens"
    assert told == [f"The price of deepseek/deepseek-flash changed from {change}"]
    assert caplog.text.count("The price of") == 1


async def test_another_model_behind_the_same_name_is_told_of(tmp_path: Path) -> None:
    def answer(model: str) -> Reply:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return Reply(200, body={"model": model, "choices": [{"message": {"content": "Hm."}}], "usage": usage})

    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(answer("a-1"), answer("a-1"), answer("a-2"), answer("<i>a</i> 3"))
        for number in range(4):
            await world.router.complete(ask(f"{number}?", provider="deepseek", model="deepseek-flash"))

        told = await alerts_of(world, "model")

    assert told == ["The model behind deepseek/deepseek-flash changed from a-1 to a-2"]
