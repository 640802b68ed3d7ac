"""What the simulated providers do wrong when told to, seen from the other end of the socket."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from loopback import (
    ANTHROPIC,
    DEEPSEEK,
    DIALECTS,
    OPENAI,
    OPENAI_RESPONSES,
    OPENROUTER,
    PERPLEXITY,
    XAI,
    Dialect,
    Loopback,
    events,
    open_loopback,
)
from orchestra_router.simulation import (
    Cut,
    Drop,
    Endless,
    Hang,
    Raw,
    Reply,
    ServerError,
    StreamError,
    Truncate,
    http,
)
from orchestra_router.simulation.failures import KINDS

SOON_S = 5
"""Long enough for anything on loopback; reached only when a test fails."""


@pytest.fixture
async def loopback() -> AsyncGenerator[Loopback]:
    async with open_loopback() as opened:
        yield opened


def of_dialects(dialects: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("dialect", dialects, ids=str)


async def read_until_broken(loopback: Loopback, request: httpx.Request) -> str:
    """What arrives of a streamed answer before the connection breaks."""
    answer = await loopback.http.send(request, stream=True)
    text = ""
    try:
        async for piece in answer.aiter_text():
            text += piece
    except httpx.RemoteProtocolError:
        return text
    finally:
        await answer.aclose()
    pytest.fail("the stream came to a proper end")


# --- before an answer ---------------------------------------------------------------------------------------


async def test_a_script_is_played_in_order_and_then_answers_are_normal_again(loopback: Loopback) -> None:
    loopback.world["openrouter"].script(Reply(429, headers={"retry-after": "2"}), ServerError(500))

    answers = [await loopback.ask(OPENROUTER) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 500, 200]
    assert answers[0].headers["retry-after"] == "2"
    assert answers[0].json()["error"]["metadata"]["error_type"] == "rate_limit_exceeded"
    assert len(loopback.world["openrouter"].bills) == 1


async def test_a_reply_can_be_any_status_header_and_body(loopback: Loopback) -> None:
    loopback.world["deepseek"].script(Reply(203, headers={"x-odd": "1"}, body={"odd": True}), Reply(body=b""))

    odd = await loopback.ask(DEEPSEEK)
    empty = await loopback.ask(DEEPSEEK)

    assert (odd.status_code, odd.headers["x-odd"], odd.json()) == (203, "1", {"odd": True})
    assert (empty.status_code, empty.content) == (200, b"")


async def test_a_normal_answer_can_carry_other_rate_limit_headers(loopback: Loopback) -> None:
    loopback.world["openai"].script(Reply(headers={"x-ratelimit-remaining-requests": "0"}))

    answer = await loopback.ask(OPENAI)

    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert OPENAI.text(answer.json()).startswith("[simulated")


async def test_an_error_can_be_named_by_its_status_and_code(loopback: Loopback) -> None:
    openai = loopback.world["openai"]
    openai.script(openai.error(429, code="slow_down", headers={"Retry-After": "7"}))

    answer = await loopback.ask(OPENAI)

    assert answer.json()["error"]["code"] == "slow_down"
    assert answer.headers.get_list("retry-after") == ["7"]


@pytest.mark.parametrize("reset", [False, True])
async def test_a_dropped_connection_is_dropped_without_a_byte(loopback: Loopback, reset: bool) -> None:
    loopback.world["openai"].script(Drop(reset=reset))

    with pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError):
        await loopback.ask(OPENAI)

    assert loopback.world.billed_nusd == 0


async def test_bytes_that_are_not_http_go_out_as_they_are(loopback: Loopback) -> None:
    loopback.world["openai"].script(Raw(b"220 smtp.example.com ESMTP\r\n\r\n"))

    with pytest.raises(httpx.RemoteProtocolError, match="illegal status line"):
        await loopback.ask(OPENAI)


async def test_a_body_past_the_limit_is_not_read_to_its_end(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 1000)

    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        await loopback.ask(OPENAI, "word " * 1000)

    assert not loopback.world["openai"].received


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_failure_has_every_providers_own_shape(loopback: Loopback, kind: Any) -> None:
    for dialect in DIALECTS:
        provider = loopback.world[dialect.provider]
        provider.script(provider.failure(kind))

        answer = await loopback.ask(dialect)

        assert answer.status_code >= 400
        assert set(answer.json()) & {"error", "code", "type"}
    assert loopback.world.billed_nusd == 0


# --- hanging ------------------------------------------------------------------------------------------------


async def test_a_request_hangs_until_it_is_released(loopback: Loopback) -> None:
    hang = Hang()
    loopback.world["xai"].script(hang)
    asking = asyncio.create_task(loopback.ask(XAI))
    await asyncio.wait_for(hang.reached.wait(), SOON_S)

    hung = not asking.done()
    hang.release()
    answer = await asking

    assert hung
    assert answer.status_code == 200


async def test_a_client_that_leaves_a_hanging_request_is_noticed_and_not_billed(loopback: Loopback) -> None:
    hang = Hang()
    loopback.world["xai"].script(hang)
    asking = asyncio.create_task(loopback.ask(XAI))
    await asyncio.wait_for(hang.reached.wait(), SOON_S)

    asking.cancel()
    received = loopback.world["xai"].received[-1]
    await asyncio.wait_for(received.done.wait(), SOON_S)

    assert received.client_left
    assert loopback.world.billed_nusd == 0


async def test_requests_are_answered_side_by_side(loopback: Loopback) -> None:
    hangs = [Hang(), Hang(), Hang()]
    deepseek = loopback.world["deepseek"]
    deepseek.script(*hangs)
    asking = [asyncio.create_task(loopback.ask(DEEPSEEK)) for _ in hangs]
    await asyncio.wait_for(asyncio.gather(*(hang.reached.wait() for hang in hangs)), SOON_S)

    in_flight = deepseek.in_flight
    for hang in reversed(hangs):
        hang.release()
    await asyncio.gather(*asking)

    assert (in_flight, deepseek.most_in_flight, deepseek.in_flight) == (3, 3, 0)


async def test_the_world_ends_although_requests_hang() -> None:
    hang = Hang()
    async with httpx.AsyncClient(trust_env=False) as client:
        async with open_loopback() as loopback:
            loopback.world["openai"].script(hang)
            asking = asyncio.create_task(client.send(loopback.request(OPENAI)))
            await asyncio.wait_for(hang.reached.wait(), SOON_S)

        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            await asking


async def test_an_answer_takes_as_long_as_it_is_told_to(loopback: Loopback) -> None:
    loopback.world["ollama"].latency_s = 0.05
    started = asyncio.get_running_loop().time()

    dialect = next(dialect for dialect in DIALECTS if dialect.provider == "ollama")
    await loopback.ask(dialect)

    assert asyncio.get_running_loop().time() - started >= 0.05


# --- in the middle of an answer -----------------------------------------------------------------------------


@of_dialects(DIALECTS)
async def test_a_stream_is_cut_after_the_pieces_it_was_told(loopback: Loopback, dialect: Dialect) -> None:
    loopback.world[dialect.provider].script(Cut(after_events=2))

    text = await read_until_broken(loopback, loopback.request(dialect, "Write at length.", stream=True))

    assert dialect.stream_text(text) == f"[simulated {dialect.model}] Point 1: a long"[:24]


@of_dialects(DIALECTS)
async def test_a_stream_can_end_properly_without_its_last_event(loopback: Loopback, dialect: Dialect) -> None:
    loopback.world[dialect.provider].script(Cut(after_events=9_999, cleanly=True))

    answer = await loopback.ask(dialect, stream=True)

    whole = await loopback.ask(dialect, stream=True)
    assert dialect.stream_text(answer.text) == dialect.stream_text(whole.text)
    assert len(events(answer.text)) < len(events(whole.text))
    assert "[DONE]" not in answer.text


@of_dialects(DIALECTS)
@pytest.mark.parametrize("after", [0, 1])
async def test_an_error_inside_a_stream_comes_after_200_in_the_providers_own_shape(
    loopback: Loopback, dialect: Dialect, after: int
) -> None:
    loopback.world[dialect.provider].script(StreamError(after_events=after, kind="overloaded"))

    answer = await loopback.ask(dialect, stream=True)

    last = events(answer.text)[-1]
    assert answer.status_code == 200
    assert len(dialect.stream_text(answer.text.rpartition("\ndata: ")[0])) == 12 * after
    if dialect is PERPLEXITY:
        assert last["type"] == "response.failed"
    elif dialect.name.endswith("responses"):
        assert last["type"] == "error"
        assert "message" in last
    else:
        assert last["error"]


async def test_openrouter_says_in_a_choice_too_that_the_stream_failed(loopback: Loopback) -> None:
    loopback.world["openrouter"].script(StreamError(after_events=1))

    answer = await loopback.ask(OPENROUTER, stream=True)

    last = events(answer.text)[-1]
    assert last["choices"][0]["finish_reason"] == "error"
    assert last["error"]["code"] == 502


@of_dialects(DIALECTS)
async def test_a_plain_answer_can_be_an_error_under_200(loopback: Loopback, dialect: Dialect) -> None:
    loopback.world[dialect.provider].script(StreamError())

    answer = await loopback.ask(dialect)

    assert answer.status_code == 200
    assert answer.json()["error"]
    assert loopback.world.billed_nusd == 0
    if dialect in {PERPLEXITY, OPENAI_RESPONSES}:
        assert answer.json()["status"] == "failed"


@pytest.mark.parametrize("step", [Truncate(keep_bytes=30), Cut()], ids=["truncate", "cut"])
async def test_a_plain_answer_stops_short_of_its_announced_length(loopback: Loopback, step: Truncate | Cut) -> None:
    loopback.world["anthropic"].script(step)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        await loopback.ask(ANTHROPIC)

    assert loopback.world["anthropic"].bills[-1].whole is False
    assert loopback.world.billed_nusd > 0


@of_dialects([OPENROUTER, ANTHROPIC, PERPLEXITY])
async def test_a_stream_without_end_ends_when_the_client_leaves(loopback: Loopback, dialect: Dialect) -> None:
    provider = loopback.world[dialect.provider]
    provider.script(Endless())
    answer = await loopback.http.send(loopback.request(dialect, stream=True), stream=True)

    seen = 0
    async for piece in answer.aiter_bytes():
        seen += len(piece)
        if seen > 100_000:
            break
    await answer.aclose()
    await asyncio.wait_for(provider.received[-1].done.wait(), SOON_S)

    assert provider.received[-1].client_left
    assert provider.bills[-1].whole is False
    assert provider.bills[-1].tokens.visible > 100


# --- what a broken answer costs -----------------------------------------------------------------------------


@of_dialects(DIALECTS)
async def test_a_stream_that_breaks_off_is_billed_for_what_was_produced(loopback: Loopback, dialect: Dialect) -> None:
    provider = loopback.world[dialect.provider]
    provider.script(StreamError(after_events=3))

    await loopback.ask(dialect, stream=True)
    await loopback.ask(dialect, stream=True)

    broken, whole = provider.bills
    assert broken.tokens.visible == 9
    assert (broken.whole, whole.whole) == (False, True)
    assert broken.tokens.input == whole.tokens.input
    assert broken.nusd < whole.nusd or dialect.provider == "ollama"


async def test_a_stream_that_breaks_before_anything_was_produced_is_free(loopback: Loopback) -> None:
    loopback.world["together"].script(StreamError(), Cut())
    dialect = next(dialect for dialect in DIALECTS if dialect.provider == "together")

    await loopback.ask(dialect, stream=True)
    await read_until_broken(loopback, loopback.request(dialect, stream=True))

    assert loopback.world.billed_nusd == 0
