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
from typing import Any, cast

import platformdirs

from orchestra_router import key_sources, keys, rule_checks
from orchestra_router.catalog import Catalog, Found, OldModel, RouteStep, Task
from orchestra_router.config_checks import Checker, host_of, tables, url_problem
from orchestra_router.errors import ConfigError
from orchestra_router.keys import Keys, value_of
from orchestra_router.routing_rules import Rule
from orchestra_router.settings import GuardAction, Settings, pairs, settings_table
from orchestra_router.toml_file import Problem, TomlFile

__all__ = [
    "Catalog",
    "Config",
    "Found",
    "GuardAction",
    "Keys",
    "OldModel",
    "RouteStep",
    "Settings",
    "Task",
    "load",
    "settings_table",
]

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
        checker.ways(pairs(value), catalog, variable=variable)
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
