"""What a person may set about log lines, traces and metrics."""

import re
from importlib.util import find_spec
from typing import Literal
from urllib.parse import unquote

from pydantic import BaseModel, Field


class TelemetrySettings(BaseModel):
    """A part of `Settings`."""

    log_format: Literal["pretty", "json"] = Field(
        default="pretty", description="Log lines for people, or one JSON object a line for programs."
    )
    telemetry_endpoint: str = Field(
        default="",
        description="Where traces and metrics are sent, as OTLP over HTTP: `http://127.0.0.1:4318`. Needs the extra"
        " `telemetry`. Headers it wants are in `ORCHESTRA_TELEMETRY_HEADERS`: `authorization=Bearer%20abc,x-tenant=7`.",
    )
    telemetry_service: str = Field(
        default="orchestra", min_length=1, max_length=100, description="The `service.name` of traces and metrics."
    )
    telemetry_metrics_every_s: float = Field(
        default=60, ge=1, le=3600, description="Seconds between two times that metrics are sent."
    )
    telemetry_content: bool = Field(
        default=False, description="Send prompts and answers too, redacted; without it no text of theirs leaves."
    )
    telemetry_to_providers: bool = Field(
        default=False,
        description="Tell providers the trace (`traceparent`); they are outsiders, who could tell your calls apart by it.",
    )


def headers_of(text: str) -> dict[str, str]:
    """The headers in "authorization=Bearer%20abc,x-tenant=7", as OpenTelemetry's own variable has them.

    Raises:
        ValueError: it is something else; the message holds nothing of it.
    """
    headers: dict[str, str] = {}
    for pair in filter(None, (pair.strip() for pair in text.split(","))):
        name, equals, encoded = pair.partition("=")
        value = unquote(encoded)
        if not equals or not re.fullmatch(r"[A-Za-z0-9-]{1,100}", name.strip()) or not value.strip().isprintable():
            raise ValueError("write name=value,name=value, and %20 for a space")
        headers[name.strip().lower()] = value.strip()
    return headers


def is_installed() -> bool:
    """Whether what sends telemetry is there."""
    try:
        return all(find_spec(f"opentelemetry.{name}") for name in ("sdk", "exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False
