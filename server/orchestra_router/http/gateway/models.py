"""GET /v1/models: every name that `model` may have."""

import datetime as dt
from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import ASGIApp

from orchestra_router.http.endpoint import Endpoint, caller_of, router_of
from orchestra_router.http.gateway.answer import Json
from orchestra_router.http.gateway.asked import AUTO, TASK, callable_at
from orchestra_router.http.gateway.shapes import ListedModel, ModelList
from orchestra_router.http.refusals import JsonAnswer, Refused
from orchestra_router.policy import names
from orchestra_router.policy.guardrails import is_id
from orchestra_router.policy.key_limits import forbidden, may_ask_about
from orchestra_router.router import Router
from orchestra_router.types import Limits

OURS = "orchestra"


async def models(request: Request) -> ASGIApp:
    router = await router_of(request)
    names_here = _names(router, caller_of(request).limits)
    return JsonAnswer({"object": "list", "data": [_model(router, name, owner) for name, owner in names_here]})


async def model(request: Request) -> ASGIApp:
    router = await router_of(request)
    wanted: str = request.path_params["model"]
    known = dict(_names(router, caller_of(request).limits))
    if wanted not in known:
        given = names.unknown("model", wanted, known) if is_id(wanted) else "That is not the name of a model."
        raise Refused(404, "model_not_found", given, kind="not_found_error", param="model")
    return JsonAnswer(_model(router, wanted, known[wanted]))


def _names(router: Router, limits: Limits) -> Iterable[tuple[str, str]]:
    """Each name and whose it is: ours first, then the models that can be called with the keys there are, under `limits`."""
    catalog = router.config.catalog
    here = [
        (provider, deployment.model.name)
        for provider in catalog.providers
        if callable_at(provider, router.config)
        for deployment in catalog.deployments_at(provider)
        if forbidden(limits, deployment) is None
    ]
    yield AUTO, OURS
    for task in catalog.tasks:
        if may_ask_about(limits, task):
            yield f"{TASK}{task}", OURS
    for name in dict.fromkeys(name for _, name in here):  # at whichever provider has it
        yield name, OURS
    for provider, name in here:
        yield f"{provider}/{name}", provider


def _model(router: Router, name: str, owner: str) -> Json:
    # When a model was made nobody here knows; the field has to be a time.
    created = dt.datetime.combine(router.config.catalog.checked or dt.date(1970, 1, 1), dt.time(), dt.UTC)
    return {"id": name, "object": "model", "created": int(created.timestamp()), "owned_by": owner}


ENDPOINTS = (
    Endpoint("/v1/models", ("GET",), "status", models, summary="Every name that `model` may have.", answer=ModelList),
    Endpoint("/v1/models/{model:path}", ("GET",), "status", model, summary="One of them.", answer=ListedModel),
)
