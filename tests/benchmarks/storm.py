"""Thousands of requests through bad weather at eight providers: how many are answered, at what price.

    PYTHONPATH=tests uv run python tests/benchmarks/storm.py [--requests 20000] [--seed 1]

Everything is real but the providers and the time. The same seed gives the same trail.
"""

import argparse
import logging
import tempfile
import time
from functools import partial
from pathlib import Path

import anyio

from storms import storm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.getLogger("orchestra").setLevel(logging.CRITICAL)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = anyio.run(partial(storm, Path(folder), requests=asked.requests, seed=asked.seed))
    print("\n".join(result.lines()))
    print(f"took                {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
