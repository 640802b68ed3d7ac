"""Every way in, with every role and with none: what nobody has allowed is refused."""

import inspect
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from mcp import MCPError

from http_worlds import bearer, code_of, open_http
from orchestra_router.errors import AccessDenied, RouterError
from orchestra_router.http.endpoint import Endpoint
from orchestra_router.policy.access import ALLOWED, LOCAL, ROLES, Caller, Role, Verb
from orchestra_router.policy.keyring import Keyring, Terms
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import SimulatedWorld, simulated_world
from orchestra_tools import resources
from orchestra_tools.server import TOOL_NAMES
from surface import call, configured, connected
from worlds import ask, open_world

TOOLS: dict[str, list[tuple[Verb, dict[str, Any]]]] = {
    "complete": [("complete", {"prompt": "Hello"}), ("complete", {"prompts": ["Hello", "Good-bye"]})],
    "route_task": [("plan", {"prompt": "Hello"}), ("complete", {"prompt": "Hello", "execute": True})],
    "provider_status": [("status", {}), ("probe", {"probe": True})],
    "cost_report": [("costs_own", {})],
}
RESOURCES: dict[str, Verb] = {
    "orchestra://providers": "status",
    "orchestra://models": "status",
    "orchestra://spend/{day}": "costs_own",
    "orchestra://requests/{trace_id}": "requests_own",
}
OPEN = {"/health/live", "/openapi.json", "/", "/page/{name}", "/sign-in", "/sign-out"}
"""Paths that anybody may ask, without a key: none of them knows anything."""
NEED_NO_CALLER = {"authenticate", "own_caller", "aclose", "start", "warm", "open"}


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


async def key_of(router: Router, role: Role) -> str:
    return (await router.keyring.create(Terms(name=role, role=role))).secret


@pytest.mark.parametrize("role", ROLES)
async def test_every_tool_and_resource_asks_what_the_role_allows(
    world: SimulatedWorld, tmp_path: Path, role: Role
) -> None:
    async with open_router(configured(world, tmp_path)) as router:
        secret = await key_of(router, role)
    assert set(TOOLS) == set(TOOL_NAMES)
    assert set(RESOURCES) == {one.uri for one in resources.READABLE}

    async with connected(configured(world, tmp_path, ORCHESTRA_KEY=secret)) as client:
        for tool, calls in TOOLS.items():
            for verb, arguments in calls:
                result = await call(client, tool, **arguments)
                code = (result.meta or {}).get("orchestra/error", {}).get("code")
                # A batch is an answer with its failures in it, unless all of them failed.
                refused = code == "access_denied" or "does not allow this" in str(result.content)
                assert refused == (verb not in ALLOWED[role]), (tool, arguments)
        for uri, verb in RESOURCES.items():
            try:
                await client.read_resource(uri.replace("{day}", "today").replace("{trace_id}", "none"))
                refused = False
            except MCPError as error:
                refused = "does not allow this" in str(error)
            assert refused == (verb not in ALLOWED[role]), uri


async def test_every_path_wants_a_key_whose_role_allows_it(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        keys: dict[Role, str] = {role: await key_of(world.router, role) for role in ROLES}
        endpoints = [endpoint for _, endpoint in world.server.app._routes]  # pyright: ignore[reportPrivateUsage]
        assert {endpoint.path for endpoint in endpoints if endpoint.verb is None} <= OPEN
        async with httpx.AsyncClient(base_url=world.server.url, timeout=20) as client:
            for endpoint in endpoints:
                for method in endpoint.methods:
                    await check_path(client, endpoint, method, keys)


async def check_path(client: httpx.AsyncClient, endpoint: Endpoint, method: str, keys: dict[Role, str]) -> None:
    path = endpoint.path.replace("{", "").replace(":path}", "").replace("}", "")

    async def status(headers: dict[str, str]) -> httpx.Response:
        return await client.request(method, path, headers=headers)

    if endpoint.verb is None:
        assert (await status({})).status_code not in {401, 403}
        return
    for headers in ({}, {"authorization": "Basic x"}, bearer("ork_000000000000_" + "0" * 64)):
        answer = await status(headers)
        assert answer.status_code == 401, (path, headers)
    for role, secret in keys.items():
        if endpoint.verb not in ALLOWED[role]:
            answer = await status(bearer(secret))
            assert (answer.status_code, code_of(answer)) == (403, "role_forbids"), (path, role)
        elif not endpoint.listens:
            assert (await status(bearer(secret))).status_code not in {401, 403}, (path, role)


async def test_over_http_a_key_asks_on_its_own_account(tmp_path: Path) -> None:
    async with open_http(tmp_path) as world:
        made = await world.router.keyring.create(Terms(name="ada", user="ada"))
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
        answered = await world.client.post("/v1/chat/completions", json=body, headers=bearer(made.secret))
        await world.router.keyring.revoke(made.key.key_id)
        refused = await world.client.post("/v1/chat/completions", json=body, headers=bearer(made.secret))
        report = await world.router.cost_report(period="all", group_by="access_key")

    assert (answered.status_code, refused.status_code) == (200, 401)
    assert [row.group for row in report.rows] == [made.key.key_id]


def test_every_public_method_of_the_router_and_the_keyring_takes_a_caller() -> None:
    for owner in (Router, Keyring):
        for name, method in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_") and name not in NEED_NO_CALLER:
                assert "caller" in inspect.signature(method).parameters, f"{owner.__name__}.{name}"


async def test_a_role_that_nobody_knows_may_do_nothing(tmp_path: Path) -> None:
    stranger = Caller(LOCAL, cast("Role", "root"))
    async with open_world(tmp_path) as world:
        with pytest.raises(AccessDenied):
            await world.router.complete(ask(), caller=stranger)
        with pytest.raises(AccessDenied):
            await world.router.cost_report(caller=stranger)

    assert not any(stranger.may(verb) for verb in ALLOWED["admin"])


async def test_a_caller_cannot_make_himself_more_than_he_is(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        operator = await world.router.authenticate(await key_of(world.router, "operator"))
        for act in (
            lambda: world.router.keyring.create(Terms(name="me", role="admin"), caller=operator),
            lambda: world.router.keyring.edit(operator.key_id, lambda terms: terms, caller=operator),
            lambda: world.router.keyring.rotate(operator.key_id, overlap_s=0, caller=operator),
            lambda: world.router.keyring.every(caller=operator),
        ):
            with pytest.raises(RouterError, match="does not allow this"):
                await act()


def test_a_key_for_one_person_speaks_for_nobody_else() -> None:
    ada = Caller(LOCAL, "caller", "k").speaking_for(user="ada", session="s1")

    assert (ada.scope.user, ada.scope.session) == ("ada", "s1")
    with pytest.raises(AccessDenied, match="for one user"):
        ada.speaking_for(user="bob")
