"""The story of test_clients.py through fastmcp 4. Runs in a virtual environment of its own."""

import asyncio
import json
import sys
from importlib.metadata import version

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp import MCPError
from mcp.types import PromptReference


def transport(how):
    if "url" in how:
        return StreamableHttpTransport(how["url"], headers=how["headers"])
    return StdioTransport(command=how["command"], args=how["args"], env=how["env"], keep_alive=False)


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

    async with Client(transport(how), mode=how["era"]) as client:
        answer = await client.call_tool_mcp("complete", story["ask"], progress_handler=on_progress)
        results = {name: await client.call_tool_mcp(name, arguments) for name, arguments in story["calls"].items()}
        wrong = await client.call_tool_mcp("complete", story["wrong"])
        content = (await client.read_resource("orchestra://models"))[0]
        prompt = await client.get_prompt("compare_models", {"question": "Why?"})
        completed = await client.complete(
            PromptReference(type="ref/prompt", name="second_opinion"), {"name": "model", "value": "claude-"}
        )
        return {
            "client": f"fastmcp {version('fastmcp')}",
            "protocol": client.protocol_version,
            "instructions": client.instructions,
            "tools": [tool.name for tool in await client.list_tools()],
            "resources": [str(one.uri) for one in await client.list_resources()],
            "templates": [one.uri_template for one in await client.list_resource_templates()],
            "prompts": [one.name for one in await client.list_prompts()],
            "answer": answer.structured_content,
            "answer_text": answer.content[0].text,
            "progress": progress,
            "results": {name: result.structured_content for name, result in results.items()},
            "wrong": [wrong.is_error, wrong.content[0].text, wrong.meta],
            "unknown_tool": await code(client.call_tool_mcp("nothing", {})),
            "unknown_resource": await code(client.read_resource("orchestra://nothing")),
            "unknown_prompt": await code(client.get_prompt("nothing")),
            "resource": [str(content.uri), content.mime_type, json.loads(content.text)["models"][0]],
            "prompt": prompt.messages[0].content.text,
            "completed": completed.values,
        }


print(json.dumps(asyncio.run(main(*json.loads(sys.argv[1])))))
