"""The view of MCP Apps: clients that can show it find it, and the others miss nothing."""

import json
import re

import pytest
from mcp import Client

from orchestra_router.app import build_server
from orchestra_router.errors import ConfigError
from orchestra_tools.apps import VIEW


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_three_tools_name_the_view_and_it_can_be_read(mode: str) -> None:
    async with Client(build_server(ConfigError("none")), mode=mode) as client:
        tools = (await client.list_tools()).tools
        listed = [resource for resource in (await client.list_resources()).resources if resource.uri == VIEW]
        (view,) = (await client.read_resource(VIEW)).contents

    named = {tool.name for tool in tools if (tool.meta or {}).get("ui") == {"resourceUri": VIEW}}
    assert named == {"cost_report", "provider_status", "route_task"}
    assert [resource.mime_type for resource in listed] == [view.mime_type] == ["text/html;profile=mcp-app"]


async def test_the_view_is_one_file_that_asks_nobody_for_anything() -> None:
    async with Client(build_server(ConfigError("none"))) as client:
        (view,) = (await client.read_resource(VIEW)).contents

    html = json.loads(view.model_dump_json())["text"]
    assert not re.search(
        r"<(link|img|iframe)|src=|^import |fetch\(|XMLHttpRequest|innerHTML|eval\(", html, re.MULTILINE
    )
    assert set(re.findall(r"https?://[^\"']*", html)) == {"http://www.w3.org/2000/svg"}
    assert (html.count("<script"), html.count("</script>")) == (1, 1)
    assert len(html) < 60_000
