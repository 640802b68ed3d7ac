"""What is slow the first time holds up nobody else."""

import re
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestra_router.once import Once
from orchestra_router.policy.cache import eligibility, stage
from orchestra_router.policy.classification import classifier
from orchestra_router.policy.rules import profanity
from orchestra_router.providers import registry
from worlds import ask, open_world

MANY_CHARACTERS = 300
"""Of an expression that takes a millisecond to compile."""


async def test_it_is_done_once_for_all_who_come_at_the_same_time() -> None:
    done_on: list[int] = []
    once = Once(lambda: done_on.append(threading.get_ident()))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(once.done)

    assert once.is_done
    assert len(done_on) == 1
    assert done_on != [threading.get_ident()]


async def test_a_failure_is_told_and_tried_again() -> None:
    tries = iter([ZeroDivisionError, None])

    def work() -> None:
        if error := next(tries):
            raise error

    once = Once(work)
    with pytest.raises(ZeroDivisionError):
        await once.done()
    await once.done()

    assert once.is_done


@pytest.mark.parametrize("prompt", ["What is a monad?", "What the f*ck is a monad?"])
async def test_no_long_expression_is_compiled_on_the_event_loops_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str
) -> None:
    compiled: list[tuple[int, str]] = []
    real = re.compile

    def compiling(pattern: Any, flags: Any = 0) -> Any:
        compiled.append((threading.get_ident(), str(pattern)))
        return real(pattern, flags)

    async with open_world(tmp_path, cache="semantic") as world:
        for cached in (eligibility._time_words, profanity._pattern):  # pyright: ignore[reportPrivateUsage]
            cached.cache_clear()
        monkeypatch.setattr(re, "compile", compiling)

        await world.router.complete(ask(prompt))

    long = {thread for thread, pattern in compiled if len(pattern) > MANY_CHARACTERS}
    assert long
    assert threading.get_ident() not in long


async def test_what_tells_a_task_by_its_meaning_is_not_loaded_on_the_event_loops_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_on: list[int] = []
    real = classifier._model  # pyright: ignore[reportPrivateUsage]

    def load(name: str) -> Any:
        loaded_on.append(threading.get_ident())
        return real(name)

    for cached in (classifier.rules, classifier.rules_and_meaning):
        cached.cache_clear()
    monkeypatch.setattr(classifier, "_model", load)
    async with open_world(tmp_path, cache="semantic") as world:
        await world.router.complete(ask("My flatmate never washes up, and I am fed up with it."))

    assert len(loaded_on) == 2
    assert threading.get_ident() not in loaded_on


@pytest.mark.parametrize("what", ["the swear words", "a wire format", "the form of cached answers"])
async def test_what_the_first_request_needs_is_loaded_on_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    module, name = {
        "the swear words": (profanity, "_table"),
        "a wire format": (registry, "adapter"),
        "the form of cached answers": (stage, "TypeAdapter"),
    }[what]
    loaded_on: list[int] = []
    real = getattr(module, name)

    def load(*given: Any) -> Any:
        loaded_on.append(threading.get_ident())
        return real(*given)

    profanity._known.cache_clear()  # pyright: ignore[reportPrivateUsage]
    stage._stored.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(module, name, load)
    async with open_world(tmp_path) as world:
        await world.router.complete(ask())

    assert loaded_on
    assert loaded_on[0] != threading.get_ident()
