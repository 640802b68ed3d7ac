"""What a person may set about `orchestra serve --http`."""

import re
from typing import Annotated

from pydantic import BaseModel, Field, field_validator

HostName = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?$")]
Origin = Annotated[str, Field(pattern=r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?$")]


class HttpSettings(BaseModel):
    """A part of `Settings`."""

    http_hosts: tuple[HostName, ...] = Field(
        default=(),
        description="Names by which clients may reach `serve --http`, besides this machine's own: `llm.example.org`.",
    )
    http_origins: tuple[Origin, ...] = Field(
        default=(),
        description="Origins of web pages that may call it from a browser: `https://app.example.org`.",
    )
    http_body_mb: float = Field(default=20, gt=0, le=1000, description="Megabytes that the body of a request may have.")
    http_read_timeout_s: float = Field(
        default=30, gt=0, le=3600, description="Seconds a client may take to send a request's head, and then its body."
    )
    http_write_timeout_s: float = Field(
        default=30, gt=0, le=3600, description="Seconds a client may leave what was sent to it unread."
    )
    http_connections: int = Field(
        default=1000, ge=1, le=100_000, description="Connections that are open at the same time; more are turned away."
    )
    http_drain_s: float = Field(
        default=30,
        ge=0,
        le=3600,
        description="Seconds that running requests may take to end when the server is told to.",
    )

    @field_validator("http_hosts", "http_origins", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """The environment has no lists: "llm.example.org,llm"."""
        if isinstance(value, str):
            return tuple(filter(None, re.split(r"[,\s]+", value)))
        return value

    @field_validator("http_hosts", "http_origins")
    @classmethod
    def _in_small_letters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name.lower() for name in value)
