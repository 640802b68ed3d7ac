"""Nobody is served what was answered to somebody else, or to another request; by any process on the file."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from clocks import FakeClock
from mcp_wire import command, environment, serving
from orchestra_router.config import load
from orchestra_router.policy.cache.stage import Cache, Cached, Look
from orchestra_router.router import Router, open_router
from orchestra_router.simulation import simulated_config, simulated_world
from orchestra_router.store.cache_records import CacheQuestion
from orchestra_router.types import Answer, CompletionRequest, Message, Scope, Text
from worlds import ask

FIRST = "How do I reset my router password?"
SAME = "How can I reset the password of my router?"
NOW_MS = FakeClock().ms

Change = Callable[[CompletionRequest], CompletionRequest]

# --- one field of the partition --------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "task": st.sampled_from(["general_chat", "coding", "complex_reasoning"]),
    "provider": st.sampled_from([None, "openai", "xai"]),
    "model": st.one_of(st.none(), TEXT),
    "fallback_providers": st.sampled_from([None, (), ("xai",), ("openai", "xai")]),
    "strategy": st.sampled_from([None, "task", "cheapest", "escalate"]),
    "max_tokens": st.integers(1, 9),
    "temperature": st.sampled_from([None, 0.0]),
    "top_p": st.sampled_from([None, 0.1, 0.5]),
    "stop": st.lists(TEXT, max_size=2).map(tuple),
    "response_schema": st.one_of(st.none(), st.fixed_dictionaries({"type": st.sampled_from(["object", "array"])})),
    "effort": st.sampled_from([None, "low", "high"]),
    "strict_params": st.booleans(),
    "accept": st.one_of(st.none(), TEXT),
    "scope": st.builds(Scope, access_key=TEXT, user=TEXT, session=TEXT),
    "namespace": TEXT,
    "system": TEXT,
    "earlier": st.lists(TEXT, min_size=1, max_size=2),
}


def with_fields(prompt: str, fields: dict[str, Any]) -> CompletionRequest:
    plain = {name: value for name, value in fields.items() if name not in {"namespace", "system", "earlier"}}
    earlier = [Message(role, (Text(text),)) for text in fields["earlier"] for role in ("user", "assistant")]
    messages = (Message("system", (Text(fields["system"]),)), *earlier, *ask(prompt).messages)
    return CompletionRequest(messages=messages, metadata={"cache_namespace": fields["namespace"]}, **plain)


@st.composite
def pairs_that_differ_in_one_field(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], str]:
    fields = {name: draw(strategy) for name, strategy in FIELDS.items()}
    name = draw(st.sampled_from(sorted(FIELDS)))
    other = draw(FIELDS[name].filter(lambda value: value != fields[name]))
    return fields, fields | {name: other}, name


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="module")
def router(portal: BlockingPortal) -> Iterator[Router]:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        config = load(
            {"ORCHESTRA_HOME": folder, "ORCHESTRA_CACHE_THRESHOLD": "0.5", "ORCHESTRA_CACHE_GUARD_LEVEL": "1"}
        )
        yield stack.enter_context(portal.wrap_async_context_manager(open_router(config, clock=FakeClock())))


async def kept_then_looked_up(router: Router, kept: CompletionRequest, asked: CompletionRequest) -> Look:
    """What a look for `asked` finds when `kept` was answered, and nothing else."""
    await router.store.drop_cached()
    cache = router.cache
    await keep(cache, kept)
    return await cache.look(cache.question(asked), asked, now_ms=NOW_MS)


async def keep(cache: Cache, request: CompletionRequest) -> None:
    question = cache.question(request)
    await cache.look(question, request, now_ms=NOW_MS)
    cached = Cached(answer=Answer(text="an answer"), provider="p", model="m", reason="r")
    cache.keep(question, cached, request, cost_nusd=1, now_ms=NOW_MS)
    await cache.settled()


@settings(max_examples=60, deadline=None)
@given(pair=pairs_that_differ_in_one_field(), prompt=st.sampled_from([FIRST, SAME]))
def test_requests_that_differ_in_any_one_field_of_the_partition_never_share_an_answer(
    portal: BlockingPortal, router: Router, pair: tuple[dict[str, Any], dict[str, Any], str], prompt: str
) -> None:
    kept, asked, _ = pair

    look = portal.call(kept_then_looked_up, router, with_fields(FIRST, kept), with_fields(prompt, asked))

    assert look.hit is None
    assert (look.status, look.reason) == ("MISS", "nothing comparable is kept")


@settings(max_examples=20, deadline=None)
@given(pair=pairs_that_differ_in_one_field(), prompt=st.sampled_from([FIRST, SAME]))
def test_requests_that_do_not_differ_do(
    portal: BlockingPortal, router: Router, pair: tuple[dict[str, Any], dict[str, Any], str], prompt: str
) -> None:
    fields, _, _ = pair

    look = portal.call(kept_then_looked_up, router, with_fields(FIRST, fields), with_fields(prompt, fields))

    assert look.hit is not None


def test_another_scopes_answers_cost_a_look_no_time(portal: BlockingPortal, router: Router) -> None:
    """However much others keep, nothing of it is read, compared or embedded."""

    async def compared() -> tuple[bool, int, int, int]:
        await router.store.drop_cached()
        for number in range(30):
            await keep(router.cache, replace(ask(FIRST), scope=Scope("key", f"user {number}")))
        mine = replace(ask(SAME), scope=Scope("key", "me"))
        asked = router.cache.question(mine)
        assert asked.comparable is not None
        glance = CacheQuestion("key", asked.comparable.rough, asked.comparable.figures)
        found = await router.store.looked_up(glance, now_ms=NOW_MS)
        wanted = router.cache.semantics.wanted(asked.comparable, asked.who)
        findings = await router.store.on_shelf(wanted, now_ms=NOW_MS)
        return found.comparable, len(findings.vectors), len(findings.unembedded), len(findings.unread)

    assert portal.call(compared) == (False, 0, 0, 0)


# --- several processes -----------------------------------------------------------------------------------------


async def test_what_one_process_keeps_another_serves_and_what_one_deletes_no_other_does(tmp_path: Path) -> None:
    async with simulated_world() as providers:
        (tmp_path / "orchestra.toml").write_text(simulated_config(providers), encoding="utf-8")
        environ = environment(tmp_path, **providers.keys)
        async with serving(environ) as one, serving(environ) as other:
            await one.handshake()
            await other.handshake()

            async def ask_in(wire: Any, prompt: str, **more: Any) -> dict[str, Any]:
                answer = await wire.answer(
                    await wire.call("complete", {"prompt": prompt, "task": "general_chat"} | more)
                )
                return answer["result"]["structuredContent"]

            first = await ask_in(one, FIRST)
            again_in_one = await ask_in(one, FIRST)
            second = await ask_in(other, SAME)
            back = await ask_in(one, SAME)
            await anyio.to_thread.run_sync(delete, environ, second["cache_entry"])
            after = [await ask_in(wire, SAME, cache="off") for wire in (one, other)]
            gone = await ask_in(one, SAME)
            kept = await ask_in(one, SAME)  # by then it is written, too
            again = await ask_in(other, FIRST)

    assert [answer["cache"] for answer in (first, again_in_one)] == ["MISS", "HIT"]
    assert [answer["cache"] for answer in (second, back)] == ["SEMANTIC HIT", "SEMANTIC HIT"]
    assert second["text"] == first["text"]
    assert [answer["cache"] for answer in after] == ["DISABLED"] * 2
    assert gone["cache"] in {"MISS", "SEMANTIC MISS"}
    assert kept["cache"] == "HIT"
    assert again["cache"] == "SEMANTIC HIT"


def delete(environ: dict[str, str], entry_id: str) -> None:
    done = subprocess.run(
        command("cache", "delete", entry_id, "--json"), env=environ, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["deleted"] == 1
