"""What is told to whoever watches, and the hooks that are told."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from orchestra_router.types import Attempt, CacheStatus, Refusal

logger = logging.getLogger("orchestra")

StageName = Literal["guard", "task", "cache", "plan", "attempts", "check", "keep"]
"""The stages of a request, in their order: guard the prompt; recognise the task; wait for the same question of
another, and look in the cache; plan; ask; check the answer; keep it.
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a request's time, in seconds on the clock's monotonic scale."""

    name: StageName
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """When what happened to attempt `number`, in seconds on the clock's monotonic scale."""

    number: int
    asked: float
    """Its money was asked for."""
    began: float
    """The money is held, and the provider is asked."""
    ended: float
    settled: float


@dataclass(frozen=True, slots=True)
class Content:
    """The texts of a request, as they went out: redacted."""

    prompt: str
    """JSON, in the form of `gen_ai.input.messages`."""
    answer: str
    """The same of `gen_ai.output.messages`; "" where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One request that has ended, however it ended."""

    request_id: str
    trace_id: str
    parent_span: str
    """The span of whoever asked, as 16 hexadecimal digits; "" for none."""
    sampled: bool
    """Whoever asked wants it traced, or says nothing about that."""
    outcome: str
    """Either "ok", or the code of the error."""
    task: str
    cache: CacheStatus
    cache_reason: str
    provider: str
    """Who wrote the answer; "" where there is none, as are `model` and the rest."""
    model: str
    cost_nusd: int
    saved_nusd: int
    started_ms: int
    started: float
    """The same moment in seconds on the clock's monotonic scale, as is `ended`."""
    ended: float
    streamed: bool
    max_tokens: int
    temperature: float | None
    metadata: Mapping[str, str]
    redactions: Mapping[str, int]
    refusal: Refusal | None
    attempts: tuple[Attempt, ...]
    times: tuple[Times, ...]
    """Of the attempts, in no order; one that could not be paid for has none."""
    stages: tuple[Stage, ...]
    content: Content | None
    """None unless the settings ask for it."""

    @property
    def latency_ms(self) -> int:
        return round((self.ended - self.started) * 1000)


AttemptHook = Callable[[Attempt], None]
RequestHook = Callable[[Finished], None]


@dataclass(slots=True)
class Observers:
    """Hooks called after every attempt and every request, in order. One that raises is logged and fails no request."""

    hooks: list[AttemptHook] = field(default_factory=list[AttemptHook])
    requests: list[RequestHook] = field(default_factory=list[RequestHook])

    def attempt(self, record: Attempt) -> None:
        for hook in self.hooks:
            try:
                hook(record)
            except Exception:
                logger.exception("the hook %r failed", hook)

    def request(self, record: Finished) -> None:
        for hook in self.requests:
            try:
                hook(record)
            except Exception:
                logger.exception("the hook %r failed", hook)
