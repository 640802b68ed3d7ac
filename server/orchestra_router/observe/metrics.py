"""What Prometheus reads at `/metrics`: what this process has done since it began, and how things stand now.

Labels are names of the catalog and codes of ours only, so their number is bounded, and nobody's data is among them.
"""

import asyncio
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

from orchestra_router.observe.names import OTHER
from orchestra_router.observe.records import Finished
from orchestra_router.types import Usage, usd

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
LAG_EVERY_S = 0.25
"""How often it is looked whether the event loop turns in time."""


@dataclass(frozen=True, slots=True)
class Row:
    """One metric. Counters are exported with `_total` at their end."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str


TABLE = (
    Row("orchestra_requests", "counter", ("outcome", "cache", "task"), "Requests that have ended."),
    Row("orchestra_request_duration_seconds", "histogram", ("cache",), "From a request to its end."),
    Row("orchestra_attempts", "counter", ("provider", "model", "outcome"), "Calls to providers."),
    Row("orchestra_attempt_duration_seconds", "histogram", ("provider", "model"), "Of calls that were answered."),
    Row(
        "orchestra_first_token_seconds", "histogram", ("provider", "model"), "Until the first text of streamed answers."
    ),
    Row(
        "orchestra_retry_wait_seconds", "counter", ("provider",), "Waited before calls, as providers or backoff asked."
    ),
    Row(
        "orchestra_tokens",
        "counter",
        ("provider", "model", "type"),
        "Tokens that providers counted: `input`, `cache_read`, `cache_write`, `output`, `reasoning`.",
    ),
    Row("orchestra_cost_usd", "counter", ("provider", "model", "source"), "US dollars that calls came to."),
    Row("orchestra_cache_saved_usd", "counter", ("task",), "US dollars that cached answers would have cost."),
    Row("orchestra_redactions", "counter", ("kind",), "What the guard found in prompts."),
    Row("orchestra_budget_limit_usd", "gauge", ("period",), "Everyone's budget: `day`, `month`."),
    Row("orchestra_budget_spent_usd", "gauge", ("period",), "Of it, what all processes have spent."),
    Row("orchestra_budget_held_usd", "gauge", ("period",), "Of it, what is set aside for calls in flight."),
    Row("orchestra_provider_ready", "gauge", ("provider",), "1 for a provider that can be asked, else 0."),
    Row(
        "orchestra_breaker_open",
        "gauge",
        ("provider", "model"),
        "1 where calls are set aside, 0.5 where one may try, 0 where all is well; `model` is empty for a whole provider.",
    ),
    Row(
        "orchestra_event_loop_lag_seconds", "gauge", (), "The longest that the event loop was late since the last look."
    ),
    Row("orchestra_build_info", "gauge", ("version", "python"), "1."),
)
_NO_TASK = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetNow:
    period: Literal["day", "month"]
    limit_nusd: int
    spent_nusd: int
    held_nusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand at the moment of a look."""

    budgets: tuple[BudgetNow, ...] = ()
    ready: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By provider."""
    breakers: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    """By provider and model."""


class Metrics:
    def __init__(self, *, models: frozenset[str], tasks: frozenset[str]) -> None:
        """`models` and `tasks` are the catalog's; another that somebody names counts as `_other`."""
        self._models = models
        self._tasks = tasks
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._all: dict[str, MetricWrapperBase] = {}
        self._lines: dict[tuple[str, tuple[str, ...]], MetricWrapperBase] = {}
        for row in TABLE:
            self._all[row.name] = self._made(row)
        self._gauge("orchestra_build_info", version("orchestra-router"), platform.python_version()).set(1)
        self._lag = Lag()

    def start(self) -> None:
        """Watch the event loop that runs, until `stop`."""
        self._lag.start()

    def stop(self) -> None:
        self._lag.stop()

    def request(self, done: Finished) -> None:
        task = self._task(done.task)
        self._count("orchestra_requests", done.outcome, done.cache, task)
        self._observe("orchestra_request_duration_seconds", done.ended - done.started, done.cache)
        if done.saved_nusd:
            self._count("orchestra_cache_saved_usd", task, by=usd(done.saved_nusd))
        for kind, found in done.redactions.items():
            self._count("orchestra_redactions", kind, by=found)
        for attempt in done.attempts:
            who = attempt.provider, attempt.model if attempt.model in self._models else OTHER
            self._count("orchestra_attempts", *who, attempt.outcome)
            if attempt.outcome == "ok":
                self._observe("orchestra_attempt_duration_seconds", attempt.latency_ms / 1000, *who)
            if attempt.first_token_ms is not None:
                self._observe("orchestra_first_token_seconds", attempt.first_token_ms / 1000, *who)
            if attempt.waited_ms:
                self._count("orchestra_retry_wait_seconds", attempt.provider, by=attempt.waited_ms / 1000)
            if attempt.usage is not None:
                for kind, tokens in _tokens(attempt.usage):
                    self._count("orchestra_tokens", *who, kind, by=tokens)
            if attempt.cost_nusd:
                self._count("orchestra_cost_usd", *who, attempt.cost_source, by=usd(attempt.cost_nusd))

    def exposition(self, standing: Standing) -> bytes:
        """Everything, in Prometheus' text format."""
        for name in ("orchestra_provider_ready", "orchestra_breaker_open"):
            self._all[name].clear()  # a provider or model may have left
        for budget in standing.budgets:
            for what in ("limit", "spent", "held"):
                amount: int = getattr(budget, f"{what}_nusd")
                self._gauge(f"orchestra_budget_{what}_usd", budget.period).set(usd(amount))
        for provider, ready in standing.ready.items():
            self._gauge("orchestra_provider_ready", provider).set(float(ready))
        for (provider, model), how in standing.breakers.items():
            self._gauge("orchestra_breaker_open", provider, model).set(how)
        self._gauge("orchestra_event_loop_lag_seconds").set(self._lag.longest())
        return generate_latest(self._registry)

    def _made(self, row: Row) -> MetricWrapperBase:
        match row.kind:
            case "counter":
                return Counter(row.name, row.text, row.labels, registry=self._registry)
            case "gauge":
                return Gauge(row.name, row.text, row.labels, registry=self._registry)
            case "histogram":
                return Histogram(row.name, row.text, row.labels, registry=self._registry, buckets=SECONDS)

    def _task(self, task: str) -> str:
        return task if task in self._tasks else (OTHER if task else _NO_TASK)

    def _count(self, name: str, *labels: str, by: float = 1) -> None:
        if by > 0:
            metric = self._labelled(name, labels)
            if isinstance(metric, Counter):
                metric.inc(by)

    def _observe(self, name: str, seconds: float, *labels: str) -> None:
        metric = self._labelled(name, labels)
        if isinstance(metric, Histogram):
            metric.observe(seconds)

    def _labelled(self, name: str, labels: tuple[str, ...]) -> MetricWrapperBase:
        """One line of a metric that only grows; `labels()` takes as long as everything else."""
        line = self._lines.get((name, labels))
        if line is None:
            line = self._lines[name, labels] = self._all[name].labels(*labels)
        return line

    def _gauge(self, name: str, *labels: str) -> Gauge:
        metric = self._all[name]
        if not isinstance(metric, Gauge):
            raise TypeError(name)
        return metric.labels(*labels) if labels else metric


class Lag:
    """How late the event loop is: what a call that waits for nothing waits for."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + LAG_EVERY_S
        self._timer = loop.call_at(self._due, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def longest(self) -> float:
        """Seconds, since the last time somebody asked."""
        longest, self._longest = self._longest, 0.0
        return longest

    def was_late(self, seconds: float) -> None:
        self._longest = max(self._longest, seconds)

    def _look(self) -> None:
        self.was_late(asyncio.get_running_loop().time() - self._due)
        self.start()


def metrics_table() -> str:
    """The metrics as a Markdown table, for `docs/telemetry.md`."""
    lines = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for row in TABLE:
        name = f"{row.name}_total" if row.kind == "counter" else row.name
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{name}` | {row.kind} | {labels} | {row.text} |")
    return "\n".join(lines)


def _tokens(usage: Usage) -> Iterable[tuple[str, int]]:
    yield "input", usage.input_fresh
    yield "cache_read", usage.cache_read
    yield "cache_write", usage.cache_write + usage.cache_write_1h
    yield "output", usage.output
    yield "reasoning", usage.reasoning
