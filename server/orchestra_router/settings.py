"""What a person may set, each with its bounds, its default and a sentence that says what it is for."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchestra_router import allowances, patterns
from orchestra_router.allowances import Budgets, Usd
from orchestra_router.http_settings import HttpSettings
from orchestra_router.telemetry_settings import TelemetrySettings
from orchestra_router.types import Strategy

BALANCED_THRESHOLD = 0.90

Name = Annotated[str, Field(max_length=100, pattern=r"^[\w.@+-]*$")]
GuardAction = Literal["redact", "block", "flag", "off"]


class GuardPattern(BaseModel):
    """A kind of thing that an installation looks for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    pattern: Annotated[str, Field(min_length=1, max_length=2_000)]
    action: GuardAction = "redact"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        patterns.check(value)
        if patterns.found(f"^(?:{value})$", ""):
            raise ValueError("matches the empty text, and so everything")
        return value


class Settings(HttpSettings, TelemetrySettings):
    """What a person may set: in `orchestra.toml`, or as `ORCHESTRA_` and the name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    home: Path = Field(description="Folder for the database and `orchestra.toml`. Only as `ORCHESTRA_HOME`.")
    user: Name = Field(default="", description="Who asks through this process: whose budget, cache and rules apply.")
    session: Name = Field(
        default="", description="Which of that person's sessions it is, where answers are cached apart."
    )
    request_timeout_s: float = Field(default=60, gt=0, le=3600, description="Seconds one attempt may take.")
    stream_idle_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="Seconds a stream may be silent after its first byte."
    )
    answer_within_s: float = Field(
        default=55,
        gt=0,
        le=3600,
        description="Seconds until `complete` answers `running` instead; MCP clients give up at 60.",
    )
    answer_page_chars: int = Field(
        default=20_000,
        ge=1_000,
        description="Characters of an answer in one result over MCP; `complete` with its `request_id` brings the rest.",
    )
    deadline_s: float = Field(default=300, gt=0, le=86_400, description="Seconds all attempts of one request may take.")
    close_grace_s: float = Field(
        default=5,
        ge=0,
        le=3600,
        description="Seconds that running requests may take to end when a program closes its router; then they are cut off.",
    )
    max_retries: int = Field(default=2, ge=0, le=10, description="Further attempts at one deployment after its first.")
    max_attempts: int = Field(
        default=6, ge=1, le=30, description="Attempts one request may make in all, retries and fallbacks together."
    )
    hedge: bool = Field(
        default=False, description="Ask a second provider when the first is slow; the first answer wins, both are paid."
    )
    hedge_after_s: float = Field(
        default=10,
        gt=0,
        le=3600,
        description="Seconds that count as slow, until it is known within which time 95 in 100 answers come.",
    )
    warm_connections_s: float = Field(
        default=0,
        ge=0,
        le=3600,
        description=(
            "Seconds an unused connection to a provider is kept, and one to each that is asked first is opened when a"
            " client has listed the tools; 0 opens them when they are needed and keeps them for 30."
        ),
    )
    batch_concurrency: int = Field(
        default=4, ge=1, le=64, description="Prompts of one batch that are asked at the same time."
    )
    max_tokens: int = Field(
        default=4096,
        gt=0,
        le=1_000_000,
        description="Longest answer to pay for, in tokens, where the caller names none.",
    )
    max_prompt_bytes: int = Field(
        default=4_000_000, gt=0, le=64_000_000, description="Largest prompt that is accepted, in bytes of UTF-8."
    )
    strategy: Strategy = Field(
        default="task", description="How deployments are ordered where the request names no strategy."
    )
    cooldown_s: float = Field(
        default=30,
        ge=0,
        le=86_400,
        description="Seconds a failing deployment is set aside, where the provider names no time.",
    )
    cache: Literal["semantic", "exact", "off"] = Field(
        default="semantic",
        description="Whether a question of the same meaning, or only the very same, is answered from the cache.",
    )
    cache_threshold: float = Field(
        default=0.95,
        ge=0.5,
        le=1,
        description="Least similarity of two prompts that may share an answer; `balanced` is 0.90, for more hits.",
    )
    cache_guard_level: int = Field(
        default=3, ge=1, le=4, description="How strictly their words must agree besides; 4 wants the same words."
    )
    cache_shadow: bool = Field(
        default=False,
        description="Serve nothing by meaning; record what would have been, for `orchestra cache shadow`.",
    )
    cache_ttl_s: float = Field(default=3600, gt=0, le=31_536_000, description="Seconds an answer stays a cache hit.")
    cache_entries: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Answers kept in all; the least recently used one leaves first.",
    )
    cache_entries_per_scope: int = Field(
        default=5_000, ge=1, le=10_000_000, description="Answers kept for one scope (see `cache_scope`)."
    )
    cache_mb: float = Field(
        default=500, gt=0, le=1_000_000, description="Megabytes that kept answers may take in the database."
    )
    cache_scope: tuple[Literal["user", "session"], ...] = Field(
        default=("user", "session"),
        description="Who shares cached answers, always within one access key: the same user, and session, or `none`.",
    )
    embedder: str = Field(
        default="local",
        description="What compares prompts by their meaning: `local` is all-MiniLM-L6-v2 on this machine, where its"
        " weights are; `off`; or a provider and its model, like `ollama/nomic-embed-text`.",
    )
    embedder_path: Path | None = Field(
        default=None,
        description="Folder with `model.safetensors` and `vocab.txt` of the embedder; else the data folder's, else the"
        " installed package's.",
    )
    budget_day_usd: Usd = Field(
        default=Decimal(150),
        description="US dollars that a calendar day may cost; 0 refuses everything that is not free.",
    )
    budget_month_usd: Usd = Field(
        default=Decimal(3000),
        description="US dollars that a calendar month may cost; 0 refuses everything that is not free.",
    )
    budgets: Budgets = Field(
        default_factory=Budgets,
        description="Further budgets, by access key, user and task, and what happens at which percentage.",
    )
    alert_day_usd: Usd = Field(
        default=Decimal(100),
        description="US dollars of one day at which an alert is raised, once; 0 is the first spend.",
    )
    alert_uncertain_usd: Usd = Field(
        default=Decimal(10),
        description="The same for attempts of one day whose outcome, and so whose cost, nobody knows.",
    )
    alert_hour_times: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="An hour that costs more than so many times the usual one raises an alert; 0 is never.",
    )
    alert_webhook: str = Field(
        default="",
        repr=False,
        description="Where alerts are posted, signed with `ORCHESTRA_WEBHOOK_SECRET`; https, or on this machine.",
    )
    timezone: str = Field(
        default="UTC", description="IANA time zone whose midnights begin a day, like `Europe/Berlin`."
    )
    keep_attempts_days: int = Field(
        default=400,
        ge=35,
        le=36_500,
        description="Days that each attempt is kept; daily sums are kept for ever, so no total changes after that.",
    )
    keep_requests_days: int = Field(
        default=400, ge=35, le=36_500, description="Days that the record of each request, with its labels, is kept."
    )
    keep_audit_days: int = Field(
        default=400,
        ge=0,
        le=36_500,
        description="Days that the audit trail, with the labels of each request, is kept; 0: for ever.",
    )
    log_requests: bool = Field(
        default=False,
        description="Keep the texts of requests, as the provider saw them and with everything the guard knows taken out.",
    )
    log_responses: bool = Field(default=False, description="Keep the texts of answers in the same way.")
    keep_log_days: int = Field(default=30, ge=1, le=36_500, description="Days that those texts are kept.")
    log_mb: float = Field(
        default=100, gt=0, le=1_000_000, description="Megabytes they may take in the database; the oldest go first."
    )
    allow_unpriced: bool = Field(
        default=False, description="Call models without a known price, counted at `unpriced_usd_per_mtok`."
    )
    unpriced_usd_per_mtok: Usd = Field(
        default=Decimal(50), description="US dollars per million tokens that an unknown price is counted at."
    )
    guard_secret: GuardAction = Field(
        default="redact", description="What becomes of API keys, private keys and passwords in a prompt."
    )
    guard_ssn: GuardAction = Field(default="redact", description="The same for US social-security numbers.")
    guard_credit_card: GuardAction = Field(default="redact", description="The same for card numbers.")
    guard_iban: GuardAction = Field(default="redact", description="The same for bank accounts (IBAN).")
    guard_email: GuardAction = Field(default="redact", description="The same for e-mail addresses.")
    guard_identity_number: GuardAction = Field(
        default="redact", description="The same for numbers of passports, licences and identity cards."
    )
    guard_phone: GuardAction = Field(default="redact", description="The same for telephone numbers.")
    guard_phone_regions: tuple[Annotated[str, Field(pattern="^[A-Z]{2}$")], ...] = Field(
        default=("US", "GB", "DE", "FR"),
        description="Countries whose national telephone numbers are known; international ones always are.",
    )
    guard_ip: GuardAction = Field(default="flag", description="The same for public IP addresses.")
    guard_name: GuardAction = Field(
        default="off",
        description="The same for names of people and places; needs the extra `presidio` and a spaCy model.",
    )
    guard_name_model: str = Field(
        default="en_core_web_lg",
        min_length=2,
        max_length=1_000,
        description="That spaCy model, or its folder; it is never fetched by itself.",
    )
    guard_profanity: GuardAction = Field(default="flag", description="The same for swear words.")
    guard_patterns: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,31}$")], GuardPattern] = Field(
        default_factory=dict[str, GuardPattern],
        description="Kinds of your own: a `pattern` (regular expression) and an `action` each.",
    )
    allow_insecure_http: bool = Field(
        default=False, description="Allow plain http to other machines; keys and prompts are readable on the way."
    )
    private_hosts: tuple[Annotated[str, Field(pattern="^[a-z0-9.:_-]+$")], ...] = Field(
        default=(),
        description="Hosts of your base URLs that are on a private network. Other names may not lead there; this machine"
        " and `local` servers need not be named.",
    )
    portkey: dict[str, str] = Field(
        default_factory=dict[str, str],
        repr=False,
        description="Provider to its way through Portkey: `@slug`, a virtual key, or Portkey's own name for it.",
    )
    portkey_base_url: str = Field(
        default="https://api.portkey.ai/v1", description="Where Portkey is: the hosted one, or a gateway of your own."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="WARNING", description="Least severe log lines to write to stderr."
    )

    @property
    def database(self) -> Path:
        return self.home / "orchestra.db"

    @field_validator("cache_scope", "guard_phone_regions", "private_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """The environment has no lists: "user,session"."""
        if not isinstance(value, str):
            return value
        names = tuple(name.strip() for name in value.split(",") if name.strip())
        return () if names == ("none",) else names

    @field_validator("cache_threshold", mode="before")
    @classmethod
    def _balanced(cls, value: object) -> object:
        return BALANCED_THRESHOLD if value == "balanced" else value

    @field_validator("portkey", mode="before")
    @classmethod
    def _paired(cls, value: object) -> object:
        return pairs(value) if isinstance(value, str) else value

    @field_validator("budgets", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        return allowances.from_environment(value) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if value != "UTC":  # needs no list of zones; Windows has none
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError("is no time zone that this machine knows") from None
        return value


OF_PARTS = {*HttpSettings.model_fields, *TelemetrySettings.model_fields}


def settings_table() -> str:
    """The settings as a Markdown table, for `docs/reference/settings.md`."""
    lines = ["| setting | default | |", "|---|---|---|"]
    # Those of a part come last.
    for name, field in sorted(Settings.model_fields.items(), key=lambda item: item[0] in OF_PARTS):
        default = (
            "the platform's data folder"
            if field.is_required()
            else _shown(field.get_default(call_default_factory=True))
        )
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        one_of = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
        lines.append(f"| `{name}` | {default} | {field.description}{one_of} |")
    return "\n".join(lines)


def _shown(default: object) -> str:
    return "none" if default is None else f"`{_as_toml(default)}`"


def _as_toml(value: object) -> str:
    if isinstance(value, tuple):
        return json.dumps(value)
    if isinstance(value, Budgets):
        return f"at = {{ {', '.join(f'{percent} = {json.dumps(action)}' for percent, action in value.at.items())} }}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def pairs(text: str) -> dict[str, str]:
    """`text` ("openai=@my-slug,anthropic=my-virtual-key") as the table that an environment cannot hold."""
    named = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    return {name.strip(): way.strip() for name, _, way in named}
