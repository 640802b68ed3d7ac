"""W3C trace context: which trace a request belongs to, and which span asked for it.

It comes with an HTTP request (`traceparent`), with an MCP call (`_meta`, which the SDK puts into OpenTelemetry's own
context), or from the program that this runs in, where that is traced.
"""

import hashlib
import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from orchestra_router import ids

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Parent:
    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 of them."""
    sampled: bool


_adopted: ContextVar[Parent | None] = ContextVar("trace_parent", default=None)


def parsed(traceparent: str) -> Parent | None:
    """What the header says; None where it is not as the standard has it (then a new trace begins)."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or (found[1] == "00" and found[5]):
        return None
    return Parent(found[2], found[3], sampled=bool(int(found[4], 16) & 1))


def adopt(parent: Parent | None) -> None:
    """Requests that begin in this task from now on belong to `parent`."""
    _adopted.set(parent)


def current() -> Parent | None:
    """What a request that begins now belongs to."""
    if (adopted := _adopted.get()) is not None:
        return adopted
    # Whoever traces has loaded it; nobody waits for it here.
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return Parent(f"{context.trace_id:032x}", f"{context.span_id:016x}", sampled=context.trace_flags.sampled)


def trace_of(named: str, parent: Parent | None) -> str:
    """The trace that a request belongs to, which may have been `named`; else that of its `parent`, or a new one."""
    if named:
        return named
    return parent.trace_id if parent is not None else ids.drawn(ids.TRACE_BYTES)


def as_trace_id(trace_id: str) -> str:
    """`trace_id`, which a client may have chosen freely, as OpenTelemetry has it."""
    return trace_id if _TRACE_ID.fullmatch(trace_id) else _digest(trace_id)[:32]


def as_span_id(name: str) -> str:
    """The span of what has this id."""
    return name if _SPAN_ID.fullmatch(name) else _digest(name)[:16]


def traceparent(trace_id: str, attempt_id: str) -> str:
    """The header of a call that is made for attempt `attempt_id`."""
    return f"00-{as_trace_id(trace_id)}-{as_span_id(attempt_id)}-01"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
