"""What a load balancer, a script or a person at a terminal asks: is it alive, can it answer, what does it cost."""

from typing import Literal, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from orchestra_router.asking import parsed
from orchestra_router.errors import RouterError
from orchestra_router.http.endpoint import Endpoint, caller_of, router_of, service_of
from orchestra_router.http.refusals import JsonAnswer, Refused
from orchestra_router.http.traffic import Traffic
from orchestra_tools.arguments import CostReportArguments, ProviderStatusArguments
from orchestra_tools.costs import costs
from orchestra_tools.results import status, without_blanks

A = TypeVar("A", ProviderStatusArguments, CostReportArguments)


class Liveness(BaseModel):
    status: Literal["live"]


class Readiness(BaseModel):
    status: Literal["ready"]
    providers: list[str]


class Health:
    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "/health/live",
                ("GET",),
                None,
                self.live,
                summary="Whether the process answers at all.",
                answer=Liveness,
                begins_work=False,
            ),
            Endpoint(
                "/health/ready",
                ("GET",),
                "status",
                self.ready,
                summary="Whether it can answer requests now.",
                answer=Readiness,
                begins_work=False,
            ),
        )

    async def live(self, _: Request) -> ASGIApp:
        """The event loop turns. More would have the process restarted for troubles that no restart cures."""
        return JsonAnswer({"status": "live"})

    async def ready(self, request: Request) -> ASGIApp:
        if self._traffic.draining:
            raise _not_ready("shutting_down", "The server is shutting down.")
        try:
            report = await (await router_of(request)).provider_status(caller=caller_of(request))
        except RouterError as error:
            raise _not_ready(error.code, str(error)) from None
        names = [provider.name for provider in report.providers if provider.state == "ready"]
        if not names:
            raise _not_ready("no_provider", "No provider can be used. `orchestra doctor` says why.")
        return JsonAnswer({"status": "ready", "providers": names})


async def providers(request: Request) -> ASGIApp:
    """What the tool `provider_status` answers."""
    asked = _arguments(ProviderStatusArguments, request)
    router = await router_of(request)
    report = await router.provider_status(asked.provider, probe=asked.probe, caller=caller_of(request))
    return JsonAnswer(without_blanks(status(report, notice=service_of(request).notice)))


async def spent(request: Request) -> ASGIApp:
    """What the tool `cost_report` answers."""
    asked = _arguments(CostReportArguments, request)
    router = await router_of(request)
    report = await router.cost_report(
        period=asked.period,
        first_day=asked.first_day,
        last_day=asked.last_day,
        group_by=asked.group_by,
        caller=caller_of(request),
    )
    return JsonAnswer(without_blanks(costs(report, notice=service_of(request).notice)))


ENDPOINTS = (
    Endpoint(
        "/providers",
        ("GET",),
        "status",
        providers,
        summary="Which providers can be used, and why not.",
        query=ProviderStatusArguments,
    ),
    Endpoint(
        "/costs",
        ("GET",),
        "costs_own",
        spent,
        summary="What was spent in a period, and what budgets allow.",
        query=CostReportArguments,
    ),
)


def _not_ready(code: str, reason: str) -> Refused:
    again = {"retry-after": "5", "x-should-retry": "true"}
    return Refused(503, code, reason, kind="api_error", headers=again)


def _arguments(kind: type[A], request: Request) -> A:
    """The query as the arguments of the tool of the same purpose."""
    return parsed(request.url.path, kind, dict(request.query_params))
