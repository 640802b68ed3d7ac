"""Spares the garbage collector what is there to stay.

A full collection looks at every object of the process, a hundred thousand modules' worth here, and stops every call for
tens of milliseconds while it does. What stays until the process ends need not be looked at again.
"""

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager

SWITCH_S = 0.001
"""How long a thread may keep the interpreter while the event loop's waits for it; Python's own is five times that."""
_owned = False


def own_process() -> None:
    """Say that the process is a server and nothing else: where the router is a library, its host decides.

    Threads take shorter turns then, too.
    """
    global _owned  # noqa: PLW0603 - there is one collector in a process
    _owned = True
    sys.setswitchinterval(SWITCH_S)


def loaded() -> None:
    """To be called when much has been loaded that stays."""
    if _owned:
        gc.freeze()


@contextmanager
def loading() -> Generator[None]:
    """Around whatever loads much that stays. A collection in the middle of it would look at all that is there."""
    if not _owned:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        loaded()
        gc.enable()
