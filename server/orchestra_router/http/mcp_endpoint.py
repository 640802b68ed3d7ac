"""MCP over Streamable HTTP, in both protocol eras. The tools are the very same as over stdio."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import ErrorData, JSONRPCMessage, JSONRPCRequest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestra_router import dense, jsonrpc
from orchestra_router.app import instructions
from orchestra_router.asking import MAX_VALUES
from orchestra_router.config import Settings
from orchestra_router.http.endpoint import Endpoint, caller_of
from orchestra_router.http.open_sessions import OpenSessions
from orchestra_router.http.refusals import Refused
from orchestra_router.stdin import mended
from orchestra_tools.server import OrchestraServer
from orchestra_tools.service import Service

PATH = "/mcp"
ROOM = 1.5
"""What a message may have, in those of the longest prompt: escapes, and the arguments beside it."""
LARGE_MESSAGE_BYTES = 20_000
"""Reading this much takes longer than other requests should wait."""
MAX_SESSIONS = 1_000
"""Open sessions of clients of the older era; the newer one has none."""
MAX_SESSIONS_PER_KEY = 200
"""Of them, so that one key leaves room for others."""
SESSION_IDLE_S = 1_800
SESSION_HEADER = "mcp-session-id"


class McpEndpoint:
    def __init__(self, service: Service, *, simulated: bool, settings: Settings) -> None:
        # Its messages are text, and while one is read nobody else is served; so less than a body with images may have.
        self._most_bytes = round(ROOM * settings.max_prompt_bytes)

        @asynccontextmanager
        async def opened(_: MCPServer[Service]) -> AsyncGenerator[Service]:
            yield service  # opened and closed by whoever serves

        server = OrchestraServer(instructions=instructions(simulated=simulated), lifespan=opened)
        self._sessions = StreamableHTTPSessionManager(
            server.lowlevel,
            max_request_body_size=self._most_bytes,
            session_idle_timeout=SESSION_IDLE_S,
            max_sessions=MAX_SESSIONS,
        )
        self._open = OpenSessions(most_per_key=MAX_SESSIONS_PER_KEY, idle_s=SESSION_IDLE_S)
        self.run = self._sessions.run
        """A context manager: sessions live inside it."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(PATH, ("POST", "DELETE"), "connect", self.handle, most_bytes=self._most_bytes),
            Endpoint(PATH, ("GET",), "connect", self.handle, listens=True),
        )

    async def handle(self, request: Request) -> ASGIApp:
        # A session belongs to the key that opened it: the SDK compares who asks.
        key_id = caller_of(request).key_id
        request.scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=key_id, scopes=[]))
        session = request.headers.get(SESSION_HEADER)
        if request.method != "POST":
            return _OfSession(session or "", key_id, self._open, self._sessions.handle_request)
        body = await request.body()
        text, message = _read(body) if len(body) < LARGE_MESSAGE_BYTES else await anyio.to_thread.run_sync(_read, body)
        if isinstance(message, ErrorData):
            refusal = jsonrpc.refusal(message, text).model_dump(mode="json", exclude_unset=True)
            return JSONResponse(refusal, status_code=400)
        app = _Sent(text.encode(), self._sessions.handle_request)
        if session is not None:
            return _OfSession(session, key_id, self._open, app)
        if isinstance(message, JSONRPCRequest) and message.method == "initialize":
            return _Opening(key_id, self._open, app)
        return app


def _read(body: bytes) -> tuple[str, JSONRPCMessage | ErrorData]:
    """Raises: Refused: the SDK would read it for too long, while nobody else is served."""
    if len(body) >= LARGE_MESSAGE_BYTES and dense.has_more_values(body, MAX_VALUES):
        raise Refused(
            413, "request_too_large", f"The message holds more than {MAX_VALUES:,} values. Send less at once."
        )
    text = mended(body.decode("utf-8", "replace"))
    return text, jsonrpc.parsed(text)


class _Opening:
    """`app`, whose answer may open a session."""

    def __init__(self, key_id: str, sessions: OpenSessions, app: ASGIApp) -> None:
        self._key_id = key_id
        self._sessions = sessions
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._sessions.opening(self._key_id) as session:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] < 400:
                    name = Headers(raw=message["headers"]).get(SESSION_HEADER)
                    if name is not None:
                        self._sessions.keep(name, session)
                await send(message)

            await self._app(scope, receive, watched)


class _OfSession:
    """`app`, which answers a request of the session `name`, or ends it."""

    def __init__(self, name: str, key_id: str, sessions: OpenSessions, app: ASGIApp) -> None:
        self._name = name
        self._key_id = key_id
        self._sessions = sessions
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if scope["method"] == "DELETE" and message["type"] == "http.response.start" and message["status"] < 300:
                self._sessions.end(self._name, self._key_id)
            await send(message)

        with self._sessions.request(self._name, self._key_id):
            await self._app(scope, receive, watched)


class _Sent:
    """`app`, for which a body is there that has been read before."""

    def __init__(self, body: bytes, app: ASGIApp) -> None:
        self._body: bytes | None = body
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def again() -> Message:
            if self._body is None:
                return await receive()
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)
