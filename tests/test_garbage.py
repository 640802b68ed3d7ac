"""A server collects garbage and switches threads in short turns; where the router is a library, its host decides."""

import subprocess
import sys

import pytest

SWITCHING = """
import sys
from orchestra_router import garbage
if sys.argv[1] == "server":
    garbage.own_process()
print(sys.getswitchinterval())
"""
LOADED = """
import gc, sys
from orchestra_router import garbage
if sys.argv[1] == "server":
    garbage.own_process()
with garbage.loading():
    import orchestra_router.router
    collects = gc.isenabled()
print(len(gc.get_objects()), collects, gc.isenabled())
"""


@pytest.mark.parametrize(("kind", "is_spared"), [("server", True), ("library", False)])
def test_what_is_loaded_is_looked_at_again_only_in_somebody_elses_process(kind: str, is_spared: bool) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, kind], capture_output=True, text=True, check=True)

    looked_at, collected_meanwhile, collects_again = done.stdout.split()
    assert int(looked_at) < 1_000 if is_spared else int(looked_at) > 10_000
    assert collected_meanwhile == str(not is_spared)
    assert collects_again == "True"


@pytest.mark.parametrize(("kind", "seconds"), [("server", 0.001), ("library", 0.005)])
def test_no_thread_of_a_server_keeps_its_event_loop_waiting_for_long(kind: str, seconds: float) -> None:
    done = subprocess.run([sys.executable, "-c", SWITCHING, kind], capture_output=True, text=True, check=True)

    assert float(done.stdout) == pytest.approx(seconds)
