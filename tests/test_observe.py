"""The log lines of attempts and requests."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestra_router.observe import Finished, log_attempt, log_request, logger
from orchestra_router.observe.logs import SafeFormatter, SafeJsonFormatter
from orchestra_router.policy.redactor import Redactor
from orchestra_router.types import Attempt
from worlds import ask, open_world


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


def test_a_caller_who_has_had_enough_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orchestra"):
        log_attempt(replace(attempt("ollama/x"), outcome="cancelled"))
        log_attempt(replace(attempt("ollama/x"), outcome="server_failed"))

    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


@pytest.mark.parametrize("end", ["\n", "\r", "\x1b[2J", "\u2028", "\x85"])
def test_an_id_cannot_begin_a_line_of_its_own(end: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orchestra"):
        log_attempt(attempt(f"ollama/x{end}ERROR forged"))

    (line,) = caplog.messages
    assert line.isprintable()
    assert "forged" in line


def finished(**changes: Any) -> Finished:
    return replace(
        Finished(
            request_id="r",
            trace_id="t",
            parent_span="",
            sampled=True,
            outcome="ok",
            task="coding",
            cache="MISS",
            cache_reason="",
            provider="openai",
            model="m",
            cost_nusd=7,
            saved_nusd=0,
            started_ms=0,
            started=1.0,
            ended=1.25,
            streamed=False,
            max_tokens=100,
            temperature=None,
            metadata={"app": "docs"},
            redactions={},
            refusal=None,
            attempts=(attempt("openai/m"),),
            times=(),
            stages=(),
            content=None,
        ),
        **changes,
    )


def written(formatter: logging.Formatter, tell: Callable[[], None], caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.INFO, logger="orchestra"):
        tell()
    (record,) = caplog.records
    return formatter.format(record)


def test_a_request_is_one_line_with_its_trace_and_its_labels(caplog: pytest.LogCaptureFixture) -> None:
    line = written(SafeFormatter(Redactor()), lambda: log_request(finished()), caplog)

    assert line.endswith(
        "INFO orchestra: request request=r trace=t outcome=ok task=coding provider=openai model=m cache=MISS attempts=1"
        " ms=250 nusd=7 saved_nusd=0 metadata.app=docs"
    )


def test_the_same_line_as_json_has_fields(caplog: pytest.LogCaptureFixture) -> None:
    line = json.loads(written(SafeJsonFormatter(Redactor()), lambda: log_request(finished()), caplog))

    assert (line["event"], line["trace"], line["metadata"], line["ms"]) == ("request", "t", {"app": "docs"}, 250)
    assert (line["level"], line["logger"]) == ("INFO", "orchestra")


def test_a_label_cannot_forge_a_field_or_hold_a_key(caplog: pytest.LogCaptureFixture) -> None:
    key = "sk-proj-" + "4aB7xQ9z" * 5
    labels = {"app": f'"}}\n{{"level": "ERROR"}} {key}'}

    text = written(SafeJsonFormatter(Redactor()), lambda: log_request(finished(metadata=labels)), caplog)

    assert "\n" not in text
    assert key not in text
    assert json.loads(text)["level"] == "INFO"


def test_a_line_of_others_is_json_too_and_an_error_shows_where_it_was(caplog: pytest.LogCaptureFixture) -> None:
    prompt = "a prompt of some{}body"

    def fail() -> None:
        try:
            int(prompt.format(""))
        except ValueError:
            logger.exception("it failed")

    line = json.loads(written(SafeJsonFormatter(Redactor()), fail, caplog))

    assert line["message"] == "it failed"
    assert "test_observe.py" in line["error"]
    assert prompt.format("") not in json.dumps(line)


def test_a_line_that_cannot_be_written_says_so_and_stays_json() -> None:
    record = logging.LogRecord("orchestra", logging.INFO, "", 0, "%d", ("secret",), None)

    assert json.loads(SafeJsonFormatter(Redactor()).format(record))["message"].startswith("a line that cannot be")


async def test_the_setting_chooses_the_form_and_info_has_one_line_per_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="orchestra"):
        async with open_world(tmp_path, log_level="INFO", log_format="json") as world:
            await world.router.complete(ask())
            assert world.router.config.settings.log_format == "json"

    assert [message.partition(" ")[0] for message in caplog.messages] == ["attempt", "request"]
