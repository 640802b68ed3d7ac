"""The router in a program's own process: what a stranger types first, and what it says to what is wrong."""

import dataclasses
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from pydantic import BaseModel

import orchestra_router
from mcp_wire import PATIENCE_S
from orchestra_router import (
    BudgetExceeded,
    Completion,
    InvalidRequest,
    Message,
    Router,
    RouterError,
    SameAs,
    SyncRouter,
    Text,
    Tool,
    simulated_router,
)
from orchestra_router.asking import CompleteArguments
from orchestra_router.keywords import Asking, Keywords, request_of
from orchestra_router.simulation import Hang, Says, SimulatedWorld, simulated_config, simulated_world
from orchestra_tools.arguments import CompleteArguments as ToolsArguments
from surface import configured, connected, fail
from worlds import ask

GUIDE = Path(__file__).parent.parent / "docs" / "python.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
CAPITAL = "What is the capital of France?"


@pytest.fixture
async def world() -> AsyncGenerator[SimulatedWorld]:
    async with simulated_world() as world:
        yield world


@pytest.fixture
def environ(world: SimulatedWorld, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "orchestra.toml").write_text(simulated_config(world), encoding="utf-8")
    return {"ORCHESTRA_HOME": str(tmp_path), "ORCHESTRA_CACHE": "exact", **world.keys}


def in_a_thread(work: Any) -> Any:
    """What `work` returns, which blocks, while the simulated providers go on in this thread's loop."""
    return anyio.to_thread.run_sync(work)


# --- the guide ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
async def test_every_snippet_of_the_guide_works(
    number: int,
    world: SimulatedWorld,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    if "City" in SNIPPETS[number]:
        for provider in world.providers.values():
            provider.script(Says(text='{"name": "Paris", "population": 2100000}'))

    await in_a_thread(partial(exec, compile(SNIPPETS[number], GUIDE.name, "exec"), {"__name__": "snippet"}))

    assert capsys.readouterr().out or "print" not in SNIPPETS[number]


def test_the_guide_names_every_keyword() -> None:
    guide = GUIDE.read_text(encoding="utf-8")

    assert [name for name in Asking.__annotations__ if name != "prompt" and f"`{name}`" not in guide] == []


# --- one meaning ----------------------------------------------------------------------------------------------


def test_the_keywords_are_the_arguments_of_the_tool_and_two_more() -> None:
    assert set(Asking.__annotations__) == {*CompleteArguments.model_fields, "top_p", "tool_choice"} - {"prompts"}
    assert set(Keywords.model_fields) - {"prompts"} == set(Asking.__annotations__)
    assert {*CompleteArguments.model_fields, "request_id"} == set(ToolsArguments.model_fields)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "x", "max_token": 5},
        {"prompt": "x", "temperature": 2.5},
        {"prompt": "x", "cache": "always"},
        {"prompt": "x", "messages": [{"role": "user", "content": "y"}]},
        {"messages": [{"role": "tool", "content": "3"}]},
        {"prompt": "x", "model": "../../evil"},
        {},
    ],
)
async def test_what_is_wrong_is_said_in_the_words_of_the_tool(
    wrong: dict[str, Any], world: SimulatedWorld, tmp_path: Path
) -> None:
    async with connected(configured(world, tmp_path)) as client, simulated_router() as router:
        told, _ = await fail(client, "complete", **wrong)
        with pytest.raises(InvalidRequest) as refused:
            await router.complete(**wrong)

    assert str(refused.value) == told


def test_a_request_stands_alone() -> None:
    with pytest.raises(InvalidRequest, match=r"says everything, and task besides.*dataclasses\.replace"):
        request_of("complete", ask(), {"task": "coding"}, max_tokens=10)


def test_a_message_whose_parts_are_a_plain_text_is_explained() -> None:
    wrong: Any = Message("user", "Hello")  # pyright: ignore[reportArgumentType]

    with pytest.raises(InvalidRequest, match=r'`messages\[0\]\.parts` must be a tuple.*Message\("user", \(Text'):
        request_of("complete", None, {"messages": [wrong]}, max_tokens=10)


def test_a_schema_that_no_json_can_hold_is_explained() -> None:
    with pytest.raises(InvalidRequest, match=r"`tools\[0\]\.parameters` holds something that JSON has not"):
        request_of("complete", "x", {"tools": [Tool("f", "", {"enum": {1, 2}})]}, max_tokens=10)


def test_messages_of_a_program_and_plain_ones_make_one_conversation() -> None:
    turns: list[Any] = [{"role": "system", "content": "Be short."}, Message("user", (Text("Hi"),))]

    request = request_of("complete", None, {"messages": turns}, max_tokens=10)

    assert [(message.role, message.text) for message in request.messages] == [("system", "Be short."), ("user", "Hi")]


def test_a_pydantic_model_is_a_schema() -> None:
    class City(BaseModel):
        name: str

    assert request_of("complete", "x", {"response_schema": City}, max_tokens=10).response_schema == (
        City.model_json_schema()
    )


# --- the router -----------------------------------------------------------------------------------------------


async def test_settings_of_the_program_count_more_than_the_environment(environ: dict[str, str]) -> None:
    environ = environ | {"ORCHESTRA_BUDGET_DAY_USD": "7"}

    async with Router.open(environ=environ, settings={"budget_day_usd": 0, "cache_scope": ["user"]}) as router:
        assert router.config.settings.cache_scope == ("user",)
        with pytest.raises(BudgetExceeded):
            await router.complete(CAPITAL, provider="openai")


async def test_a_batch_has_everything_in_its_place() -> None:
    async with simulated_router() as router:
        batch = await router.batch([CAPITAL, "What is the capital of Italy?", CAPITAL], max_cost_usd=1)

    first, second, third = batch.outcomes
    assert isinstance(first, Completion)
    assert isinstance(second, Completion)
    assert ("Paris" in first.text, "Rome" in second.text, third) == (True, True, SameAs(0))
    assert batch.cost_usd == pytest.approx(first.cost_usd + second.cost_usd)


async def test_requests_that_differ_in_more_than_their_messages_are_no_batch() -> None:
    async with simulated_router() as router:
        with pytest.raises(InvalidRequest, match="may differ in their messages only"):
            await router.batch([ask("a"), dataclasses.replace(ask("b"), temperature=1.0)])


# --- without an event loop ------------------------------------------------------------------------------------


async def test_several_threads_ask_one_router_at_the_same_time(world: SimulatedWorld, environ: dict[str, str]) -> None:
    hangs = [Hang(), Hang(), Hang()]
    world["deepseek"].script(*hangs)

    answers: list[str] = []

    def ask_all() -> None:
        with SyncRouter.open(environ=environ) as router, ThreadPoolExecutor(3) as threads:
            asked = partial(router.complete, provider="deepseek", cache="off")
            answers.extend(answer.text for answer in threads.map(asked, ["one", "two", "three"]))

    async def release() -> None:
        for hang in hangs:
            await hang.reached.wait()  # all three are under way before any is answered
        for hang in hangs:
            hang.release()

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(release)
            await in_a_thread(ask_all)

    assert all(answers)
    assert len(answers) == 3


async def test_it_refuses_to_stop_the_loop_it_is_called_in(environ: dict[str, str]) -> None:
    with pytest.raises(RouterError, match=r"would block the event loop.*async with Router\.open"):
        SyncRouter.open(environ=environ)


async def test_closing_ends_the_calls_of_other_threads_and_settles_them(
    world: SimulatedWorld, environ: dict[str, str]
) -> None:
    hang = Hang()
    world["deepseek"].script(hang)
    router = await in_a_thread(partial(SyncRouter.open, environ=environ))
    failed: list[RouterError] = []

    def wait_for_it() -> None:
        try:
            router.complete("x", provider="deepseek")
        except RouterError as error:
            failed.append(error)

    thread = threading.Thread(target=wait_for_it)
    with anyio.fail_after(PATIENCE_S):
        thread.start()
        await hang.reached.wait()
        await in_a_thread(router.close)
        await in_a_thread(thread.join)

    assert [str(error) for error in failed] == ["The call was cancelled, for the router was closed meanwhile."]
    async with Router.open(environ=environ) as again:
        report = await again.cost_report()
    assert (report.total.attempts, report.total.held_nusd) == (1, 0)
    with pytest.raises(RouterError, match="is closed"):
        await in_a_thread(partial(router.complete, "x"))


async def test_a_stream_that_is_left_early_stops_the_provider_and_is_settled(
    world: SimulatedWorld, environ: dict[str, str]
) -> None:
    world["deepseek"].script(Says(text="word " * 200))

    def read_a_little() -> list[str]:
        with SyncRouter.open(environ=environ) as router:
            with router.stream("x", provider="deepseek") as pieces:
                first = next(pieces)
            report = router.cost_report()
            assert (report.total.attempts, report.total.held_nusd) == (1, 0)
            with router.stream("y", provider="deepseek") as pieces:
                return [first.text, *(piece.text for piece in pieces)]

    first, *pieces = await in_a_thread(read_a_little)

    assert first
    assert "".join(pieces[:-1]) == pieces[-1]


INTERRUPTED = """
from orchestra_router import SyncRouter

with SyncRouter.open() as router:
    try:
        router.complete("x", provider="deepseek")
    except KeyboardInterrupt:
        report = router.cost_report()
        print(report.total.attempts, report.total.held_nusd)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal to send")
async def test_an_interrupt_stops_the_call_and_leaves_nothing_held(
    world: SimulatedWorld, environ: dict[str, str]
) -> None:
    hang = Hang()
    world["deepseek"].script(hang)

    with anyio.fail_after(PATIENCE_S):
        async with await anyio.open_process([sys.executable, "-c", INTERRUPTED], env=environ) as process:
            assert process.stdout is not None
            await hang.reached.wait()
            process.send_signal(signal.SIGINT)
            told = await process.stdout.receive()

    assert told.split() == [b"1", b"0"]
    assert process.returncode == 0


# --- the package ----------------------------------------------------------------------------------------------


def test_every_exported_name_is_there_and_the_rest_is_not() -> None:
    for name in orchestra_router.__all__:
        assert getattr(orchestra_router, name).__name__ == name
        assert name in dir(orchestra_router)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = orchestra_router.Nothing  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, orchestra_router; print([m for m in sys.modules if 'orchestra' in m])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert loaded.strip() == "['orchestra_router']"
