"""What a collector gets: one trace per request, by the conventions, and nothing of anybody's texts or keys."""

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from collector import Collector, Seen, collecting
from http_worlds import open_http
from orchestra_router.config import load
from orchestra_router.errors import AllAttemptsFailed, BudgetExceeded, ConfigError
from orchestra_router.observe import context
from orchestra_router.observe.context import Parent, adopt, as_span_id, as_trace_id, parsed, traceparent
from orchestra_router.simulation import Hang, Reply, simulated_world
from orchestra_router.simulation.answering import Says
from orchestra_router.telemetry_settings import headers_of
from surface import configured, connected
from trace_picture import fallback, picture
from worlds import ask, open_world

INTERNAL, CLIENT = 1, 3
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "sk-proj-" + "4aB7xQ9z" * 5


@pytest.fixture
def collector() -> Generator[Collector]:
    with collecting() as collector:
        yield collector
    adopt(None)


def shown(span: Seen) -> str:
    return f"{span.name}{' !' if span.failed else ''}"


async def test_one_request_with_a_fallback_is_one_trace_with_its_attempts_side_by_side(
    collector: Collector, tmp_path: Path
) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url, max_retries=1) as world:
        world.providers["openrouter"].script(Reply(503), Reply(503))
        completion = await world.router.complete(
            ask(provider="openrouter", fallback_providers=("deepseek",), metadata={"app": "docs"})
        )

    root = collector.named("orchestra.complete")
    children = collector.children(root)
    attempts = [span for span in children if span.name.startswith("chat ")]
    assert [shown(span) for span in attempts] == [
        f"chat {attempt.model}{'' if attempt.outcome == 'ok' else ' !'}" for attempt in completion.attempts
    ]
    assert [attempt.outcome for attempt in completion.attempts] == ["server_failed", "server_failed", "ok"]
    assert [span.name for span in children if span not in attempts and span.name not in {"hold money", "settle"}] == [
        "guard prompt",
        "recognise task",
        "look in cache",
        "plan route",
        "check answer",
        "keep answer",
    ]
    assert [span.name for span in children].count("hold money") == [span.name for span in children].count("settle") == 3
    assert root.trace_id == completion.trace_id
    assert root.span_id == completion.request_id
    assert [span.span_id for span in attempts] == [attempt.attempt_id for attempt in completion.attempts]
    assert {span.trace_id for span in collector.spans} == {completion.trace_id}
    assert (root.kind, {span.kind for span in attempts}) == (INTERNAL, {CLIENT})
    assert not root.failed
    assert root.about["orchestra.metadata.app"] == "docs"
    assert root.about["orchestra.cost.usd"] == pytest.approx(completion.cost_usd)
    assert root.about["orchestra.cache.status"] == "MISS"
    assert all(root.start_ns <= span.start_ns <= span.end_ns <= root.end_ns for span in children)


async def test_a_race_is_two_calls_side_by_side_and_the_one_that_lost_says_so(
    collector: Collector, tmp_path: Path
) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url, hedge="true", hedge_after_s="10") as world:
        world.providers["deepseek"].script(Hang())
        completion = await world.router.complete(ask("Write a Python function that parses a date."))

    slow, fast = [span for span in collector.spans if span.name.startswith("chat ")]
    assert completion.provider == "openrouter"
    assert (slow.about["error.type"], slow.about["orchestra.attempt.rejected"]) == ("cancelled", "slower")
    assert "error.type" not in fast.about
    assert slow.start_ns <= fast.start_ns <= slow.end_ns
    assert slow.parent_id == fast.parent_id


async def test_an_attempt_is_named_as_the_conventions_say(collector: Collector, tmp_path: Path) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        world.providers["gemini"].script(Reply(429, headers={"retry-after": "2"}))
        completion = await world.router.complete(ask(provider="gemini", max_tokens=100, temperature=0.5))

    failed, answered = [span for span in collector.spans if span.name.startswith("chat ")]
    usage = completion.answer.usage
    assert usage is not None
    about = {name: value for name, value in answered.about.items() if not name.startswith("orchestra.")}
    assert about == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": completion.model,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": False,
        "gen_ai.response.model": completion.answer.model,
        "gen_ai.usage.input_tokens": usage.input_total,
        "gen_ai.usage.output_tokens": usage.output_total,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": answered.about["server.port"],
    }
    assert failed.about["error.type"] == "rate_limited"
    assert failed.about["http.response.status_code"] == 429
    waited_ms = completion.attempts[1].waited_ms
    assert answered.about["orchestra.attempt.waited_ms"] == waited_ms > 0
    assert answered.start_ns - failed.end_ns == waited_ms * 1_000_000


async def test_a_hit_has_no_attempt_and_says_what_it_saved(collector: Collector, tmp_path: Path) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        first = await world.router.complete(ask())
        collector.spans.clear()
        hit = await world.router.complete(ask())

    root = next(span for span in collector.spans if span.span_id == hit.request_id)
    assert [span.name for span in collector.children(root)] == ["guard prompt", "recognise task", "look in cache"]
    assert root.about["orchestra.cache.status"] == "HIT"
    assert root.about["orchestra.cache.saved.usd"] == pytest.approx(first.cost_usd)
    assert collector.metrics["orchestra.cache.saved"][0][1] == pytest.approx(first.cost_usd)


async def test_a_refused_budget_is_in_the_trace(collector: Collector, tmp_path: Path) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url, budget_day_usd="0.000001") as world:
        with pytest.raises(BudgetExceeded):
            await world.router.complete(ask(provider="openai"))

    root = collector.named("orchestra.complete")
    assert root.failed
    assert root.about["error.type"] == "budget_exceeded"
    assert root.about["orchestra.budget.limit.usd"] == pytest.approx(0.000001)
    assert root.about["orchestra.budget.wanted.usd"] > 0
    assert [span for span in collector.spans if span.name.startswith("chat ")] == []


async def test_the_metrics_of_the_conventions_add_up(collector: Collector, tmp_path: Path) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        world.providers["deepseek"].script(Reply(500))
        completion = await world.router.complete(ask(provider="deepseek"))

    durations = collector.metrics["gen_ai.client.operation.duration"]
    tokens = {about["gen_ai.token.type"]: total for about, total, _ in collector.metrics["gen_ai.client.token.usage"]}
    usage = completion.answer.usage
    assert usage is not None
    assert sorted((about.get("error.type", "ok"), count) for about, _, count in durations) == [
        ("ok", 1),
        ("server_failed", 1),
    ]
    assert tokens == {"input": usage.input_total, "output": usage.output_total}
    assert sum(total for _, total, _ in collector.metrics["orchestra.cost"]) == pytest.approx(completion.cost_usd)
    assert {about["gen_ai.request.model"] for about, _, _ in durations} == {completion.model}


async def test_a_model_that_only_a_caller_knows_makes_no_series_of_its_own(
    collector: Collector, tmp_path: Path
) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        for name in ("made-up-1", "made-up-2"):
            with suppress(AllAttemptsFailed):
                await world.router.complete(ask(provider="ollama", model=name))

    assert {about["gen_ai.request.model"] for about, _, _ in collector.metrics["gen_ai.client.operation.duration"]} == {
        "_other"
    }


# --- nothing of anybody's -------------------------------------------------------------------------------------


def canaries() -> list[str]:
    return ["quokka", "wombat", "platypus", SECRET, "jane.doe@contoso.de", "078-05-1120"]


async def say_canaries(collector: Collector, home: Path, **settings: Any) -> None:
    keys = {"ORCHESTRA_TELEMETRY_HEADERS": "authorization=Bearer%20collector-key"}
    async with open_world(
        home, telemetry_endpoint=collector.url, keys=keys, guard_email="flag", guard_secret="redact", **settings
    ) as world:
        world.providers["deepseek"].script(Reply(400, body=b'{"error": "about quokka"}'), Says(text="The platypus."))
        for prompt in (f"Tell the quokka {SECRET}", f"jane.doe@contoso.de has 078-05-1120 and a wombat, {SECRET}"):
            with suppress(AllAttemptsFailed):
                await world.router.complete(
                    ask(prompt, provider="deepseek", fallback_providers=(), metadata={"who": "jane.doe@contoso.de"})
                )


async def test_no_text_key_or_personal_data_is_in_any_byte_that_is_sent(collector: Collector, tmp_path: Path) -> None:
    await say_canaries(collector, tmp_path)

    sent = b"".join(collector.bodies)
    assert len(collector.spans) > 4
    assert [canary for canary in canaries() if canary.encode() in sent] == []
    assert b"collector-key" not in sent
    assert re.search(rb"simulated-[a-z]+-key", sent) is None


async def test_texts_are_sent_where_a_setting_says_so_and_are_redacted(collector: Collector, tmp_path: Path) -> None:
    await say_canaries(collector, tmp_path, telemetry_content="true")

    sent = b"".join(collector.bodies)
    assert [canary for canary in canaries() if canary.encode() in sent] == ["quokka", "wombat", "platypus"]
    asked = [span.about for span in collector.spans if span.name == "orchestra.complete"][-1]
    assert json.loads(asked["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "The platypus."}]}
    ]
    assert json.loads(asked["gen_ai.input.messages"])[0]["role"] == "user"


async def test_the_collectors_headers_go_with_every_export(collector: Collector, tmp_path: Path) -> None:
    await say_canaries(collector, tmp_path)

    assert {headers["authorization"] for headers in collector.headers} == {"Bearer collector-key"}


ALONE = """
import sys, anyio
from orchestra_router import simulated_router

async def main():
    async with simulated_router(settings={"cache": "exact"}) as router:
        await router.complete("Hello there.")

anyio.run(main)
print([name for name in sys.modules if name.startswith(("opentelemetry", "prometheus_client"))])
"""


def test_nothing_of_it_is_loaded_by_default() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


async def test_nobody_hears_of_a_request_by_default(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        assert world.router.observers.requests == []


async def test_a_collector_that_is_gone_fails_no_request_and_keeps_nobody_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL), collecting() as gone:
        pass
    started = time.monotonic()
    async with open_world(tmp_path, telemetry_endpoint=gone.url) as world:
        completion = await world.router.complete(ask())

    assert completion.text
    assert time.monotonic() - started < 10


# --- which trace ----------------------------------------------------------------------------------------------


async def test_a_request_belongs_to_the_trace_of_whoever_asked(collector: Collector, tmp_path: Path) -> None:
    adopt(parsed(f"00-{TRACE}-{SPAN}-01"))
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        completion = await world.router.complete(ask())

    root = collector.named("orchestra.complete")
    assert (root.trace_id, root.parent_id, completion.trace_id) == (TRACE, SPAN, TRACE)


async def test_who_asks_not_to_be_traced_is_not(collector: Collector, tmp_path: Path) -> None:
    adopt(parsed(f"00-{TRACE}-{SPAN}-00"))
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        completion = await world.router.complete(ask())

    assert (completion.trace_id, collector.spans) == (TRACE, [])


async def test_a_program_that_is_traced_is_the_parent_of_what_it_asks(collector: Collector, tmp_path: Path) -> None:
    tracer = TracerProvider().get_tracer("a program")
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        with tracer.start_as_current_span("its own", kind=SpanKind.INTERNAL) as span:
            await world.router.complete(ask())

    root = collector.named("orchestra.complete")
    assert root.parent_id == f"{span.get_span_context().span_id:016x}"


async def test_a_trace_id_of_a_clients_own_making_is_kept_beside_one_that_collectors_take(
    collector: Collector, tmp_path: Path
) -> None:
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        completion = await world.router.complete(ask(trace_id="order-7/attempt-2"))

    root = collector.named("orchestra.complete")
    assert completion.trace_id == root.about["orchestra.trace.id"] == "order-7/attempt-2"
    assert root.trace_id == as_trace_id("order-7/attempt-2")


@pytest.mark.parametrize(("setting", "told"), [("false", False), ("true", True)])
async def test_providers_are_told_the_trace_only_where_a_setting_says_so(
    setting: str, told: bool, tmp_path: Path
) -> None:
    async with open_world(tmp_path, telemetry_to_providers=setting) as world:
        completion = await world.router.complete(ask(provider="deepseek"))
        (received,) = [r for r in world.providers["deepseek"].received if r.method == "POST"]

    expected = traceparent(completion.trace_id, completion.attempts[0].attempt_id) if told else None
    assert received.headers.get("traceparent") == expected


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0g",
    ],
)
def test_a_header_that_is_none_begins_a_new_trace(wrong: str) -> None:
    assert parsed(wrong) is None


def test_a_header_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parsed(f"01-{TRACE}-{SPAN}-03-more") == Parent(TRACE, SPAN, sampled=True)


@given(st.text(max_size=50))
def test_every_id_has_one_that_a_collector_takes(text: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", as_trace_id(text))
    assert re.fullmatch(r"[0-9a-f]{16}", as_span_id(text))
    assert as_trace_id(TRACE) == TRACE


def test_without_anything_that_traces_there_is_no_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)

    assert context.current() is None


# --- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"ORCHESTRA_TELEMETRY_ENDPOINT": "collector:4318"}, "`telemetry_endpoint`"),
        ({"ORCHESTRA_TELEMETRY_ENDPOINT": "http://collector.example.com"}, "`telemetry_endpoint`"),
        (
            {"ORCHESTRA_TELEMETRY_ENDPOINT": "http://127.0.0.1:4318", "ORCHESTRA_TELEMETRY_HEADERS": "hush-hush"},
            "`ORCHESTRA_TELEMETRY_HEADERS` cannot be used: write name=value",
        ),
    ],
)
def test_what_cannot_be_sent_to_is_said_at_the_start(environ: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load({"ORCHESTRA_HOME": str(tmp_path), **environ})

    assert told in str(refused.value)
    assert "hush-hush" not in str(refused.value)


def test_without_the_extra_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestra_router.config_checks.is_installed", lambda: False)

    with pytest.raises(ConfigError, match=r"pip install 'orchestra-router\[telemetry\]'"):
        load({"ORCHESTRA_HOME": str(tmp_path), "ORCHESTRA_TELEMETRY_ENDPOINT": "http://127.0.0.1:4318"})


def test_headers_are_pairs() -> None:
    assert headers_of("Authorization=Bearer%20a=b, x-tenant=7") == {"authorization": "Bearer a=b", "x-tenant": "7"}


# --- the guide ------------------------------------------------------------------------------------------------


async def test_the_picture_in_the_guide_is_what_a_collector_gets(collector: Collector, tmp_path: Path) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "telemetry.md").read_text(encoding="utf-8")
    shown = guide.partition("```text\n")[2].partition("\n```")[0]

    drawn = picture(collector, await fallback(collector, tmp_path))

    assert without_times(shown) == without_times(drawn)


def without_times(drawing: str) -> list[str]:
    return [re.sub(r" +[\d.]+ ms .*", "", line) for line in drawing.splitlines()]


async def test_the_trace_of_an_mcp_client_comes_in_with_its_call(tmp_path: Path) -> None:
    async with simulated_world() as world, connected(configured(world, tmp_path)) as client:
        result = await client.session.call_tool(
            "complete", {"prompt": "Hello there."}, meta={"traceparent": f"00-{TRACE}-{SPAN}-01"}
        )

    assert result.structured_content is not None
    assert result.structured_content["trace_id"] == TRACE


async def test_a_batch_is_one_trace_with_a_root_for_each_prompt(collector: Collector, tmp_path: Path) -> None:
    adopt(parsed(f"00-{TRACE}-{SPAN}-01"))
    async with open_world(tmp_path, telemetry_endpoint=collector.url) as world:
        await world.router.batch(["What is the capital of France?", "What is the capital of Italy?"])

    roots = [span for span in collector.spans if span.name == "orchestra.complete"]
    assert [(span.trace_id, span.parent_id) for span in roots] == [(TRACE, SPAN)] * 2
    assert len({span.span_id for span in roots}) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_the_trace_of_an_http_client_comes_in_with_its_call(
    stream: bool, collector: Collector, tmp_path: Path
) -> None:
    async with open_http(tmp_path, telemetry_endpoint=collector.url) as world:
        response = await world.client.post(
            "/v1/chat/completions",
            json={"model": "auto", "messages": [{"role": "user", "content": "Hello there."}], "stream": stream},
            headers={"traceparent": f"00-{TRACE}-{SPAN}-01"},
        )

    root = collector.named("orchestra.complete")
    assert response.headers["x-trace-id"] == root.trace_id == TRACE
    assert root.parent_id == SPAN
