"""What is set aside is kept, shared by every process, and tried by one request at a time."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from clocks import FakeClock
from ledgers import NOW_MS, a_hold, child, ended
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.health_records import HealthRow, Outcome, Window
from orchestra_router.types import Usage

SET_ASIDE = HealthRow(
    target="deployment:xai/grok-beta",
    cause="model_gone",
    since_ms=NOW_MS,
    until_ms=None,
    trips=1,
    catalog="2026-11",
    replacement="grok-4",
)
HALF_OPEN = replace(SET_ASIDE, cause="server_failed", since_ms=NOW_MS - 30_000, until_ms=NOW_MS)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "orchestra.db", clock=FakeClock())
    yield store
    await store.close()


async def put(store: SqliteStore, row: HealthRow) -> None:
    await store.change_health((row.target,), lambda _rows, _outcomes: (row,))


async def test_what_one_process_sets_aside_is_set_aside_for_all_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "orchestra.db"
    first = await SqliteStore.open(path, clock=FakeClock())
    await put(first, SET_ASIDE)
    await first.close()

    second = await SqliteStore.open(path, clock=FakeClock())

    assert (await second.health()).rows == (SET_ASIDE,)
    await second.close()


async def test_a_change_sees_what_was_known_and_replaces_it(store: SqliteStore) -> None:
    await put(store, SET_ASIDE)
    worse = replace(SET_ASIDE, cause="server_failed", until_ms=NOW_MS + 30_000, trips=2)
    seen: list[HealthRow] = []

    rows = await store.change_health((SET_ASIDE.target,), lambda rows, _: (seen.extend(rows.values()), (worse,))[1])

    assert seen == [SET_ASIDE]
    assert rows == {SET_ASIDE.target: worse}
    assert (await store.health()).rows == (worse,)


async def test_what_is_well_again_is_no_longer_listed(store: SqliteStore) -> None:
    await put(store, SET_ASIDE)
    await put(store, replace(SET_ASIDE, target="provider:together"))

    await store.restore(SET_ASIDE.target)

    assert [row.target for row in (await store.health()).rows] == ["provider:together"]


async def test_the_window_holds_the_latest_attempts_of_that_model_alone_newest_first(store: SqliteStore) -> None:
    for number, (model, outcome) in enumerate([("a", "ok"), ("b", "ok"), ("a", "timeout"), ("a", "")]):
        hold = replace(a_hold(f"a{number}", request_id=f"r{number}", model=model), created_ms=NOW_MS + number)
        await store.hold(hold, ())
        if outcome:
            usage = Usage(input_fresh=3, output=1) if outcome == "ok" else None
            await store.settle(ended(f"a{number}", outcome=outcome, usage=usage))
    seen: list[Outcome] = []
    window = Window("openrouter", "openai/a", NOW_MS)

    await store.change_health((), lambda _, outcomes: (seen.extend(outcomes), ())[1], window=window)

    assert [(one.request_id, one.outcome, one.counted) for one in seen] == [
        ("r2", "timeout", False),
        ("r0", "ok", True),
    ]


async def test_of_several_processes_one_gets_the_probe_and_its_death_frees_it(
    store: SqliteStore, tmp_path: Path
) -> None:
    path = tmp_path / "orchestra.db"
    await put(store, HALF_OPEN)

    async with AsyncExitStack() as stack:
        children = [await stack.enter_async_context(child("probe", path, HALF_OPEN.target)) for _ in range(3)]
        for one in children:
            await one.ready()
        async with anyio.create_task_group() as group:
            for one in children:
                group.start_soon(one.go)
        said = [await one.says() for one in children]
        assert sorted(said) == ["claimed", "refused", "refused"]
        for one, word in zip(children, said, strict=True):
            if word == "claimed":
                one.process.kill()
                await one.process.wait()
            else:
                await one.go()

    (row,) = (await store.health()).rows
    assert row == HALF_OPEN
