"""What an attempt is counted at, whatever its provider says, whoever leaves, and while the database cannot be written."""

import asyncio
import json
import logging
import sqlite3
import sys
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from clocks import FakeClock
from ledgers import add_key
from orchestra_router.config import Config, load
from orchestra_router.deployments import Candidate, Figures
from orchestra_router.errors import (
    BudgetExceeded,
    DeadlineExceeded,
    InvalidRequest,
    KeyLimitReached,
    RateLimited,
    StoreError,
)
from orchestra_router.policy.ledger import Ledger, Reservation
from orchestra_router.price_lists import warm
from orchestra_router.pricing import Pricing
from orchestra_router.simulation import Reply
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import Settled, Settlement
from orchestra_router.types import NOBODY, Answer, Limits, Scope, Usage
from worlds import World, ask, open_world

WORST_NUSD = 20_000_000


@dataclass(frozen=True, slots=True)
class Books:
    """A ledger over a real database, without anybody to ask."""

    config: Config
    store: SqliteStore
    ledger: Ledger
    clock: FakeClock

    @asynccontextmanager
    async def reserve(
        self, *, provider: str = "deepseek", worst_nusd: int = WORST_NUSD, scope: Scope = NOBODY
    ) -> AsyncGenerator[Reservation]:
        deployment = self.config.catalog.deployments_at(provider)[0]
        candidate = Candidate(deployment=deployment, reason="", quote=Figures(worst_nusd=worst_nusd))
        async with self.ledger.reserve(
            candidate, ask(scope=scope), request_id="r1", number=1, spent_nusd=0, seconds_left=10, waited_s=0
        ) as reservation:
            yield reservation

    async def fail(self, error: Exception, *, sent: bool) -> None:
        async with self.reserve() as reservation:
            if sent:
                reservation.sending()
            raise error

    async def rows(self, *columns: str) -> list[tuple[object, ...]]:
        return [tuple(row[name] for name in columns) for row in await self.store.attempts_of("r1")]

    @asynccontextmanager
    async def unwritable(self) -> AsyncGenerator[None]:
        """Another process writes all the while."""
        with closing(sqlite3.connect(self.config.settings.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


@asynccontextmanager
async def open_books(home: Path, **settings: str) -> AsyncGenerator[Books]:
    config = load(
        {"ORCHESTRA_HOME": str(home)} | {f"ORCHESTRA_{name.upper()}": value for name, value in settings.items()}
    )
    clock = FakeClock()
    store = await SqliteStore.open(config.settings.database, clock=clock, busy_timeout_s=0.01)
    try:
        yield Books(config, store, Ledger(store, Pricing.of(config.settings), config.settings, clock), clock)
    finally:
        await store.close()


@pytest.fixture
async def books(tmp_path: Path) -> AsyncGenerator[Books]:
    async with open_books(tmp_path) as books:
        yield books


def said(text: str, **more: Any) -> Mapping[str, Any]:
    return {"id": "x", "choices": [{"finish_reason": "stop", "message": {"content": text}}], **more}


def streamed(*chunks: Mapping[str, Any]) -> Reply:
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return Reply(200, headers={"content-type": "text/event-stream"}, body=body)


def piece(**delta: str) -> Mapping[str, Any]:
    return {"choices": [{"delta": delta}]}


async def on_progress(_: str) -> None:
    pass


async def attempt_of(world: World) -> Mapping[str, Any]:
    (attempt,) = await world.router.store.attempts_of("r1")
    return attempt


# --- what a provider says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "model_not_found", "invalid_request_error"])
async def test_an_error_in_a_stream_that_may_have_been_billed_is_not_free_whatever_it_says(
    tmp_path: Path, code: str
) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(streamed(piece(reasoning_content="Hm."), {"error": {"code": code}}))
        with pytest.raises(Exception, match="No deployment answered"):
            await world.router.complete(
                ask(provider="deepseek", request_id="r1", max_retries=0), on_progress=on_progress
            )
        attempt = await attempt_of(world)

    assert attempt["state"] == "uncertain"
    assert attempt["cost_nusd"] == attempt["amount_nusd"] > 0


async def test_a_refusal_by_status_is_free_and_the_same_words_in_an_answer_are_not(books: Books) -> None:
    in_answer = RateLimited(status=429)
    in_answer.in_answer = True

    for error in (RateLimited(status=429), in_answer):
        with pytest.raises(RateLimited):
            await books.fail(error, sent=True)

    assert await books.rows("state", "cost_nusd") == [("released", 0), ("uncertain", WORST_NUSD)]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9},
        {"cost": 0},
        {"cost": 0.000001},
    ],
)
async def test_an_answer_without_a_credible_count_costs_its_worst_case(
    tmp_path: Path, usage: Mapping[str, object]
) -> None:
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(Reply(200, body=said("A long answer. " * 50, usage=usage)))
        completion = await world.router.complete(ask(provider="deepseek", request_id="r1"))
        attempt = await attempt_of(world)

    assert completion.cost_source == "estimate"
    assert completion.cost_nusd == attempt["amount_nusd"] > 0


async def test_a_stream_that_breaks_is_not_counted_at_what_it_had_come_to_at_its_start(tmp_path: Path) -> None:
    early = {"choices": [{"delta": {"content": "Once"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    async with open_world(tmp_path) as world:
        world.providers["deepseek"].script(streamed(early, *[piece(content="word " * 100)] * 20))
        with pytest.raises(Exception, match="broke off"):
            await world.router.complete(ask(provider="deepseek", request_id="r1"), on_progress=on_progress)
        attempt = await attempt_of(world)

    assert (attempt["state"], attempt["cost_nusd"]) == ("uncertain", attempt["amount_nusd"])


async def test_a_count_beyond_belief_is_not_booked(books: Books, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "orchestra"):
        async with books.reserve() as reservation:
            reservation.sending()
            reservation.answered(Answer(text="Hi.", usage=Usage(input_fresh=10**12, output=10**12)))

    assert await books.rows("state", "cost_nusd", "input_fresh") == [("uncertain", WORST_NUSD, None)]
    assert "not believed" in caplog.text


async def test_an_honest_overrun_is_booked_as_it_is(books: Books) -> None:
    async with books.reserve(provider="openrouter") as reservation:
        reservation.sending()
        reservation.answered(Answer(text="Hi.", usage=Usage(input_fresh=9, output=9), cost_nusd=2 * WORST_NUSD))

    assert await books.rows("state", "cost_nusd", "cost_source") == [("settled", 2 * WORST_NUSD, "provider")]


# --- the request's own cap -------------------------------------------------------------------------------------


async def test_attempts_of_one_request_that_run_side_by_side_share_its_cap(books: Books) -> None:
    deployment = books.config.catalog.deployments_at("deepseek")[0]
    candidate = Candidate(deployment=deployment, reason="", quote=Figures(worst_nusd=WORST_NUSD))
    request = ask(max_cost_nusd=2 * WORST_NUSD - 1)

    def reserve() -> AbstractAsyncContextManager[Reservation]:
        return books.ledger.reserve(
            candidate, request, request_id="r1", number=1, spent_nusd=0, seconds_left=10, waited_s=0
        )

    async with reserve():
        with pytest.raises(BudgetExceeded, match="max_cost_usd"):
            async with reserve():
                pass
    async with reserve() as after:
        pass

    assert after.attempt is not None


# --- how it was left -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "state", "cost_nusd"), [(False, "released", 0), (True, "uncertain", WORST_NUSD)])
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyError("ours"), "internal"),
        (DeadlineExceeded("no"), "deadline_exceeded"),
        (InvalidRequest("no"), "invalid_request"),
    ],
)
async def test_what_else_goes_wrong_is_written_by_its_name(
    books: Books, error: Exception, outcome: str, *, sent: bool, state: str, cost_nusd: int
) -> None:
    with pytest.raises(type(error)):
        await books.fail(error, sent=sent)

    assert await books.rows("state", "outcome", "cost_nusd") == [(state, outcome, cost_nusd)]


async def test_a_task_cancelled_past_any_shield_at_any_moment_leaves_no_money_on_hold(tmp_path: Path) -> None:
    warm()
    async with open_world(tmp_path) as world:
        for moments in range(0, 600, 7):  # turns of the event loop
            question = ask(f"Question {moments}?", task="coding", cache="off")
            task = asyncio.create_task(world.router.complete(question))
            for _ in range(moments):
                await anyio.lowlevel.checkpoint()
            task.cancel()
            await asyncio.wait({task})
        total = (await world.router.cost_report()).total

    assert total.attempts > 0
    assert total.held_nusd == 0
    assert total.spent_nusd - total.uncertain_nusd <= world.providers.billed_nusd <= total.spent_nusd


async def test_a_task_cancelled_while_its_hold_is_written_ends_that_hold(books: Books) -> None:
    async def attempt() -> None:
        async with books.reserve():
            raise AssertionError

    for moments in range(1, 12):
        task = asyncio.create_task(attempt())
        for _ in range(moments):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    assert {state for (state,) in await books.rows("state")} == {"released"}


async def test_no_money_stays_on_hold_where_no_thread_can_be_had_for_the_price_list(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.delitem(sys.modules, "genai_prices", raising=False)
    monkeypatch.setattr(threading.Thread, "start", start)
    async with books.reserve():
        pass

    assert await books.rows("state") == [("released",)]


async def test_free_attempts_of_one_request_beside_each_other_all_end(books: Books) -> None:
    async with books.reserve(worst_nusd=0), books.reserve(worst_nusd=0):
        pass

    assert await books.rows("state") == [("released",), ("released",)]


async def test_what_took_more_than_was_set_aside_counts_for_the_very_next_hold(tmp_path: Path) -> None:
    async with open_books(tmp_path, budget_day_usd="0.02") as books:
        async with books.reserve(provider="openrouter", worst_nusd=5_000) as reservation:
            reservation.answered(Answer(text="Hi.", cost_nusd=20_000_000))
        with pytest.raises(BudgetExceeded):
            async with books.reserve(worst_nusd=5_000):
                raise AssertionError


async def test_tokens_beyond_what_was_expected_count_for_the_very_next_hold_of_their_key(books: Books) -> None:
    limits = Limits(tokens_per_minute=1_000)
    await add_key(books.store, "k", limits=limits)
    async with books.reserve(scope=Scope("k", limits=limits)) as reservation:
        reservation.answered(Answer(text="Hi.", usage=Usage(input_fresh=300, output=900)))

    with pytest.raises(KeyLimitReached, match="1,200 are used up"):
        async with books.reserve(scope=Scope("k", limits=limits)):
            raise AssertionError


# --- a database that cannot be written -------------------------------------------------------------------------


async def fail_to_settle(books: Books) -> None:
    """An attempt that cost 5,000, ended while the database was another's."""
    attempt = books.reserve(provider="openrouter")
    reservation = await attempt.__aenter__()
    reservation.sending()
    reservation.answered(Answer(text="Hi.", cost_nusd=5_000))
    async with books.unwritable():
        await attempt.__aexit__(None, None, None)
        await books.ledger.written()
    assert reservation.attempt is not None
    assert reservation.attempt.cost_nusd == 5_000


async def test_a_cost_that_cannot_be_written_and_whose_process_dies_counts_at_its_worst_case(books: Books) -> None:
    await fail_to_settle(books)

    # What another process does once the hold has expired: it knows of no cost that waits to be written.
    await books.store.reclaim(now_ms=books.clock.now_ms() + 3_600_000)

    assert await books.rows("state", "cost_nusd") == [("uncertain", WORST_NUSD)]


async def test_a_cost_that_cannot_be_written_is_written_before_the_next_hold(books: Books) -> None:
    await fail_to_settle(books)
    held = await books.rows("state")

    async with books.reserve():
        pass

    assert held == [("held",)]
    assert await books.rows("state", "cost_nusd") == [("settled", 5_000), ("released", 0)]


async def test_costs_that_could_not_be_written_are_written_together(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may wait for others to go with: one after the other, many would take long."""
    attempts = [books.reserve() for _ in range(3)]
    for attempt in attempts:
        await attempt.__aenter__()
    async with books.unwritable():
        for attempt in attempts:
            await attempt.__aexit__(None, None, None)
        await books.ledger.written()
    settle, asked = books.store.settle, list[Settlement]()

    async def settle_beside_the_others(settlement: Settlement) -> Settled:
        asked.append(settlement)
        settled = await settle(settlement)
        assert len(asked) == len(attempts)
        return settled

    monkeypatch.setattr(books.store, "settle", settle_beside_the_others)
    await books.ledger.reclaim()

    assert await books.rows("state") == [("released",)] * 3


async def test_nothing_more_is_spent_while_a_cost_cannot_be_written(books: Books) -> None:
    await fail_to_settle(books)

    async with books.unwritable():
        with pytest.raises(StoreError):
            async with books.reserve():
                raise AssertionError
    await books.ledger.reclaim()

    assert await books.rows("state", "cost_nusd") == [("settled", 5_000)]


async def test_a_cost_that_cannot_be_written_is_written_on_closing(books: Books) -> None:
    await fail_to_settle(books)

    await books.ledger.aclose()

    assert await books.rows("state", "cost_nusd") == [("settled", 5_000)]


async def test_closing_says_what_could_not_be_written(books: Books, caplog: pytest.LogCaptureFixture) -> None:
    await fail_to_settle(books)

    async with books.unwritable():
        await books.ledger.aclose()

    assert "1 attempt(s) count at their worst case" in caplog.text


async def test_an_expired_hold_of_our_own_is_reclaimed_and_one_that_waits_to_be_written_gets_its_cost(
    books: Books,
) -> None:
    await fail_to_settle(books)
    books.clock.advance(3_600)

    await books.ledger.reclaim()

    assert await books.rows("state", "cost_nusd") == [("settled", 5_000)]


async def test_an_alert_that_cannot_be_raised_fails_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_books(tmp_path, alert_day_usd="0") as books:
        with closing(sqlite3.connect(books.config.settings.database)) as other:
            other.execute("DROP TABLE alerts")
        async with books.reserve(provider="openrouter") as reservation:
            reservation.answered(Answer(text="Hi.", cost_nusd=5_000))

        assert await books.rows("state", "cost_nusd") == [("settled", 5_000)]
    assert reservation.attempt is not None
    assert "whether there is something to alert about could not be checked" in caplog.text


# --- what is set aside -----------------------------------------------------------------------------------------


async def test_the_hold_of_an_edited_offer_covers_the_bill_of_the_model_it_now_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a new process, which has not imported the price list when it plans.
    monkeypatch.setattr("orchestra_router.price_lists._imported", threading.Event())
    toml = '\n[models."gpt-6-luna".at.openai]\nid = "gpt-5-pro"\n'
    async with open_world(tmp_path, toml=toml) as world:
        candidate = (await world.router.plan(ask(provider="openai", model="gpt-6-luna"))).route[0]
        pricing = Pricing.of(world.router.config.settings)

    bill = pricing.cost(candidate.deployment, Usage(input_fresh=12, output=4096), at_ms=world.clock.now_ms())

    assert candidate.deployment.offer.id == "gpt-5-pro"
    assert candidate.worst_nusd >= bill.nusd > 100_000_000
