"""Ids by lot are never taken for somebody's numbers."""

import secrets
import uuid
from pathlib import Path

import pytest

from orchestra_router import ids
from orchestra_router.errors import GuardrailBlocked
from worlds import ask, open_world


def test_an_id_of_digits_alone_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["4111111111111111", "41111111111111a1"])
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(drawn))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]

    assert ids.drawn() == "41111111111111a1"


@pytest.mark.parametrize("request_id", ["41111111111111a1", str(uuid.UUID(int=0x4111111111111111411111111111111A))])
async def test_what_programs_draw_by_lot_may_name_a_request(request_id: str, tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        assert (await world.router.complete(ask(request_id=request_id))).request_id == request_id


async def test_a_cards_number_may_not(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        with pytest.raises(GuardrailBlocked):
            await world.router.complete(ask(request_id="4111111111111111"))
