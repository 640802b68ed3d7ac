"""Every model at every provider, with its price, as plain data."""

from typing import TYPE_CHECKING

from orchestra_router.types import usd
from orchestra_tools.results import Json

if TYPE_CHECKING:  # they load the router and the prices
    from orchestra_router.clock import Clock
    from orchestra_router.deployments import Deployment
    from orchestra_router.policy.status import StatusReport
    from orchestra_router.router import Router


async def every_model(router: "Router", clock: "Clock", report: "StatusReport") -> tuple[list[Json], str]:
    """The models of `report`, and the age of the prices, which are dollars per million tokens, now."""
    from orchestra_router.pricing import Pricing  # noqa: PLC0415 - with the router, which is open by now

    config = router.config
    pricing = Pricing.of(config.settings, checked=config.catalog.checked)
    now_ms = clock.now_ms()

    def rate(deployment: "Deployment", **tokens: int) -> float:
        counted = {"input_tokens": 0, "output_tokens": 0} | tokens
        return usd(pricing.expected_nusd(deployment, **counted, at_ms=now_ms)) * 1000

    rows = [
        {
            "provider": provider.name,
            "model": model.name,
            "id": model.id,
            "input": rate(deployment, input_tokens=1000),
            "output": rate(deployment, output_tokens=1000),
            "peak": "peak" in deployment.offer.source,
            "context": deployment.context_tokens,
            "state": model.state if provider.state == "ready" else provider.state,
            "strength": deployment.model.strength,
        }
        for provider in report.providers
        for model in provider.models
        if (deployment := config.catalog.deployment(model.name, provider.name))
    ]
    return rows, pricing.age(now_ms=now_ms).told
