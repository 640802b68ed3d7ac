"""One row per thing that can be asked for over HTTP: the table that routes, access checks and OpenAPI are made from."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from orchestra_router.policy.access import Caller, Verb
from orchestra_router.router import Router
from orchestra_tools.service import Service

Handler = Callable[[Request], Awaitable[ASGIApp]]
"""Answers with a Starlette response, or anything else that takes (scope, receive, send).

It may raise a `RouterError` or a `Refused`; both reach the client as JSON.
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    path: str
    """`{name}` stands for one segment, `{name:path}` for all that follows."""
    methods: tuple[str, ...]
    verb: Verb | None
    """What the caller's role has to allow; None is open to everybody, without a token."""
    handler: Handler
    summary: str = ""
    """For the OpenAPI description; a row without one is not described."""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    uses: tuple[type[BaseModel], ...] = ()
    """Further models that the body's schema refers to."""
    answer: type[BaseModel] | None = None
    streams: bool = False
    """It may answer with events."""
    by_cookie: bool = False
    """A browser may come with the cookie of a session instead of a key. For what only reads."""
    begins_work: bool = True
    """Not answered any more by a server that is told to end."""
    listens: bool = False
    """It waits for what may never come, so a server that is told to end does not wait for it."""
    most_bytes: int | None = None
    """Of its body, where that is less than the settings allow: reading much of one keeps everybody waiting."""

    @property
    def allowed(self) -> tuple[str, ...]:
        return (*self.methods, "HEAD") if "GET" in self.methods else self.methods


def service_of(request: Request) -> Service:
    service: Service = request.state.service
    return service


async def router_of(request: Request) -> Router:
    return await service_of(request).router()


def caller_of(request: Request) -> Caller:
    """Whose key the request came with. Not there for an endpoint that is open to everybody."""
    caller: Caller = request.state.caller
    return caller


def trace_of(request: Request) -> str:
    """The trace id that the client sent, else one of ours; the response carries it too."""
    trace_id: str = request.state.trace_id
    return trace_id
