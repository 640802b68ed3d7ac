"""What is told of an answer that grows."""

import time

import pytest

from clocks import FakeClock
from orchestra_router.policy.guardrails import Guardrails
from orchestra_router.policy.progress import EVERY_S, Growth
from orchestra_router.policy.rules.base import Action
from orchestra_router.policy.rules.pii import given_rules
from worlds import ask

SSN = "536-90-4399"
CARD = "4111111111111111"


async def told(*pieces: str, prompt: str = "Hello there.", action: Action = "redact") -> list[str]:
    """What is said of an answer that comes in `pieces`, each of them long enough after the last."""
    heard: list[str] = []

    async def hear(message: str) -> None:
        heard.append(message.partition(": ")[2])

    clock = FakeClock()
    guardrails = Guardrails(given_rules(ssn=action, credit_card=action))
    growth = Growth(hear, guardrails, guardrails.check_prompt(ask(prompt)), clock)
    for piece in pieces:
        await growth.add(piece)
        clock.advance(EVERY_S)
    return heard


@pytest.mark.parametrize("action", ["redact", "block"])
@pytest.mark.parametrize("number", [SSN, CARD])
async def test_the_beginning_of_a_number_is_never_told(action: Action, number: str) -> None:
    heard = await told("This is the number for you: ", *number, " as you", " know very well.", action=action)

    assert not any(character in message for message in heard for character in number)
    assert heard[0] == "This is the"
    assert heard[-1].endswith("redacted] as you" if action == "redact" else "This is the number")


async def test_a_number_that_turns_out_harmless_is_told_with_what_follows() -> None:
    heard = await told("I think there are 12", "3 of", " them in all, as far", " as I know today.")

    assert heard == [
        "I think",
        "I think there",
        "I think there are 123 of them in",
        "I think there are 123 of them in all, as far as",
    ]


async def test_once_something_was_refused_nothing_more_is_told() -> None:
    heard = await told("One or two or three more. ", f"It is {SSN}. ", *["More words. "] * 300, action="block")

    assert set(heard) == {"One or two"}
    assert len(heard) < 5


async def test_the_callers_own_number_is_told_as_it_is() -> None:
    heard = await told("You are [SSN_1], ", "and Bob is 219-09-9999, I am afraid to say.", prompt=f"I am {SSN}")

    assert heard[-1] == f"You are {SSN}, and Bob is [SSN redacted], I am"


async def test_a_number_that_lies_across_what_was_looked_at_before_is_found() -> None:
    heard = await told("word " * 900, SSN[:5], SSN[5:], " is it", " and " * 900)

    assert heard[-1].count("and") > 30
    assert SSN[:5] not in " ".join(heard)


async def test_the_characters_of_the_whole_answer_are_counted() -> None:
    counts: list[str] = []

    async def hear(message: str) -> None:
        counts.append(message.partition(" ")[0])

    clock = FakeClock()
    guardrails = Guardrails(())
    growth = Growth(hear, guardrails, guardrails.check_prompt(ask()), clock)
    for _ in range(3):
        await growth.add("x" * 4_000)
        clock.advance(EVERY_S)

    assert counts == ["4,000", "8,000", "12,000"]


async def test_a_long_answer_is_looked_at_once_and_not_again_with_every_piece() -> None:
    began = time.process_time()

    heard = await told(*["lorem ipsum dolor 12 " * 100] * 1_000)

    assert len(heard) == 1_000
    assert time.process_time() - began < 10  # it takes 0.3 s; all of it again with every piece, a minute
