"""`/metrics`, for Prometheus."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from orchestra_router.http.endpoint import Endpoint, router_of, service_of
from orchestra_router.observe.metrics import BudgetNow, Metrics, Standing
from orchestra_router.policy import budget
from orchestra_router.policy.status import ProviderStatus
from orchestra_router.router import Router

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
EVERYONE = "global"
"""Whose budget it is that applies to all."""
HOW_OPEN: Mapping[str, float] = {"closed": 0, "half_open": 0.5, "probing": 0.5, "open": 1}


class Exposition:
    """The metrics of a router, from when it is first known here."""

    def __init__(self) -> None:
        self._metrics: Metrics | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        # Described in docs/telemetry.md: it is no JSON, and its readers read no OpenAPI.
        return (Endpoint("/metrics", ("GET",), "metrics", self.show, begins_work=False),)

    @asynccontextmanager
    async def of(self, router: Router) -> AsyncGenerator[None]:
        """Counts inside what `router` does."""
        catalog = router.config.catalog
        metrics = self._metrics = Metrics(models=frozenset(catalog.models), tasks=frozenset(catalog.tasks))
        router.observers.requests.append(metrics.request)
        metrics.start()
        try:
            yield
        finally:
            metrics.stop()
            router.observers.requests.remove(metrics.request)

    async def show(self, request: Request) -> ASGIApp:
        router = await router_of(request)
        if self._metrics is None:
            return Response(status_code=503)
        return Response(
            self._metrics.exposition(await standing(router, now_ms=service_of(request).clock.now_ms())),
            media_type=CONTENT_TYPE,
        )


async def standing(router: Router, *, now_ms: int) -> Standing:
    report = await router.provider_status()
    settings = router.config.settings
    period = budget.period_at(now_ms, settings.timezone)
    budgets: list[BudgetNow] = []
    for each in budget.configured(period, settings):
        # What belongs to one person would be that person's data.
        if each.holder == EVERYONE:
            spent = await router.store.spent(each.holder, each.period)
            budgets.append(
                BudgetNow(
                    period="day" if each.period == period.day else "month",
                    limit_nusd=each.amount_nusd,
                    spent_nusd=spent.spent_nusd,
                    held_nusd=spent.held_nusd,
                )
            )
    return Standing(
        budgets=tuple(budgets),
        ready={provider.name: provider.state == "ready" for provider in report.providers},
        breakers={key: how for provider in report.providers for key, how in _breakers(provider)},
    )


def _breakers(provider: ProviderStatus) -> Iterator[tuple[tuple[str, str], float]]:
    yield (provider.name, ""), HOW_OPEN[provider.breaker]
    for model in provider.models:
        yield (provider.name, model.name), HOW_OPEN[model.breaker]
