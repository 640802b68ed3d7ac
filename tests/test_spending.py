"""A budget that several processes spend at the same moment: all of it, and not a billionth more."""

import sys
from pathlib import Path

import pytest

from spending import Round, run
from spending_process import COST_NUSD


def check_books(found: Round) -> None:
    assert found.spent_nusd == found.sum_of_rows_nusd <= found.budget_nusd
    assert found.held_nusd == found.states["held"] == 0
    # Every answer that was handed over is in the ledger once: at what it cost, or at its worst case where the process was
    # killed before it had written that.
    for request_id in found.ok:
        counted = found.settled.get(request_id, []) + found.uncertain.get(request_id, [])
        assert counted == ([COST_NUSD] if request_id in found.settled else [found.worst_nusd])


async def test_a_thousand_calls_from_four_processes_use_a_budget_up_and_do_not_pass_it(tmp_path: Path) -> None:
    found = await run(tmp_path / "home", fit=600, processes=4, calls=250)

    check_books(found)
    assert (len(found.ok), len(found.refused)) == (600, 400)
    assert found.states == {"settled": 600}
    assert found.spent_nusd == 600 * COST_NUSD


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
async def test_processes_killed_in_the_middle_lose_nothing_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    found = await run(tmp_path / "home", fit=50, processes=3, calls=30, kill=2, seed=7)

    check_books(found)
    assert all(costs == [found.worst_nusd] for costs in found.uncertain.values())
    assert not found.settled.keys() & found.uncertain.keys()
    assert found.spent_nusd == len(found.settled) * COST_NUSD + len(found.uncertain) * found.worst_nusd
    # Whoever was refused was refused for want of money.
    assert not found.refused or found.spent_nusd + found.worst_nusd > found.budget_nusd
