"""The view of MCP Apps in Chromium, in a frame as clients make it: sandboxed, without network, told by messages."""

import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from browsing import chromium, watched
from mcp import Client
from playwright.async_api import Browser, Page, expect

from dashboard_worlds import HOSTILE, open_dashboard
from orchestra_router.app import build_server
from orchestra_tools.apps import VIEW
from worlds import ask

# What a client does (spec 2026-01-26): answers the handshake, then hands over the result.
HOST = """
<!doctype html><title>A client</title><body>
<iframe sandbox="allow-scripts" width="700" height="100"></iframe>
<script type="module">
  const frame = document.querySelector("iframe");
  window.said = [];
  addEventListener("message", ({ data, source }) => {
    if (source !== frame.contentWindow) return;
    window.said.push(data.method ?? "answer");
    if (data.method === "ui/initialize") source.postMessage({ jsonrpc: "2.0", id: data.id, result: {
      protocolVersion: "2026-01-26", hostInfo: { name: "test", version: "1" }, hostCapabilities: {}, hostContext: { theme: "dark" } } }, "*");
    if (data.method === "ui/notifications/initialized") source.postMessage({ jsonrpc: "2.0", method: "ui/notifications/tool-result", params: RESULT }, "*");
    if (data.method === "ui/notifications/size-changed") frame.height = data.params.height;
  });
  frame.srcdoc = VIEW;
</script>
"""
POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline';"
    " style-src 'unsafe-inline'; connect-src 'none'\">"
)


@pytest.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as browser:
        yield browser


async def shown(page: Page, view: str, result: dict[str, Any]) -> None:
    framed = view.replace("<head>", f"<head>{POLICY}")
    host = HOST.replace("RESULT", _script(result)).replace("VIEW", _script(framed))
    await page.set_content(host)
    await expect(page.frame_locator("iframe").locator("#app > *").first).to_be_visible()


def _script(value: object) -> str:
    return json.dumps(value).replace("</", "<\\/")


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        (
            "cost_report",
            {"period": "month", "group_by": "model"},
            r"Spent, 1 Nov . 30 Nov \$0\.\d+ .*By model .*Budgets Everyone",
        ),
        ("cost_report", {"period": "month", "group_by": "day"}, r"By day .*Show as a table"),
        ("provider_status", {}, r"Providers \d ready Nothing is broken"),
        (
            "route_task",
            {"prompt": "Write a sort function.", "task": "coding"},
            r"First asked .* In this order .*Left out",
        ),
    ],
)
async def test_each_answer_is_shown(
    browser: Browser,
    tmp_path: Path,
    tool: str,
    arguments: dict[str, Any],
    says: str,
) -> None:
    async with open_dashboard(tmp_path, days=0) as world, watched(browser, world) as page:
        await world.router.complete(ask("One.", task="coding"))
        async with Client(build_server(world.router.config, clock=world.clock)) as client:
            result = (await client.call_tool(tool, arguments)).model_dump(by_alias=True, mode="json", exclude_none=True)
            (view,) = (await client.read_resource(VIEW)).contents
        await shown(page.page, json.loads(view.model_dump_json())["text"], result)

        text = " ".join((await page.page.frame_locator("iframe").locator("#app").inner_text()).split())
        assert re.search(says, text), text
        assert await page.page.frame_locator("iframe").locator("html").get_attribute("data-theme") == "dark"
        heard: list[str] = await page.page.evaluate("window.said")
        assert heard[:2] == ["ui/initialize", "ui/notifications/initialized"]
        assert "ui/notifications/size-changed" in heard


async def test_a_failure_and_a_hostile_answer_are_text(browser: Browser, tmp_path: Path) -> None:
    async with open_dashboard(tmp_path, days=0) as world, watched(browser, world) as page:
        async with Client(build_server(world.router.config, clock=world.clock)) as client:
            (view,) = (await client.read_resource(VIEW)).contents
        html = json.loads(view.model_dump_json())["text"]
        await shown(page.page, html, {"isError": True, "content": [{"type": "text", "text": HOSTILE}]})
        frame = page.page.frame_locator("iframe")
        await expect(frame.locator(".problem")).to_have_text(HOSTILE)

        await shown(
            page.page, html, {"content": [], "structuredContent": {"providers": [{"name": HOSTILE, "state": "ready"}]}}
        )
        await expect(frame.locator("h3")).to_have_text(HOSTILE)
        assert await frame.locator("#app script, #app img").count() == 0
