"""A budget for exactly 600 calls, spent by 4 processes of 250 concurrent calls each; then the same with killed ones.

    PYTHONPATH=tests uv run python tests/benchmarks/exact_budget.py [ROUNDS]

Ends with 1 at the first round whose books are not exact. Takes some 10 s a round on two cores.
"""

import sys
import tempfile
import time
from pathlib import Path

import anyio

from spending import run
from test_spending import check_books


async def main(rounds: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, rounds + 1):
            for kill in (0, 2):
                home = Path(folder) / f"{number}-{kill}"
                await anyio.Path(home).mkdir()
                started = time.perf_counter()
                found = await run(home, fit=600, processes=4, calls=250, kill=kill, seed=number)
                print(
                    f"round {number:2}, {kill} killed: {len(found.ok)} answered, {len(found.refused)} refused,"
                    f" {dict(found.states)}, {found.spent_nusd} of {found.budget_nusd} spent, {found.held_nusd} held,"
                    f" {time.perf_counter() - started:.1f} s",
                    flush=True,
                )
                check_books(found)
                if kill == 0 and (len(found.ok), len(found.refused)) != (600, 400):
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 20))
