"""What the dashboard shows is what the requests did, in the calendar of the person who looks."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from clocks import FakeClock
from ledgers import a_hold, a_record, ended
from orchestra_router.config import Settings
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.budget import period_at
from orchestra_router.policy.views import Asked, Views
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.ledger_records import AttemptState
from orchestra_router.types import Scope

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Looking:
    """A store that one writes to as requests would, and the views of it."""

    def __init__(self, store: SqliteStore, clock: FakeClock, settings: Settings) -> None:
        self.views = Views(store, settings, clock)
        self.clock = clock
        self._store = store
        self._settings = settings
        self._made = 0

    async def call(
        self,
        cost_nusd: int = 100,
        *,
        ago_ms: int = 0,
        provider: str = "openrouter",
        user: str = "",
        outcome: str = "ok",
        latency_ms: int = 900,
    ) -> None:
        self._made += 1
        name, at_ms = f"{self._made}", self.clock.now_ms() - ago_ms
        period = period_at(at_ms, self._settings.timezone)
        await self._store.hold(
            a_hold(
                name,
                cost_nusd,
                request_id=name,
                period=period,
                provider=provider,
                scope=Scope(user=user),
                created_ms=at_ms,
                expires_ms=at_ms + HOUR_MS,
            ),
            [],
        )
        state: AttemptState = "settled" if outcome == "ok" else "released"
        cost = cost_nusd if outcome == "ok" else 0
        await self._store.settle(ended(name, cost, state=state, outcome=outcome, latency_ms=latency_ms))
        await self._store.record(
            a_record(name, created_ms=at_ms, scope=Scope(user=user), outcome=outcome, period=period)
        )


@pytest.fixture
async def looking(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Looking]:
    clock = FakeClock()  # 2026-11-23, a Monday, 16:00 UTC
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=clock)
    timezone: str = getattr(request, "param", "UTC")
    yield Looking(store, clock, Settings(home=tmp_path, timezone=timezone))
    await store.close()


async def test_spend_of_each_day_is_stacked_by_provider_dearest_first(looking: Looking) -> None:
    await looking.call(100, provider="xai", ago_ms=2 * DAY_MS)
    await looking.call(300, provider="openrouter")
    await looking.call(50, provider="xai")

    spend = await looking.views.spend(Asked(range="7_days"), "provider")

    assert spend.span.starts == tuple(f"2026-11-{day}" for day in range(17, 24))
    assert [(one.name, one.spent_nusd) for one in spend.series] == [
        ("openrouter", (0, 0, 0, 0, 0, 0, 300)),
        ("xai", (0, 0, 0, 0, 100, 0, 50)),
    ]
    assert (spend.total.spent_nusd, spend.total.attempts, spend.total.calls) == (450, 3, 3)
    assert [(row.name, row.spent_nusd) for row in spend.rows] == [("openrouter", 300), ("xai", 150)]


async def test_more_providers_than_colours_are_one_series_that_keeps_the_sum(looking: Looking) -> None:
    for number in range(9):
        await looking.call(100 + number, provider=f"provider{number}")

    spend = await looking.views.spend(Asked(range="7_days"), "provider")

    assert [one.name for one in spend.series] == [f"provider{number}" for number in (8, 7, 6, 5, 4, 3)] + [""]
    assert spend.series[-1].rest
    assert sum(sum(one.spent_nusd) for one in spend.series) == spend.total.spent_nusd


@pytest.mark.parametrize("looking", ["America/New_York"], indirect=True)
async def test_today_is_shown_by_the_hours_of_the_persons_own_clock(looking: Looking) -> None:
    await looking.call(100)  # 11:00 in New York
    await looking.call(70, ago_ms=10 * HOUR_MS)  # 01:00
    await looking.call(5, ago_ms=12 * HOUR_MS)  # yesterday there

    spend = await looking.views.spend(Asked(range="today"), "provider")

    assert spend.span.starts[0] == "2026-11-23T00:00-0500"
    assert spend.span.starts[-1] == "2026-11-23T11:00-0500"
    assert [sum(one) for one in (series.spent_nusd for series in spend.series)] == [170]
    assert spend.series[0].spent_nusd[1] == 70


async def test_a_year_is_shown_by_weeks_that_begin_on_monday(looking: Looking) -> None:
    await looking.call(100)
    await looking.call(40, ago_ms=DAY_MS)

    spend = await looking.views.spend(Asked(range="365_days"), "provider")

    assert spend.span.step == "week"
    assert spend.span.starts[-2:] == ("2026-11-16", "2026-11-23")
    assert spend.series[0].spent_nusd[-2:] == (40, 100)


async def test_the_future_is_not_shown(looking: Looking) -> None:
    await looking.call(100)

    spend = await looking.views.spend(Asked(range="month"), "provider")

    assert (spend.span.first_day, spend.span.last_day) == ("2026-11-01", "2026-11-23")


async def test_a_picked_user_is_all_that_counts_in_every_view(looking: Looking) -> None:
    await looking.call(100, user="ada", provider="xai", latency_ms=5_000)
    await looking.call(900, user="bob")
    await looking.call(900, user="bob", outcome="timeout")
    ada = Asked(range="7_days", user="ada")

    spend = await looking.views.spend(ada, "model")
    traffic = await looking.views.traffic(ada)
    speed = await looking.views.speed(ada)
    requests = await looking.views.requests(ada)

    assert spend.total.spent_nusd == 100
    assert (traffic.total.attempts, traffic.total.failed, traffic.failures) == (1, 0, ())
    assert [(one.provider, one.answered) for one in speed.deployments] == [("xai", 1)]
    assert [row.columns["user"] for row in requests.rows] == ["ada"]


async def test_failures_are_counted_by_class_and_provider(looking: Looking) -> None:
    for _ in range(3):
        await looking.call(provider="xai")
    await looking.call(provider="xai", outcome="rate_limited")

    traffic = await looking.views.traffic(Asked(range="7_days"))

    assert [(one.name, one.attempts, one.failed) for one in traffic.providers] == [("xai", 4, 1)]
    assert [(one.provider, one.outcome, one.attempts) for one in traffic.failures if one.attempts] == [
        ("xai", "rate_limited", 1)
    ]
    assert (traffic.steps[-1].attempts, traffic.steps[-1].failed) == (4, 1)


async def test_percentiles_are_within_a_fifth_of_the_truth(looking: Looking) -> None:
    for number in range(1, 41):
        await looking.call(latency_ms=100 * number)

    speed = await looking.views.speed(Asked(range="7_days"))

    found = (speed.total.p50_ms, speed.total.p95_ms, speed.total.p99_ms)
    assert found == pytest.approx((2_000, 3_800, 3_960), rel=0.2)
    assert speed.steps[-1] == speed.total
    assert speed.steps[0].p50_ms is None


async def test_older_requests_are_a_page_further(looking: Looking) -> None:
    for number in range(30):
        await looking.call(ago_ms=1000 * number)

    first = await looking.views.requests(Asked(range="7_days"))
    rest = await looking.views.requests(Asked(range="7_days"), before=first.before)

    assert (len(first.rows), len(rest.rows), rest.before) == (25, 5, "")


async def test_the_overview_says_where_the_month_will_end_and_whether_there_ever_was_a_request(
    looking: Looking,
) -> None:
    empty = await looking.views.overview()
    await looking.call(10**9, ago_ms=DAY_MS)
    await looking.call(2 * 10**9)

    overview = await looking.views.overview()

    assert not empty.ever_asked
    assert overview.ever_asked
    assert (overview.spent_month.spent_nusd, overview.spent_today_nusd) == (3 * 10**9, 2 * 10**9)
    assert overview.projection is not None
    assert overview.projection.projected_nusd > 3 * 10**9


async def test_a_view_changes_its_version_when_something_was_written(looking: Looking) -> None:
    before = await looking.views.version()
    same = await looking.views.version()
    await looking.call()

    assert before == same
    assert await looking.views.version() != before


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (Asked(range="decade"), "`range` is one of"),
        (Asked(first_day="yesterday"), "dates such as 2026-11-23"),
        (Asked(first_day="2026-11-23", last_day="2026-11-01"), "Exchange them"),
        (Asked(first_day="2001-01-01"), "Pick a later first day"),
    ],
)
async def test_days_that_cannot_be_shown_are_refused_with_what_can_be(
    looking: Looking, asked: Asked, named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        await looking.views.spend(asked)
