"""Which wire format speaks for a request, and the module that knows it."""

from functools import cache
from importlib import import_module
from typing import cast

from orchestra_router.deployments import Deployment, Provider
from orchestra_router.providers.base import Adapter
from orchestra_router.providers.portkey import ThroughPortkey
from orchestra_router.types import CompletionRequest, Format, WireRequest


def build_request(
    deployment: Deployment, request: CompletionRequest, *, api_key: str, portkey_key: str = "", stream: bool = False
) -> tuple[Adapter, WireRequest]:
    """The request to send, and the adapter that reads what comes back.

    `portkey_key` is needed beside `api_key` where Portkey forwards this machine's own provider key.

    Raises:
        InvalidRequest: as `Adapter.build_request`.
    """
    spoken = adapter_for(deployment.provider, format_for(deployment, request), portkey_key=portkey_key)
    return spoken, spoken.build_request(deployment, request, api_key=api_key, stream=stream)


def adapter_for(provider: Provider, wire_format: Format, *, portkey_key: str = "") -> Adapter:
    """The adapter for calls to `provider` in `wire_format`, through Portkey where its row says so."""
    spoken = adapter(wire_format)
    return ThroughPortkey(spoken, portkey_key) if provider.portkey else spoken


@cache
def adapter(wire_format: Format) -> Adapter:
    """The module of `wire_format`, imported when it is first asked for: most processes need one of the four."""
    return cast("Adapter", import_module(f"orchestra_router.providers.{wire_format}"))


def formats(provider: Provider) -> tuple[Format, ...]:
    """Those that `provider` may be spoken to in."""
    return (provider.format, "responses") if provider.responses else (provider.format,)


def format_for(deployment: Deployment, request: CompletionRequest) -> Format:
    """The provider's format, or Responses where its chat completions cannot do what is asked."""
    provider, model = deployment.provider, deployment.model
    searches = request.web_search and provider.search_style == "responses"
    thinks = request.effort != "none" or "none" not in model.efforts
    reasons_with_tools = bool(request.tools) and model.tools_need_responses and thinks
    return "responses" if provider.responses and (searches or reasons_with_tools) else provider.format
