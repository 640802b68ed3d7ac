"""Which process holds money, and whether it still lives."""

import functools
import os
import platform
import secrets

_LIFE = secrets.token_hex(8)
"""Tells this process from an earlier one of the same number: in a container, every one is number 1."""


def this_process() -> str:
    """What is written on this process's holds: "<pid>/<life>/<where that pid means something>"."""
    return f"{os.getpid()}/{_LIFE}/{_place()}"


def has_died(owner: str) -> bool:
    """Surely dead. False in doubt: after that, only the hold's expiry counts."""
    pid, life, place = owner.split("/", 2)
    # On Windows os.kill ends the process, whatever the signal. Elsewhere, another container's pid means nothing here.
    if os.name == "nt" or place != _place():
        return False
    if int(pid) == os.getpid():
        return life != _LIFE
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, and so alive
        return False
    return False


@functools.cache
def _place() -> str:
    """The machine, and on Linux the PID namespace: containers that share a file do not share their numbers."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - /proc is no path of the user's
    except OSError:
        namespace = 0
    return f"{platform.node()}/{namespace}"
