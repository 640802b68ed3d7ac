"""The vocabulary: what a request, an answer and an attempt are. Everything that lives for one request is frozen.

Money is an integer number of billionths of a US dollar (`_nusd`). Time is integer milliseconds UTC (`_ms`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, NamedTuple, TypeVar

T = TypeVar("T")

NUSD_PER_USD = 1_000_000_000

Role = Literal["system", "user", "assistant", "tool"]
Format = Literal["chat", "responses", "messages", "gemini"]
"""The four wire formats: chat completions, OpenAI Responses, Anthropic messages, Gemini generateContent."""
Finish = Literal["stop", "length", "tool_calls", "content_filter", "continue", "error", "other"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
CacheMode = Literal["use", "refresh", "off", "only"]
"""Use: look, then keep. Refresh: keep without looking. Off: neither. Only: look, and never pay."""
Strategy = Literal["task", "weighted", "cheapest", "fastest", "escalate"]
CacheStatus = Literal["HIT", "SEMANTIC HIT", "MISS", "SEMANTIC MISS", "REFRESH", "DISABLED"]
CostSource = Literal["provider", "genai-prices", "table", "free", "estimate", "unpriced", "none"]
"""Where a cost came from. `estimate`: the outcome is unknown, so the worst case counts. `none`: nothing was sent."""


def nusd(usd: Decimal | float | str) -> int:
    """`usd` in billionths of a dollar, rounded half up once."""
    exact = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    return int((exact * NUSD_PER_USD).to_integral_value(rounding=ROUND_HALF_UP))


def usd(amount_nusd: int) -> float:
    """Dollars, for people and JSON only; never for arithmetic."""
    return amount_nusd / NUSD_PER_USD


def changed(record: T, **changes: object) -> T:
    """What `dataclasses.replace` makes of a record without slots, in a tenth of the time: a request has 30 fields.

    Raises:
        TypeError: it has no such field.
    """
    kept = record.__dict__
    values = {**kept, **changes}
    if len(values) != len(kept):
        raise TypeError(f"{type(record).__name__} has no field {', '.join(changes.keys() - kept.keys())}.")
    copy = object.__new__(record.__class__)
    object.__setattr__(copy, "__dict__", values)
    return copy


# --- What is asked -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image: either an https `url`, or base64 `data` with its `media_type` ("image/png")."""

    url: str = ""
    data: str = field(default="", repr=False)
    media_type: str = ""
    digest: str = field(default="", init=False)
    """Of the data, which is megabytes long: what is to be told apart or shown is told apart and shown by this."""

    def __post_init__(self) -> None:
        if self.data:
            object.__setattr__(self, "digest", hashlib.blake2b(self.data.encode("utf-8", "surrogatepass")).hexdigest())


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool run. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str

    def result(self, content: str, *, is_error: bool = False) -> "Message":
        """The turn that tells the model what the tool returned."""
        return Message("tool", (ToolResult(self.id, self.name, content, is_error),))


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the tool call `call_id` returned. `name` is the tool's (Gemini needs it)."""

    call_id: str
    name: str
    content: str
    is_error: bool = False


Part = Text | Image | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `provider_state` is what the provider that wrote an assistant turn needs to see again

    (thinking signatures, reasoning details): opaque JSON from `Answer.provider_state`, sent back unchanged,
    and only to an adapter that recognises it.
    """

    role: Role
    parts: tuple[Part, ...]
    provider_state: str = ""

    @property
    def text(self) -> str:
        if len(self.parts) == 1 and isinstance(self.parts[0], Text):  # almost always
            return self.parts[0].text
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def is_text(self) -> bool:
        """Whether it is nothing else."""
        if len(self.parts) == 1:
            return isinstance(self.parts[0], Text)
        return all(isinstance(part, Text) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call. `parameters` is its JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one access key is held to. Nothing said: it is not limited in that."""

    providers: tuple[str, ...] = ()
    """Names, or patterns of names ("open*"), as are the models and tasks."""
    models: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    day_nusd: int | None = None
    month_nusd: int | None = None
    requests_per_minute: int | None = None
    """Of those that ask a provider. The minute is the last one, whenever it is looked at."""
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    """Requests that may be asking a provider at the same moment."""
    guard: tuple[tuple[str, str], ...] = ()
    """Kind of what the guard finds -> action. Only where that is stricter than what the settings say."""


UNLIMITED = Limits()
LOCAL_KEY = "local"
"""What stands in place of an access key for the person at this machine, who needs none."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Who asks, and so whose budget and whose cache. Comes from access control, never from a request's text."""

    access_key: str = LOCAL_KEY
    user: str = ""
    session: str = ""
    limits: Limits = field(default=UNLIMITED, compare=False)
    """Of the access key, as they were when it was looked at; who has them is the same person under others."""


NOBODY = Scope()
"""Where it is all the same who asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A budget that could not pay, as it stood then, and what was wanted of it."""

    holder: str
    period: str
    limit_nusd: int
    spent_nusd: int
    held_nusd: int
    wanted_nusd: int


@dataclass(frozen=True, slots=True)
class Approval:
    """A person lets one call go over its budgets by at most `nusd`, all its attempts together."""

    nusd: int
    by: str


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """One request, as every stage sees it. None means "not set by the caller"."""

    messages: tuple[Message, ...]
    task: str | None = None
    provider: str | None = None
    model: str | None = None
    fallback_providers: tuple[str, ...] | None = None
    max_retries: int | None = None
    """Further attempts at one deployment after its first."""
    max_tokens: int = 4096
    """Longest answer to pay for, thinking included."""
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    """Where the provider takes one, the same request tends to get the same answer."""
    stop: tuple[str, ...] = ()
    response_schema: Mapping[str, object] | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """Either "auto", "none", "required", or the name of a tool."""
    effort: Effort | None = None
    web_search: bool = False
    strict_params: bool = False
    """Refuse a deployment that cannot take a parameter the caller set, instead of leaving it out."""
    strategy: Strategy | None = None
    """How deployments are ordered; None: as the settings say."""
    accept: str | None = None
    """A regular expression that a good answer matches somewhere."""
    cache: CacheMode = "use"
    cache_ttl_s: float | None = None
    """Seconds the answer may be served again; None: as the settings say."""
    wrong_cache_entry: str = ""
    """The id of a cache entry that was served and did not answer the question."""
    max_cost_nusd: int | None = None
    """The most all attempts together may cost."""
    approval: Approval | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    mark_prefix: bool = False
    """Have the provider keep tools and system prompt for the next call; said by the router, not by callers, as are
    the next two.
    """
    mark_turns: tuple[int, ...] = ()
    """Have it keep everything up to the end of this many turns, too."""
    prefix_key: str = ""
    """The same for requests that begin alike, so that their provider reads them where it has kept the beginning."""
    trace_id: str = ""
    request_id: str = ""
    """Chosen by whoever wants to name the request before it is answered; the router makes one when empty."""
    scope: Scope = Scope()

    @property
    def system(self) -> str:
        return "\n\n".join([message.text for message in self.messages if message.role == "system"])

    @property
    def turns(self) -> tuple[Message, ...]:
        """The conversation without its system messages."""
        return tuple([message for message in self.messages if message.role != "system"])


# --- What comes back ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one attempt in disjoint buckets, whatever the provider's own counting.

    `reported_total` is the provider's own grand total, kept to check the buckets against.
    """

    input_fresh: int = 0
    cache_read: int = 0
    cache_write: int = 0
    """Written to the provider's cache for 5 minutes, or without a stated time."""
    cache_write_1h: int = 0
    output: int = 0
    """Visible output, reasoning excluded."""
    reasoning: int = 0
    searches: int = 0
    """Server-side web searches, billed apart from tokens."""
    reported_total: int | None = None

    @property
    def input_total(self) -> int:
        return self.input_fresh + self.cache_read + self.cache_write + self.cache_write_1h

    @property
    def output_total(self) -> int:
        return self.output + self.reasoning

    @property
    def mismatch(self) -> int:
        """The provider's total less our buckets' sum; 0 when they agree or it names no total."""
        return 0 if self.reported_total is None else self.reported_total - self.input_total - self.output_total


@dataclass(frozen=True, slots=True)
class Citation:
    url: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one provider answered, in common terms. `usage` is None when it sent none (so: estimate it)."""

    text: str
    finish: Finish = "stop"
    usage: Usage | None = None
    model: str = ""
    """The model id the provider says it used; empty when it names none."""
    tool_calls: tuple[ToolCall, ...] = ()
    citations: tuple[Citation, ...] = ()
    cost_nusd: int | None = None
    """What the provider itself says it charges."""
    provider_state: str = ""
    provider_request_id: str = ""
    retires: str = ""
    """The day this model ends, where the answer says so (ISO date)."""
    notes: tuple[str, ...] = ()
    """What else the caller should know about it, in our words."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a growing answer, checked, with the caller's own values in it."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call to one deployment, as the result's trail, the log and the metrics show it."""

    attempt_id: str
    request_id: str
    trace_id: str
    number: int
    """1 for the first attempt of its request."""
    deployment: str
    provider: str
    model: str
    outcome: str
    """Either "ok", or the code of the error."""
    status: int | None
    cost_nusd: int
    cost_source: CostSource
    latency_ms: int
    waited_ms: int
    """Slept before it (backoff, Retry-After)."""
    first_token_ms: int | None = None
    usage: Usage | None = None
    """None where the provider did not say."""
    answered_as: str = ""
    """The model that the provider says it was."""
    rejected: str = ""
    """What was wrong with its answer, so that another was used: "refused", "off_schema", ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer with its story: who wrote it, what it cost, whether it was cached, and why this route."""

    request_id: str
    trace_id: str
    answer: Answer
    task: str
    provider: str
    model: str
    """Our name of the model; `answer.model` is the provider's."""
    reason: str
    """Why this deployment was on the route."""
    cost_nusd: int
    """All attempts of this request, failed ones included; of a hit, only what an endpoint took for comparing prompts."""
    cost_source: CostSource
    cache: CacheStatus
    cache_reason: str = ""
    """Why it was no hit; "" for one."""
    cache_entry: str = ""
    cache_similarity: float | None = None
    """Of the two prompts, at most 1; None unless the hit is one by meaning."""
    cache_age_ms: int | None = None
    saved_nusd: int = 0
    attempts: tuple[Attempt, ...] = ()
    notes: tuple[str, ...] = ()
    """What the caller should know: a renamed model, a parameter left out, an estimate."""
    redactions: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many of each kind the guard replaced: {"ssn": 1}."""
    latency_ms: int = 0
    flaw: str = ""
    """What is wrong with this answer, where no better one could be had."""
    escalation_saved_nusd: int = 0
    """What the strong model would likely have cost more, where a cheap one's answer was good enough."""
    wasted_nusd: int = 0
    """Of the cost: for answers that another was used in place of."""

    @property
    def text(self) -> str:
        return self.answer.text

    @property
    def usage(self) -> Usage | None:
        return self.answer.usage

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        return self.answer.tool_calls

    @property
    def cost_usd(self) -> float:
        return usd(self.cost_nusd)

    @property
    def message(self) -> Message:
        """The answer as the next turn of its conversation, with what its provider needs to see again."""
        text = (Text(self.answer.text),) if self.answer.text else ()
        return Message("assistant", (*text, *self.answer.tool_calls), self.answer.provider_state)


# --- Rate limits -------------------------------------------------------------------------------------------

AllowanceKind = Literal["requests", "tokens", "input_tokens", "output_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What was left of one rate limit when a provider last said so. Nothing is known any more after `reset_ms`."""

    kind: AllowanceKind
    remaining: int
    most: int | None
    """The limit itself, where it was named."""
    reset_ms: int


# --- The wire ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP request, ready to send. The key is in `headers` only, never in `url` or `body`.

    `notes` says what was left out or changed because this deployment does not take it.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = None
    """None: a GET."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WireResponse:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class StreamEvent(NamedTuple):
    """One server-sent event: `event` is its name ("" if unnamed), `data` its joined data lines."""

    event: str
    data: str


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as a provider's own list shows it."""

    id: str
    retires: str = ""
    """ISO date, where the list announces one."""
    retired: bool = False
    replacement: str = ""
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a free look at one provider found."""

    provider: str
    error: str = ""
    """The code of what went wrong; "" when the provider answered and took the key."""
    message: str = ""
    status: int | None = None
    """The HTTP status of an error."""
    latency_ms: int = 0
    clock_off_ms: int = 0
    """How far this machine's clock is ahead of the provider's, which says whole seconds; behind, where negative."""
    models: tuple[ListedModel, ...] = ()
    """Its own list; () where it keeps none, or when it could not be read."""
    keys: tuple[str, ...] = ()
    """Fingerprints of the keys that it took."""
    refused: tuple[str, ...] = ()
    """Which of several keys it did not take, in words."""
