"""One process of several on a database: says "ready", waits to be let go, does its part, says what came of it.

store_process.py open PATH                    open it
store_process.py hold PATH NAME COUNT         hold `ledgers.DAY` COUNT times, 100 each; say how many succeeded
store_process.py hang PATH                    hold once, then stay until killed
"""

import sys
from pathlib import Path

import anyio

from ledgers import DAY, a_hold
from orchestra_router.clock import SystemClock
from orchestra_router.store.db import SqliteStore


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(part: str, path: Path, *rest: str) -> None:
    say("ready")
    sys.stdin.readline()
    store = await SqliteStore.open(path, clock=SystemClock())
    if part == "open":
        say("opened")
    elif part == "hold":
        name, count = rest
        denials = [await store.hold(a_hold(f"{name}-{number}"), [DAY]) for number in range(int(count))]
        say(str(denials.count(None)))
    elif part == "hang":
        await store.hold(a_hold(), [DAY])
        say("held")
        sys.stdin.readline()
    await store.close()


anyio.run(main, sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
