"""Bad weather at eight simulated providers, over real sockets: what a router makes of it, request by request.

One request follows the other on a clock that the storm owns, so that one seed always gives the same decisions.
"""

import hashlib
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from clocks import FakeClock
from orchestra_router.config import Config
from orchestra_router.errors import RouterError
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import (
    Cut,
    Drop,
    Reply,
    Says,
    ServerError,
    SimulatedWorld,
    Step,
    StreamError,
    simulated_world,
)
from orchestra_router.types import Attempt, CompletionRequest
from worlds import ask, config_for

PROVIDERS = ("openrouter", "deepseek", "anthropic", "together", "openai", "gemini", "perplexity", "xai")
TASKS = ("coding", "general_chat", "complex_reasoning", "creative_writing")
Fault = Literal["outage", "rate limits", "slow", "flapping", "cut"]
FAULTS: tuple[Fault, ...] = ("outage", "rate limits", "slow", "flapping", "cut")
BETWEEN_S = 0.5
"""Between two requests, on average."""
HEALTHY_S = 700.0
"""Between two faults of one provider, on average; the first comes sooner."""
FAULT_S = (40.0, 400.0)
FLAP_S = 20.0
STREAMED = 0.1
"""The share of requests whose answer is streamed."""


@dataclass(frozen=True, slots=True)
class Episode:
    provider: str
    fault: Fault
    start_s: float
    end_s: float


@dataclass(slots=True)
class Result:
    requests: int = 0
    sheltered: int = 0
    """Requests that came while at least one provider was well."""
    answered: int = 0
    """Of the sheltered."""
    broken_off: int = 0
    """Of the sheltered: what broke after its first byte and so, by the contract, was handed over in part."""
    attempts: int = 0
    spent_nusd: int = 0
    billed_nusd: int = 0
    wasted_nusd: int = 0
    """Counted for attempts that did not answer."""
    failures: Counter[str] = field(default_factory=Counter[str])
    episodes: list[Episode] = field(default_factory=list[Episode])
    recovery_s: list[float] = field(default_factory=list[float])
    """From the end of a fault that had set its provider aside to its next answer."""
    held_nusd: int = 0
    trail: str = ""
    """Changes with every decision."""

    @property
    def success(self) -> float:
        return self.answered / max(1, self.sheltered - self.broken_off)

    def lines(self) -> Iterator[str]:
        yield f"requests            {self.requests:,}; {self.sheltered:,} while at least one provider was well"
        yield f"answered            {self.success:.4%} of these; {self.broken_off} more broke off after their first byte"
        yield f"failures            {dict(self.failures)}"
        yield f"attempts a request  {self.attempts / self.requests:.3f}"
        yield f"spent               ${self.spent_nusd / 1e9:.4f}, billed ${self.billed_nusd / 1e9:.4f}"
        yield f"wasted              ${self.wasted_nusd / 1e9:.4f} ({self.wasted_nusd / max(1, self.spent_nusd):.2%})"
        yield f"faults              {dict(Counter(episode.fault for episode in self.episodes))}"
        if self.recovery_s:
            middle, longest = statistics.median(self.recovery_s), max(self.recovery_s)
            yield f"recovery            median {middle:.0f} s, longest {longest:.0f} s, of {len(self.recovery_s)}"
        yield f"trail               {self.trail}"


class Weather:
    """What each provider does at each moment."""

    def __init__(self, seed: int, clock: FakeClock, *, seconds: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same weather for the same seed
        self._clock = clock
        self._began = clock.monotonic()
        self.episodes = [episode for name in PROVIDERS for episode in self._episodes(name, seconds)]

    def _episodes(self, provider: str, seconds: float) -> Iterator[Episode]:
        now = self._random.uniform(0, HEALTHY_S / 2)
        while now < seconds:
            end = now + self._random.uniform(*FAULT_S)
            yield Episode(provider, self._random.choice(FAULTS), now, end)
            now = end + self._random.expovariate(1 / HEALTHY_S)

    @property
    def now_s(self) -> float:
        return self._clock.monotonic() - self._began

    def at(self, provider: str) -> Episode | None:
        return next((e for e in self.episodes if e.provider == provider and e.start_s <= self.now_s < e.end_s), None)

    def of(self, provider: str) -> Callable[[], Step]:
        def step() -> Step:
            episode = self.at(provider)
            return Says() if episode is None else self._step(episode)

        return step

    def _step(self, episode: Episode) -> Step:
        chance = self._random.random()
        match episode.fault:
            case "outage":
                return ServerError(503) if chance < 0.7 else Drop(reset=chance > 0.85)
            case "rate limits":
                headers = {"retry-after": str(self._random.randint(1, 40))} if chance < 0.8 else {}
                return Reply(429, headers=headers) if chance < 0.95 else Says()
            case "slow":
                self._clock.advance(self._random.uniform(3, 12) if chance < 0.5 else 60)
                return Says() if chance < 0.5 else ServerError(504)
            case "flapping":
                down = int((self.now_s - episode.start_s) / FLAP_S) % 2 == 0
                return ServerError(502) if down else Says()
            case "cut":
                return Cut(after_events=1) if chance < 0.2 else StreamError(0) if chance < 0.5 else Cut()


async def storm(home: Path, *, requests: int, seed: int) -> Result:
    """So many requests through a router in `home` while the weather of `seed` passes."""
    clock, result, trail = FakeClock(), Result(), hashlib.blake2b(digest_size=8)
    weather = Weather(seed, clock, seconds=requests * BETWEEN_S * 1.5)
    choose = random.Random(seed + 1)  # noqa: S311 - the same requests for the same seed
    async with simulated_world(clock=clock) as world:
        for name in PROVIDERS:
            world[name].weather = weather.of(name)
        async with open_router(_config(world, home), clock=clock, jitter=random.Random(seed + 2).random) as router:  # noqa: S311 - as above
            for number in range(requests):
                clock.advance(choose.expovariate(1 / BETWEEN_S))
                sheltered = any(weather.at(name) is None for name in PROVIDERS)
                attempts, outcome = await _one(router, _request(choose, number), streamed=choose.random() < STREAMED)
                told = [(a.deployment, a.outcome, a.waited_ms) for a in attempts]
                trail.update(repr((number, outcome, told)).encode())
                _count(result, outcome, attempts, sheltered=sheltered)
                _recoveries(result, weather, attempts)
            total = (await router.cost_report()).total
        result.billed_nusd = world.billed_nusd
    result.spent_nusd, result.held_nusd = total.spent_nusd, total.held_nusd
    result.episodes = [episode for episode in weather.episodes if episode.start_s < weather.now_s]
    result.trail = trail.hexdigest()
    return result


def _config(world: SimulatedWorld, home: Path) -> Config:
    config = config_for(world, home, budget_day_usd=10**6, budget_month_usd=10**6, cache="off")
    # The eight in the cloud: a server of one's own that always answers would hide what becomes of them.
    providers = {
        name: row.model_copy(update={"enabled": not row.local}) for name, row in config.catalog.providers.items()
    }
    return replace(config, catalog=replace(config.catalog, providers=providers))


def _request(choose: random.Random, number: int) -> CompletionRequest:
    prompt, task = f"Question {number}?", choose.choice(TASKS)
    if choose.random() < 0.5:
        return ask(prompt, task=task, max_tokens=200)
    first, *others = choose.sample(PROVIDERS, k=len(PROVIDERS))
    return ask(prompt, task=task, max_tokens=200, provider=first, fallback_providers=tuple(others))


async def _one(router: Router, request: CompletionRequest, *, streamed: bool) -> tuple[tuple[Attempt, ...], str]:
    try:
        return (await router.complete(request, on_progress=_nobody if streamed else None)).attempts, "ok"
    except RouterError as error:
        broken = error.attempts and error.attempts[-1].outcome == "stream_broken"
        return error.attempts, "broken off" if broken else error.code


async def _nobody(_: str) -> None:
    """Listens, so that the answer is streamed."""


def _count(result: Result, outcome: str, attempts: tuple[Attempt, ...], *, sheltered: bool) -> None:
    result.requests += 1
    result.attempts += len(attempts)
    result.wasted_nusd += sum(attempt.cost_nusd for attempt in attempts if attempt.outcome != "ok")
    result.sheltered += sheltered
    result.answered += sheltered and outcome == "ok"
    result.broken_off += sheltered and outcome == "broken off"
    if outcome != "ok":
        result.failures[outcome if sheltered else f"{outcome}, nobody well"] += 1


def _recoveries(result: Result, weather: Weather, attempts: tuple[Attempt, ...]) -> None:
    for attempt in attempts:
        if attempt.outcome == "ok":
            ended = [e for e in weather.episodes if e.provider == attempt.provider and e.end_s <= weather.now_s]
            if ended and (last := max(ended, key=lambda episode: episode.end_s)) not in result.episodes:
                result.episodes.append(last)
                result.recovery_s.append(weather.now_s - last.end_s)
