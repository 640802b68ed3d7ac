"""One process of several on a database: says "ready", waits to be let go, does its part, says what came of it.

store_process.py open PATH                    open it
store_process.py hold PATH NAME COUNT         hold `ledgers.DAY` COUNT times, 100 each; say how many succeeded
store_process.py ask PATH NAME COUNT          hold COUNT times with the access key "k"; say how many succeeded
store_process.py hang PATH                    hold once, then stay until killed
store_process.py probe PATH TARGET            try to claim the probe of TARGET, say what came of it, stay until let go
"""

import secrets
import sys
from pathlib import Path

import anyio

from ledgers import DAY, NOW_MS, a_hold
from orchestra_router.clock import SystemClock
from orchestra_router.policy.breaker import Claim, Moment, claimed
from orchestra_router.store.db import SqliteStore
from orchestra_router.store.owner import this_process
from orchestra_router.types import Scope


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
    elif part == "ask":
        name, count = rest
        holds = [a_hold(f"{name}-{n}", request_id=f"{name}-{n}", scope=Scope("k")) for n in range(int(count))]
        refusals = [await store.hold(hold, []) for hold in holds]
        say(str(refusals.count(None)))
    elif part == "hang":
        await store.hold(a_hold(), [DAY])
        say("held")
        sys.stdin.readline()
    elif part == "probe":
        (target,) = rest
        claim = Claim(probe_id=secrets.token_hex(8), process=this_process(), until_ms=NOW_MS + 60_000)
        at = Moment(now_ms=NOW_MS, catalog="")
        rows = await store.change_health((target,), lambda rows, _: claimed(rows.values(), claim, at) or ())
        say("claimed" if rows[target].probe_id == claim.probe_id else "refused")
        sys.stdin.readline()
    await store.close()


anyio.run(main, sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
