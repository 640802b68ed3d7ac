"""A server keeps full collections short; a program that uses the router as a library keeps its collector to itself."""

import subprocess
import sys

import pytest

LOADED = """
import gc, sys
from orchestra_router import garbage
if sys.argv[1] == "server":
    garbage.own_process()
import orchestra_router.router
garbage.loaded()
looked_at = len(gc.get_objects())
print(looked_at)
"""


@pytest.mark.parametrize(("kind", "is_spared"), [("server", True), ("library", False)])
def test_what_is_loaded_is_looked_at_again_only_in_somebody_elses_process(kind: str, is_spared: bool) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, kind], capture_output=True, text=True, check=True)

    looked_at = int(done.stdout)
    assert looked_at < 1_000 if is_spared else looked_at > 10_000
