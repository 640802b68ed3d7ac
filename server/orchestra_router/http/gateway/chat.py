"""POST /v1/chat/completions: the request is the router's, the answer OpenAI's, whole or as it grows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestra_router import ids
from orchestra_router.errors import InvalidRequest, RouterError
from orchestra_router.http.endpoint import Endpoint, caller_of, router_of, service_of, trace_of
from orchestra_router.http.gateway import answer, asked
from orchestra_router.http.gateway.answer import Chunks
from orchestra_router.http.gateway.chat_request import ChatRequest, Part
from orchestra_router.http.gateway.shapes import ChatAnswer
from orchestra_router.http.gateway.states import States
from orchestra_router.http.refusals import JsonAnswer, refused
from orchestra_router.policy.access import Caller
from orchestra_router.policy.progress import OnText
from orchestra_router.router import Router
from orchestra_router.types import Completion, CompletionRequest, changed
from orchestra_router.types import Scope as Who

logger = logging.getLogger("orchestra.http")

T = TypeVar("T")

HEARTBEAT_S = 10.0
"""After so long without anything to say a stream says that it is alive: some proxies close what is silent."""
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Chat:
    def __init__(self) -> None:
        self._states = States()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                "/v1/chat/completions",
                ("POST",),
                "complete",
                self.complete,
                summary="An answer in OpenAI's shape, whole or streamed.",
                body=ChatRequest,
                uses=(Part,),
                answer=ChatAnswer,
                streams=True,
            ),
        )

    async def complete(self, request: Request) -> ASGIApp:
        body = await request.body()
        chat = await asked.read(body)
        router, service = await router_of(request), service_of(request)
        caller = _for_whom(chat, caller_of(request))
        wanted = changed(
            await asked.meant(chat, body, router.config, self._states, caller.scope),
            request_id=ids.drawn(),
            trace_id=trace_of(request),
        )
        created_s = service.clock.now_ms() // 1000
        telling = _Telling(chat, wanted, created_s, service.notice, self._states, caller.scope)
        if chat.stream:
            return _Streamed(telling, lambda on_text: router.complete(wanted, caller=caller, on_text=on_text))
        return await _whole(telling, router, caller, request.receive)


def _for_whom(chat: ChatRequest, caller: Caller) -> Caller:
    """OpenAI's `user` counts where the key and the headers name nobody. It may hold anything, so what is no name is left."""
    if not chat.user or caller.scope.user:
        return caller
    try:
        return caller.speaking_for(user=chat.user, session=caller.scope.session)
    except InvalidRequest:
        return caller


@dataclass(frozen=True, slots=True)
class _Telling:
    """How one answer is told."""

    chat: ChatRequest
    request: CompletionRequest
    created_s: int
    notice: str
    states: States
    who: Who

    @property
    def one_call(self) -> bool:
        return self.chat.parallel_tool_calls is False


async def _whole(telling: _Telling, router: Router, caller: Caller, receive: Receive) -> ASGIApp:
    completion = await _unless_gone(receive, lambda: router.complete(telling.request, caller=caller))
    if completion is None:
        raise ClientDisconnect
    telling.states.keep(telling.who, completion.answer)
    body = answer.whole(completion, created_s=telling.created_s, notice=telling.notice, one_call=telling.one_call)
    return JsonAnswer(body, headers=answer.headers(completion))


class _Streamed:
    """Sends an answer while it grows. Until there is something to send, a failure is an ordinary error."""

    def __init__(self, telling: _Telling, ask: Callable[[OnText], Awaitable[Completion]]) -> None:
        self._telling = telling
        self._ask = ask
        self._chunks = Chunks(
            telling.request.request_id,
            telling.chat.model,
            created_s=telling.created_s,
            with_usage=telling.chat.stream_options is not None and telling.chat.stream_options.include_usage,
        )
        self._started = False
        self._opened = False
        self._said_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        self._send = send
        beating = asyncio.create_task(self._beat())
        try:
            await _unless_gone(receive, self._tell)
        finally:
            beating.cancel()

    async def _tell(self) -> None:
        try:
            completion = await self._ask(self._text)
        except RouterError as error:
            if not self._started:
                raise
            await self._body(answer.error_event(refused(error).body), last=True)
            return
        self._telling.states.keep(self._telling.who, completion.answer)
        calls = completion.answer.tool_calls
        told = calls[:1] if self._telling.one_call else calls
        ending = self._chunks.ending(completion, notice=self._telling.notice, finished=answer.finish(completion))
        await self._body(self._opening() + self._chunks.calls(told) + ending, last=True)

    async def _text(self, text: str) -> None:
        await self._body(self._opening() + self._chunks.text(text))

    def _opening(self) -> bytes:
        if self._opened:
            return b""
        self._opened = True
        return self._chunks.opening()

    async def _body(self, data: bytes, *, last: bool = False) -> None:
        if not self._started:
            self._started = True
            headers = [*STREAM_HEADERS, (b"x-orchestra-request-id", self._telling.request.request_id.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._said_at = anyio.current_time()
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def _beat(self) -> None:
        self._said_at = anyio.current_time()
        while True:
            await anyio.sleep(self._said_at + HEARTBEAT_S - anyio.current_time())
            if anyio.current_time() >= self._said_at + HEARTBEAT_S:
                await self._body(b": waiting\n\n")


async def _unless_gone(receive: Receive, work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` returns, or None when the client goes first, which cancels it."""
    with anyio.CancelScope() as scope:
        watching = asyncio.create_task(_watch(receive, scope.cancel))
        try:
            return await work()
        finally:
            watching.cancel()
    return None


async def _watch(receive: Receive, gone: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()
