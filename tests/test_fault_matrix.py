"""The failure contract as it is lived: every row x every wire format x first call, retry and fallback."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from fault_matrix import AFTER, AT, BEFORE, FAULTS, POSITIONS, Fault, Format, Position, script
from orchestra_router.errors import AllAttemptsFailed, BudgetExceeded, NoRoute, RouterError
from orchestra_router.simulation import Hang, Reply, ServerError
from worlds import World, ask, open_world

PATIENT_S = 0.5
"""What a call may take here, on the machine's own clock."""
PROMPT = "Is it worth it? " * 20
"""Some vendors say only in prose that a prompt is too long, so it has to be nearly as long as what a model reads."""
CONTEXTS = "".join(
    f'[models."{name}"]\ncontext_tokens = 120\n' for name in ("sonar", "claude-haiku-5-5", "gemini-3.5-flash-lite")
)
LARGEST: Format = "chat"
"""Who is asked there reads more than anybody after it."""


@dataclass(frozen=True, slots=True)
class Seen:
    trail: list[tuple[str, str]]
    waits: list[float]
    states: list[str]
    set_aside: set[str]
    error: RouterError | None


async def lived(world: World, fault: Fault, wire_format: Format, position: Position) -> Seen:
    subject = AT[wire_format]
    script(world.providers[subject], fault, position)
    first, fallbacks = subject, (AFTER,)
    if position == "fallback":
        first, fallbacks = BEFORE, (subject, AFTER)
        world.providers[BEFORE].script(Reply(401))
    request = ask(
        PROMPT,
        provider=first,
        fallback_providers=fallbacks,
        max_retries=2,
        request_id=f"r-{wire_format}",
        cache="off",
    )
    attempts, error = (), None
    try:
        attempts = (await world.router.complete(request, on_progress=nobody if fault.streamed else None)).attempts
    except RouterError as raised:
        attempts, error = raised.attempts, raised
    rows = (await world.router.store.health()).rows
    kept = await world.router.store.attempts_of(f"r-{wire_format}")
    for row in rows:
        if f":{BEFORE}" in row.target:
            await world.router.store.restore(row.target)  # for the next format
    return Seen(
        [(attempt.provider, attempt.outcome) for attempt in attempts],
        [attempt.waited_ms / 1000 for attempt in attempts],
        [str(row["state"]) for row in kept],
        {row.target.partition(":")[0] for row in rows if f":{subject}" in row.target and not row.closed},
        error,
    )


async def nobody(_: str) -> None:
    """Listens, so that the answer is streamed."""


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_what_follows_is_what_the_contract_says(tmp_path: Path, fault: Fault, position: Position) -> None:
    """At every format in its turn, in one world: opening another one for each would take most of the time."""
    timeout_s = PATIENT_S if fault.outcome == "timeout" else 60
    contexts = CONTEXTS if fault.then == "larger" else ""
    async with open_world(tmp_path, toml=contexts, request_timeout_s=timeout_s) as world:
        for wire_format in AT:
            seen = await lived(world, fault, wire_format, position)
            as_the_contract_says(seen, fault, wire_format, position)
        total = (await world.router.cost_report()).total
        assert total.held_nusd == 0
        assert total.spent_nusd >= world.providers.billed_nusd


def as_the_contract_says(seen: Seen, fault: Fault, wire_format: Format, position: Position) -> None:
    subject = AT[wire_format]
    outcome, then = fault.outcome, fault.then
    if then == "larger":
        then = "stop" if wire_format == LARGEST else "next"
    if outcome == "content_refused" and wire_format == "messages":
        outcome = "bad_request"  # Anthropic says in prose only which it is; what follows is the same
    before = {"first call": [], "retry": [(subject, "server_failed")], "fallback": [(BEFORE, "auth_failed")]}[position]
    after = {"again": [(subject, "ok")], "next": [(AFTER, "ok")], "stop": []}[then]

    place = len(before)
    assert seen.trail == [*before, (subject, outcome), *after]
    assert (seen.error is not None) == (then == "stop")
    counted = outcome == "content_refused" and wire_format == "gemini"
    assert seen.states[place] == ("settled" if counted else fault.money)
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


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("wire_format", AT)
async def test_our_own_stop_is_never_spent_around(tmp_path: Path, wire_format: Format, position: Position) -> None:
    """The budget is below the first attempt's worst case, or that attempt's uncertain end leaves too little of it."""
    subject = AT[wire_format]
    # Nobody cheaper stands behind, who would fit and be asked.
    first, fallbacks = (BEFORE, (subject,)) if position == "fallback" else (subject, (AFTER,))
    request = ask("Is it worth it?", provider=first, fallback_providers=fallbacks, max_retries=1, request_id="r1")
    calls: list[str] = [] if position == "first call" else [first]
    if position == "fallback":
        request = replace(request, max_retries=0)
    limit = 100
    if position != "first call":
        (tmp_path / "rich").mkdir()
        async with open_world(tmp_path / "rich") as world:
            plan = await world.router.plan(request)
        limit = next(c.worst_nusd for c in plan.route if c.deployment.provider.name == subject) + 1_000_000
    async with open_world(tmp_path, budget_day_usd=f"{limit / 1e9:.9f}") as world:
        world.providers[first].script(ServerError(503))
        with pytest.raises(BudgetExceeded):
            await world.router.complete(request)
        kept = await world.router.store.attempts_of("r1")

        assert world.calls == calls
        assert [row["state"] for row in kept] == ["uncertain" for _ in calls]
        assert (await world.router.store.health()).rows == ()


@pytest.mark.parametrize("wire_format", AT)
async def test_where_everything_cools_one_is_tried_and_a_limit_is_left_in_peace(
    tmp_path: Path, wire_format: Format
) -> None:
    subject = AT[wire_format]
    request = ask("Is it worth it?", provider=subject, fallback_providers=(), max_retries=0, cache="off")
    async with open_world(tmp_path) as world:
        provider = world.providers[subject]
        provider.script(*[ServerError(503)] * 4)
        for _ in range(3):  # until it is set aside
            with pytest.raises(AllAttemptsFailed):
                await world.router.complete(request)
        with pytest.raises(AllAttemptsFailed) as failed:
            await world.router.complete(request)
        answered = await world.router.complete(request)
        assert failed.value.failures[0].probing
        assert [(a.provider, a.outcome) for a in answered.attempts] == [(subject, "ok")]

        provider.script(Reply(429, headers={"retry-after": "60"}, body="{}"))
        with pytest.raises(AllAttemptsFailed):
            await world.router.complete(request)
        asked = len(world.calls)
        with pytest.raises(NoRoute) as nowhere:
            await world.router.complete(request)
        assert nowhere.value.retry_after_s == 60
        assert len(world.calls) == asked


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
