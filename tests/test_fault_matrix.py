"""The failure contract as it is lived: every row x every wire format x first call, retry and fallback."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from fault_matrix import AFTER, AT, BEFORE, FAULTS, POSITIONS, Fault, Format, Position, script
from orchestra_router.errors import BudgetExceeded, RouterError
from orchestra_router.simulation import Hang, Reply, ServerError
from worlds import World, ask, open_world

PATIENT_S = 1.0
"""What a call may take here, on the machine's own clock."""


@dataclass(frozen=True, slots=True)
class Seen:
    trail: list[tuple[str, str]]
    waits: list[float]
    states: list[str]
    set_aside: set[str]
    error: RouterError | None


async def lived(home: Path, fault: Fault, wire_format: Format, position: Position) -> Seen:
    subject = AT[wire_format]
    timeout_s = PATIENT_S if fault.outcome == "timeout" else 60
    async with open_world(home, request_timeout_s=timeout_s) as world:
        script(world.providers[subject], fault, position)
        first = subject
        if position == "fallback":
            first = BEFORE
            world.providers[BEFORE].script(Reply(401))
        fallbacks = (subject, AFTER) if position == "fallback" else (AFTER,)
        request = ask("Is it worth it?", provider=first, fallback_providers=fallbacks, max_retries=2, request_id="r1")
        attempts, error = (), None
        try:
            attempts = (await world.router.complete(request, on_progress=nobody if fault.streamed else None)).attempts
        except RouterError as raised:
            attempts, error = raised.attempts, raised
        rows = (await world.router.store.health()).rows
        kept = await world.router.store.attempts_of("r1")
        total = (await world.router.cost_report()).total
        assert total.held_nusd == 0
        assert total.spent_nusd >= world.providers.billed_nusd
        return Seen(
            [(attempt.provider, attempt.outcome) for attempt in attempts],
            [attempt.waited_ms / 1000 for attempt in attempts],
            [str(row["state"]) for row in kept],
            {row.target.partition(":")[0] for row in rows if f":{BEFORE}" not in row.target and not row.closed},
            error,
        )


async def nobody(_: str) -> None:
    """Listens, so that the answer is streamed."""


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("wire_format", AT)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_what_follows_is_what_the_contract_says(
    tmp_path: Path, fault: Fault, wire_format: Format, position: Position
) -> None:
    subject = AT[wire_format]
    outcome, then = fault.outcome, fault.then
    before = {"first call": [], "retry": [(subject, "server_failed")], "fallback": [(BEFORE, "auth_failed")]}[position]
    after = {"again": [(subject, "ok")], "next": [(AFTER, "ok")], "stop": []}[then]

    seen = await lived(tmp_path, fault, wire_format, position)

    place = len(before)
    assert seen.trail == [*before, (subject, outcome), *after]
    assert (seen.error is not None) == (then == "stop")
    assert seen.states[place] == fault.money
    assert seen.set_aside == ({fault.cools} if fault.cools else set())
    if fault.waits is not None:
        assert seen.waits[place + 1] == fault.waits
    if then == "next":
        assert seen.waits[place + 1] == 0
    if outcome == "stream_broken":
        assert seen.error is not None
        assert seen.error.partial_text


@pytest.mark.parametrize("wire_format", AT)
async def test_a_provider_that_cannot_be_reached_gets_one_quick_retry_and_costs_nothing(
    tmp_path: Path, wire_format: Format
) -> None:
    subject = AT[wire_format]
    async with open_world(tmp_path) as world:
        elsewhere = world.router.config.catalog.providers[subject]
        object.__setattr__(elsewhere, "base_url", "http://127.0.0.1:9")
        completion = await world.router.complete(
            ask("Is it worth it?", provider=subject, fallback_providers=(AFTER,), request_id="r1")
        )
        kept = await world.router.store.attempts_of("r1")

    assert [(a.provider, a.outcome) for a in completion.attempts] == [
        (subject, "connect_failed"),
        (subject, "connect_failed"),
        (AFTER, "ok"),
    ]
    assert [row["state"] for row in kept] == ["released", "released", "settled"]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("wire_format", AT)
async def test_a_caller_who_leaves_closes_the_call_and_nobody_else_is_asked(
    tmp_path: Path, wire_format: Format, position: Position
) -> None:
    subject, hang = AT[wire_format], Hang()
    async with open_world(tmp_path) as world:
        first = await _leave(world, subject, hang, position)
        provider = world.providers[subject]
        await provider.received[-1].done.wait()
        kept = await world.router.store.attempts_of("r1")

    assert provider.received[-1].client_left
    assert AFTER not in world.calls
    assert [row["state"] for row in kept] == [*first, "uncertain"]
    assert kept[-1]["outcome"] == "cancelled"


async def _leave(world: World, subject: str, hang: Hang, position: Position) -> list[str]:
    """Cancel a request that hangs at `subject`. Returns the states of the attempts before."""
    fallbacks, first, before = (AFTER,), subject, list[str]()
    if position == "retry":
        world.providers[subject].script(ServerError(503))
        before = ["uncertain"]
    elif position == "fallback":
        world.providers[BEFORE].script(Reply(401))
        fallbacks, first, before = (subject, AFTER), BEFORE, ["released"]
    world.providers[subject].script(hang)
    async with anyio.create_task_group() as group:
        request = ask("Is it worth it?", provider=first, fallback_providers=fallbacks, request_id="r1")
        group.start_soon(world.router.complete, request)
        await hang.reached.wait()
        group.cancel_scope.cancel()
    return before


@pytest.mark.parametrize("wire_format", AT)
async def test_our_own_stop_is_never_spent_around(tmp_path: Path, wire_format: Format) -> None:
    subject = AT[wire_format]
    async with open_world(tmp_path, budget_day_usd="0.0000001") as world:
        with pytest.raises(BudgetExceeded):
            await world.router.complete(ask("Is it worth it?", provider=subject, fallback_providers=(AFTER,)))

        assert world.calls == []
        assert (await world.router.store.health()).rows == ()


@pytest.mark.parametrize("wire_format", AT)
async def test_a_bug_of_ours_is_not_blamed_on_a_provider_and_asks_nobody_else(
    tmp_path: Path, wire_format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = AT[wire_format]
    async with open_world(tmp_path) as world:

        def bug(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(f"orchestra_router.providers.{wire_format}.parse_response", bug)
        with pytest.raises(RuntimeError, match="a bug"):
            await world.router.complete(ask("Is it worth it?", provider=subject, fallback_providers=(AFTER,)))

        assert world.calls == [subject]
        assert (await world.router.store.health()).rows == ()
    with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db:
        assert db.execute("SELECT count(*) FROM attempts WHERE state = 'held'").fetchone() == (0,)
