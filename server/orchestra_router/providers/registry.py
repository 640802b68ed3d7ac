"""Which wire format speaks for a request, and the module that knows it."""

from importlib import import_module
from typing import cast

from orchestra_router.providers.base import Adapter
from orchestra_router.types import CompletionRequest, Deployment, Format


def adapter(wire_format: Format) -> Adapter:
    """The module of `wire_format`, imported when it is first asked for: most processes need one of the four."""
    return cast("Adapter", import_module(f"orchestra_router.providers.{wire_format}"))


def format_for(deployment: Deployment, request: CompletionRequest) -> Format:
    """The provider's format, or Responses where its chat completions cannot do what is asked."""
    provider, model = deployment.provider, deployment.model
    searches = request.web_search and provider.search_style == "responses"
    thinks = request.effort != "none" or "none" not in model.efforts
    reasons_with_tools = bool(request.tools) and model.tools_need_responses and thinks
    return "responses" if provider.responses and (searches or reasons_with_tools) else provider.format
