"""`orchestra demo`: the router's main job, seen from a client, with nothing real behind it but everything else real.

Simulated providers listen on loopback and speak the vendors' wire formats; the server is the real one, a process of
its own over stdio; the client is the MCP SDK's. Each scene checks what it shows, so a demo that ends well proves it.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import TextContent

from orchestra_router.clock import SystemClock
from orchestra_router.simulation import Reply, SimulatedWorld, simulated_config, simulated_world
from orchestra_router.types import usd

CODING_PROMPT = "Write a typed Python function that adds two numbers."
CHAT_PROMPT = "What is the capital of France?"
SHOWN_CHARACTERS = 107
SSN = "536-90-4399"
SSN_PROMPT = f"My social security number is {SSN}. Repeat the sentence back to me."


@dataclass(slots=True)
class Check:
    claim: str
    ok: bool


@dataclass(slots=True)
class Scene:
    title: str
    lines: list[str] = field(default_factory=list[str])
    checks: list[Check] = field(default_factory=list[Check])

    def say(self, line: str) -> None:
        self.lines.append(line)

    def check(self, claim: str, ok: object) -> None:
        self.checks.append(Check(claim, bool(ok)))


@dataclass(slots=True)
class Answered:
    """A tool's result, as a client sees it."""

    ok: bool
    text: str
    """What the model would read."""
    data: dict[str, Any]
    code: str


@dataclass(slots=True)
class Stage:
    """What every scene has at hand."""

    world: SimulatedWorld
    client: Client
    another_client: Callable[[dict[str, str]], Any]
    """Starts one more server process on the same data folder, with further variables."""

    async def call(self, tool: str, /, **arguments: Any) -> Answered:
        return await call(self.client, tool, **arguments)


async def call(client: Client, tool: str, /, **arguments: Any) -> Answered:
    result = await client.call_tool(tool, arguments)
    text = "".join(block.text for block in result.content if isinstance(block, TextContent))
    error: dict[str, Any] = (result.meta or {}).get("orchestra/error") or {}
    data: dict[str, Any] = result.structured_content or {}
    return Answered(ok=not result.is_error, text=text, data=data, code=str(error.get("code", "")))


async def route_by_task(stage: Stage, scene: Scene) -> None:
    answer = await stage.call("complete", prompt=CODING_PROMPT)
    _tell(scene, CODING_PROMPT, answer)
    scene.check("the prompt was taken for coding", answer.data.get("task") == "coding")
    scene.check("DeepSeek's coding model answered it", answer.data.get("provider") == "deepseek")
    scene.check("exactly one upstream call was made", len(stage.world["deepseek"].bills) == 1)


async def fall_back(stage: Stage, scene: Scene) -> None:
    openrouter = stage.world["openrouter"]
    openrouter.script(Reply(status=429, headers={"retry-after": "1"}), Reply(status=500))
    answer = await stage.call("complete", prompt=CHAT_PROMPT, task="general_chat", max_retries=1)
    _tell(scene, CHAT_PROMPT, answer)
    if uncertain := sum(a["cost_usd"] for a in answer.data.get("attempts", []) if a["outcome"] != "ok"):
        told = answer.data.get("cost_usd", 0) - uncertain
        scene.say(
            f"  of it ${told:.9f} for the answer, ${uncertain:.9f} set aside for the 500, which may have cost that"
        )
    trail = answer.data.get("attempts", [])
    for attempt in trail:
        waited = f" after waiting {attempt['waited_ms']} ms" if attempt.get("waited_ms") else ""
        scene.say(f"  attempt{waited}: {attempt['deployment']} -> {attempt['outcome']}")
    outcomes = [attempt["outcome"] for attempt in trail]
    scene.check("429, then 500, then an answer", outcomes == ["rate_limited", "server_failed", "ok"])
    scene.check("the wait that the provider named was kept", trail[1:2] and trail[1].get("waited_ms", 0) >= 1000)
    scene.check("the fallback answered", answer.data.get("provider") == "anthropic")


async def meet_a_retired_model(stage: Stage, scene: Scene) -> None:
    stage.world["xai"].retire("grok-4.3")
    scene.say("the simulated xAI stops serving grok-4.3 (the real one may well serve it)")
    refused = await stage.call("complete", prompt=CHAT_PROMPT, provider="xai", model="grok-4.3")
    scene.say(f'complete(provider="xai", model="grok-4.3") -> {refused.text}')
    status = await stage.call("provider_status", provider="xai")
    models = {model["id"]: model for entry in status.data.get("providers", []) for model in entry.get("models", [])}
    replacement = models.get("grok-4.3", {}).get("replacement", "")
    scene.say(f"provider_status: grok-4.3 is {models.get('grok-4.3', {}).get('state')}, replacement {replacement}")
    answer = await stage.call("complete", prompt=CHAT_PROMPT, provider="xai", model=replacement)
    _tell(scene, f"{CHAT_PROMPT} (asked of {replacement})", answer)
    old = await stage.call("complete", prompt="Say hello.", model="grok-beta")
    scene.say(f'complete(model="grok-beta") -> {old.data.get("model")}; {" ".join(old.data.get("notes", []))}')
    scene.check(
        "the 404 names model, provider and replacement", not refused.ok and replacement and replacement in refused.text
    )
    scene.check("provider_status shows it out of rotation", models.get("grok-4.3", {}).get("state") == "retired")
    scene.check("the replacement answers", answer.ok and answer.data.get("model") == replacement)
    scene.check(
        "an old name resolves, with a note", old.ok and any("grok-beta" in n for n in old.data.get("notes", []))
    )


async def answer_from_cache(stage: Stage, scene: Scene) -> None:
    before = stage.world.billed_nusd
    answer = await stage.call("complete", prompt=CODING_PROMPT)
    _tell(scene, CODING_PROMPT, answer)
    scene.say(f"  saved ${answer.data.get('saved_usd', 0):.6f}")
    scene.check("it is a hit", answer.data.get("cache") == "HIT")
    scene.check(
        "it cost nothing, here and upstream", answer.data.get("cost_nusd") == 0 == stage.world.billed_nusd - before
    )


async def keep_a_number_private(stage: Stage, scene: Scene) -> None:
    answer = await stage.call("complete", prompt=SSN_PROMPT, task="general_chat", cache="off")
    upstream = b"".join(request.raw for provider in stage.world.providers.values() for request in provider.received)
    _tell(scene, SSN_PROMPT, answer, around=SSN)
    scene.say(f"  the upstream saw: {'the number' if SSN.encode() in upstream else '[SSN_1] in its place'}")
    scene.check("no provider ever saw the number", SSN.encode() not in upstream and b"[SSN_1]" in upstream)
    scene.check("the answer has it back", SSN in answer.data.get("text", ""))


async def refuse_over_budget(stage: Stage, scene: Scene) -> None:
    before = stage.world.billed_nusd
    async with stage.another_client({"ORCHESTRA_BUDGET_DAY_USD": "0.001"}) as client:
        # Of one provider: else the free local server would answer.
        refused = await call(client, "complete", prompt="What is the capital of Portugal?", provider="openrouter")
    scene.say("a second server process on the same data folder, with a budget of $0.001 a day:")
    scene.say(f"  {refused.text}")
    scene.check("the call is refused for the budget", refused.code == "budget_exceeded")
    scene.check("nothing was sent", stage.world.billed_nusd == before)


async def account_for_it(stage: Stage, scene: Scene) -> None:
    report = (await stage.call("cost_report", period="today", group_by="provider")).data
    total = report.get("total", {})
    billed = stage.world.billed_nusd
    for row in report.get("rows", []):
        scene.say(f"  {row['group']:<12} {row['attempts']:>2} attempts  ${row['spent_usd']:.9f}")
    known = total.get("spent_nusd", 0) - total.get("uncertain_nusd", 0)
    scene.say(f"  the report's known spend ${usd(known):.9f}, the providers' bills ${usd(billed):.9f}")
    if total.get("uncertain_nusd"):
        scene.say(
            f"  beside it ${usd(total['uncertain_nusd']):.9f} for {total['uncertain']} call(s) that failed after they"
            " were sent: counted at the worst case, for nobody knows"
        )
    scene.check("report and bills agree to the nano-dollar", billed > 0 and known == billed)
    scene.check("nothing is left on hold", total.get("held_nusd", 0) == 0)


SCENES: tuple[tuple[str, Callable[[Stage, Scene], Awaitable[None]]], ...] = (
    ("A coding prompt goes to the coding model", route_by_task),
    ("A provider fails twice, another one answers", fall_back),
    ("A model is retired, its replacement is named", meet_a_retired_model),
    ("The same question again costs nothing", answer_from_cache),
    ("A social security number stays on this machine", keep_a_number_private),
    ("A budget holds, across processes", refuse_over_budget),
    ("Every nano-dollar is accounted for", account_for_it),
)


def run(*, as_json: bool) -> int:
    """Play every scene; 0 if all that was claimed was seen, else 1.

    Raises:
        OSError: nothing more can be printed; a BrokenPipeError if whoever read along has left.
    """
    code = 1
    failed: OSError | None = None
    try:
        code = asyncio.run(_run(as_json=as_json))
    except* OSError as group:
        failed = _first(group)
    if failed is not None:
        raise failed
    return code


def _first(group: BaseExceptionGroup[OSError]) -> OSError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _run(*, as_json: bool) -> int:
    started = time.monotonic()
    scenes: list[Scene] = []
    with tempfile.TemporaryDirectory(prefix="orchestra-demo-") as home:
        async with simulated_world(clock=SystemClock()) as world, _stage(world, Path(home)) as stage:
            for number, (title, play) in enumerate(SCENES, start=1):
                scene = Scene(title)
                await play(stage, scene)
                scenes.append(scene)
                if not as_json:
                    _show(number, scene)
    failed = [check for scene in scenes for check in scene.checks if not check.ok]
    seconds = time.monotonic() - started
    if as_json:
        result = {"ok": not failed, "seconds": round(seconds, 2), "scenes": [asdict(scene) for scene in scenes]}
        print(json.dumps(result, indent=2))
    else:
        checks = sum(len(scene.checks) for scene in scenes)
        print(f"{checks - len(failed)} of {checks} checks hold, in {seconds:.1f} s.")
    return 1 if failed else 0


@asynccontextmanager
async def _stage(world: SimulatedWorld, home: Path) -> AsyncGenerator[Stage]:
    """The real server as a process over stdio, and a client connected to it."""
    (home / "orchestra.toml").write_text(simulated_config(world), encoding="utf-8")
    # Only what the server needs: no key and no setting of the person's own reaches the demo.
    environ = {
        "ORCHESTRA_HOME": str(home),
        "ORCHESTRA_LOG_LEVEL": "ERROR",  # failures are part of the story, and it tells them itself
        "PYTHONPATH": os.pathsep.join(sys.path),
    } | world.keys

    def client(more: dict[str, str]) -> Client:
        return Client(
            StdioServerParameters(command=sys.executable, args=["-m", "orchestra_router"], env=environ | more)
        )

    async with client({}) as connected:
        yield Stage(world, connected, client)


def _tell(scene: Scene, asked: str, answer: Answered, *, around: str = "") -> None:
    """What was asked and answered; of a long answer the part `around` some words, else the beginning."""
    scene.say(f"> {asked}")
    if not answer.ok:
        scene.say(f"  {answer.text}")
        return
    data = answer.data
    scene.say(f"  {_short(data.get('text', ''), around)}")
    scene.say(
        f"  {data.get('model')} at {data.get('provider')} ({data.get('reason')}), cache {data.get('cache')},"
        f" ${data.get('cost_usd', 0):.9f}"
    )


def _short(text: str, around: str) -> str:
    line = " ".join(text.split())
    if len(line) <= SHOWN_CHARACTERS:
        return line
    start = max(0, line.find(around) - SHOWN_CHARACTERS // 2) if around else 0
    end = start + SHOWN_CHARACTERS
    return f"{'...' if start else ''}{line[start:end]}{'...' if end < len(line) else ''}"


def _show(number: int, scene: Scene) -> None:
    print(f"{number}. {scene.title}")
    for line in scene.lines:
        print(f"   {line}")
    for check in scene.checks:
        print(f"   {'ok  ' if check.ok else 'FAIL'} {check.claim}")
    print(flush=True)
