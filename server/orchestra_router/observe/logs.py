"""Log lines: one per attempt, one per request, and how all of them are written."""

import datetime as dt
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Literal, cast

from orchestra_router.errors import RouterError
from orchestra_router.observe.records import Finished, logger
from orchestra_router.plain_text import lines
from orchestra_router.types import Attempt

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


def log_attempt(record: Attempt) -> None:
    """One line per attempt; failures louder than successes, and than a caller who has had enough."""
    level = logging.INFO if record.outcome in {"ok", "cancelled"} else logging.WARNING
    if not logger.isEnabledFor(level):
        return
    _write_event(
        level,
        "attempt",
        {
            "request": record.request_id,
            "trace": record.trace_id,
            "n": record.number,
            "deployment": record.deployment,
            "outcome": record.outcome,
            "status": record.status,
            "ms": record.latency_ms,
            "waited_ms": record.waited_ms,
            "nusd": record.cost_nusd,
            "source": record.cost_source,
        },
    )


def log_request(record: Finished) -> None:
    """One line per request, with the labels that came with it."""
    if not logger.isEnabledFor(logging.INFO):
        return
    _write_event(
        logging.INFO,
        "request",
        {
            "request": record.request_id,
            "trace": record.trace_id,
            "outcome": record.outcome,
            "task": record.task,
            "provider": record.provider,
            "model": record.model,
            "cache": record.cache,
            "attempts": len(record.attempts),
            "ms": record.latency_ms,
            "nusd": record.cost_nusd,
            "saved_nusd": record.saved_nusd,
        },
        record.metadata,
    )


def _write_event(
    level: int, event: str, fields: Mapping[str, object], metadata: Mapping[str, str] | None = None
) -> None:
    told = {**fields, **{f"metadata.{name}": value for name, value in (metadata or {}).items()}}
    line = " ".join(f"{_one_line(name)}={_one_line(str(value))}" for name, value in told.items() if value != "")
    labels = {"metadata": metadata} if metadata else {}
    logger.log(level, "%s %s", event, line, extra={EVENT: {"event": event, **fields, **labels}})


def _one_line(name: str) -> str:
    """`name`, which may hold an id that a caller or a provider chose, unable to begin a line of its own."""
    return name if name.isprintable() else ascii(name)


LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
EVENT = "orchestra"
"""The attribute of a log record that holds its fields, where it is one of our events."""
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
Scrub = Callable[[str], str]
"""Takes out of a text what must not be written down."""
LogFormat = Literal["pretty", "json"]


class SafeFormatter(logging.Formatter):
    """Log lines without anybody's keys and data, whoever wrote them."""

    def __init__(self, scrub: Scrub) -> None:
        super().__init__(LOG_FORMAT)
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        # Others may have kept a trace with everything in it.
        record.exc_text = None
        try:
            return self._written(record)
        except Exception as error:  # noqa: BLE001 - its arguments do not fit: `logging` would show them
            return self._unwritable(record, f"a line that cannot be written ({type(error).__name__})")
        finally:
            record.exc_text = None

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - the name `logging` calls
        return "" if ei[1] is None else trace(ei[1])

    def _written(self, record: logging.LogRecord) -> str:
        return lines(self._scrub(super().format(record)))

    def _unwritable(self, record: logging.LogRecord, why: str) -> str:
        return f"{record.levelname} {record.name}: {why}"


class SafeJsonFormatter(SafeFormatter):
    """The same, as one JSON object a line. Each text is scrubbed by itself, so that the line stays JSON."""

    def _written(self, record: logging.LogRecord) -> str:
        fields: Mapping[str, object] = record.__dict__.get(EVENT, {})
        line = self._head(record) | (dict(fields) if fields else {"message": record.getMessage()})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = trace(record.exc_info[1])
        return json.dumps(self._scrubbed(line), ensure_ascii=False)

    def _unwritable(self, record: logging.LogRecord, why: str) -> str:
        return json.dumps(self._head(record) | {"message": why})

    def _head(self, record: logging.LogRecord) -> dict[str, object]:
        moment = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        return {"time": moment, "level": record.levelname, "logger": record.name}

    def _scrubbed(self, value: object) -> object:
        if isinstance(value, Mapping):
            items = cast("Mapping[str, object]", value).items()
            return {self._scrub(name): self._scrubbed(inner) for name, inner in items}
        return self._scrub(value) if isinstance(value, str) else value


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


def configure_logging(level: str, scrub: Scrub, *, style: LogFormat = "pretty") -> None:
    """All log lines go to stderr (over stdio, stdout is the protocol), and through `scrub`.

    HTTP clients stay silent, for they log URLs.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeJsonFormatter(scrub) if style == "json" else SafeFormatter(scrub))
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
