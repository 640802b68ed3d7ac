"""The interactive view that clients with MCP Apps show beside a tool's answer; the answer itself is whole without."""

from typing import Any

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FunctionResource

from orchestra_router import page

VIEW = "ui://orchestra/view"
SHOWN: dict[str, Any] = {"ui": {"resourceUri": VIEW}}
"""The `_meta` of a tool whose answers it can show."""


def apps() -> Apps:
    """The extension with the one view; which answer it shows, the client hands it."""
    extension = Apps()
    extension.add_resource(
        FunctionResource(
            uri=VIEW,
            name="view",
            title="Orchestra",
            description="Shows what cost_report, provider_status and route_task answer.",
            mime_type=APP_MIME_TYPE,
            fn=view,
        )
    )
    return extension


def view() -> str:
    """One HTML file that needs nothing else, and asks nobody for anything."""
    return page.in_one_file("app.js", "dom.js", "format.js", "chart.js", "parts.js", title="Orchestra")
