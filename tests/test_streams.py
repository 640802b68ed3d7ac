"""An answer handed on as it grows: checked, whole, of one provider, and paid for however it ends."""

from pathlib import Path

import pytest

from clocks import FakeClock
from orchestra_router.call import Call
from orchestra_router.errors import AllAttemptsFailed, GuardrailBlocked
from orchestra_router.policy.guardrails import Guarded, Guardrails
from orchestra_router.policy.progress import Speech
from orchestra_router.simulation import Cut, Endless, Hang, Says
from orchestra_router.streams import hear_out
from orchestra_router.types import Completion, CompletionRequest, Delta
from worlds import World, ask, open_world

PIECES = "A rather long answer that comes in many pieces, each of them a few letters long. " * 5


async def heard_by(world: World, request: CompletionRequest) -> tuple[list[str], Completion]:
    pieces: list[Delta | Completion] = []
    async with world.router.stream(request) as stream:
        pieces.extend([piece async for piece in stream])
    *deltas, completion = pieces
    assert isinstance(completion, Completion)
    return [delta.text for delta in deltas if isinstance(delta, Delta)], completion


async def held(world: World) -> int:
    return sum(budget.held_nusd for budget in (await world.router.cost_report()).budgets)


@pytest.mark.parametrize("provider", ["openrouter", "openai", "anthropic", "gemini"])
async def test_the_pieces_are_the_answer(tmp_path: Path, provider: str) -> None:
    async with open_world(tmp_path) as world:
        world.providers[provider].script(Says(text=PIECES))
        pieces, completion = await heard_by(world, ask(provider=provider))

    assert "".join(pieces) == PIECES == completion.answer.text
    assert completion.cost_nusd > 0


async def test_a_value_that_was_redacted_comes_back_whole_though_it_was_cut_in_pieces(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openai"].script(Says(text="Write to [SSN_1] tomorrow, she said, and to nobody else."))
        pieces, _ = await heard_by(world, ask("My number is 536-22-8841.", provider="openai"))

    assert "".join(pieces) == "Write to 536-22-8841 tomorrow, she said, and to nobody else."


async def test_what_must_not_be_handed_on_is_not_and_what_came_before_it_is_paid(tmp_path: Path) -> None:
    said: list[str] = []

    async def hear(text: str) -> None:
        said.append(text)

    async with open_world(tmp_path, guard_ssn="block") as world:
        world.providers["openai"].script(Says(text=f"{PIECES} Her number is 536-22-8841, and then some more was said."))
        with pytest.raises(GuardrailBlocked) as refusal:
            await world.router.complete(ask(provider="openai"), on_text=hear)

    assert "536" not in "".join(said)
    assert refusal.value.attempts[0].cost_source != "estimate"


async def test_a_streamed_answer_is_neither_kept_nor_taken_from_the_cache(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.router.complete(ask("What is a prime?"))
        _, first = await heard_by(world, ask("What is a prime?"))
        _, second = await heard_by(world, ask("What is an integer?"))
        third = await world.router.complete(ask("What is an integer?"))

    assert (first.cache, first.cache_reason) == (second.cache, second.cache_reason) == ("DISABLED", "streamed")
    assert third.cache == "MISS"


async def test_who_leaves_early_stops_the_provider_and_leaves_no_money_held(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        world.providers["openai"].script(Endless())
        async with world.router.stream(ask(provider="openai", request_id="r1")) as stream:
            first = await anext(stream)
        received = world.providers["openai"].received[-1]
        await received.done.wait()
        (attempt,) = await world.router.store.attempts_of("r1")

        assert isinstance(first, Delta)
        assert received.client_left
        assert await held(world) == 0
        assert (attempt["state"], attempt["outcome"]) == ("uncertain", "cancelled")


async def test_after_its_first_piece_nobody_else_is_asked(tmp_path: Path) -> None:
    said: list[str] = []

    async def hear(text: str) -> None:
        said.append(text)

    async with open_world(tmp_path) as world:
        for provider in world.providers.providers.values():
            provider.script(Says(text=PIECES), Cut(after_events=20))
        await world.router.complete(ask(provider="openai"), on_text=hear)
        said.clear()
        with pytest.raises(AllAttemptsFailed, match="broke off") as failed:
            await world.router.complete(ask(provider="openai", fallback_providers=("deepseek",)), on_text=hear)

    assert said
    assert failed.value.partial_text.startswith("".join(said))
    assert [attempt.outcome for attempt in failed.value.attempts] == ["stream_broken"]


async def test_before_its_first_piece_another_is_asked(tmp_path: Path) -> None:
    async with open_world(tmp_path, max_retries=0) as world:
        world.providers["openai"].script(Cut(after_events=0))
        pieces, completion = await heard_by(world, ask(provider="openai", fallback_providers=("deepseek",)))

    assert completion.provider == "deepseek"
    assert "".join(pieces) == completion.answer.text


async def test_an_answer_that_is_rejected_is_not_heard(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        for provider in world.providers.providers.values():
            provider.script(Says(text="I cannot help with that."), Says(text=PIECES))
        pieces, completion = await heard_by(world, ask(strategy="escalate", task="coding"))

    assert len(completion.attempts) == 2
    assert "".join(pieces) == completion.answer.text


async def test_the_rest_of_one_answer_is_not_put_behind_the_beginning_of_another(tmp_path: Path) -> None:
    async def hear(_: str) -> None:
        pass

    async with open_world(tmp_path) as world:
        answered = await world.router.complete(ask(provider="openai"))
    call = Call(
        request_id="r1",
        request=ask(),
        started_ms=0,
        started=0,
        deadline=1,
        on_progress=None,
        on_text=hear,
        speech=Speech(hear, Guardrails(()), Guarded(ask()), FakeClock(), number=1),
        attempts=list(answered.attempts),
    )
    assert call.speech is not None
    await call.speech.add("It begins")

    with pytest.raises(AllAttemptsFailed, match=r"openai/.* broke off"):
        await hear_out(call, "Another answer.", number=2)


async def test_a_stream_that_nobody_iterates_asks_nobody(tmp_path: Path) -> None:
    hang = Hang()
    async with open_world(tmp_path) as world:
        world.providers["openai"].script(hang)
        async with world.router.stream(ask(provider="openai")):
            pass

        assert world.calls == []
