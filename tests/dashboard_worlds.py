"""The dashboard over a ledger of real requests: six weeks of three people, in a simulated world."""

import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clocks import FakeClock
from orchestra_router.errors import RouterError
from orchestra_router.http.callers import authenticating
from orchestra_router.http.serving import Address, Listening, bound, listening
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import SimulatedWorld, Troubles, simulated_world
from orchestra_tools.service import serving
from worlds import ask, config_for

DAY_MS = 86_400_000
DAYS = 33
ADAS = "\n[budgets.user.ada]\nmonth_usd = 0.3\n"
BUDGETS: dict[str, Any] = {
    "budget_day_usd": 0.25,
    "budget_month_usd": 1,
    "alert_day_usd": 0.02,
    "cache_ttl_s": 30 * 86_400,
}
ASKED = (
    # task, what is asked, the model where one is named
    ("coding", "Write a function that merges two sorted lists.", None),
    ("coding", "Why does this loop never end?", None),
    ("general_chat", "What is a good name for a cat?", None),
    ("general_chat", "Explain the tides in three sentences.", None),
    ("complex_reasoning", "Prove that there are infinitely many primes.", None),
    ("web_search", "What happened in Lisbon yesterday?", None),
    ("creative_writing", "A poem about rain on a tin roof.", None),
)
HOSTILE = '<script>alert("task")</script><img src=x onerror=alert(1)>'


class LivelyClock(FakeClock):
    """Something passes whenever somebody looks, so that answers take a while. Quiet once the page looks on."""

    def __init__(self) -> None:
        super().__init__()
        self._rng = random.Random(3)  # noqa: S311 - the same weeks every time
        self.lively = True

    def monotonic(self) -> float:
        if self.lively:
            self.ms += round(self._rng.lognormvariate(4.2, 0.8))
        return super().monotonic()


@dataclass(frozen=True, slots=True)
class Seen:
    server: Listening
    router: Router
    providers: SimulatedWorld
    key: str
    clock: LivelyClock

    @property
    def link(self) -> str:
        """Signs in once."""
        return self.server.dashboard(self.key)


@asynccontextmanager
async def open_dashboard(home: Path, *, days: int = DAYS) -> AsyncGenerator[Seen]:
    """A server whose ledger has `days` days of requests in it, the last one today; 0: none."""
    clock = LivelyClock()
    toml, settings = (ADAS, BUDGETS) if days else ("", dict[str, Any]())
    async with simulated_world(clock=clock, troubles=Troubles(slow_s=0)) as providers:
        async with AsyncExitStack() as stack:
            routers = [
                await stack.enter_async_context(
                    open_router(
                        config_for(providers, home, toml=toml, without=("xai",), user=user, **settings), clock=clock
                    )
                )
                for user in ("ada", "ben", "")
                if days
            ]
            await live(routers, clock, days)
        clock.lively = False
        config = config_for(providers, home, toml=toml, without=("xai",), **settings)
        async with serving(config, clock) as service:
            router = await service.router()
            key, authenticate = authenticating(service)
            async with listening(service, authenticate, config.settings, bound(Address("127.0.0.1", 0))) as server:
                yield Seen(server, router, providers, key, clock)


async def live(routers: list[Router], clock: FakeClock, days: int) -> None:
    rng = random.Random(2)  # noqa: S311 - the same weeks every time
    now_ms = clock.ms
    for day in reversed(range(days)):
        morning_ms = now_ms - day * DAY_MS - 8 * 3_600_000
        weekend = (days - day) % 7 in (0, 6)
        for number in range(rng.randrange(1, 3) if weekend else rng.randrange(4, 8)):
            clock.ms = max(clock.ms if day < days - 1 else 0, morning_ms + number * 3_500_000 + rng.randrange(900_000))
            task, prompt, model = rng.choice(ASKED)
            text = f"{prompt} {rng.randrange(3) if rng.random() < 0.55 else rng.random()}"
            if rng.random() < 0.06:
                text += " simulate a rate limit"
            router = rng.choices(routers, (5, 3, 2))[0]
            # The same question has the same length, so that it is the same question.
            padding = "Consider this text. " * (200 + 350 * (len(text) % 7))
            with suppress(RouterError):
                await router.complete(ask(f"{text} {padding}", task=task, model=model, metadata={"app": "notes"}))
    clock.ms = max(clock.ms, now_ms)
