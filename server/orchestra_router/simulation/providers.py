"""A simulated provider: what becomes of one request, from the socket to the bill."""

import asyncio
import datetime as dt
import json
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestra_router.clock import Clock
from orchestra_router.simulation import failures
from orchestra_router.simulation.answering import Ask, Outcome, PromptCache, Says, answer
from orchestra_router.simulation.embeddings import Vectors
from orchestra_router.simulation.failures import Failure, Kind, Refused
from orchestra_router.simulation.faults import (
    Cut,
    Drop,
    Endless,
    Hang,
    Raw,
    Reply,
    ServerError,
    Step,
    StreamError,
    Truncate,
)
from orchestra_router.simulation.http import ClientLeft, Exchange, HttpRequest
from orchestra_router.simulation.listings import Listing
from orchestra_router.simulation.models import Model
from orchestra_router.simulation.prices import Rates, Tokens, charge
from orchestra_router.simulation.schemas import UnusableSchema
from orchestra_router.simulation.troubles import Troubles
from orchestra_router.simulation.vendors import Vendor
from orchestra_router.simulation.wire import Call, Event, Format

KEPT_REQUESTS = 1_000
KEPT_BILLS = 100_000
_GEMINI_PATH = re.compile(r"(?P<root>/v1(?:beta)?/models)/(?P<model>[^/:]+):(?P<verb>\w+)")
_SIMULATED = {"x-orchestra-simulated": "1"}


@dataclass(slots=True)
class Received:
    """A request as the provider saw it, and what became of it."""

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case; the key is in here."""
    raw: bytes = field(repr=False)
    """The body as it came."""
    done: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Set when the provider has nothing more to do with it."""
    client_left: bool = False
    """The client closed the connection before the end of the answer."""

    @property
    def json(self) -> Any:
        """The body; None if there is none."""
        return json.loads(self.raw) if self.raw else None


@dataclass(frozen=True, slots=True)
class Bill:
    """What one answer cost. `whole` is False for a stream that broke off: then only what was produced is charged."""

    model: str
    tokens: Tokens
    nusd: int
    at_ms: int
    whole: bool


class SimulatedProvider:
    """One vendor behind one socket. It answers as scripted, then as it would."""

    def __init__(self, vendor: Vendor, *, key: str, clock: Clock, troubles: Troubles | None = None) -> None:
        """`troubles`, shared by all providers, makes prompts come true that ask for a failure."""
        self.vendor = vendor
        self.name = vendor.name
        self.key = key
        self.latency_s = 0.0
        """Seconds before every answer, on the machine's clock."""
        self.event_gap_s = 0.0
        """Seconds between the events of a stream."""
        self.weather: Callable[[], Step] = Says
        """Decides what a call for an answer gets that nothing is scripted for."""
        self.received: deque[Received] = deque(maxlen=KEPT_REQUESTS)
        """The latest requests, oldest first."""
        self.bills: deque[Bill] = deque(maxlen=KEPT_BILLS)
        """The latest bills, oldest first. `billed_nusd` is the sum of all there ever were."""
        self.billed_nusd = 0
        self.in_flight = 0
        self.most_in_flight = 0
        """The most requests it ever answered at the same time."""
        self._clock = clock
        self._troubles = troubles
        self._script: deque[Step] = deque()
        self._probe_script: deque[Step] = deque()
        self._retired: dict[str, str | None] = dict.fromkeys(vendor.retired)
        self._cache = PromptCache(at_least=vendor.caches[0], block=vendor.caches[1]) if vendor.caches else None
        self._count = 0

    # --- what a test or a demo says to it

    def script(self, *steps: Step) -> None:
        """What the next calls for an answer get, in order; after that, normal answers again."""
        self._script.extend(steps)

    def script_probes(self, *steps: Step) -> None:
        """The same for the free calls: lists, balances, key checks."""
        self._probe_script.extend(steps)

    def retire(self, model: str, replacement: str | None = None) -> None:
        """From now on `model` is refused as this vendor refuses a retired model. Its words name the replacement."""
        self._retired[model] = replacement

    def restore(self, model: str) -> None:
        """Serve `model` again."""
        self._retired.pop(model, None)

    def failure(self, kind: Kind) -> Reply:
        """How this vendor fails so, for a script."""
        return self._reply(failures.failure(self.name, kind))

    def error(self, status: int, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """An error of any status in the shape of this vendor, with another machine-readable code if need be."""
        failure = failures.with_status(self.name, status)
        reply = self._reply(replace(failure, code=code or failure.code))
        return replace(reply, headers=_merged(reply.headers, headers or {}))

    def _reply(self, failure: Failure) -> Reply:
        body = failures.body(self.name, failure, request_id="req_simulated")
        return Reply(failure.status, headers=failure.headers, body=body)

    # --- one request

    async def handle(self, request: HttpRequest, exchange: Exchange) -> None:
        received = Received(request.method, request.path, request.query, request.headers, request.body)
        self.received.append(received)
        self._count += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            await self._answer(request, exchange, id_=f"simulated{self._count:06d}")
        except (asyncio.CancelledError, ClientLeft):
            received.client_left = True
            raise
        finally:
            self.in_flight -= 1
            received.done.set()

    async def _answer(self, request: HttpRequest, exchange: Exchange, *, id_: str) -> None:
        script = self._script if request.method == "POST" else self._probe_script
        step = script.popleft() if script else self.weather() if request.method == "POST" else Says()
        headers = {**_SIMULATED, **self.vendor.headers(id_, self._clock.now_ms())}
        try:
            if await self._misbehave(step, exchange, headers):
                return
            self._authenticate(request)
            if request.method == "GET":
                await self._list(request, exchange, headers)
            else:
                await self._generate(request, exchange, headers, step, id_)
        except UnusableSchema:
            refused = Refused("bad_request", "Invalid JSON schema: it cannot be read, or a `$ref` in it leads nowhere.")
            await self._refuse(exchange, headers, failures.refusal(self.name, refused), id_)
        except Refused as refused:
            await self._refuse(exchange, headers, failures.refusal(self.name, refused), id_)

    async def _misbehave(self, step: Step, exchange: Exchange, headers: dict[str, str]) -> bool:
        """Do what needs no answer. True if that was all."""
        match step:
            case Drop(reset=reset):
                exchange.drop(reset=reset)
            case Raw(data=data):
                await exchange.raw(data)
            case Hang():
                step.reached.set()
                await step.released.wait()
                return False
            case ServerError(status=status):
                await self._send(exchange, headers, self.error(status))
            case Reply(status=status, body=None) if status >= 400:
                await self._send(exchange, headers, self.error(status, headers=step.headers))
            case Reply(body=body) if body is not None:
                await self._send(exchange, headers, step)
            case Reply():
                headers |= _merged(step.headers)
                return False
            case _:
                return False
        return True

    async def _send(self, exchange: Exchange, headers: Mapping[str, str], reply: Reply) -> None:
        body = reply.body or b""
        if isinstance(body, Mapping):
            body = failures.as_bytes(body)
        data = body.encode() if isinstance(body, str) else body
        await exchange.respond(
            reply.status, _merged({"content-type": "application/json"}, headers, reply.headers), data
        )

    async def _refuse(self, exchange: Exchange, headers: Mapping[str, str], failure: Failure, id_: str) -> None:
        body = failures.body(self.name, failure, request_id=id_)
        await self._send(exchange, headers, Reply(failure.status, headers=failure.headers, body=body))

    def _authenticate(self, request: HttpRequest) -> None:
        if self.vendor.auth == "none" or request.path in self.vendor.public:
            return
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        match self.vendor.auth:
            case "anthropic":
                key = request.headers.get("x-api-key") or bearer
            case "gemini":
                key = request.headers.get("x-goog-api-key") or request.query.get("key", "")
            case _:
                key = bearer
        if not key:
            raise Refused("auth")
        if key != self.key:
            raise Refused(self.vendor.wrong_key, "Incorrect API key provided.")

    # --- free calls

    async def _list(self, request: HttpRequest, exchange: Exchange, headers: Mapping[str, str]) -> None:
        if request.path not in self.vendor.lists:
            raise Refused("bad_request", f"Invalid URL (GET {request.path})", status=404)
        today = self._today()
        ended = {model.id for model in self.vendor.models if model.ends is not None and today >= model.ends}
        gone = [*self._retired, *sorted(ended - self._retired.keys())]
        served = tuple(model for model in self.vendor.models if model.id not in gone)
        document = self.vendor.lists[request.path](Listing(served, tuple(gone), request.query))
        await self._send(exchange, headers, Reply(body=json.dumps(document)))

    # --- answers

    async def _generate(
        self, request: HttpRequest, exchange: Exchange, headers: dict[str, str], step: Step, id_: str
    ) -> None:
        if counter := self.vendor.counters.get(request.path):
            await self._send(exchange, headers, Reply(body=counter(self._call(request))))
            return
        if endpoint := self.vendor.embeddings.get(request.path):
            await self._embed(endpoint.answer(self._call(request)), exchange, headers)
            return
        format_, call = self._route(request)
        ask = format_.read(call)
        if self._troubles is not None:
            step = self._troubles.next(self.name, ask.question) or step
            if await self._misbehave(step, exchange, headers):
                return
            await self._troubles.wait(ask.question)
        outcome = self._think(ask, step, id_)
        if outcome.ask.stream:
            await self._stream(exchange, headers, format_, outcome, step)
            return
        body = format_.plain(outcome)
        status_headers = {"content-type": "application/json", **headers}
        match step:
            case StreamError(kind=kind):
                body = format_.error_with_200(failures.failure(self.name, kind), outcome)
                await exchange.respond(200, status_headers, body)
            case Endless():
                await asyncio.Event().wait()
            case Cut():
                self._bill(outcome, outcome.tokens, whole=False)
                await exchange.respond(200, status_headers, body, keep=len(body) // 2)
            case Truncate(keep_bytes=keep):
                self._bill(outcome, outcome.tokens, whole=False)
                await exchange.respond(200, status_headers, body, keep=keep)
            case _:
                self._bill(outcome, outcome.tokens, whole=True)
                await exchange.respond(200, status_headers, body)

    async def _embed(self, vectors: Vectors, exchange: Exchange, headers: Mapping[str, str]) -> None:
        now_ms = self._clock.now_ms()
        tokens = Tokens(fresh=vectors.tokens)
        nusd = charge(vectors.model.prices, tokens, at_ms=now_ms).nusd
        self.bills.append(Bill(vectors.model.id, tokens, nusd, now_ms, whole=True))
        self.billed_nusd += nusd
        await self._send(exchange, headers, Reply(body=vectors.body))

    def _route(self, request: HttpRequest) -> tuple[Format, Call]:
        """The format that `request` is in, and the call it makes. Raises: Refused."""
        if request.path in self.vendor.ended:
            raise Refused("bad_request", self.vendor.ended[request.path], status=410, code="gone")
        if found := _GEMINI_PATH.fullmatch(request.path):
            format_ = self.vendor.formats.get(f"{found['root']}/{{model}}:{{verb}}")
            if format_ is not None and found["verb"] in {"generateContent", "streamGenerateContent"}:
                call = replace(
                    self._call(request),
                    path_model=found["model"],
                    stream=found["verb"] == "streamGenerateContent",
                    sse=request.query.get("alt") == "sse",
                )
                return format_, call
        if request.path not in self.vendor.formats or request.method != "POST":
            raise Refused("bad_request", f"Invalid URL ({request.method} {request.path})", status=404)
        return self.vendor.formats[request.path], self._call(request)

    def _call(self, request: HttpRequest) -> Call:
        try:
            document: Any = json.loads(request.body)
        except ValueError:
            raise Refused("bad_request", "The body is not JSON.") from None
        return Call(document, request.headers, self._find)

    def _find(self, name: str) -> Model:
        """The model served as `name` today. Raises: Refused."""
        served = {model.id: model for model in self.vendor.models}
        model = served.get(name)
        if model is not None and model.ends is not None and self._today() >= model.ends:
            model = served.get(model.then)
        if model is not None and name not in self._retired:
            return model
        message = _GONE[self.name].format(model=name, served=", ".join(sorted(served.keys() - self._retired.keys())))
        if replacement := self._retired.get(name):
            message += f" Use {replacement} instead."
        if model is None and name not in self._retired:
            raise Refused("gone", message, status=self.vendor.unknown_status, code=self.vendor.unknown_code)
        raise Refused("gone", message)

    def _think(self, ask: Ask, step: Step, id_: str) -> Outcome:
        now_ms = self._clock.now_ms()
        cached, written = self._cache.read(ask) if self._cache is not None else (0, 0)
        writes = bool(ask.model.prices and ask.model.prices[-1].written)
        says = step if isinstance(step, Says) else Says()
        outcome = answer(
            ask, says, id_=id_, created_s=now_ms // 1000, cached=cached, written=written, count_writes=writes
        )
        if outcome.tokens.input > ask.model.context:
            message = f"prompt is too long: {outcome.tokens.input} tokens > {ask.model.context} maximum"
            raise Refused("context", message)
        return replace(outcome, charge=charge(_rates(ask), outcome.tokens, at_ms=now_ms))

    async def _stream(
        self, exchange: Exchange, headers: Mapping[str, str], format_: Format, outcome: Outcome, step: Step
    ) -> None:
        media = "application/json" if outcome.ask.one_array else "text/event-stream; charset=utf-8"
        await exchange.start(200, {"content-type": media, "cache-control": "no-cache", **headers})
        limit = step.after_events if isinstance(step, Cut | StreamError) else None
        meter = _Meter()
        try:
            for event in format_.events(outcome):
                if limit is not None and (
                    event.moment == "closing" or (event.moment == "visible" and meter.pieces == limit)
                ):
                    break
                if event.moment == "closing" and not meter.billed:
                    meter.billed = True
                    self._bill(outcome, outcome.tokens, whole=True)
                meter.count(event)
                await exchange.send(event.data)
                if isinstance(step, Endless) and event.moment == "visible":
                    await self._repeat(exchange, event, step, meter)
                if self.event_gap_s:
                    await asyncio.sleep(self.event_gap_s)
        finally:
            if not meter.billed:
                produced = replace(outcome.tokens, visible=meter.visible, reasoning=meter.reasoning)
                self._bill(outcome, produced, whole=False)
        await self._end(exchange, format_, outcome, step)

    async def _repeat(self, exchange: Exchange, event: Event, step: Endless, meter: "_Meter") -> None:
        """Send `event` again and again. Ends by cancellation, when the client leaves."""
        per_event = event.visible
        while True:
            await asyncio.sleep(step.pause_s)
            meter.visible += per_event
            await exchange.send(event.data)

    async def _end(self, exchange: Exchange, format_: Format, outcome: Outcome, step: Step) -> None:
        match step:
            case Cut(cleanly=False):
                exchange.drop()
            case StreamError(kind=kind):
                await exchange.send(format_.stream_error(failures.failure(self.name, kind), outcome))
                await exchange.end()
            case _:
                await exchange.end()

    def _bill(self, outcome: Outcome, tokens: Tokens, *, whole: bool) -> None:
        """Errors are free, and so is a stream that broke off before anything was produced."""
        if not whole and not tokens.output:
            return
        now_ms = outcome.created_s * 1000
        nusd = charge(_rates(outcome.ask), tokens, at_ms=now_ms).nusd
        self.bills.append(Bill(outcome.ask.model.id, tokens, nusd, now_ms, whole))
        self.billed_nusd += nusd

    def _today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self._clock.now_ms() / 1000, tz=dt.UTC).date()


@dataclass(slots=True)
class _Meter:
    """How much of a stream is out."""

    pieces: int = 0
    visible: int = 0
    reasoning: int = 0
    billed: bool = False

    def count(self, event: Event) -> None:
        self.pieces += event.moment == "visible"
        self.visible = max(self.visible, event.visible)
        self.reasoning = max(self.reasoning, event.reasoning)


_GONE: Mapping[str, str] = {
    "openrouter": "No endpoints found for {model}.",
    "openai": "The model `{model}` does not exist or you do not have access to it.",
    "anthropic": "model: {model}",
    "deepseek": "The supported API model names are {served}, but you passed {model}.",
    "gemini": "models/{model} is not found, or is not supported for generateContent.",
    "perplexity": "Invalid model '{model}'.",
    "together": "Unable to access model {model}.",
    "xai": "The model {model} does not exist or your team simulated does not have access to it.",
    "ollama": 'model "{model}" not found, try pulling it first',
}


def _merged(*headers: Mapping[str, str]) -> dict[str, str]:
    """All of `headers`, the later the stronger; names are in lower case, so that none is sent twice."""
    return {name.lower(): value for some in headers for name, value in some.items()}


def _rates(ask: Ask) -> tuple[Rates, ...]:
    """The model's prices, with the kind of search this request chose."""
    if not ask.search_price:
        return ask.model.prices
    return tuple(replace(rates, search=ask.search_price) for rates in ask.model.prices)
