"""What is told to whoever watches: one frozen `Attempt` to every hook, and our logging set-up."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestra_router.types import Attempt

logger = logging.getLogger("orchestra")


Hook = Callable[[Attempt], None]


@dataclass(slots=True)
class Observers:
    """Hooks called after every attempt, in order. A hook that raises is logged and never fails a request."""

    hooks: list[Hook] = field(default_factory=list[Hook])

    def attempt(self, record: Attempt) -> None:
        for hook in self.hooks:
            try:
                hook(record)
            except Exception:
                logger.exception("the hook %r failed", hook)


def log_attempt(record: Attempt) -> None:
    """One line per attempt; failures louder than successes."""
    level = logging.INFO if record.outcome == "ok" else logging.WARNING
    logger.log(
        level,
        "attempt request=%s n=%d deployment=%s outcome=%s status=%s ms=%d waited_ms=%d nusd=%d source=%s",
        record.request_id,
        record.number,
        _one_line(record.deployment),
        record.outcome,
        record.status,
        record.latency_ms,
        record.waited_ms,
        record.cost_nusd,
        record.cost_source,
    )


def _one_line(name: str) -> str:
    """`name`, which may hold an id that a caller or a provider chose, unable to begin a line of its own."""
    return name if name.isprintable() else ascii(name)


def configure_logging(level: str) -> None:
    """Our log lines go to stderr (over stdio, stdout is the protocol); HTTP clients stay silent, for they log URLs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "aiosqlite", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
