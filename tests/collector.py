"""An OpenTelemetry collector on loopback: real HTTP, real protobuf, kept in memory."""

import gzip
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Seen:
    """A span as it arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    failed: bool
    about: dict[str, Any]
    resource: dict[str, Any]


@dataclass(slots=True)
class Collector:
    url: str = ""
    bodies: list[bytes] = field(default_factory=list[bytes])
    """Everything that was sent, unpacked."""
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    spans: list[Seen] = field(default_factory=list[Seen])
    metrics: dict[str, list[tuple[dict[str, Any], float, int]]] = field(
        default_factory=dict[str, list[tuple[dict[str, Any], float, int]]]
    )
    """By name: the attributes of each series, its sum and its count."""
    status: int = 200

    def take(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            self._take_spans(ExportTraceServiceRequest.FromString(body))
        elif path == "/v1/metrics":
            self._take_metrics(ExportMetricsServiceRequest.FromString(body))

    def named(self, name: str) -> Seen:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def children(self, of: Seen) -> list[Seen]:
        return sorted((s for s in self.spans if s.parent_id == of.span_id), key=lambda span: span.start_ns)

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        for sent in request.resource_spans:
            resource = _attributes(sent.resource.attributes)
            self.spans += [
                Seen(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    failed=span.status.code == 2,
                    about=_attributes(span.attributes),
                    resource=resource,
                )
                for scope in sent.scope_spans
                for span in scope.spans
            ]

    def _take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        for sent in request.resource_metrics:
            for scope in sent.scope_metrics:
                for metric in scope.metrics:
                    self.metrics[metric.name] = [
                        *((_attributes(p.attributes), p.sum, p.count) for p in metric.histogram.data_points),
                        *((_attributes(p.attributes), p.as_double, 1) for p in metric.sum.data_points),
                    ]


def _attributes(found: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in found}


@contextmanager
def collecting() -> Generator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.headers.append({name.lower(): value for name, value in self.headers.items()})
            collector.take(self.path, body)
            self.send_response(collector.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it is called with
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
