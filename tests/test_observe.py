"""The log lines of attempts."""

import logging

import pytest

from orchestra_router.observe import log_attempt
from orchestra_router.types import Attempt


def attempt(deployment: str) -> Attempt:
    return Attempt(
        attempt_id="a",
        request_id="r",
        trace_id="t",
        number=1,
        deployment=deployment,
        provider="ollama",
        model="m",
        outcome="ok",
        status=200,
        cost_nusd=0,
        cost_source="free",
        latency_ms=1,
        waited_ms=0,
    )


@pytest.mark.parametrize("end", ["\n", "\r", "\x1b[2J", "\u2028", "\x85"])
def test_an_id_cannot_begin_a_line_of_its_own(end: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orchestra"):
        log_attempt(attempt(f"ollama/x{end}ERROR forged"))

    (line,) = caplog.messages
    assert line.isprintable()
    assert "forged" in line
