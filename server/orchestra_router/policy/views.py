"""What the dashboard shows: figures over time, cut by day, access key, user and task."""

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, cast, get_args

from orchestra_router.clock import Clock
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy.budget import BudgetSettings, period_at, zone
from orchestra_router.policy.costs import QUARTER_MS, BudgetState, CostReport, Projection, cost_report
from orchestra_router.policy.periods import ONE_DAY, calendar, given
from orchestra_router.store.base import Store
from orchestra_router.store.view_records import Choices, Cut, Dimension, Failures, Figures, Latencies, RecentRequest
from orchestra_router.store.view_schema import STEPS_MS

Range = Literal["today", "7_days", "30_days", "month", "last_month", "90_days", "365_days"]
Step = Literal["hour", "day", "week"]
By = Literal["provider", "model", "task", "user", "access_key"]

MOST_SERIES = 6
"""In colours that can be told apart; the rest is one more."""
MOST_ROWS = 50
MOST_HOURS_DAYS = 2
MOST_DAYS = 92
"""More days than so many are shown as weeks."""
MOST_RANGE_DAYS = 3 * 366
PAGE = 25
MINUTE_MS = 60_000

_ROLLING: Mapping[str, int] = {"today": 1, "7_days": 7, "30_days": 30, "90_days": 90, "365_days": 365}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody picked. None: not picked."""

    range: str | None = None
    first_day: str | None = None
    last_day: str | None = None
    access_key: str | None = None
    user: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The days that are shown, none of them in the future, and when each step of them begins."""

    first_day: str
    last_day: str
    timezone: str
    step: Step
    starts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """One value of a dimension, over the whole span."""

    name: str
    """"" is everything together, or whatever has no name."""
    attempts: int = 0
    failed: int = 0
    spent_nusd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    calls: int = 0
    hits: int = 0
    misses: int = 0
    saved_nusd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    name: str
    rest: bool = False
    """All that have no series of their own."""
    spent_nusd: tuple[int, ...]
    attempts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    span: Span
    by: By
    total: Total
    series: tuple[Series, ...]
    rows: tuple[Total, ...]
    """Dearest first."""
    more_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    span: Span
    total: Total
    steps: tuple[Total, ...]
    """One for each step of the span; `name` is empty."""
    providers: tuple[Total, ...]
    failures: tuple[Failures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds that so many of a hundred answers did not pass; None where nothing was answered.

    Read from steps, and so within a fifth of the truth.
    """

    provider: str = ""
    model: str = ""
    answered: int = 0
    p50_ms: int | None = None
    p95_ms: int | None = None
    p99_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    span: Span
    total: Latency
    steps: tuple[Latency, ...]
    deployments: tuple[Latency, ...]
    """Asked most first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The month at a glance: everyone's, whatever is picked."""

    day: str
    month: str
    timezone: str
    spent_month: Total
    spent_today_nusd: int
    projection: Projection | None
    budgets: tuple[BudgetState, ...]
    alerts: tuple[Mapping[str, object], ...]
    """Newest first."""
    notes: tuple[str, ...]
    ever_asked: bool
    """False: there is not one request on record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    rows: tuple[RecentRequest, ...]
    before: str
    """Where older ones begin; "": there are none."""


class Views:
    """Raises everywhere: `InvalidRequest` for what cannot be shown, `StoreError`."""

    def __init__(self, store: Store, settings: BudgetSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    async def overview(self) -> Overview:
        report = await self._month()
        today = period_at(self._clock.now_ms(), self._settings.timezone)
        (day,) = await self._store.report(first_day=today.day, last_day=today.day)
        total = report.total
        return Overview(
            day=today.day,
            month=today.month,
            timezone=self._settings.timezone,
            spent_month=Total(
                name="",
                attempts=total.attempts,
                failed=total.failed,
                spent_nusd=total.spent_nusd,
                input_tokens=total.input_total,
                output_tokens=total.output_total,
                calls=total.calls,
                hits=total.hits,
                misses=total.misses,
                saved_nusd=total.saved_nusd,
            ),
            spent_today_nusd=day.spent_nusd,
            projection=report.projection,
            budgets=report.budgets,
            alerts=tuple(reversed(report.alerts)),
            notes=report.notes,
            ever_asked=await self._ever_asked(),
        )

    async def spend(self, asked: Asked, by: str = "provider") -> Spend:
        if by not in get_args(By):
            raise InvalidRequest(f"`by` is one of {', '.join(get_args(By))}.")
        cut, span = self._cut(asked)
        rows = await self._store.figures(cut, by=cast("Dimension", by), per_quarter=span.step == "hour")
        totals = sorted(_totals(rows), key=lambda total: (-total.spent_nusd, -total.attempts, -total.calls, total.name))
        named = [total.name for total in totals if total.attempts or total.spent_nusd]
        own = named if len(named) <= MOST_SERIES + 1 else named[:MOST_SERIES]
        at = _Places(span)
        spent = {name: [0] * len(span.starts) for name in (*own, None)}
        attempts = {name: [0] * len(span.starts) for name in (*own, None)}
        for row in rows:
            name, place = row.value if row.value in own else None, at.of(row.at)
            spent[name][place] += row.spent_nusd
            attempts[name][place] += row.attempts
        series = [Series(name=name, spent_nusd=tuple(spent[name]), attempts=tuple(attempts[name])) for name in own]
        if len(own) < len(named):
            series.append(Series(name="", rest=True, spent_nusd=tuple(spent[None]), attempts=tuple(attempts[None])))
        return Spend(
            span=span,
            by=cast("By", by),
            total=_added(rows),
            series=tuple(series),
            rows=tuple(totals[:MOST_ROWS]),
            more_rows=max(0, len(totals) - MOST_ROWS),
        )

    async def traffic(self, asked: Asked) -> Traffic:
        cut, span = self._cut(asked)
        # By provider, for the two tables that are made of it: reading costs more than adding up.
        rows = await self._store.figures(cut, by="provider", per_quarter=span.step == "hour")
        at = _Places(span)
        steps: list[list[Figures]] = [[] for _ in span.starts]
        for row in rows:
            steps[at.of(row.at)].append(row)
        return Traffic(
            span=span,
            total=_added(rows),
            steps=tuple(_added(step) for step in steps),
            providers=tuple(
                sorted((one for one in _totals(rows) if one.attempts), key=lambda one: (-one.attempts, one.name))
            ),
            failures=await self._store.failures(cut),
        )

    async def speed(self, asked: Asked) -> Speed:
        cut, span = self._cut(asked)
        rows = await self._store.latencies(cut, per_quarter=span.step == "hour")
        at = _Places(span)
        steps: list[list[Latencies]] = [[] for _ in span.starts]
        for row in rows:
            steps[at.of(row.at)].append(row)
        deployments: defaultdict[tuple[str, str], list[Latencies]] = defaultdict(list)
        for row in await self._store.latencies_by_deployment(cut):
            deployments[row.provider, row.model].append(row)
        found = [
            replace(_percentiles(of), provider=provider, model=model) for (provider, model), of in deployments.items()
        ]
        return Speed(
            span=span,
            total=_percentiles(rows),
            steps=tuple(_percentiles(step) for step in steps),
            deployments=tuple(sorted(found, key=lambda one: -one.answered)[:MOST_ROWS]),
        )

    async def requests(self, asked: Asked, *, before: str = "", only_failed: bool = False) -> Requests:
        """A page of the last requests, each with its attempts; `before` is where the page before it ended."""
        if not re.fullmatch(r"([0-9]{1,15}-[0-9]{1,15})?", before):
            raise InvalidRequest("`before` is what the page before this one gave.")
        cut, span = self._cut(asked)
        first, last = dt.date.fromisoformat(cut.first_day), dt.date.fromisoformat(cut.last_day)
        tz = zone(span.timezone)
        rows = await self._store.recent_requests(
            cut,
            since_ms=_midnight_ms(first, tz),
            until_ms=_midnight_ms(last + ONE_DAY, tz),
            before=before,
            only_failed=only_failed,
            most=PAGE + 1,
        )
        return Requests(rows=rows[:PAGE], before=rows[PAGE - 1].place if len(rows) > PAGE else "")

    async def choices(self, asked: Asked) -> Choices:
        cut, _ = self._cut(asked)
        return await self._store.choices(first_day=cut.first_day, last_day=cut.last_day)

    async def version(self) -> str:
        """Another one whenever views may have changed: after a write, and each minute, for time changes them too."""
        return f"{await self._store.version()}-{self._clock.now_ms() // MINUTE_MS}"

    async def _month(self) -> CostReport:
        return await cost_report(self._store, self._settings, now_ms=self._clock.now_ms(), period="month")

    async def _ever_asked(self) -> bool:
        now_ms = self._clock.now_ms()
        everything = Cut(first_day=dt.date.min.isoformat(), last_day=dt.date.max.isoformat())
        return bool(await self._store.recent_requests(everything, since_ms=0, until_ms=now_ms + 86_400_000, most=1))

    def _cut(self, asked: Asked) -> tuple[Cut, Span]:
        timezone = self._settings.timezone
        now_ms = self._clock.now_ms()
        today = dt.date.fromisoformat(period_at(now_ms, timezone).day)
        first, last = (dt.date.fromisoformat(day) for day in _days(asked, today))
        last = max(first, min(last, today))
        if (last - first).days >= MOST_RANGE_DAYS:
            raise InvalidRequest(f"At most {MOST_RANGE_DAYS} days can be shown. Pick a later first day.")
        cut = Cut(
            first_day=first.isoformat(),
            last_day=last.isoformat(),
            access_key=asked.access_key,
            user=asked.user,
            task=asked.task,
        )
        return cut, _span(first, last, timezone, now_ms=now_ms)


# --- days and steps ------------------------------------------------------------------------------------------


def _days(asked: Asked, today: dt.date) -> tuple[str, str]:
    if asked.first_day is not None or asked.last_day is not None:
        first = asked.first_day if asked.first_day is not None else asked.last_day
        return given(first, asked.last_day, today=today.isoformat())
    name = asked.range or "30_days"
    if name in _ROLLING:
        return (today - (_ROLLING[name] - 1) * ONE_DAY).isoformat(), today.isoformat()
    if name in ("month", "last_month"):
        return calendar(name, today)
    raise InvalidRequest(f"`range` is one of {', '.join(get_args(Range))}.")


def _span(first: dt.date, last: dt.date, timezone: str, *, now_ms: int) -> Span:
    days = (last - first).days + 1
    step: Step = "hour" if days <= MOST_HOURS_DAYS else "day" if days <= MOST_DAYS else "week"
    if step == "hour":
        tz = zone(timezone)
        until_ms = min(_midnight_ms(last + ONE_DAY, tz), now_ms + 1)
        # By quarters, for some clocks are set a part of an hour.
        quarters = range(_midnight_ms(first, tz) // QUARTER_MS, -(-until_ms // QUARTER_MS))
        starts = tuple(dict.fromkeys(_hour(quarter, tz) for quarter in quarters))
    elif step == "day":
        starts = tuple((first + number * ONE_DAY).isoformat() for number in range(days))
    else:
        monday = first - first.weekday() * ONE_DAY
        starts = tuple((monday + 7 * number * ONE_DAY).isoformat() for number in range((last - monday).days // 7 + 1))
    return Span(first_day=first.isoformat(), last_day=last.isoformat(), timezone=timezone, step=step, starts=starts)


class _Places:
    """Where in a span the store's times belong."""

    def __init__(self, span: Span) -> None:
        self._step = span.step
        self._zone = zone(span.timezone)
        self._places = {start: place for place, start in enumerate(span.starts)}
        self._known: dict[str, int] = {}

    def of(self, at: str) -> int:
        if at not in self._known:
            # A clock that was set back has written into what is the future now; that is shown last.
            self._known[at] = self._places.get(self._start(at), len(self._places) - 1)
        return self._known[at]

    def _start(self, at: str) -> str:
        if self._step == "hour":
            return _hour(int(at), self._zone)
        day = dt.date.fromisoformat(at)
        return at if self._step == "day" else (day - day.weekday() * ONE_DAY).isoformat()


def _hour(quarter: int, tz: dt.tzinfo) -> str:
    return f"{dt.datetime.fromtimestamp(quarter * QUARTER_MS / 1000, tz):%Y-%m-%dT%H:00%z}"


def _midnight_ms(day: dt.date, tz: dt.tzinfo) -> int:
    return round(dt.datetime.combine(day, dt.time(), tzinfo=tz).timestamp() * 1000)


# --- sums ----------------------------------------------------------------------------------------------------


def _totals(rows: Iterable[Figures]) -> list[Total]:
    found: defaultdict[str, list[Figures]] = defaultdict(list)
    for row in rows:
        found[row.value].append(row)
    return [replace(_added(of), name=name) for name, of in found.items()]


def _added(rows: Sequence[Figures]) -> Total:
    return Total(
        name="",
        attempts=sum(row.attempts for row in rows),
        failed=sum(row.failed for row in rows),
        spent_nusd=sum(row.spent_nusd for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        calls=sum(row.calls for row in rows),
        hits=sum(row.hits for row in rows),
        misses=sum(row.misses for row in rows),
        saved_nusd=sum(row.saved_nusd for row in rows),
    )


_ENDS = {**dict(pairwise(STEPS_MS)), STEPS_MS[-1]: round(STEPS_MS[-1] * 1.4)}


def _percentiles(rows: Iterable[Latencies]) -> Latency:
    counts: defaultdict[int, int] = defaultdict(int)
    for row in rows:
        counts[row.from_ms] += row.answered
    answered = sum(counts.values())
    return Latency(
        answered=answered,
        p50_ms=_within(counts, 0.5 * answered),
        p95_ms=_within(counts, 0.95 * answered),
        p99_ms=_within(counts, 0.99 * answered),
    )


def _within(counts: Mapping[int, int], many: float) -> int | None:
    """The milliseconds that `many` of the answers did not pass, as if those of a step were spread evenly over it."""
    before = 0
    for begin in sorted(counts):
        inside = counts[begin]
        if inside and before + inside >= many:
            return round(begin + (_ENDS[begin] - begin) * (many - before) / inside)
        before += inside
    return None
