"""The story of test_clients.py through the Python SDK 2.x."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version

import httpx2
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import PromptReference


@asynccontextmanager
async def server(how):
    if "url" in how:
        async with httpx2.AsyncClient(headers=how["headers"], timeout=60) as http:
            yield streamable_http_client(how["url"], http_client=http)
    else:
        yield StdioServerParameters(command=how["command"], args=how["args"], env=how["env"])


async def code(awaitable):
    try:
        await awaitable
    except MCPError as error:
        return error.code
    return None


async def main(how, story):
    progress = []

    async def on_progress(done, total, message):
        progress.append([done, message])

    async with server(how) as transport, Client(transport, mode=how["era"]) as client:
        answer = await client.call_tool("complete", story["ask"], progress_callback=on_progress)
        results = {name: await client.call_tool(name, arguments) for name, arguments in story["calls"].items()}
        wrong = await client.call_tool("complete", story["wrong"])
        content = (await client.read_resource("orchestra://models")).contents[0]
        prompt = await client.get_prompt("compare_models", {"question": "Why?"})
        completed = await client.complete(
            PromptReference(type="ref/prompt", name="second_opinion"), {"name": "model", "value": "claude-"}
        )
        return {
            "client": f"mcp {version('mcp')}",
            "protocol": client.protocol_version,
            "instructions": client.instructions,
            "tools": [tool.name for tool in (await client.list_tools()).tools],
            "resources": [one.uri for one in (await client.list_resources()).resources],
            "templates": [one.uri_template for one in (await client.list_resource_templates()).resource_templates],
            "prompts": [one.name for one in (await client.list_prompts()).prompts],
            "answer": answer.structured_content,
            "answer_text": answer.content[0].text,
            "progress": progress,
            "results": {name: result.structured_content for name, result in results.items()},
            "wrong": [wrong.is_error, wrong.content[0].text, wrong.meta],
            "unknown_tool": await code(client.call_tool("nothing", {})),
            "unknown_resource": await code(client.read_resource("orchestra://nothing")),
            "unknown_prompt": await code(client.get_prompt("nothing")),
            "resource": [content.uri, content.mime_type, json.loads(content.text)["models"][0]],
            "prompt": prompt.messages[0].content.text,
            "completed": completed.completion.values,
        }


print(json.dumps(asyncio.run(main(*json.loads(sys.argv[1])))))
