"""What whoever runs this can see of it: log lines, metrics, traces. Fed by frozen records of what has happened.

Nothing here holds a prompt, an answer or a key, unless a setting asks for the texts; nothing is sent anywhere unless
another names where to.
"""

from orchestra_router.observe.logs import configure_logging, crash_safely, log_attempt, log_request, logger
from orchestra_router.observe.records import Content, Finished, Observers, Stage, Times

__all__ = [
    "Content",
    "Finished",
    "Observers",
    "Stage",
    "Times",
    "configure_logging",
    "crash_safely",
    "log_attempt",
    "log_request",
    "logger",
]
