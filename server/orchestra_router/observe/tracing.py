"""Traces and metrics for an OpenTelemetry collector, by the semantic conventions for generative AI.

A request's spans are made when it has ended, with the times it had: nothing of this is on its way. Their ids are ours,
so that a trace, the log, the audit trail and `x-trace-id` name the same things.

Names are those of the conventions (https://github.com/open-telemetry/semantic-conventions-genai, checked 2026-11);
what they have no name for begins with `orchestra.`.
"""

import re
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from orchestra_router.observe.context import as_span_id, as_trace_id
from orchestra_router.observe.logs import Scrub
from orchestra_router.observe.names import OTHER, PROVIDERS, STAGES
from orchestra_router.observe.records import Finished, Times
from orchestra_router.types import Attempt, usd

EXPORT_TIMEOUT_S = 5.0
LAST_EXPORT_S = 2.0
"""How long the end of the process waits for what has not been sent yet."""
DURATIONS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The conventions' buckets, as are those of tokens."""
TOKENS = tuple(4**power for power in range(14))
_ID = re.compile(r"[A-Za-z0-9._:/@+~-]{1,200}")

Attributes = dict[str, AttributeValue]


class Settings(Protocol):
    @property
    def telemetry_endpoint(self) -> str: ...
    @property
    def telemetry_service(self) -> str: ...
    @property
    def telemetry_metrics_every_s(self) -> float: ...


class _GivenIds(RandomIdGenerator):
    """The ids that the next span is to have."""

    trace_id: int = 0
    span_id: int = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id or super().generate_span_id()


class Telemetry:
    """Sends what has happened, from a thread of its own. What the collector does not take is dropped, and logged."""

    def __init__(
        self,
        settings: Settings,
        headers: Mapping[str, str],
        *,
        scrub: Scrub,
        addresses: Mapping[str, str],
        models: frozenset[str],
    ) -> None:
        """`scrub` goes over the labels, which the guard may have let pass with somebody's data in them. `addresses` are the providers' base URLs; any other model than `models` counts as `_other` in metrics."""
        base = settings.telemetry_endpoint.rstrip("/")
        resource = Resource.create({"service.name": settings.telemetry_service, "service.version": _version()})
        self._ids = _GivenIds()
        self._traces = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        self._traces.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(f"{base}/v1/traces", headers=dict(headers), timeout=EXPORT_TIMEOUT_S),
                schedule_delay_millis=1000,
            )
        )
        self._tracer = self._traces.get_tracer("orchestra", _version())
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(f"{base}/v1/metrics", headers=dict(headers), timeout=EXPORT_TIMEOUT_S),
            export_interval_millis=settings.telemetry_metrics_every_s * 1000,
            export_timeout_millis=EXPORT_TIMEOUT_S * 1000,
        )
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._metrics.get_meter("orchestra", _version())
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Of an attempt.", explicit_bucket_boundaries_advisory=DURATIONS_S
        )
        self._first_chunks = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Until the first text of a streamed answer.",
            explicit_bucket_boundaries_advisory=DURATIONS_S,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Of an attempt.", explicit_bucket_boundaries_advisory=TOKENS
        )
        self._requests = meter.create_histogram(
            "orchestra.request.duration", "s", "Of a request.", explicit_bucket_boundaries_advisory=DURATIONS_S
        )
        self._cost = meter.create_counter("orchestra.cost", "{USD}", "What attempts cost.")
        self._saved = meter.create_counter("orchestra.cache.saved", "{USD}", "What cached answers would have cost.")
        self._servers = {name: _server(url) for name, url in addresses.items()}
        self._models = models
        self._scrub = scrub

    def request(self, done: Finished) -> None:
        self._measure(done)
        self._ids.trace_id = int(as_trace_id(done.trace_id), 16)
        context = None
        if done.parent_span:
            flags = TraceFlags(TraceFlags.SAMPLED if done.sampled else TraceFlags.DEFAULT)
            parent = SpanContext(self._ids.trace_id, int(done.parent_span, 16), is_remote=True, trace_flags=flags)
            context = set_span_in_context(NonRecordingSpan(parent))
        self._ids.span_id = int(as_span_id(done.request_id), 16)
        root = self._tracer.start_span(
            "orchestra.complete",
            context,
            kind=SpanKind.INTERNAL,
            attributes=_of_request(done, self._scrub),
            start_time=_ns(done, done.started),
        )
        if done.outcome != "ok":
            root.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(root)
        self._ids.span_id = 0
        for stage in done.stages:
            if (name := STAGES.get(stage.name)) is not None:
                about: Attributes = {"orchestra.cache.status": done.cache} if stage.name == "cache" else {}
                span = self._tracer.start_span(name, inside, attributes=about, start_time=_ns(done, stage.began))
                span.end(_ns(done, stage.ended))
        attempts = {attempt.number: attempt for attempt in done.attempts}
        for times in sorted(done.times, key=lambda each: each.number):
            if (attempt := attempts.get(times.number)) is not None:
                self._attempt(done, attempt, times, inside)
        root.end(_ns(done, done.ended))

    async def aclose(self) -> None:
        """Send what has not been sent, if that is quickly done."""
        with anyio.move_on_after(LAST_EXPORT_S):
            await anyio.to_thread.run_sync(self._shut_down, abandon_on_cancel=True)

    def _shut_down(self) -> None:
        self._traces.shutdown()
        self._metrics.shutdown(timeout_millis=LAST_EXPORT_S * 1000)

    def _attempt(self, done: Finished, attempt: Attempt, times: Times, inside: Context) -> None:
        hold = self._tracer.start_span("hold money", inside, start_time=_ns(done, times.asked))
        hold.end(_ns(done, times.began))
        self._ids.span_id = int(as_span_id(attempt.attempt_id), 16)
        span = self._tracer.start_span(
            f"chat {attempt.model}",
            inside,
            kind=SpanKind.CLIENT,
            attributes=_of_attempt(done, attempt) | self._servers.get(attempt.provider, {}),
            start_time=_ns(done, times.began),
        )
        self._ids.span_id = 0
        if attempt.outcome != "ok":
            span.set_status(Status(StatusCode.ERROR))
        span.end(_ns(done, times.ended))
        settle = self._tracer.start_span("settle", inside, start_time=_ns(done, times.ended))
        settle.end(_ns(done, times.settled))

    def _measure(self, done: Finished) -> None:
        failed: Attributes = {} if done.outcome == "ok" else {"error.type": done.outcome}
        self._requests.record(
            done.ended - done.started, {"orchestra.cache.status": done.cache, "orchestra.task": done.task} | failed
        )
        if done.saved_nusd:
            self._saved.add(usd(done.saved_nusd), {"orchestra.task": done.task})
        for attempt in done.attempts:
            about: Attributes = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": PROVIDERS.get(attempt.provider, attempt.provider),
                "gen_ai.request.model": attempt.model if attempt.model in self._models else OTHER,
            }
            wrong: Attributes = {} if attempt.outcome == "ok" else {"error.type": attempt.outcome}
            self._durations.record(attempt.latency_ms / 1000, about | wrong)
            if attempt.first_token_ms is not None:
                self._first_chunks.record(attempt.first_token_ms / 1000, about)
            if attempt.usage is not None:
                self._tokens.record(attempt.usage.input_total, about | {"gen_ai.token.type": "input"})
                self._tokens.record(attempt.usage.output_total, about | {"gen_ai.token.type": "output"})
            if attempt.cost_nusd:
                self._cost.add(usd(attempt.cost_nusd), about)


def _of_request(done: Finished, scrub: Scrub) -> Attributes:
    about: Attributes = {
        "gen_ai.operation.name": "chat",
        "orchestra.request.id": done.request_id,
        "orchestra.trace.id": done.trace_id,
        "orchestra.outcome": done.outcome,
        "orchestra.cache.status": done.cache,
        "orchestra.cost.usd": usd(done.cost_nusd),
        "orchestra.attempts": len(done.attempts),
        "gen_ai.request.max_tokens": done.max_tokens,
    }
    about |= {f"orchestra.metadata.{scrub(name)}": scrub(value) for name, value in done.metadata.items()}
    about |= {f"orchestra.redactions.{kind}": count for kind, count in done.redactions.items()}
    optional: dict[str, AttributeValue | None] = {
        "orchestra.task": done.task or None,
        "orchestra.cache.reason": done.cache_reason or None,
        "orchestra.cache.saved.usd": usd(done.saved_nusd) if done.saved_nusd else None,
        "gen_ai.provider.name": PROVIDERS.get(done.provider, done.provider) or None,
        "gen_ai.response.model": done.model or None,
        "gen_ai.request.temperature": done.temperature,
        "error.type": done.outcome if done.outcome != "ok" else None,
        "gen_ai.input.messages": done.content.prompt if done.content else None,
        "gen_ai.output.messages": (done.content.answer or None) if done.content else None,
    }
    if (refusal := done.refusal) is not None:
        optional |= {
            "orchestra.budget.period": refusal.period,
            "orchestra.budget.limit.usd": usd(refusal.limit_nusd),
            "orchestra.budget.spent.usd": usd(refusal.spent_nusd),
            "orchestra.budget.wanted.usd": usd(refusal.wanted_nusd),
        }
    return about | {name: value for name, value in optional.items() if value is not None}


def _of_attempt(done: Finished, attempt: Attempt) -> Attributes:
    usage = attempt.usage
    about: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDERS.get(attempt.provider, attempt.provider),
        "gen_ai.request.model": attempt.model,
        "gen_ai.request.max_tokens": done.max_tokens,
        "gen_ai.request.temperature": done.temperature,
        "gen_ai.request.stream": done.streamed,
        # The provider's word: repeated only where it can be nothing but an id.
        "gen_ai.response.model": attempt.answered_as if _ID.fullmatch(attempt.answered_as) else None,
        "orchestra.attempt.number": attempt.number,
        "orchestra.attempt.waited_ms": attempt.waited_ms or None,
        "orchestra.attempt.rejected": attempt.rejected or None,
        "orchestra.cost.usd": usd(attempt.cost_nusd),
        "orchestra.cost.source": attempt.cost_source,
        "error.type": attempt.outcome if attempt.outcome != "ok" else None,
        "http.response.status_code": attempt.status,
    }
    if attempt.first_token_ms is not None:
        about["gen_ai.response.time_to_first_chunk"] = attempt.first_token_ms / 1000
    if usage is not None:
        about |= {
            "gen_ai.usage.input_tokens": usage.input_total,
            "gen_ai.usage.output_tokens": usage.output_total,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read or None,
            "gen_ai.usage.cache_creation.input_tokens": (usage.cache_write + usage.cache_write_1h) or None,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning or None,
        }
    return {name: value for name, value in about.items() if value is not None}


def _ns(done: Finished, moment: float) -> int:
    """Nanoseconds of the day for a moment on the monotonic scale."""
    return done.started_ms * 1_000_000 + round((moment - done.started) * 1e9)


def _server(url: str) -> Attributes:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - once, and it reads files

    return version("orchestra-router")
