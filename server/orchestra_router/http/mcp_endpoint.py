"""MCP over Streamable HTTP, in both protocol eras. The tools are the very same as over stdio."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from mcp.server import MCPServer
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.types import ErrorData
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestra_router import jsonrpc
from orchestra_router.app import instructions
from orchestra_router.config import Settings
from orchestra_router.http.endpoint import Endpoint, caller_of
from orchestra_router.stdin import mended
from orchestra_tools.server import OrchestraServer
from orchestra_tools.service import Service

PATH = "/mcp"
ROOM = 1.5
"""What a message may have, in those of the longest prompt: escapes, and the arguments beside it."""
MAX_SESSIONS = 1_000
"""Open sessions of clients of the older era; the newer one has none."""
SESSION_IDLE_S = 1_800


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
        token = AccessToken(token="", client_id=caller_of(request).key_id, scopes=[])
        request.scope["user"] = AuthenticatedUser(token)
        if request.method != "POST":
            return self._sessions.handle_request
        text = mended((await request.body()).decode("utf-8", "replace"))
        message = jsonrpc.parsed(text)
        if isinstance(message, ErrorData):
            refusal = jsonrpc.refusal(message, text).model_dump(mode="json", exclude_unset=True)
            return JSONResponse(refusal, status_code=400)
        return _Sent(text.encode(), self._sessions.handle_request)


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
