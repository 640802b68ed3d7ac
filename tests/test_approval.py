"""A call over its budget, and the person who may let it through: in both protocol eras, once, and nobody else."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
from mcp import Client
from mcp.types import ElicitResult

from hand_clock import HandClock
from mcp_wire import PATIENCE_S
from orchestra_router.app import build_server
from orchestra_router.simulation import Hang, simulated_world
from surface import configured, fail, succeed

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])


class Person:
    """Answers every question the same way, and remembers what was asked."""

    def __init__(self, action: Literal["accept", "decline", "cancel"] = "accept", *, approve: bool = True) -> None:
        self.asked: list[str] = []
        self._answer = ElicitResult(action=action, content={"approve": approve} if action == "accept" else None)

    async def __call__(self, context: Any, params: Any) -> ElicitResult:  # noqa: ARG002 - the SDK's signature
        self.asked.append(params.message)
        return self._answer


@asynccontextmanager
async def connected(home: Path, mode: str, person: Person | None) -> AsyncGenerator[Client]:
    """A client of a server whose day may cost a hundredth of a cent."""
    async with simulated_world() as world:
        server = build_server(configured(world, home, ORCHESTRA_BUDGET_DAY_USD="0.0001"))
        async with Client(server, mode=mode, elicitation_callback=person) as client:
            yield client


def approvals(home: Path) -> list[tuple[int, str, str]]:
    with closing(sqlite3.connect(home / "orchestra.db")) as db:
        return db.execute("SELECT approved_nusd, approved_by, state FROM attempts").fetchall()


@MODES
async def test_a_person_may_let_one_call_go_over_and_the_ledger_says_who_did(tmp_path: Path, mode: str) -> None:
    person = Person()
    async with connected(tmp_path, mode, person) as client:
        data = await succeed(client, "complete", prompt="Hi.", provider="deepseek")
    ((over_nusd, by, state),) = approvals(tmp_path)

    assert data["text"]
    assert len(person.asked) == 1
    assert "daily budget" in person.asked[0]
    assert "Let this one call go over the budget, by at most $" in person.asked[0]
    assert over_nusd > 0
    assert by.startswith("local")
    assert state == "settled"


@MODES
async def test_the_next_call_is_asked_about_again(tmp_path: Path, mode: str) -> None:
    person = Person()
    async with connected(tmp_path, mode, person) as client:
        for prompt in ("One.", "Two."):
            await succeed(client, "complete", prompt=prompt, provider="deepseek")

    assert len(person.asked) == 2


@MODES
@pytest.mark.parametrize(
    "person", [Person("decline"), Person("cancel"), Person(approve=False)], ids=["no", "away", "off"]
)
async def test_without_consent_the_refusal_stands(tmp_path: Path, mode: str, person: Person) -> None:
    async with connected(tmp_path, mode, person) as client:
        text, error = await fail(client, "complete", prompt="Hi.", provider="deepseek")

    assert error["code"] == "budget_exceeded"
    assert "daily budget" in text
    assert approvals(tmp_path) == []


@MODES
async def test_a_client_that_cannot_ask_gets_the_plain_refusal(tmp_path: Path, mode: str) -> None:
    async with connected(tmp_path, mode, None) as client:
        _, error = await fail(client, "complete", prompt="Hi.", provider="deepseek")

    assert error["code"] == "budget_exceeded"


@MODES
async def test_the_callers_own_cap_is_not_the_persons_to_lift(tmp_path: Path, mode: str) -> None:
    person = Person()
    async with connected(tmp_path, mode, person) as client:
        _, error = await fail(client, "complete", prompt="Hi.", provider="deepseek", max_cost_usd=0.00001)

    assert error["code"] == "budget_exceeded"
    assert person.asked == []


async def test_the_persons_time_counts_against_the_clients_patience(tmp_path: Path) -> None:
    clock, hang = HandClock(), Hang()

    async def person(context: Any, params: Any) -> ElicitResult:  # noqa: ARG001 - the SDK's signature
        await clock.advance(40)
        return ElicitResult(action="accept", content={"approve": True})

    answers: list[Any] = []
    async with simulated_world() as world:
        world["deepseek"].script(hang)
        config = configured(world, tmp_path, "answer_within_s = 50", ORCHESTRA_BUDGET_DAY_USD="0.0001")
        async with (
            Client(build_server(config, clock=clock), mode="legacy", elicitation_callback=person) as client,
            anyio.create_task_group() as group,
        ):

            async def ask() -> None:
                answers.append(await succeed(client, "complete", prompt="Hi.", provider="deepseek"))

            group.start_soon(ask)
            with anyio.fail_after(PATIENCE_S):
                await hang.reached.wait()
                asked_ms = clock.ms
                while not answers:
                    await clock.advance(1)
            assert clock.ms - asked_ms <= 11_000
            hang.release()
            answers.append(await succeed(client, "complete", request_id=answers[0]["request_id"]))

    assert answers[0]["status"] == "running"
    assert answers[1]["text"]


@MODES
async def test_a_batch_that_no_budget_pays_for_has_failed_and_says_that_single_calls_can_be_allowed(
    tmp_path: Path, mode: str
) -> None:
    person = Person()
    async with connected(tmp_path, mode, person) as client:
        text, error = await fail(client, "complete", prompts=["Hi.", "Ho."], provider="deepseek")
        single = await succeed(client, "complete", prompt="Hi.", provider="deepseek")

    assert "None of the 2 prompts was answered." in text
    assert "daily budget" in text
    assert "no batch: ask with `prompt`" in text
    assert error["code"] == "batch_failed"
    assert [failure["code"] for failure in error["failures"]] == ["budget_exceeded"] * 2
    assert single["text"]
    assert len(person.asked) == 1


@MODES
async def test_two_calls_that_were_allowed_at_the_same_time_do_not_add_up(tmp_path: Path, mode: str) -> None:
    person = Person()
    texts: list[str] = []

    async with connected(tmp_path, mode, person) as client:

        async def one(prompt: str) -> None:
            result = await client.call_tool("complete", {"prompt": prompt, "provider": "deepseek", "max_tokens": 2000})
            texts.append("refused" if result.is_error else "answered")

        async with anyio.create_task_group() as group:
            for prompt in ("One.", "Two.", "Three."):
                group.start_soon(one, prompt)

    with closing(sqlite3.connect(tmp_path / "orchestra.db")) as db:
        spent, most = db.execute("SELECT sum(cost_nusd), max(approved_nusd) FROM attempts").fetchone()
    assert "answered" in texts
    assert spent <= 100_000 + most
