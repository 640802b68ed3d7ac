"""Chromium, and a page in it on which nothing may go wrong."""

import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from dashboard_worlds import Seen

CHROMIUM = "/usr/bin/chromium"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 800}


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    assert shutil.which(CHROMIUM), "Chromium is missing: run .ci/integration, which installs it"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@dataclass
class Watched:
    """A page, and all that went wrong on it."""

    page: Page
    seen: Seen
    trouble: list[str] = field(default_factory=list[str])

    async def open(self, query: str = "") -> None:
        await self.page.goto(self.seen.link)
        await expect(self.page).to_have_url(re.compile(r"/$"))
        if query:
            await self.page.goto(f"{self.seen.server.url}/{query}")
        await self.settled()

    async def settled(self) -> None:
        await expect(self.page.locator("body:not(.loading)")).to_be_visible()

    async def text(self, selector: str) -> str:
        return " ".join((await self.page.locator(selector).inner_text()).split())


@asynccontextmanager
async def watched(browser: Browser, seen: Seen, **context: Any) -> AsyncGenerator[Watched]:
    """A page on which nothing may go wrong, and that may ask nobody but its own server."""
    inside = await browser.new_context(viewport=context.pop("viewport", DESK), **context)
    page = await inside.new_page()
    found = Watched(page, seen)

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            found.trouble.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith(seen.server.url):
            found.trouble.append(request.url)

    page.on("console", said)
    page.on("pageerror", lambda error: found.trouble.append(str(error)))
    page.on("request", asked)
    yield found
    await inside.close()
    assert found.trouble == []
