"""Configuration: one `Settings`, one `Catalog`, the keys. Loaded once; nothing else reads the environment.

    built-in catalog.toml  ->  orchestra.toml  ->  ORCHESTRA_<FIELD>        later wins

A row of the file is merged over the built-in row of the same name, field by field; lists replace. Every problem is told
at once, with its line and its fix, and never with its value: a mistyped line may hold a key.
"""

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchestra_router import allowances, key_sources, keys, patterns, rule_checks
from orchestra_router.allowances import Budgets, Usd
from orchestra_router.catalog import Catalog, Found, OldModel, RouteStep, Task
from orchestra_router.config_checks import Checker, host_of, tables, url_problem
from orchestra_router.errors import ConfigError
from orchestra_router.http_settings import HttpSettings
from orchestra_router.keys import Keys, value_of
from orchestra_router.routing_rules import Rule
from orchestra_router.telemetry_settings import TelemetrySettings
from orchestra_router.toml_file import Problem, TomlFile
from orchestra_router.types import Strategy

__all__ = ["Catalog", "Config", "Found", "Keys", "OldModel", "RouteStep", "Settings", "Task", "load", "settings_table"]

PREFIX = "ORCHESTRA_"
WEBHOOK = "webhook"
"""The name of the webhook's secret in `Keys`."""
WEBHOOK_SECRET = f"{PREFIX}WEBHOOK_SECRET"
TELEMETRY = "telemetry"
"""The name of the collector's headers in `Keys`."""
TELEMETRY_HEADERS = f"{PREFIX}TELEMETRY_HEADERS"
OWN_SECRETS = {WEBHOOK: WEBHOOK_SECRET, TELEMETRY: TELEMETRY_HEADERS}
ACCESS_KEY = f"{PREFIX}KEY"
"""Whose access key this process asks with; without it, whoever started it is the admin."""
PORTKEY = "portkey"
"""The name of Portkey's own key in `Keys`; Portkey is a way to providers, not one of them."""
PORTKEY_KEY = "PORTKEY_API_KEY"
ENVIRONMENT = "environment"
BUILT_IN = Path(__file__).with_name("catalog.toml")
CATALOG_SECTIONS = ("providers", "models", "tasks", "old_models", "hierarchy", "weights")
MAX_SHOWN = 50
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
        return _pairs(value) if isinstance(value, str) else value

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


@dataclass(frozen=True, slots=True)
class Config:
    settings: Settings
    catalog: Catalog
    keys: Keys
    file: Path | None = None
    """The `orchestra.toml` that was read, if there was one."""
    rules: tuple[Rule, ...] = ()
    """The user's own, in the order in which they are tried."""
    access_key: str = dataclasses.field(default="", repr=False)
    """What `ORCHESTRA_KEY` holds."""

    def secrets(self) -> tuple[str, ...]:
        """Everything that must not be written down anywhere."""
        return (*self.keys.secrets(), *((self.access_key,) if self.access_key else ()))

    @property
    def private_hosts(self) -> frozenset[str]:
        """Hosts that are declared to be on a private network."""
        local = (host_of(provider.base_url) for provider in self.catalog.providers.values() if provider.local)
        return frozenset((*self.settings.private_hosts, *local))


def load(environ: Mapping[str, str], *, path: Path | None = None) -> Config:
    """The configuration that `environ` and the file at `path` describe.

    Without `path` the file is `ORCHESTRA_CONFIG`, else `orchestra.toml` in the data folder, where it may be missing.

    Raises:
        ConfigError: something cannot be used; the message lists every problem with its place and its fix.
    """
    problems: list[Problem] = []
    home = Path(value_of(environ, f"{PREFIX}HOME") or platformdirs.user_data_dir("orchestra-router", appauthor=False))
    named = value_of(environ, f"{PREFIX}CONFIG")
    file = TomlFile(path or Path(named or home / "orchestra.toml").expanduser())
    if (path is not None or named) and not file.path.exists():
        problems.append(Problem(str(file.path), 0, "there is no such file; create it, or name another"))
    checker = Checker(file)
    settings = _settings(environ, file, checker, home=home.expanduser())
    catalog = _catalog(file, checker)
    rules = rule_checks.rules(checker, file, catalog)
    _check_ways(environ, file, catalog, checker)
    _check_embedder(environ, settings, catalog, checker)
    checker.tasks_of_budgets(settings.budgets.task, catalog)
    catalog = _through_portkey(catalog, settings)
    found = _keys(environ, catalog, problems)
    access_key = _access_key(environ, problems)
    if settings.alert_webhook and WEBHOOK not in found:
        checker.setting("alert_webhook", f"needs a secret to sign with: set `{WEBHOOK_SECRET}`", variable="")
    if settings.telemetry_endpoint:
        checker.telemetry(settings, found.get(TELEMETRY), headers_from=TELEMETRY_HEADERS)
    problems += checker.problems
    problems += _unknown_variables(environ, catalog, checker)
    if problems:
        error = ConfigError(_explained(problems))
        error.secrets = (*found.secrets(), access_key, *_likely_secrets(environ))
        raise error
    return Config(settings, catalog, found, file.path if file.path.exists() else None, rules, access_key)


def environ_of(settings: Mapping[str, object], environ: Mapping[str, str] | None) -> dict[str, str]:
    """`environ`, or the process' own, with `settings` on top, as the variables that a person would set."""
    given = {f"{PREFIX}{name.upper()}": _as_variable(value) for name, value in settings.items()}
    return {**(os.environ if environ is None else environ), **given}


def _as_variable(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, cast("Sequence[object]", value))) or "none"
    if isinstance(value, Mapping):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


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


# --- the parts -----------------------------------------------------------------------------------------------


def _settings(environ: Mapping[str, str], file: TomlFile, checker: Checker, *, home: Path) -> Settings:
    names = set(Settings.model_fields)
    checker.known_names(file.values, {*names, *CATALOG_SECTIONS, "rules"})
    values: dict[str, Any] = {name: value for name, value in file.values.items() if name in names}
    if values.pop("home", None) is not None:
        checker.add(("home",), "says where this file is looked for, so set `ORCHESTRA_HOME` instead")
    variables = {name: f"{PREFIX}{name.upper()}" for name in names - {"home"}}
    overrides = {name: value for name, variable in variables.items() if (value := value_of(environ, variable))}
    settings = checker.settings(Settings, values, overrides, variables=variables, home=home)
    checker.allows_insecure_http = settings.allow_insecure_http
    checker.private_hosts = settings.private_hosts
    if what := checker.url_problem(settings.portkey_base_url):
        name = "portkey_base_url"
        checker.setting(name, what, variable=variables[name] if name in overrides else "")
    if settings.alert_webhook and (
        what := url_problem(settings.alert_webhook, insecure_allowed=False, private_hosts=settings.private_hosts)
    ):
        name = "alert_webhook"
        what = what.partition("; or set")[0]
        checker.setting(name, what, variable=variables[name] if name in overrides else "")
    return settings


def _catalog(file: TomlFile, checker: Checker) -> Catalog:
    built_in = tomllib.loads(BUILT_IN.read_text(encoding="utf-8"), parse_float=Decimal)
    own = {name: value for name, value in file.values.items() if name in CATALOG_SECTIONS}
    return checker.catalog(_merged(built_in, _with_own_prices(own, built_in)))


def _check_ways(environ: Mapping[str, str], file: TomlFile, catalog: Catalog, checker: Checker) -> None:
    """Check what `portkey` says, also where another setting cannot be used."""
    variable = f"{PREFIX}{PORTKEY.upper()}"
    if value := value_of(environ, variable):
        checker.ways(_pairs(value), catalog, variable=variable)
    else:
        checker.ways(file.values.get(PORTKEY), catalog, variable="")


def _check_embedder(environ: Mapping[str, str], settings: Settings, catalog: Catalog, checker: Checker) -> None:
    name, slash, model = settings.embedder.partition("/")
    provider = catalog.providers.get(name)
    if settings.embedder in {"local", "off"}:
        return
    if not slash or not model:
        what = "must be `local`, `off`, or a provider and its model, like `ollama/nomic-embed-text`"
    elif provider is None:
        what = f"names a provider that does not exist{checker.meant(name, catalog.providers)}"
    elif provider.format != "chat" or provider.portkey or name in settings.portkey:
        what = (
            f"names {name}, whose embeddings cannot be asked for; name a provider of chat completions, reached directly"
        )
    else:
        return
    variable = f"{PREFIX}EMBEDDER"
    checker.setting("embedder", what, variable=variable if value_of(environ, variable) else "")


def _through_portkey(catalog: Catalog, settings: Settings) -> Catalog:
    """`catalog` with the providers reached through Portkey whose row, or `settings.portkey`, names a way."""
    ways = {row.name: row.portkey for row in catalog.providers.values()} | settings.portkey
    ways = {name: way for name, way in ways.items() if way and name in catalog.providers}
    if not ways:
        return catalog
    from orchestra_router.providers.portkey import through  # noqa: PLC0415 - most have no Portkey

    base_url = settings.portkey_base_url.rstrip("/")
    providers = dict(catalog.providers)
    for name, way in ways.items():
        providers[name] = through(providers[name].model_copy(update={"portkey": way}), base_url=base_url)
    return replace(catalog, providers=providers)


def _pairs(text: str) -> dict[str, str]:
    """`text` ("openai=@my-slug,anthropic=my-virtual-key") as the table that an environment cannot hold."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    return {name.strip(): way.strip() for name, _, way in pairs}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, table by table; anything but a table replaces."""
    result = dict(below)
    for name, value in above.items():
        lower: Any = result.get(name)
        if isinstance(lower, dict) and isinstance(value, dict):
            result[name] = _merged(cast("dict[str, Any]", lower), cast("dict[str, Any]", value))
        else:
            result[name] = value
    return result


def _with_own_prices(own: Mapping[str, Any], built_in: Mapping[str, Any]) -> dict[str, Any]:
    """`own` with every offer marked whose prices stand in it.

    An offer with another id than the built-in one is another model: what the built-in one costs says nothing of it.
    """
    marks: dict[str, Any] = {}
    for model, row in tables(own.get("models")):
        for provider, offer in tables(row.get("at")):
            if "prices" in offer:
                marks.setdefault(model, {"at": {}})["at"][provider] = {"own_prices": True}
            elif "id" in offer and offer["id"] != _offer_id(built_in, model, provider):
                marks.setdefault(model, {"at": {}})["at"][provider] = {"prices": []}
    return _merged(own, {"models": marks}) if marks else dict(own)


def _offer_id(catalog: Mapping[str, Any], model: str, provider: str) -> object:
    return catalog["models"].get(model, {}).get("at", {}).get(provider, {}).get("id")


# --- the environment -----------------------------------------------------------------------------------------


def _keys(environ: Mapping[str, str], catalog: Catalog, problems: list[Problem]) -> Keys:
    found: dict[str, list[tuple[str, str]]] = {}
    placeholders: dict[str, str] = {}
    providers = [provider for provider in catalog.providers.values() if provider.enabled]
    wanted = {p.name: p.key_env for p in providers} | {
        PORTKEY: (PORTKEY_KEY,),
        **{name: (variable,) for name, variable in OWN_SECRETS.items()},
    }
    for name, choices in wanted.items():
        for variable in choices:
            pairs: list[tuple[str, str]] = []
            for each in _variables(environ, variable, catalog):
                try:
                    source, secret = keys.key_from(environ, each)
                except ValueError as error:
                    problems.append(Problem(ENVIRONMENT, 0, str(error)))
                    continue
                if secret == keys.PLACEHOLDER:
                    placeholders.setdefault(name, source)
                elif secret:
                    pairs.append((source, secret))
            if pairs:
                found[name] = pairs
                break
    return Keys(found, placeholders=placeholders)


def _access_key(environ: Mapping[str, str], problems: list[Problem]) -> str:
    """What is set, whatever it is: one that is blank or not filled in makes nobody an admin."""
    sources = key_sources.variables(ACCESS_KEY)
    if not any(source in environ for source in sources):
        return ""
    try:
        _, secret = keys.key_from(environ, ACCESS_KEY)
    except ValueError as error:
        problems.append(Problem(ENVIRONMENT, 0, str(error)))
        return ""
    if secret in {"", keys.PLACEHOLDER}:
        named = next(source for source in sources if source in environ)
        problems.append(
            Problem(ENVIRONMENT, 0, f"`{named}` holds no access key; put it there, or leave the variable out")
        )
    return secret


def _likely_secrets(environ: Mapping[str, str]) -> list[str]:
    """What looks like a key by its variable: with a broken configuration nobody can tell which ones are."""
    return [value for name, value in environ.items() if re.search(r"KEY|TOKEN|SECRET|PASSWORD", name.upper())]


def _variables(environ: Mapping[str, str], variable: str, catalog: Catalog) -> list[str]:
    """`variable`, and those that hold further keys of the same provider."""
    # Portkey's own key rotates behind Portkey, if at all; and what another row names is that provider's.
    if variable in {PORTKEY_KEY, *OWN_SECRETS.values()}:
        return [variable]
    named = {name for provider in catalog.providers.values() for name in provider.key_env}
    return [variable, *(name for name in keys.further(environ, variable) if name not in named)]


def _unknown_variables(environ: Mapping[str, str], catalog: Catalog, checker: Checker) -> list[Problem]:
    known = {
        f"{PREFIX}CONFIG",
        *(source for variable in (*OWN_SECRETS.values(), ACCESS_KEY) for source in key_sources.variables(variable)),
        *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields),
    }
    for provider in catalog.providers.values():
        variables = [name for variable in provider.key_env for name in _variables(environ, variable, catalog)]
        known.update(source for variable in variables for source in key_sources.variables(variable))
    return [
        Problem(ENVIRONMENT, 0, f"`{checker.shown(name)}` is no setting{checker.meant(name, known)}")
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in known
    ]


def _explained(problems: list[Problem]) -> str:
    lines = [f"  {problem}" for problem in sorted(set(problems))]
    if len(lines) > MAX_SHOWN:
        lines[MAX_SHOWN:] = [f"  ... and {len(lines) - MAX_SHOWN} more"]
    return "\n".join(["The configuration cannot be used:", *lines])
