"""The page in Chromium, over the ledger of real requests: what a person sees, by mouse, keyboard, phone and screen reader.

`DASHBOARD_PICTURES=docs/images` keeps the pictures that the guide shows.
"""

import os
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import DESK, PHONE, chromium, watched
from playwright.async_api import Browser, Page, expect

from dashboard_worlds import HOSTILE, Seen, open_dashboard
from orchestra_router.policy.views import Asked
from worlds import ask

AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def browser(anyio_backend: str) -> AsyncGenerator[Browser]:  # noqa: ARG001 - makes the fixture's loop the module's
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
async def seen(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Seen]:  # noqa: ARG001 - as above
    async with open_dashboard(tmp_path_factory.mktemp("home")) as seen:
        yield seen


def money(text: str) -> Iterator[float]:
    return (float(amount.replace(",", "")) for amount in re.findall(r"\$([\d,.]*\d)", text))


# --- what is shown -----------------------------------------------------------------------------------------------


async def test_every_view_shows_what_the_ledger_says(browser: Browser, seen: Seen) -> None:
    (month,) = await seen.router.store.report(first_day="2026-11-01", last_day="2026-11-30")
    traffic = await seen.router.views.traffic(Asked(range="30_days"))
    spend = await seen.router.views.spend(Asked(range="30_days"), "provider")

    async with watched(browser, seen) as shown:
        await shown.open()

        tiles = await shown.text("#tiles")
        assert next(money(tiles)) == pytest.approx(month.spent_nusd / 1e9, abs=0.005)
        assert "of $1.00 for the month" in tiles
        assert "8 ready" in tiles
        assert next(money(await shown.text("#spend-total"))) == pytest.approx(spend.total.spent_nusd / 1e9, abs=0.005)
        rows = await shown.page.locator("#spend-rows tbody th").all_inner_texts()
        assert [row.strip() for row in rows] == [row.name for row in spend.rows]
        assert await shown.text("#volume-total") == str(traffic.total.calls)
        assert f"{traffic.total.failed} of {traffic.total.attempts} calls" in await shown.text("#failed-count")
        assert "Rate limit" in await shown.text("#failures")
        assert "User ada" in await shown.text("#budgets")
        assert "has passed the alert threshold" in await shown.text("#alerts")
        assert "Not set up: xAI" in await shown.text("#providers")
        assert await shown.page.locator("#requests > li").count() == 25
        assert await shown.page.locator("#spend-chart rect.mark").count() > 20


async def test_a_request_unfolds_to_its_attempts_and_why_and_older_ones_follow(browser: Browser, seen: Seen) -> None:
    async with watched(browser, seen) as shown:
        await shown.open("?range=90_days")

        retried = shown.page.locator("#requests > li", has_text="Answered at try 2").first
        await retried.locator("summary").click()
        await expect(retried).to_contain_text("Why this route")
        await expect(retried).to_contain_text("Rate limit (429)")
        await expect(retried).to_contain_text("app: notes")
        await shown.page.locator("#older").click()
        await expect(shown.page.locator("#requests > li")).to_have_count(50)
        await expect(retried.locator("details")).to_have_attribute("open", "")


async def test_what_is_picked_cuts_every_view_and_stays_in_the_address(browser: Browser, seen: Seen) -> None:
    ada = await seen.router.views.traffic(Asked(range="7_days", user="ada"))

    async with watched(browser, seen) as shown:
        await shown.open()
        await shown.page.get_by_role("radio", name="7 days").check(force=True)
        await shown.page.get_by_role("combobox", name="User").select_option("ada")
        await expect(shown.page.locator("#volume-total")).to_have_text(str(ada.total.calls))
        await shown.page.reload()
        await expect(shown.page.locator("#volume-total")).to_have_text(str(ada.total.calls))
        assert "range=7_days&user=ada" in shown.page.url
        await shown.page.get_by_role("radio", name="Model").check(force=True)
        await expect(shown.page.locator("#spend-rows thead th").first).to_have_text("Model")
        await shown.page.get_by_role("button", name="Clear").click()
        await expect(shown.page.locator("#volume-total")).not_to_have_text(str(ada.total.calls))


async def test_an_installation_without_requests_says_what_to_do(browser: Browser, tmp_path: Path) -> None:
    async with open_dashboard(tmp_path, days=0) as empty, watched(browser, empty) as shown:
        await shown.open()

        await expect(shown.page.locator("#welcome")).to_contain_text("Ask something through the tool complete")
        await expect(shown.page.locator("#spend-chart")).to_contain_text("No request yet.")
        assert "A forecast needs one whole day" in await shown.text("#tiles")
        await empty.router.complete(ask("The first one."))
        await expect(shown.page.locator("#volume-total")).to_have_text("1", timeout=15_000)
        await expect(shown.page.locator("#welcome")).to_be_hidden()


async def test_hostile_names_are_shown_as_text(browser: Browser, tmp_path: Path) -> None:
    async with open_dashboard(tmp_path, days=0) as world, watched(browser, world) as shown:
        await world.router.complete(ask("One.", metadata={"app": HOSTILE, HOSTILE[:60]: "x"}))
        await shown.open()

        first = shown.page.locator("#requests > li").first
        await first.locator("summary").click()
        await expect(first).to_contain_text(HOSTILE)
        assert await shown.page.locator("main script, main img").count() == 0


# --- live --------------------------------------------------------------------------------------------------------


async def test_the_page_says_that_it_was_signed_out_and_goes_on_after_signing_in(
    browser: Browser, tmp_path: Path
) -> None:
    async with open_dashboard(tmp_path, days=0) as world, watched(browser, world) as shown:
        await shown.open()
        shown.trouble.clear()
        await shown.page.get_by_role("button", name="Sign out").click()
        await expect(shown.page.get_by_label("Access key")).to_be_focused()
        await shown.page.keyboard.type("nonsense")
        await shown.page.keyboard.press("Enter")
        await expect(shown.page.locator("#problem")).to_contain_text("not valid here")
        await shown.page.get_by_label("Access key").fill(world.key)
        await shown.page.keyboard.press("Enter")
        await shown.settled()
        # Chromium itself reports the answer 401 to the wrong key.
        shown.trouble = [trouble for trouble in shown.trouble if "401" not in trouble]


async def test_the_page_goes_on_by_itself_after_the_server_was_away(browser: Browser, tmp_path: Path) -> None:
    async with open_dashboard(tmp_path, days=0) as world, watched(browser, world) as shown:
        await shown.open()
        await shown.page.context.set_offline(True)
        await expect(shown.page.locator("#trouble")).to_contain_text("Orchestra does not answer", timeout=15_000)
        await world.router.complete(ask("While nobody could see it."))
        await shown.page.context.set_offline(False)

        await expect(shown.page.locator("#volume-total")).to_have_text("1", timeout=20_000)
        await expect(shown.page.locator("#trouble")).to_be_hidden()
        # Chromium itself reports each request that found no server.
        shown.trouble = [trouble for trouble in shown.trouble if "ERR_INTERNET_DISCONNECTED" not in trouble]


# --- everybody ---------------------------------------------------------------------------------------------------


async def test_the_keyboard_reaches_everything_and_charts_tell_what_they_show(browser: Browser, seen: Seen) -> None:
    async with watched(browser, seen) as shown:
        await shown.open()
        reached: list[str] = []
        for _ in range(45):
            await shown.page.keyboard.press("Tab")
            reached.append(
                await shown.page.evaluate(
                    "() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.id || e.name || e.textContent }"
                )
            )
        for wanted in (
            "Skip to the figures",
            "theme",
            "range",
            "user",
            "by",
            "Spend by day and provider. Arrow keys pick a time",
        ):
            assert wanted in reached

        chart = shown.page.get_by_role("slider").first
        await chart.focus()
        await shown.page.keyboard.press("Home")
        await expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^25 Oct: .*\$"))
        await shown.page.keyboard.press("ArrowRight")
        await expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^26 Oct: "))
        await chart.hover(position={"x": 500, "y": 100})
        await expect(shown.page.locator("#spend-chart .tip")).to_contain_text(re.compile(r"^\d+ Nov.*\$"))
        await shown.page.get_by_text("Show as a table").first.click()
        table = shown.page.locator("#spend-chart table")
        await expect(table).to_be_visible()
        assert await table.locator("tbody tr").count() == 30


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
async def test_axe_finds_nothing(browser: Browser, seen: Seen, scheme: str, viewport: dict[str, int]) -> None:
    async with watched(browser, seen, color_scheme=scheme, viewport=viewport) as shown:
        await shown.open()
        await shown.page.locator("#requests summary").first.click()
        await shown.page.locator("#providers summary").first.click()

        assert await violations(shown.page) == []
        await shown.page.goto(f"{seen.server.url}/sign-in")
        assert await violations(shown.page) == []


async def violations(page: Page) -> list[Any]:
    # By the debugger: the page's own policy lets no other script in.
    debugger = await page.context.new_cdp_session(page)
    await debugger.send("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})  # pyright: ignore[reportUnknownMemberType] - Playwright leaves it half typed
    found: list[Any] = await page.evaluate(
        "axe.run().then((found) => found.violations.map((one) => [one.impact, one.id, one.nodes.map((node) => node.html)]))"
    )
    return found


async def test_a_phone_needs_no_sideways_scrolling(browser: Browser, seen: Seen) -> None:
    async with watched(browser, seen, viewport=PHONE) as shown:
        for query in ("", "?range=365_days&by=model", "?range=today"):
            await shown.open(query)
            await shown.page.locator("#requests summary").first.click()
            assert await shown.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


async def test_the_colours_follow_the_system_until_somebody_chooses(browser: Browser, seen: Seen) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    async with watched(browser, seen, color_scheme="dark") as shown:
        await shown.open()
        dark = await shown.page.evaluate(ground)
        await shown.page.get_by_role("radio", name="Light").check(force=True)
        light = await shown.page.evaluate(ground)
        await shown.page.reload()

        assert (dark, light) == ("rgb(18, 20, 23)", "rgb(246, 247, 248)")
        assert await shown.page.evaluate(ground) == light


async def test_pictures_for_the_guide(browser: Browser, seen: Seen, tmp_path: Path) -> None:
    folder = Path(os.environ.get("DASHBOARD_PICTURES", tmp_path))
    for name, viewport, scheme, height in (
        ("dashboard-light", DESK, "light", 1000),
        ("dashboard-dark", DESK, "dark", 1000),
        ("dashboard-phone", PHONE, "light", 812),
    ):
        async with watched(browser, seen, viewport=viewport | {"height": height}, color_scheme=scheme) as shown:
            await shown.open()
            await shown.page.screenshot(path=folder / f"{name}.png")
            assert (folder / f"{name}.png").stat().st_size < 200_000
