"""A process that dies in the middle of a call: its money is accounted for, and the report says how."""

import sys
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from mcp_wire import environment, serving
from orchestra_router.simulation import Hang, simulated_config, simulated_world


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
async def test_a_call_under_way_when_its_process_is_killed_is_counted_once_and_explained(tmp_path: Path) -> None:
    hang = Hang()
    async with simulated_world() as providers:
        (tmp_path / "orchestra.toml").write_text(simulated_config(providers), encoding="utf-8")
        providers["deepseek"].script(hang)
        environ = environment(tmp_path, **providers.keys)
        async with serving(environ) as wire:
            await wire.handshake()
            await wire.call("complete", {"prompt": "Write a Python function that adds two numbers."})
            with anyio.fail_after(30):
                await hang.reached.wait()
            wire.process.kill()
            await wire.exit_code()

        restarted = StdioServerParameters(command=sys.executable, args=["-m", "orchestra_router"], env=environ)
        async with Client(restarted) as client:
            result = await client.call_tool("cost_report", {"period": "all"})

    assert result.structured_content is not None
    total, notes = result.structured_content["total"], result.structured_content["notes"]
    assert total["uncertain"] == 1
    assert total["spent_nusd"] == total["uncertain_nusd"] > 0
    assert total.get("held_nusd", 0) == 0
    assert any("1 attempt ended without a known outcome" in note for note in notes)
