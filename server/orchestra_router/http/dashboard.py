"""The page at `/`, the views it asks for, and signing in. Nothing here changes anything but who is signed in.

The page's own policy lets nothing in but its own files: no script in the markup, no other host, and no text that becomes
markup (Trusted Types).
"""

import secrets
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from json import JSONDecodeError, dumps
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from orchestra_router import page
from orchestra_router.errors import AccessDenied, InvalidRequest
from orchestra_router.http.callers import Authenticate
from orchestra_router.http.endpoint import Endpoint, caller_of, router_of, service_of
from orchestra_router.http.refusals import Refused
from orchestra_router.http.sessions import Sessions
from orchestra_router.policy.views import Asked

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
NOT_STALE = "no-cache"
MOST_BYTES = 4_096
"""That a sign-in may have, which anybody can send: a key has fewer than a hundred characters."""
_PICKED = ("range", "first_day", "last_day", "access_key", "user", "task")


class Dashboard:
    """The endpoints of one server."""

    def __init__(self, sessions: Sessions, authenticate: Authenticate) -> None:
        self._sessions = sessions
        self._authenticate = authenticate
        self._process = secrets.token_hex(4)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("/", ("GET",), None, self.shown),
            Endpoint("/sign-in", ("GET",), None, self.form),
            Endpoint("/sign-in", ("POST",), None, self.sign_in, most_bytes=MOST_BYTES),
            Endpoint("/sign-out", ("POST",), None, self.sign_out),
            Endpoint("/page/{name}", ("GET",), None, self.file),
            *(
                Endpoint(f"/api/{name}", ("GET",), "dashboard", handler, by_cookie=True)
                for name, handler in (
                    ("version", self.version),
                    ("overview", self.overview),
                    ("providers", self.providers),
                    ("spend", self.spend),
                    ("traffic", self.traffic),
                    ("speed", self.speed),
                    ("requests", self.requests),
                    ("choices", self.choices),
                )
            ),
        )

    # --- the page --------------------------------------------------------------------------------------------

    async def shown(self, _: Request) -> ASGIApp:
        return _file("index.html")

    async def form(self, _: Request) -> ASGIApp:
        return _file("sign-in.html")

    async def file(self, request: Request) -> ASGIApp:
        name = request.path_params["name"]
        if name not in page.names():
            raise Refused(404, "unknown_path", "The page has no such file.", kind="not_found_error")
        return _file(name)

    # --- signing in ------------------------------------------------------------------------------------------

    async def sign_in(self, request: Request) -> ASGIApp:
        """With an access key, or with a token that an invitation gave: {"key": ...} or {"token": ...}."""
        given = await _given(request)
        token = given.get("token")
        secret = self._sessions.accept(token) if token else given.get("key", "").strip()
        try:
            caller = await self._authenticate(secret)
        except AccessDenied as error:
            raise Refused(401, error.code, str(error), kind="authentication_error") from None
        if not caller.may("dashboard"):
            raise Refused(
                403,
                "role_forbids",
                f"The role {caller.role} of this access key does not allow the dashboard. Use a viewer's key.",
                kind="permission_error",
            )
        response = _json({"signed_in": True})
        self._sessions.begin(response, request, secret)
        return response

    async def sign_out(self, request: Request) -> ASGIApp:
        response = _json({"signed_in": False})
        self._sessions.end(response, request)
        return response

    # --- the views -------------------------------------------------------------------------------------------

    async def version(self, request: Request) -> ASGIApp:
        """Another one whenever the page should ask again, a restart of the server included."""
        router = await router_of(request)
        version = f"{self._process}-{await router.views.version()}"
        return _json({"version": version, "notice": service_of(request).notice})

    async def overview(self, request: Request) -> ASGIApp:
        return _json(await (await router_of(request)).views.overview())

    async def providers(self, request: Request) -> ASGIApp:
        return _json(await (await router_of(request)).provider_status(caller=caller_of(request)))

    async def spend(self, request: Request) -> ASGIApp:
        views = (await router_of(request)).views
        return _json(await views.spend(_asked(request), request.query_params.get("by", "provider")))

    async def traffic(self, request: Request) -> ASGIApp:
        return _json(await (await router_of(request)).views.traffic(_asked(request)))

    async def speed(self, request: Request) -> ASGIApp:
        return _json(await (await router_of(request)).views.speed(_asked(request)))

    async def requests(self, request: Request) -> ASGIApp:
        views = (await router_of(request)).views
        asked = request.query_params
        only_failed = asked.get("outcome") == "failed"
        return _json(await views.requests(_asked(request), before=asked.get("before", ""), only_failed=only_failed))

    async def choices(self, request: Request) -> ASGIApp:
        return _json(await (await router_of(request)).views.choices(_asked(request)))


def _asked(request: Request) -> Asked:
    """Raises: InvalidRequest: something is asked for twice."""
    given = request.query_params
    if twice := [name for name in _PICKED if len(given.getlist(name)) > 1]:
        raise InvalidRequest(f"`{twice[0]}` is given twice.")
    return Asked(**{name: given[name] for name in _PICKED if name in given})


async def _given(request: Request) -> Mapping[str, str]:
    """Raises: Refused: the body is no JSON object of texts. Only a script of ours can send one from a browser."""
    try:
        body: Any = await request.json()
    except (JSONDecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if not isinstance(body, dict) or not all(isinstance(value, str) for value in cast("dict[str, Any]", body).values()):
        raise Refused(400, "bad_body", 'Send JSON: {"key": "an access key"}.')
    return cast("dict[str, str]", body)


def _file(name: str) -> Response:
    headers = {"cache-control": NOT_STALE}
    if name.endswith(".html"):
        headers["content-security-policy"] = POLICY
    return Response(page.text(name), media_type=page.media_type(name), headers=headers)


def _json(data: object) -> Response:
    return Response(
        dumps(data, default=_plain, ensure_ascii=False, separators=(",", ":")), media_type="application/json"
    )


def _plain(value: object) -> dict[str, Any]:
    if not is_dataclass(value):
        raise TypeError(type(value).__name__)
    return {one.name: getattr(value, one.name) for one in fields(value)}
