"""The ASGI application: protections, then the table of endpoints, then whatever went wrong as JSON.

    Host, Origin -> path and method -> token -> role -> body limits -> handler

Written without middleware classes, so that a streamed chunk passes through one function only.
"""

import difflib
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import closing

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestra_router import ids
from orchestra_router.config import Settings
from orchestra_router.errors import AccessDenied, RouterError
from orchestra_router.http.callers import Authenticate
from orchestra_router.http.endpoint import Endpoint
from orchestra_router.http.protection import CLOSE, Doors, Patience, Room, check_length
from orchestra_router.http.refusals import Refused, refusal, refused
from orchestra_router.http.sessions import Sessions
from orchestra_router.http.traffic import Traffic
from orchestra_router.observe import context as trace_context
from orchestra_router.policy.access import Caller, Verb
from orchestra_tools.service import Service

logger = logging.getLogger("orchestra.http")

TRACE_HEADER = "x-trace-id"
USER_HEADER = "x-user-id"
SESSION_HEADER = "x-session-id"
EXPOSED = (
    "retry-after, x-trace-id, x-orchestra-cost-usd, x-orchestra-provider, x-orchestra-model, x-orchestra-cache,"
    " mcp-session-id, mcp-protocol-version"
)
PREFLIGHT_S = 600
SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "cache-control": "no-store",
}
"""On every response. A page that needs more of its own says so itself: what a handler sets stays."""
_SECURITY = tuple((name.encode(), value.encode()) for name, value in SECURITY.items())
_TRACE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class HttpApp:
    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        authenticate: Authenticate,
        sessions: Sessions,
        service: Service,
        settings: Settings,
        traffic: Traffic,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self._routes = [(compile_path(endpoint.path)[0], endpoint) for endpoint in endpoints]
        self._routes_of = {
            endpoint.path: [(pattern, route) for pattern, route in self._routes if pattern.match(endpoint.path)]
            for endpoint in endpoints
        }
        """Those of paths that are in the table as they are."""
        self._authenticate = authenticate
        self._sessions = sessions
        self._service = service
        self._settings = settings
        self._traffic = traffic
        self._doors = Doors(settings.http_hosts, settings.http_origins)
        self._room = Room(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"{scope['type']} is not served")
        headers = _headers(scope)
        state = scope.setdefault("state", {})
        state["service"], state["trace_id"] = self._service, ids.drawn(ids.TRACE_BYTES)
        origin = headers.get("origin")
        shared_with = origin if self._doors.shares_with(origin) else None
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                _add_headers(message, trace_id=state["trace_id"], shared_with=shared_with)
            await send(message)

        try:
            answer = await self._answer(scope, headers, receive, send_on)
        except ClientDisconnect:
            return
        except Exception:
            error_id = secrets.token_hex(6)
            logger.exception("internal error %s in %s", error_id, scope["path"])
            answer = refusal(
                Refused(
                    500,
                    "internal",
                    f"This is a defect of Orchestra: internal error, reported under id {error_id} in its log.",
                    kind="api_error",
                )
            )
        if answer is None:
            return
        if started:
            # Half an answer is out: only a connection that breaks off says that the rest is missing.
            raise ConnectionAbortedError
        await answer(scope, receive, send_on)

    async def _answer(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> ASGIApp | None:
        """What is still to be sent; None when all has been."""
        try:
            check_length(headers)
            self._doors.check(headers)
            _name_trace(scope, headers)
            if (preflight := self._preflight(scope, headers)) is not None:
                return preflight
            endpoint = self._endpoint(scope)
            if endpoint.verb is not None:
                await self._admit(scope, headers, endpoint, endpoint.verb)
            if self._traffic.draining and endpoint.begins_work:
                return refusal(_shutting_down())
            patient = self._patience(scope, headers, receive, endpoint)
            with self._traffic.request(listens=endpoint.listens) as under_way, closing(patient):
                answer = await endpoint.handler(Request(scope, patient.receive))
                await answer(scope, patient.receive, send)
            return refusal(_shutting_down()) if under_way.cancelled_caught else None
        except Refused as error:
            return refusal(error)
        except RouterError as error:
            return refusal(refused(error))

    def _patience(self, scope: Scope, headers: Mapping[str, str], receive: Receive, endpoint: Endpoint) -> Patience:
        caller: Caller | None = scope["state"].get("caller")
        key_id = "" if caller is None else caller.key_id
        return Patience(receive, headers, self._settings, self._room, key_id=key_id, most_bytes=endpoint.most_bytes)

    def _endpoint(self, scope: Scope) -> Endpoint:
        path, method = scope["path"], scope["method"]
        allowed: list[str] = []
        for pattern, endpoint in self._routes_of.get(path, self._routes):
            if (match := pattern.match(path)) is None:
                continue
            if method in endpoint.allowed:
                scope["path_params"] = match.groupdict()
                return endpoint
            allowed += endpoint.allowed
        if allowed:
            names = ", ".join(dict.fromkeys(allowed))
            message = f"This path takes {names}."
            raise Refused(405, "method_not_allowed", message, headers={"allow": names})
        message = f"There is nothing at this path.{self._meant(path)} GET /openapi.json lists what there is."
        raise Refused(404, "unknown_path", message, kind="not_found_error")

    def _meant(self, path: str) -> str:
        """The path that is near, as a sentence of its own: most often a base address without its `/v1`."""
        known = [each for each in self._routes_of if "{" not in each]
        near = [f"/v1{path}"] if f"/v1{path}" in known else difflib.get_close_matches(path, known, n=1)
        return f" Did you mean {near[0]}?" if near else ""

    async def _admit(self, scope: Scope, headers: Mapping[str, str], endpoint: Endpoint, verb: Verb) -> None:
        try:
            caller = await self._caller(scope, headers, endpoint)
        except AccessDenied as error:
            raise Refused(401, error.code, str(error), kind="authentication_error") from None
        caller = caller.speaking_for(user=headers.get(USER_HEADER, ""), session=headers.get(SESSION_HEADER, ""))
        scope["state"]["caller"] = caller
        if caller.may(verb):  # whether or not the router can be opened
            return
        try:
            await (await self._service.router()).allowed(verb, caller=caller)
        except AccessDenied as error:
            raise Refused(403, "role_forbids", str(error), kind="permission_error") from None

    async def _caller(self, scope: Scope, headers: Mapping[str, str], endpoint: Endpoint) -> Caller:
        kind, _, secret = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and secret.strip():
            return await self._authenticate(secret.strip())
        if endpoint.by_cookie and (caller := await self._sessions.caller(Request(scope))) is not None:
            return caller
        raise Refused(
            401,
            "token_missing",
            "Send an access key: `Authorization: Bearer <key>`. `orchestra keys create NAME` makes one.",
            kind="authentication_error",
            headers={"www-authenticate": "Bearer"},
        )

    def _preflight(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """What a browser asks before a page of another origin may call."""
        if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        if not self._doors.shares_with(headers.get("origin")):
            raise Refused(
                403,
                "unknown_origin",
                "Pages of this Origin may not call this server. Add the origin to `http_origins` to allow it.",
                kind="permission_error",
            )
        return Response(
            status_code=204,
            headers={
                "access-control-allow-methods": "GET, POST, DELETE",
                "access-control-allow-headers": headers.get("access-control-request-headers", ""),
                "access-control-max-age": str(PREFLIGHT_S),
            },
        )


def _shutting_down() -> Refused:
    return Refused(
        503,
        "shutting_down",
        "The server is shutting down. Ask again in a moment.",
        kind="api_error",
        headers=CLOSE | {"retry-after": "1", "x-should-retry": "true"},
    )


def _headers(scope: Scope) -> Mapping[str, str]:
    """The first of each name."""
    raw: Sequence[tuple[bytes, bytes]] = scope["headers"]
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}


def _name_trace(scope: Scope, headers: Mapping[str, str]) -> None:
    parent = trace_context.parsed(headers.get("traceparent", ""))
    trace_context.adopt(parent)
    given = headers.get(TRACE_HEADER)
    if given is None:
        if parent is not None:
            scope["state"]["trace_id"] = parent.trace_id
        return
    if not _TRACE_ID.fullmatch(given):
        raise Refused(
            400,
            "bad_header",
            f"`{TRACE_HEADER}` may have 128 letters, digits and . _ : / + = - at most.",
            param=TRACE_HEADER,
        )
    scope["state"]["trace_id"] = given


def _add_headers(message: Message, *, trace_id: str, shared_with: str | None) -> None:
    raw: list[tuple[bytes, bytes]] = list(message["headers"])
    given = {name.lower() for name, _ in raw}
    raw += [header for header in _SECURITY if header[0] not in given]
    raw.append((TRACE_HEADER.encode(), trace_id.encode("latin-1")))
    message["headers"] = raw
    if shared_with is not None:
        headers = MutableHeaders(raw=raw)
        headers["access-control-allow-origin"] = shared_with
        headers["access-control-expose-headers"] = EXPOSED
        headers["cross-origin-resource-policy"] = "cross-origin"
        headers.add_vary_header("Origin")
