"""The story of test_clients.py through the Python SDK 1.x. Runs in a virtual environment of its own."""

import asyncio
import datetime as dt
import json
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version

from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from pydantic import AnyUrl


@asynccontextmanager
async def streams(how):
    if "url" in how:
        async with streamablehttp_client(how["url"], headers=how["headers"]) as (read, write, _):
            yield read, write
    else:
        server = StdioServerParameters(command=how["command"], args=how["args"], env=how["env"])
        async with stdio_client(server) as both:
            yield both


async def code(awaitable):
    try:
        await awaitable
    except McpError as error:
        return error.error.code
    return None


async def main(how, story):
    progress = []

    async def on_progress(done, total, message):
        progress.append([done, message])

    async with (
        streams(how) as (read, write),
        ClientSession(read, write, read_timeout_seconds=dt.timedelta(seconds=60)) as session,
    ):
        hello = await session.initialize()
        answer = await session.call_tool("complete", story["ask"], progress_callback=on_progress)
        results = {name: await session.call_tool(name, arguments) for name, arguments in story["calls"].items()}
        wrong = await session.call_tool("complete", story["wrong"])
        content = (await session.read_resource(AnyUrl("orchestra://models"))).contents[0]
        prompt = await session.get_prompt("compare_models", {"question": "Why?"})
        completed = await session.complete(
            types.PromptReference(type="ref/prompt", name="second_opinion"), {"name": "model", "value": "claude-"}
        )
        return {
            "client": f"mcp {version('mcp')}",
            "protocol": hello.protocolVersion,
            "instructions": hello.instructions,
            "tools": [tool.name for tool in (await session.list_tools()).tools],
            "resources": [str(one.uri) for one in (await session.list_resources()).resources],
            "templates": [one.uriTemplate for one in (await session.list_resource_templates()).resourceTemplates],
            "prompts": [one.name for one in (await session.list_prompts()).prompts],
            "answer": answer.structuredContent,
            "answer_text": answer.content[0].text,
            "progress": progress,
            "results": {name: result.structuredContent for name, result in results.items()},
            "wrong": [wrong.isError, wrong.content[0].text, wrong.meta],
            "unknown_tool": await code(session.call_tool("nothing", {})),
            "unknown_resource": await code(session.read_resource(AnyUrl("orchestra://nothing"))),
            "unknown_prompt": await code(session.get_prompt("nothing")),
            "resource": [str(content.uri), content.mimeType, json.loads(content.text)["models"][0]],
            "prompt": prompt.messages[0].content.text,
            "completed": completed.completion.values,
        }


print(json.dumps(asyncio.run(main(*json.loads(sys.argv[1])))))
