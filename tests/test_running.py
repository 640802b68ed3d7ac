"""Calls that outlast the window in which a client waits. Their time is a clock moved by hand."""

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from hand_clock import HandClock, turns
from orchestra_router.errors import InvalidRequest, NoRoute
from orchestra_router.types import Answer, Completion, Scope
from orchestra_tools.running import KEEP_CALLS, KEEP_S, Answered, Call, RunningCalls, Tell

ME = Scope()
SOMEBODY_ELSE = Scope(access_key="another")


class Stage:
    """Running calls whose work ends when the test says so."""

    def __init__(self, group: TaskGroup) -> None:
        self.group = group
        self.clock = HandClock()
        self.running = RunningCalls(group, self.clock)
        self.finish = anyio.Event()
        self.settled: list[str] = []
        self.answers: dict[str, Answered | None] = {}
        self.heard: list[str] = []

    def start(self, request_id: str = "r1", owner: Scope = ME) -> Call:
        async def work(tell: Tell) -> Completion:
            try:
                await tell("asking the provider")
                await self.finish.wait()
                return completion(request_id)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
                    self.settled.append(request_id)

        return self.running.start(request_id, owner, work)

    async def wait_for(self, call: Call, within_s: float = 50) -> None:
        self.answers[call.request_id] = await self.running.answer(call, self._hear, within_s=within_s)

    async def leave_running(self, request_id: str = "r1") -> Call:
        """A call that answered that it is still running."""
        call = self.start(request_id)
        self.group.start_soon(self.wait_for, call, 50)
        await self.clock.advance(50)
        assert self.answers[request_id] is None
        return call

    async def _hear(self, message: str) -> None:
        self.heard.append(message)


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    async with anyio.create_task_group() as group:
        yield Stage(group)
        group.cancel_scope.cancel()


def completion(request_id: str) -> Completion:
    return Completion(
        request_id=request_id,
        trace_id="t",
        answer=Answer(text="hello"),
        task="general_chat",
        provider="somebody",
        model="some-model",
        reason="first choice",
        cost_nusd=1,
        cost_source="table",
        cache="MISS",
    )


async def test_a_quick_answer_is_simply_the_answer(stage: Stage) -> None:
    call = stage.start()
    stage.finish.set()

    await stage.wait_for(call)

    assert stage.answers["r1"] == completion("r1")
    with pytest.raises(InvalidRequest, match="No call with this `request_id`"):
        stage.running.find("r1", ME)


async def test_a_call_that_outlasts_the_window_goes_on_and_can_be_collected_more_than_once(stage: Stage) -> None:
    await stage.leave_running()

    stage.finish.set()
    await stage.clock.advance(1)

    for _ in range(2):
        del stage.answers["r1"]
        await stage.wait_for(stage.running.find("r1", ME))
        assert stage.answers["r1"] == completion("r1")


async def test_collecting_too_early_waits_for_another_window(stage: Stage) -> None:
    call = await stage.leave_running()
    del stage.answers["r1"]

    stage.group.start_soon(stage.wait_for, call, 50)
    await stage.clock.advance(49)
    waits_still = "r1" not in stage.answers
    await stage.clock.advance(1)

    assert waits_still
    assert stage.answers["r1"] is None


async def test_nobody_else_can_collect_an_answer(stage: Stage) -> None:
    await stage.leave_running()

    with pytest.raises(InvalidRequest, match="No call with this `request_id`"):
        stage.running.find("r1", SOMEBODY_ELSE)


async def test_an_answer_that_nobody_collects_is_forgotten_in_the_end(stage: Stage) -> None:
    await stage.leave_running()
    stage.finish.set()
    await stage.clock.advance(1)

    await stage.clock.advance(KEEP_S - 1)
    assert stage.running.find("r1", ME)
    await stage.clock.advance(2)

    with pytest.raises(InvalidRequest, match="15 minutes"):
        stage.running.find("r1", ME)


async def test_of_very_many_answers_of_one_key_only_the_newest_are_kept(stage: Stage) -> None:
    theirs = stage.start("theirs", SOMEBODY_ELSE)
    stage.group.start_soon(stage.wait_for, theirs, 1)
    for number in range(KEEP_CALLS + 3):
        call = stage.start(f"r{number}")
        stage.group.start_soon(stage.wait_for, call, 1)
        await turns()
    await stage.clock.advance(1)
    stage.finish.set()
    await stage.clock.advance(1)

    kept = [number for number in range(KEEP_CALLS + 3) if _is_kept(stage.running, f"r{number}")]

    assert len(kept) == KEEP_CALLS
    assert stage.running.find("theirs", SOMEBODY_ELSE)


def _is_kept(running: RunningCalls, request_id: str) -> bool:
    try:
        running.find(request_id, ME)
    except InvalidRequest:
        return False
    return True


async def test_a_waiting_client_hears_what_is_done_and_every_ten_seconds_that_it_goes_on(stage: Stage) -> None:
    async def client() -> None:
        await stage.wait_for(stage.start())

    stage.group.start_soon(client)
    await stage.clock.advance(25)

    assert stage.heard == [
        "asking the provider",
        "asking the provider (10 s)",
        "asking the provider (20 s)",
    ]


async def test_a_client_that_is_gone_cancels_its_call_which_settles(stage: Stage) -> None:
    call = stage.start()
    async with anyio.create_task_group() as client:
        client.start_soon(stage.wait_for, call)
        await stage.clock.advance(1)
        client.cancel_scope.cancel()

    await turns()

    assert stage.settled == ["r1"]
    with pytest.raises(InvalidRequest):
        stage.running.find("r1", ME)


async def test_a_call_goes_on_while_anybody_waits_for_it(stage: Stage) -> None:
    call = stage.start()
    stage.group.start_soon(stage.wait_for, call)
    async with anyio.create_task_group() as client:
        client.start_soon(stage.wait_for, call)
        await stage.clock.advance(1)
        client.cancel_scope.cancel()

    stage.finish.set()
    await stage.clock.advance(1)

    assert stage.answers["r1"] == completion("r1")


async def test_closing_waits_until_every_call_has_settled(stage: Stage) -> None:
    for request_id in ("r1", "r2"):
        await stage.leave_running(request_id)

    await stage.running.aclose()

    assert sorted(stage.settled) == ["r1", "r2"]


@pytest.mark.parametrize("window_s", [50, 1], ids=["at once", "when collected"])
async def test_a_failure_reaches_whoever_waits(stage: Stage, window_s: float) -> None:
    async def work(_: Tell) -> Completion:
        await stage.finish.wait()
        raise NoRoute("Nothing is configured.")

    call = stage.running.start("r1", ME, work)
    raised: list[Exception] = []
    stage.group.start_soon(_collect_failure, stage, call, window_s, raised)
    await stage.clock.advance(2)
    stage.finish.set()
    await stage.clock.advance(1)
    if not raised:
        await _collect_failure(stage, stage.running.find("r1", ME), window_s, raised)

    assert [str(error) for error in raised] == ["Nothing is configured."]


async def _collect_failure(stage: Stage, call: Call, window_s: float, raised: list[Exception]) -> None:
    try:
        await stage.wait_for(call, window_s)
    except NoRoute as error:
        raised.append(error)


async def test_a_crash_that_nobody_waits_for_is_logged_and_ends_nothing_else(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(_: Tell) -> Completion:
        await stage.finish.wait()
        raise ZeroDivisionError

    call = stage.running.start("r1", ME, work)
    stage.group.start_soon(stage.wait_for, call, 1)
    await stage.clock.advance(1)
    other = await stage.leave_running("r2")
    stage.finish.set()
    await stage.clock.advance(1)

    assert "internal error in request r1" in caplog.text
    assert other.answer == completion("r2")
