"""One of several processes that spend one budget: whole requests, with a simulated provider in the same process.

    spending_process.py HOME NAME CALLS

Says "ready", waits to be let go, then says what became of each call as soon as it is known: "ok REQUEST", or
"refused REQUEST" when money that is in flight elsewhere would not help either. "done" is last. May be killed any time.
"""

import sys
from pathlib import Path

import anyio

from orchestra_router.clock import SystemClock
from orchestra_router.config import load
from orchestra_router.errors import BudgetExceeded
from orchestra_router.price_lists import warm
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import Reply, simulated_config, simulated_world
from worlds import ask

COST_NUSD = 300_000
"""What each call turns out to cost: less than is held for it."""
PROMPT = "How much is this?"
PROVIDER, MODEL, MAX_TOKENS = "openrouter", "gpt-6-luna", 1_000


def answer() -> Reply:
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10, "cost": COST_NUSD / 1e9}
    return Reply(200, body={"choices": [{"finish_reason": "stop", "message": {"content": "Much."}}], "usage": usage})


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def spend(router: Router, request_id: str) -> None:
    request = ask(
        PROMPT,
        provider=PROVIDER,
        model=MODEL,
        fallback_providers=(),
        max_retries=0,
        max_tokens=MAX_TOKENS,
        cache="off",
        request_id=request_id,
    )
    while True:
        try:
            await router.complete(request)
        except BudgetExceeded as error:
            if not error.in_flight:
                say(f"refused {request_id}")
                return
        else:
            say(f"ok {request_id}")
            return


async def main(home: Path, name: str, calls: int) -> None:
    warm()
    async with simulated_world() as providers:
        (home / f"{name}.toml").write_text(simulated_config(providers), encoding="utf-8")
        environ = {"ORCHESTRA_HOME": str(home), "OPENROUTER_API_KEY": providers.keys["OPENROUTER_API_KEY"]}
        budget = (home / "budget").read_text(encoding="utf-8")
        config = load(environ | {"ORCHESTRA_BUDGET_DAY_USD": budget}, path=home / f"{name}.toml")
        async with open_router(config, clock=SystemClock()) as router:
            providers[PROVIDER].script(*[answer()] * calls)
            say("ready")
            await anyio.to_thread.run_sync(sys.stdin.readline)
            async with anyio.create_task_group() as group:
                for number in range(calls):
                    group.start_soon(spend, router, f"{name}-{number}")
    say("done")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
