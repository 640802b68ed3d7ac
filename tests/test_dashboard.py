"""The page and its views over HTTP: who is let in, what a browser may do with it, and what is answered."""

import html.parser
import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest

from clocks import FakeClock
from http_worlds import HttpWorld, bearer, code_of, open_http
from orchestra_router import page
from orchestra_router.http import sessions
from orchestra_router.http.sessions import INVITATION_S, SESSION_S
from orchestra_router.policy.keyring import Terms
from worlds import ask

VIEWS = ("version", "overview", "providers", "spend", "traffic", "speed", "requests", "choices")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncGenerator[HttpWorld]:
    async with open_http(tmp_path, clock=clock) as world:
        yield world


@pytest.fixture
async def browser(world: HttpWorld) -> AsyncGenerator[httpx.AsyncClient]:
    """Comes with cookies and without a key."""
    async with httpx.AsyncClient(base_url=world.server.url, timeout=20) as client:
        yield client


# --- signing in --------------------------------------------------------------------------------------------------


async def test_whoever_has_not_signed_in_sees_the_form_and_no_figure(browser: httpx.AsyncClient) -> None:
    page_itself = await browser.get("/")
    form = await browser.get("/sign-in")
    views = [await browser.get(f"/api/{name}") for name in VIEWS]

    assert (page_itself.status_code, form.status_code) == (200, 200)
    assert {view.status_code for view in views} == {401}


async def test_a_key_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(
    world: HttpWorld, browser: httpx.AsyncClient
) -> None:
    signed_in = await browser.post("/sign-in", json={"key": world.key})

    cookie = signed_in.headers["set-cookie"]
    assert world.key not in cookie
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={SESSION_S}"))
    assert str(world.server.address.port) in cookie.split("=")[0]
    assert {(await browser.get(f"/api/{name}")).status_code for name in VIEWS} == {200}


async def test_a_session_ends_with_its_key(world: HttpWorld, browser: httpx.AsyncClient) -> None:
    made = await world.router.keyring.create(Terms(name="bob", role="viewer"))
    await browser.post("/sign-in", json={"key": made.secret})
    seen = await browser.get("/api/overview")

    await world.router.keyring.revoke(made.key.key_id)

    assert (seen.status_code, (await browser.get("/api/overview")).status_code) == (200, 401)


async def test_whoever_signs_in_without_end_signs_nobody_else_out(
    world: HttpWorld, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 6)
    monkeypatch.setattr(sessions, "MOST_PER_KEY", 3)
    made = await world.router.keyring.create(Terms(name="bob", role="viewer"))
    await browser.post("/sign-in", json={"key": world.key})

    async with httpx.AsyncClient(base_url=world.server.url, timeout=20) as other:
        for _ in range(8):
            await other.post("/sign-in", json={"key": made.secret})
        newest = await other.get("/api/overview")

    assert (newest.status_code, (await browser.get("/api/overview")).status_code) == (200, 200)


async def test_a_key_that_may_only_ask_is_told_which_key_may_look(world: HttpWorld, browser: httpx.AsyncClient) -> None:
    made = await world.router.keyring.create(Terms(name="bob", role="caller"))

    refused = await browser.post("/sign-in", json={"key": made.secret})

    assert (refused.status_code, code_of(refused)) == (403, "role_forbids")
    assert "viewer" in refused.json()["error"]["message"]
    assert (await world.client.get("/api/overview", headers=bearer(made.secret))).status_code == 403


async def test_a_wrong_key_is_refused_and_gets_no_cookie(browser: httpx.AsyncClient) -> None:
    refused = await browser.post("/sign-in", json={"key": "nonsense"})

    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers


async def test_who_has_no_key_cannot_have_much_read(browser: httpx.AsyncClient) -> None:
    large = await browser.post("/sign-in", content=b'{"key": "' + b"a" * 5_000 + b'"}')

    assert (large.status_code, code_of(large)) == (413, "request_too_large")


@pytest.mark.parametrize("body", [b"", b"key=abc", b'["key"]', b'{"key": 1}', b"[" * 4_000, b"\xff"])
async def test_what_is_no_sign_in_is_refused_with_what_would_be(browser: httpx.AsyncClient, body: bytes) -> None:
    refused = await browser.post("/sign-in", content=body)

    assert refused.status_code == 400
    assert code_of(refused) == "bad_body"


async def test_a_link_signs_in_once(world: HttpWorld, browser: httpx.AsyncClient) -> None:
    token = world.server.dashboard(world.key).partition("#token=")[2]

    first = await browser.post("/sign-in", json={"token": token})
    second = await browser.post("/sign-in", json={"token": token})

    assert first.status_code == 200
    assert (second.status_code, code_of(second)) == (401, "invitation_over")


async def test_a_link_that_nobody_used_in_time_is_over(
    world: HttpWorld, browser: httpx.AsyncClient, clock: FakeClock
) -> None:
    token = world.server.dashboard(world.key).partition("#token=")[2]
    clock.advance(INVITATION_S)

    assert (await browser.post("/sign-in", json={"token": token})).status_code == 401


async def test_a_session_ends_after_its_time_and_when_somebody_signs_out(
    world: HttpWorld, browser: httpx.AsyncClient, clock: FakeClock
) -> None:
    await browser.post("/sign-in", json={"key": world.key})
    stolen = dict(browser.cookies)
    await browser.post("/sign-out")
    async with httpx.AsyncClient(base_url=world.server.url, cookies=stolen) as thief:
        assert (await thief.get("/api/overview")).status_code == 401

    await browser.post("/sign-in", json={"key": world.key})
    clock.advance(SESSION_S)
    assert (await browser.get("/api/overview")).status_code == 401


async def test_a_cookie_opens_the_dashboard_and_nothing_that_costs_or_changes_anything(
    world: HttpWorld, browser: httpx.AsyncClient
) -> None:
    await browser.post("/sign-in", json={"key": world.key})

    others = [
        endpoint for endpoint in world.server.app.endpoints if endpoint.verb is not None and not endpoint.by_cookie
    ]
    for endpoint in others:
        answer = await browser.request(endpoint.methods[0], re.sub(r"\{.*?\}", "x", endpoint.path), content=b"{}")
        assert answer.status_code == 401, endpoint.path
    assert all(endpoint.methods == ("GET",) for endpoint in world.server.app.endpoints if endpoint.by_cookie)


async def test_a_page_of_another_site_cannot_sign_in_or_read(world: HttpWorld, browser: httpx.AsyncClient) -> None:
    elsewhere = {"origin": "https://evil.example"}

    assert (await browser.post("/sign-in", json={"key": world.key}, headers=elsewhere)).status_code == 403
    await browser.post("/sign-in", json={"key": world.key})
    assert (await browser.get("/api/overview", headers=elsewhere)).status_code == 403


# --- the files ---------------------------------------------------------------------------------------------------


async def test_the_page_forbids_everything_but_its_own_files(browser: httpx.AsyncClient) -> None:
    for path in ("/", "/sign-in"):
        policy = (await browser.get(path)).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


async def test_every_file_that_the_pages_name_is_there(browser: httpx.AsyncClient) -> None:
    named: set[str] = set()

    class Reading(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            assert not [name for name in given if name.startswith("on") or name == "style"]
            assert tag != "script" or given.get("src")
            named.update(value for name, value in given.items() if name in {"src", "href"} and value)

    for path in ("/", "/sign-in"):
        Reading().feed((await browser.get(path)).text)
    for name in page.names():
        named.update(
            f"page/{other}" for other in re.findall(r'^import .* from "\./(.*?)";$', page.text(name), re.MULTILINE)
        )
    assert "page/chart.js" in named
    for path in named - {"#main"}:
        assert (await browser.get(f"/{path}")).status_code == 200, path


@pytest.mark.parametrize("name", ["__init__.py", "..%2Fcli.py", "nothing.js", ""])
async def test_no_other_file_can_be_had(browser: httpx.AsyncClient, name: str) -> None:
    assert (await browser.get(f"/page/{name}")).status_code == 404


def test_no_script_makes_markup_of_text() -> None:
    for name in page.names():
        source = page.text(name)
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|setAttribute\(\"style", source
        ), name
        assert not re.search(r"https?://(?!www\.w3\.org/)", source), name


# --- the views ---------------------------------------------------------------------------------------------------


async def view(world: HttpWorld, name: str, **asked: str) -> Any:
    answer = await world.client.get(f"/api/{name}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_views_say_what_the_answers_said(world: HttpWorld) -> None:
    paid = await world.router.complete(ask("One.", task="coding"))
    await world.router.complete(ask("One.", task="coding"))

    overview = await view(world, "overview")
    spend = await view(world, "spend", by="model", range="7_days")
    traffic = await view(world, "traffic", range="7_days")
    requests = await view(world, "requests", range="7_days")

    assert overview["spent_month"]["spent_nusd"] == overview["spent_today_nusd"] == paid.cost_nusd
    assert [(one["name"], sum(one["spent_nusd"])) for one in spend["series"]] == [(paid.model, paid.cost_nusd)]
    assert (traffic["total"]["calls"], traffic["total"]["hits"]) == (2, 1)
    assert [row["columns"]["cache"] for row in requests["rows"]] == ["HIT", "MISS"]
    assert requests["rows"][1]["columns"]["reason"] == paid.reason
    assert [one["provider"] for one in requests["rows"][1]["attempts"]] == [paid.provider]
    assert (await view(world, "choices", range="7_days"))["tasks"] == ["coding"]
    assert {one["name"] for one in (await view(world, "providers"))["providers"]} >= {"openrouter", "xai"}


async def test_the_version_changes_with_a_request(world: HttpWorld) -> None:
    before = await view(world, "version")
    await world.router.complete(ask("One."))

    assert await view(world, "version") != before


@pytest.mark.parametrize(
    "query",
    [
        "range=decade",
        "first_day=x",
        "by=colour",
        "before=1",
        "user=a&user=b",
        "first_day=2026-11-02&last_day=2026-11-01",
    ],
)
async def test_a_question_that_cannot_be_answered_says_what_can(world: HttpWorld, query: str) -> None:
    name = "requests" if query.startswith("before") else "spend"
    refused = await world.client.get(f"/api/{name}?{query}")

    assert (refused.status_code, code_of(refused)) == (400, "invalid_request")


async def test_hostile_names_come_back_as_the_data_they_are(world: HttpWorld) -> None:
    name = "<script>alert(1)</script>'\"`;--"
    await world.router.complete(ask("One.", metadata={"app": name}))

    answer = await world.client.get("/api/requests", params={"user": name})
    everything = await world.client.get("/api/requests")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["rows"] == []
    assert json.loads(everything.json()["rows"][0]["columns"]["metadata"]) == {"app": name}


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_serves_only_the_page_until_it_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orchestra_router", "dashboard", "--no-open"]
    environment = {"ORCHESTRA_HOME": str(tmp_path), "PATH": ""}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            link = re.search(r"(http://127\.0\.0\.1:\d+)/sign-in#token=(\S+)", said)
            assert link, said + process.stderr.read()
            with httpx.Client(base_url=link[1], timeout=20) as client:
                assert client.get("/api/overview").status_code == 401
                assert client.post("/sign-in", json={"token": link[2]}).status_code == 200
                assert client.get("/api/overview").json()["ever_asked"] is False
                for path in ("/mcp", "/v1/chat/completions", "/costs"):
                    assert client.post(path, headers=bearer(link[2])).status_code == 404
        finally:
            process.terminate()
        assert process.wait(20) == 0
