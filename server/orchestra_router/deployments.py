"""What can be asked: providers, models and their prices as rows of the catalog, deployments, and a plan over them.

The rows are pydantic models, because people write them in `orchestra.toml` and deserve good errors.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from orchestra_router.types import Effort, Format

# --- The catalog -------------------------------------------------------------------------------------------


class Row(BaseModel):
    """A row of the catalog. Values stay out of errors: a mistyped line may hold a key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    source: str = ""
    checked: dt.date | None = None


Rate = Annotated[Decimal, Field(ge=0, le=100_000)]


class Price(Row):
    """US dollars per million tokens from `since` on. A change is a new row; an old one is never rewritten."""

    since: dt.date = dt.date(2000, 1, 1)
    input: Rate
    output: Rate
    cache_read: Rate | None = None
    """None: cached input is charged as fresh input."""
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    above_tokens: int | None = None
    """Prompts longer than this pay the factors below on the whole request."""
    above_input_factor: Rate = Decimal(1)
    above_output_factor: Rate = Decimal(1)
    search: Rate = Decimal(0)
    """US dollars per 1,000 server-side searches."""


def in_force(prices: tuple[Price, ...], day: dt.date) -> Price:
    """The row of `day`, of one at least; before the first row's day, that first row."""
    if len(prices) == 1:
        return prices[0]
    begun = [row for row in prices if row.since <= day]
    return max(begun, key=lambda row: row.since) if begun else min(prices, key=lambda row: row.since)


class Offer(Row):
    """A model at one provider: the provider's id for it, what it costs there, and where it differs."""

    id: str
    prices: tuple[Price, ...] = ()
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    images: bool | None = None
    """Whether images are read here; None: as the model's row says."""
    own_prices: bool = False
    """`prices` stand in the user's own file: they are asked before any public price list."""


class Model(Row):
    """A model: its limits and what it accepts, wherever it is served. `name` is the table's key."""

    name: str = ""
    context_tokens: int = Field(default=128_000, gt=0)
    max_output_tokens: int = Field(default=8_192, gt=0)
    sampling: Literal["yes", "no", "effort_none"] = "yes"
    """Takes temperature and top_p: always, never, or only with reasoning effort "none"."""
    stop: bool = True
    tools: bool = True
    forced_tools: bool = True
    json_schema: bool = True
    images: bool = False
    efforts: tuple[Effort, ...] = ()
    """Reasoning efforts it accepts; empty: it has no such control."""
    thinks: Literal["no", "default", "always"] = "no"
    """Reasons before it answers: only if asked, unless told not to, or always."""
    tools_need_responses: bool = False
    """Function tools with reasoning are refused on chat completions (OpenAI, gpt-5.4 and later)."""
    web_search: bool = False
    cache_from_tokens: int = Field(default=0, ge=0)
    """The smallest beginning of a prompt that can be marked for its provider's cache; 0: none can."""
    strength: int = Field(default=2, ge=1, le=5)
    """1 small and cheap ... 5 the strongest there is. A price list is not a quality ranking, so it is said here."""
    retires: dt.date | None = None
    at: dict[str, Offer] = Field(default_factory=dict[str, Offer])


class Provider(Row):
    """A company's API, or a local server. `name` is the table's key. Defaults are OpenAI's chat completions."""

    name: str = ""
    title: str = ""
    format: Format = "chat"
    base_url: str
    """Up to and without the format's own path; from configuration only, never from a request."""
    path: str = ""
    """Replaces the format's own path ("/chat/completions", "/responses", "/v1/messages", ...)."""
    key_env: tuple[str, ...] = ()
    """Variables that may hold the key, the first one set wins; numbered (`_2`, ...) they hold further keys. Empty: no
    key is needed."""
    local: bool = False
    """A server on this machine: free, no key."""
    max_concurrent: int = Field(default=32, ge=1, le=1_000)
    """Calls that one process makes at the same time; more wait their turn."""
    enabled: bool = True
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Sent with every call; never a key."""
    api_version: str = ""
    responses: bool = False
    """Also serves /responses, for what chat completions cannot do there."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    effort_style: Literal["reasoning_effort", "reasoning", "thinking", "none"] = "none"
    """How chat completions take a reasoning effort: OpenAI's field, OpenRouter's, DeepSeek's, or not at all."""
    schema_style: Literal["json_schema", "json_object", "none"] = "json_schema"
    search_style: Literal["openrouter", "responses", "anthropic", "google", "perplexity", "none"] = "none"
    reports_cost: bool = False
    """The `cost` in its usage is its bill. Elsewhere such a field is not believed: anybody can write one."""
    stream_usage: bool = False
    """Sends usage in a stream only when asked (stream_options.include_usage)."""
    marks_cache: bool = False
    """Keeps the beginning of a prompt where it is marked with `cache_control`, for models that can."""
    takes_cache_key: bool = False
    """Finds what it has kept by itself better when told which requests begin alike (`prompt_cache_key`)."""
    returns_reasoning: bool = False
    """Wants `reasoning_content` back on assistant turns (DeepSeek while thinking)."""
    tools_are_strict: bool = False
    """Takes a function's schema strictly unless told not to (OpenAI on Responses)."""
    wrong_key_status: int = 401
    """How it answers a wrong key; some say 400, which elsewhere means a bad request."""
    max_stop: int = 4
    max_temperature: float = 2.0
    models_path: str = "/models"
    """Lists the models (free), below `base_url`."""
    probe_path: str = ""
    """A free call that also checks the key; empty: `models_path`."""
    prices_id: str = ""
    """This provider's id in genai-prices; empty: the same name."""
    lacks: tuple[Literal["temperature", "top_p", "stop", "effort", "tools"], ...] = ()
    """What gets lost on the way to this provider, whatever the model takes."""
    streams: bool = True
    """Streams arrive whole. Otherwise a streamed answer is asked for in one piece."""
    models: dict[str, str] = Field(default_factory=dict[str, str])
    """Task -> model to use here when the route falls back to this provider; "default" serves the rest."""
    portkey: str = Field(default="", repr=False)
    """How Portkey reaches this provider: "@slug" (Model Catalog), a virtual key, or Portkey's own name for it
    ("openai", "x-ai"), which goes with this machine's own provider key. Empty: not through Portkey."""
    portkey_host: str = ""
    """The address that Portkey calls in place of its own, in the form its provider wants."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model at a provider: what an attempt calls."""

    provider: Provider
    model: Model
    offer: Offer
    key: str = field(init=False, repr=False, compare=False)
    """The provider's name, then its own id for the model: "openrouter/openai/gpt-6-luna"."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.provider.name}/{self.offer.id}")

    @property
    def context_tokens(self) -> int:
        return self.offer.context_tokens or self.model.context_tokens

    @property
    def max_output_tokens(self) -> int:
        return self.offer.max_output_tokens or self.model.max_output_tokens


# --- The plan ----------------------------------------------------------------------------------------------

Turn = tuple[tuple[str, int], ...]
"""Who takes turns, and in which shares."""
Step = Literal["", "cheap", "strong"]
"""In an escalation: the cheap model that is tried, and the stronger one that takes over when its answer will not do."""


class Quote(Protocol):
    """What one call comes to at a deployment. Most candidates are never asked, so it is worked out when looked at."""

    @property
    def worst_nusd(self) -> int:
        """The most one attempt can cost: what is held before it is sent."""
        ...

    @property
    def expected_nusd(self) -> int:
        """At the prompt's likely length and a typical answer."""
        ...

    @property
    def likely_input(self) -> int:
        """Tokens that its rate limit has to take, as are `likely_output`."""
        ...

    @property
    def likely_output(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A quote that is known already."""

    worst_nusd: int
    expected_nusd: int = 0
    likely_input: int = 0
    likely_output: int = 0


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A deployment on the route, and why it stands where it stands."""

    deployment: Deployment
    reason: str
    keys: tuple[str, ...] = ("",)
    """Fingerprints of the keys to ask with, each in its turn; "" alone where none is needed."""
    quote: Quote
    health: str = "ok"
    step: Step = ""
    expected_ms: int | None = None
    """Half of this installation's answers from it came within this time; None: too few were seen."""
    slow_ms: int | None = None
    """The same for 95 in 100."""
    success: float | None = None
    """The share of this installation's attempts at the task that it answered; None: too few were made."""
    not_before_ms: int = 0
    """Its rate limit takes this request then, which is soon enough to be waited for."""
    is_probe: bool = False
    """It is set aside, and asked all the same: so is everything else."""

    @property
    def fingerprint(self) -> str:
        """Of the key that it is asked with next."""
        return self.keys[0]

    @property
    def worst_nusd(self) -> int:
        return self.quote.worst_nusd

    @property
    def expected_nusd(self) -> int:
        return self.quote.expected_nusd

    @property
    def likely_input(self) -> int:
        return self.quote.likely_input

    @property
    def likely_output(self) -> int:
        return self.quote.likely_output


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A deployment that is not on the route, and why."""

    deployment: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Deployments in the order they will be asked. The same inputs give the same plan."""

    task: str
    task_reason: str
    strategy: str
    route: Sequence[Candidate]
    excluded: tuple[Exclusion, ...] = ()
    notes: tuple[str, ...] = ()
    at_ms: int = 0
    """When it was made."""
    prompt_kind: str = ""
    """The prompt's length and script, which escalations are counted by: "short", "long, not Latin"."""
    rule: str = ""
    """The user's own rule that matched."""
    without_search: bool = False
    """The task wants the web searched, and nobody can: the route is for the same request without a search."""
    turn: Turn | None = None
    """Whose turn this plan takes, where a strategy goes by turns."""
