"""Identical requests at the same moment become one."""

import anyio
import pytest

from orchestra_router.policy.flights import Flights


async def test_the_second_waits_for_the_first_and_is_told_that_it_did() -> None:
    flights = Flights()
    inside, leave = anyio.Event(), anyio.Event()
    waited: list[bool] = []
    before: list[bool] = []

    async def first() -> None:
        async with flights.turn("q"):
            inside.set()
            await leave.wait()

    async def second() -> None:
        async with flights.turn("q") as had_to_wait:
            waited.append(had_to_wait)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await inside.wait()
        group.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        before += waited
        leave.set()

    assert before == []
    assert waited == [True]


async def test_a_flight_that_fails_wakes_those_who_wait_and_leaves_nothing_behind() -> None:
    flights = Flights()
    inside = anyio.Event()
    waited: list[bool] = []

    async def second() -> None:
        async with flights.turn("q") as had_to_wait:
            waited.append(had_to_wait)

    async def crash() -> None:
        async with flights.turn("q"):
            inside.set()
            await anyio.wait_all_tasks_blocked()
            raise RuntimeError

    async with anyio.create_task_group() as group:

        async def first() -> None:
            with pytest.raises(RuntimeError):
                await crash()

        group.start_soon(first)
        await inside.wait()
        group.start_soon(second)

    async with flights.turn("q") as had_to_wait:
        assert not had_to_wait
    assert waited == [True]


async def test_requests_that_are_not_to_be_shared_do_not_wait_for_each_other() -> None:
    flights = Flights()

    async with flights.turn(None), flights.turn(None) as had_to_wait:
        assert not had_to_wait
