"""What is told to whoever watches: one frozen `Attempt` to every hook, and our logging set-up."""

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, cast

from orchestra_router.errors import RouterError
from orchestra_router.types import Attempt

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

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


LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
Scrub = Callable[[str], str]
"""Takes out of a text what must not be written down."""


class SafeFormatter(logging.Formatter):
    """Log lines without anybody's keys and data, whoever wrote them."""

    def __init__(self, scrub: Scrub) -> None:
        super().__init__(LOG_FORMAT)
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        # Others may have kept a trace with everything in it.
        record.exc_text = None
        try:
            return self._scrub(super().format(record))
        except Exception as error:  # noqa: BLE001 - its arguments do not fit: `logging` would show them
            return f"{record.levelname} {record.name}: a line that cannot be written ({type(error).__name__})"
        finally:
            record.exc_text = None

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - the name `logging` calls
        return "" if ei[1] is None else trace(ei[1])


def trace(error: BaseException) -> str:
    """Where `error` comes from, and of which type: the words of others may repeat a prompt or a key."""
    return "\n".join(_lines(error, seen=set()))


def _lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "which led to:"
    yield "Traceback (most recent call last):"
    yield from (line.rstrip("\n") for line in traceback.format_tb(error.__traceback__))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    yield f"{name}: {error}" if isinstance(error, RouterError) else name
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for inner in group.exceptions:
            if id(inner) not in seen:
                yield from _lines(inner, seen)


def configure_logging(level: str, scrub: Scrub) -> None:
    """All log lines go to stderr (over stdio, stdout is the protocol), and through `scrub`.

    HTTP clients stay silent, for they log URLs.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter(scrub))
    # Before the SDK sets its own up.
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "aiosqlite", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def crash_safely() -> None:
    """A crash of this process, of a thread or in a finaliser shows where it happened, and nobody's data."""
    sys.excepthook = _crashed
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_crashed


def _crashed(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    _write(trace(error))


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    if crash.exc_value is not None and not isinstance(crash.exc_value, SystemExit):
        _write(trace(crash.exc_value))


def _unraisable(failed: "UnraisableHookArgs") -> None:
    if failed.exc_value is not None:
        _write(trace(failed.exc_value))


def _write(text: str) -> None:
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - a caller may have closed it
        sys.stderr.write(f"{text}\n")
