"""What this installation has seen of its models: success, time, cost and length by task, over the last days.

Counted by triggers as attempts end, so every process counts and every process knows. A plan is made from a snapshot
(`Learned`), which makes it repeatable.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from orchestra_router.clock import Clock
from orchestra_router.config import Settings
from orchestra_router.deployments import Deployment
from orchestra_router.errors import StoreError
from orchestra_router.observe import logger
from orchestra_router.policy import budget
from orchestra_router.store.learned_records import EscalationRow, LearnedRows, LearnedStore, SeenRow

WINDOW_DAYS = 14
"""What is older says little about a model of today; and what went badly is tried again in the end."""
FRESH_S = 10.0
"""A snapshot serves this long. Then the next is read, and who comes meanwhile is served with the last one."""
OLD_S = 30.0
"""With an older one nobody is served: after a pause the first request waits until the next has been read."""
LEAST_ATTEMPTS = 20
"""Before a share of successes or escalations says anything."""
LEAST_ANSWERS = 5
"""Before a typical time or length says anything."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one deployment. Means and times are of its answers; None where there were none."""

    attempts: int = 0
    answered: int = 0
    mean_cost_nusd: int | None = None
    mean_output_tokens: int | None = None
    median_ms: int | None = None
    slow_ms: int | None = None
    """95 in 100 answers came within it."""

    @property
    def success(self) -> float | None:
        """The share of attempts that answered; None until there are enough of them."""
        return self.answered / self.attempts if self.attempts >= LEAST_ATTEMPTS else None


NOTHING_SEEN = Seen()


@dataclass(frozen=True)
class Learned:
    """One moment's knowledge. The same rows give the same answers."""

    rows: LearnedRows = field(default_factory=LearnedRows)

    def of(self, deployment: Deployment, task: str) -> Seen:
        return self.by_task.get((task, deployment.provider.name, deployment.model.name), NOTHING_SEEN)

    def typical(self, deployment: Deployment, task: str) -> Seen:
        """What is known of its times: in this task, else in all of them together; `NOTHING_SEEN` if it is too little."""
        for seen in (
            self.of(deployment, task),
            self._by_deployment.get((deployment.provider.name, deployment.model.name), NOTHING_SEEN),
        ):
            if seen.answered >= LEAST_ANSWERS:
                return seen
        return NOTHING_SEEN

    def attempts(self, deployment: Deployment) -> int:
        """Attempts at `deployment` in all tasks, failures included."""
        seen = self._by_deployment.get((deployment.provider.name, deployment.model.name), NOTHING_SEEN)
        return seen.attempts

    def escalation_rate(self, deployment: Deployment, task: str, prompt_kind: str) -> float | None:
        """How often an answer of `deployment` was not good enough: for this kind of prompt, else for the whole task.

        None until enough was seen of either.
        """
        of_task = [
            row
            for row in self.rows.escalations
            if (row.task, row.provider, row.model) == (task, deployment.provider.name, deployment.model.name)
        ]
        of_kind = _rate([row for row in of_task if row.prompt_kind == prompt_kind])
        return _rate(of_task) if of_kind is None else of_kind

    @cached_property
    def by_task(self) -> Mapping[tuple[str, str, str], Seen]:
        groups: dict[tuple[str, str, str], list[SeenRow]] = {}
        for row in self.rows.seen:
            groups.setdefault((row.task, row.provider, row.model), []).append(row)
        return {key: _summed(rows) for key, rows in groups.items()}

    @cached_property
    def _by_deployment(self) -> Mapping[tuple[str, str], Seen]:
        groups: dict[tuple[str, str], list[SeenRow]] = {}
        for row in self.rows.seen:
            groups.setdefault((row.provider, row.model), []).append(row)
        return {key: _summed(rows) for key, rows in groups.items()}


class Learning:
    """Keeps a snapshot fresh. Failing open: what cannot be read is not known."""

    def __init__(self, store: LearnedStore, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._learned = Learned()
        self._read_at = -math.inf
        """When its reading began, on the clock's monotonic scale."""
        self._reading: asyncio.Task[None] | None = None

    async def view(self) -> Learned:
        """What is known, other processes' attempts included, at most `OLD_S` old."""
        now = self._clock.monotonic()
        age_s = now - self._read_at
        if age_s > OLD_S:
            self._read_at = now
            await self._read()
        elif age_s > FRESH_S and (self._reading is None or self._reading.done()):
            self._read_at = now
            self._reading = asyncio.create_task(self._read())
        return self._learned

    async def forget(self, task: str | None = None) -> int:
        """Forget what was learned of `task`, or of all. Returns how many attempts were behind it."""
        forgotten = await self._store.forget_learned(task=task)
        await self.aclose()  # it may have been read before
        self._read_at = -math.inf
        return forgotten

    async def aclose(self) -> None:
        """Returns once nothing is being read any more; to be called before the store is closed."""
        if self._reading is not None:
            await asyncio.wait({self._reading})

    async def _read(self) -> None:
        try:
            rows = await self._store.learned(first_day=self._first_day())
        except StoreError as error:
            logger.warning("what was learned could not be read: %s", error)
        else:
            self._learned = Learned(rows)

    def _first_day(self) -> str:
        then_ms = self._clock.now_ms() - (WINDOW_DAYS - 1) * DAY_MS
        return budget.period_at(then_ms, self._settings.timezone).day


def _rate(rows: Sequence[EscalationRow]) -> float | None:
    tried = sum(row.tried for row in rows)
    return sum(row.escalated for row in rows) / tried if tried >= LEAST_ATTEMPTS else None


def _summed(rows: Sequence[SeenRow]) -> Seen:
    answers = [row for row in rows if row.answered]
    answered = sum(row.attempts for row in answers)
    if not answered:
        return Seen(attempts=sum(row.attempts for row in rows))
    times = sorted((row.latency_ms // row.attempts, row.attempts) for row in answers)
    return Seen(
        attempts=sum(row.attempts for row in rows),
        answered=answered,
        mean_cost_nusd=sum(row.cost_nusd for row in answers) // answered,
        mean_output_tokens=sum(row.output_tokens for row in answers) // answered,
        median_ms=_within(times, 0.5 * answered),
        slow_ms=_within(times, 0.95 * answered),
    )


def _within(times: Iterable[tuple[int, int]], wanted: float) -> int:
    """The time within which `wanted` answers came; `times` are (time, answers), shortest first."""
    came, within = 0, 0
    for time_ms, answers in times:
        if came >= wanted:
            break
        came, within = came + answers, time_ms
    return within
