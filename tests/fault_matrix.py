"""Every row of the failure contract, at every wire format, met at the first call, at a retry and at a fallback.

PYTHONPATH=tests uv run python tests/fault_matrix.py      prints it as a table
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestra_router.simulation import (
    Cut,
    Drop,
    Hang,
    Reply,
    ServerError,
    SimulatedProvider,
    Step,
    StreamError,
    Truncate,
)

Format = Literal["chat", "responses", "messages", "gemini"]
Position = Literal["first call", "retry", "fallback"]
Then = Literal["again", "next", "larger", "stop"]
"""Larger: the next one whose context is larger, if there is one."""

AT: Mapping[Format, str] = {"chat": "together", "responses": "perplexity", "messages": "anthropic", "gemini": "gemini"}
"""Who speaks the format."""
POSITIONS: tuple[Position, ...] = ("first call", "retry", "fallback")
BEFORE = "openai"
"""Asked before, in the position `fallback`: it refuses the key."""
AFTER = "deepseek"
"""The next one, which is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One row: what the provider does, and what has to follow."""

    name: str
    step: Callable[[SimulatedProvider], Step | None]
    """None: it is not scripted, for it lasts."""
    outcome: str
    then: Then
    money: Literal["released", "uncertain"]
    cools: Literal["provider", "key", "quota", "deployment", ""] = ""
    """What is set aside by this one failure."""
    waits: float | None = None
    """Seconds waited before it is asked again; None: backoff with jitter, or no wait at all."""
    streamed: bool = False

    def __str__(self) -> str:
        return self.name


def _status(status: int, **headers: str) -> Callable[[SimulatedProvider], Step]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if status == 429:  # without a body that names another time, as Gemini's does
        return lambda _: Reply(status, headers=named, body="{}")
    return lambda provider: provider.error(status, headers=named)


def _always(step: Step) -> Callable[[SimulatedProvider], Step]:
    return lambda _: step


def _retired(provider: SimulatedProvider) -> None:
    for model in provider.vendor.models:
        provider.retire(model.id)


_COUNTED = {"promptTokenCount": 80, "totalTokenCount": 80}


def _content(provider: SimulatedProvider) -> Step:
    """Gemini says it with a success; a 400 of its says nothing of why."""
    if provider.name == "gemini":
        return Reply(200, body={"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": _COUNTED})
    return provider.failure("content")


FAULTS: tuple[Fault, ...] = (
    Fault(name="429, wait 2 s", step=_status(429, retry_after="2"), outcome="rate_limited", then="again", money="released", waits=2.0),
    Fault(name="429, wait 1500 ms", step=_status(429, retry_after_ms="1500"), outcome="rate_limited", then="again", money="released", waits=1.5),
    Fault(name="429, wait 60 s", step=_status(429, retry_after="60"), outcome="rate_limited", then="next", money="released", cools="key"),
    Fault(name="429, wait 80000 s", step=_status(429, retry_after="80000"), outcome="rate_limited", then="next", money="released", cools="quota"),
    *(
        Fault(name=str(status), step=_always(Reply(status)), outcome="server_failed", then="again", money="uncertain")
        for status in (500, 502, 503, 504, 529, 408)
    ),
    Fault(name="503, wait 3 s", step=_status(503, retry_after="3"), outcome="server_failed", then="again", money="uncertain", waits=3.0),
    Fault(name="read timeout", step=lambda _: Hang(), outcome="timeout", then="again", money="uncertain"),
    Fault(name="connection dropped", step=_always(Drop()), outcome="server_failed", then="again", money="uncertain"),
    Fault(name="connection reset", step=_always(Drop(reset=True)), outcome="server_failed", then="again", money="uncertain"),
    Fault(name="401", step=_status(401), outcome="auth_failed", then="next", money="released", cools="key"),
    Fault(name="402", step=_status(402), outcome="out_of_money", then="next", money="released", cools="key"),
    Fault(name="403", step=_status(403), outcome="permission_refused", then="next", money="released"),
    Fault(name="model retired", step=_retired, outcome="model_gone", then="next", money="released", cools="deployment"),
    Fault(name="404, still listed", step=_always(Reply(404, body="{}")), outcome="permission_refused", then="next", money="released"),
    Fault(name="302", step=_always(Reply(302, headers={"location": "http://127.0.0.1:9/"}, body="{}")), outcome="permission_refused", then="next", money="released"),
    Fault(name="400", step=_always(Reply(400)), outcome="bad_request", then="stop", money="released"),
    Fault(name="422", step=_always(Reply(422)), outcome="bad_request", then="stop", money="released"),
    Fault(name="content policy", step=_content, outcome="content_refused", then="stop", money="released"),
    Fault(name="context too long", step=lambda provider: provider.failure("context"), outcome="context_too_long", then="larger", money="released"),
    Fault(name="200 with an error", step=_always(StreamError(0)), outcome="server_failed", then="again", money="uncertain"),
    Fault(name="200 with nothing", step=_always(Reply(200, body="{}")), outcome="invalid_answer", then="again", money="uncertain"),
    Fault(name="200 without JSON", step=_always(Reply(200, body="<html>")), outcome="invalid_answer", then="again", money="uncertain"),
    Fault(name="200 cut short", step=_always(Truncate()), outcome="server_failed", then="again", money="uncertain"),
    Fault(name="stream: error before output", step=_always(StreamError(0)), outcome="server_failed", then="again", money="uncertain", streamed=True),
    Fault(name="stream: cut before output", step=_always(Cut()), outcome="server_failed", then="again", money="uncertain", streamed=True),
    Fault(name="stream: cut after output", step=_always(Cut(1)), outcome="stream_broken", then="stop", money="uncertain", streamed=True),
    Fault(name="stream: error after output", step=_always(StreamError(1)), outcome="stream_broken", then="stop", money="uncertain", streamed=True),
)  # fmt: skip


def table() -> str:
    columns = ("what happened", "seen as", "then", "waits", "sets aside at once", "the hold is")
    lines = [
        (
            *(fault.name, fault.outcome),
            {"again": "the same again", "next": "the next", "larger": "the next larger context", "stop": "nobody else"}[
                fault.then
            ],
            f"{fault.waits} s" if fault.waits is not None else "backoff" if fault.then == "again" else "-",
            *(fault.cools or "-", fault.money),
        )
        for fault in FAULTS
    ]
    rows = [columns, tuple("---" for _ in columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def script(provider: SimulatedProvider, fault: Fault, position: Position) -> None:
    if position == "retry":
        provider.script(ServerError(503))
    if (step := fault.step(provider)) is not None:
        provider.script(step)


if __name__ == "__main__":
    print(table())  # noqa: T201 - what it is for
