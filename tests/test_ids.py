"""Ids by lot are never taken for somebody's numbers."""

import multiprocessing
import os
import uuid
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestra_router import ids
from orchestra_router.errors import GuardrailBlocked
from worlds import ask, open_world


def test_an_id_of_digits_alone_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lots = "4111111111111111" + "41111111111111a1" * (ids.AT_ONCE - 1)
    monkeypatch.setattr(os, "urandom", lambda _: bytes.fromhex(lots))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(ids, "_lots", deque[str]())

    assert ids.drawn() == "41111111111111a1"
    assert ids.drawn(ids.TRACE_BYTES) == "41111111111111a1" * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")
def test_no_id_is_drawn_twice_by_threads_and_forked_processes() -> None:
    ids.drawn()  # some are left to be drawn
    context = multiprocessing.get_context("fork")
    with ThreadPoolExecutor(4) as threads, context.Pool(2) as processes:
        drawn = [*threads.map(ids.drawn, [ids.REQUEST_BYTES] * 500), *processes.map(ids.drawn, [ids.TRACE_BYTES] * 500)]

    lots = [digits[at : at + 16] for digits in drawn for at in range(0, len(digits), 16)]
    assert len(set(lots)) == len(lots)


@pytest.mark.parametrize("request_id", ["41111111111111a1", str(uuid.UUID(int=0x4111111111111111411111111111111A))])
async def test_what_programs_draw_by_lot_may_name_a_request(request_id: str, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        assert (await world.router.complete(ask(request_id=request_id))).request_id == request_id


async def test_a_cards_number_may_not(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(GuardrailBlocked):
            await world.router.complete(ask(request_id="4111111111111111"))
