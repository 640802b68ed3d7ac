"""Everything that can be wrong with a configuration, found in one pass and said in words that name the fix."""

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from pydantic_core import ErrorDetails

from orchestra_router.allowances import EACH
from orchestra_router.catalog import Catalog, OldModel, RouteStep, Task
from orchestra_router.connections import addresses
from orchestra_router.deployments import Model, Offer, Price, Provider, Row
from orchestra_router.explain import owner
from orchestra_router.telemetry_settings import TelemetrySettings, headers_of, is_installed
from orchestra_router.toml_file import Problem, TomlFile

R = TypeVar("R", bound=Row)
S = TypeVar("S", bound=BaseModel)
Location = Sequence[str | int]

CREDENTIAL_HEADERS = {"authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-goog-api-key"}
_ROWS: Mapping[str, tuple[type[Row], ...]] = {
    "providers": (Provider,),
    "models": (Model, Offer, Price),
    "tasks": (Task, RouteStep),
    "old_models": (OldModel,),
}


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    hierarchy: tuple[str, ...]
    weights: dict[str, NonNegativeInt]


class Checker:
    """Collects `problems` while it builds; what is built is to be used only if there are none."""

    def __init__(self, file: TomlFile) -> None:
        self._file = file
        self.allows_insecure_http = False
        self.private_hosts: Collection[str] = ()
        self.problems: list[Problem] = list(file.problems)

    def add(self, location: Location, what: str) -> None:
        self.problems.append(self._file.problem(location, f"`{dotted(location)}` {what}"))

    # --- settings --------------------------------------------------------------------------------------------

    def known_names(self, values: Mapping[str, Any], known: Collection[str]) -> None:
        for name in values:
            if name not in known:
                self.unknown((name,), known)

    def settings(
        self,
        kind: type[S],
        values: Mapping[str, Any],
        overrides: Mapping[str, str],
        *,
        variables: Mapping[str, str],
        home: Path,
    ) -> S:
        """The settings of the file's `values` and the environment's `overrides`, without those that cannot be used."""
        given = {**values, **overrides, "home": home}
        try:
            return kind.model_validate(given)
        except ValidationError as error:
            for detail in details(error):
                name = str(detail["loc"][0])
                what = f"{words(detail)}{self._meant_within(kind, detail)}. {kind.model_fields[name].description}"
                if name in overrides:
                    self.setting(name, what, variable=variables[name])
                else:
                    self.add(detail["loc"], what)
                given.pop(name, None)
        return kind.model_validate(given)

    def _meant_within(self, kind: type[BaseModel], detail: ErrorDetails) -> str:
        """The name that was probably meant where a table of a setting holds one that is not known."""
        if detail["type"] != "extra_forbidden":
            return ""
        *path, name = detail["loc"]
        return self.meant(str(name), owner(kind, path).model_fields)

    def setting(self, name: str, what: str, *, variable: str) -> None:
        """`what` is wrong with a setting, which `variable` set, or (empty) the file."""
        if variable:
            self.problems.append(Problem("environment", 0, f"`{variable}` {what}"))
        else:
            self.add((name,), what)

    def ways(self, ways: object, catalog: Catalog, *, variable: str) -> None:
        """`ways` is the table of ways through Portkey, from `variable` or (empty) the file."""
        for name, way in _table(ways).items():
            shown = self.shown(name)
            if name not in catalog.providers:
                what = f"names a provider that does not exist{self.meant(name, catalog.providers)}"
            elif way == "":
                example = f"{name}=@your-slug" if variable else f'{name} = "@your-slug"'
                what = f"names no way to {name}; write {example}"
            else:
                continue
            if variable:
                self.setting("portkey", what, variable=variable)
            else:
                self.problems.append(self._file.problem(("portkey", name), f"`{dotted(('portkey', shown))}` {what}"))

    def telemetry(self, settings: TelemetrySettings, headers: str, *, headers_from: str) -> None:
        """Whether anything can be sent where `settings` say, with the `headers` of a variable."""
        problem = url_problem(settings.telemetry_endpoint, insecure_allowed=self.allows_insecure_http)
        if not problem and not is_installed():
            problem = "needs the extra: pip install 'orchestra-router[telemetry]'"
        if problem:
            self.setting("telemetry_endpoint", problem, variable="")
        try:
            headers_of(headers)
        except ValueError as error:
            self.setting("telemetry_endpoint", f"cannot be used: {error}", variable=headers_from)

    def tasks_of_budgets(self, named: Collection[str], catalog: Catalog) -> None:
        for task in named:
            if task not in catalog.tasks and task != EACH:
                shown, meant = self.shown(task), self.meant(task, catalog.tasks)
                place = ("budgets", "task", task)
                what = f"`{dotted(('budgets', 'task', shown))}` is the budget of a task that does not exist{meant}"
                self.problems.append(self._file.problem(place, what))

    # --- the catalog -----------------------------------------------------------------------------------------

    def catalog(self, raw: Mapping[str, Any]) -> Catalog:
        order = self._order(raw)
        catalog = Catalog(
            providers=self._rows("providers", Provider, raw),
            models=self._rows("models", Model, raw),
            tasks=self._rows("tasks", Task, raw),
            old_models=self._rows("old_models", OldModel, raw),
            hierarchy=order.hierarchy,
            weights=order.weights,
            version=_version(raw),
        )
        for name, row in tables(raw["providers"]):
            if (provider := catalog.providers.get(name) or _usable(name, row)) is not None:
                self._check_provider(provider)
        for task in catalog.tasks.values():
            self._check_keywords(task)
        if all(isinstance(raw[section], dict) for section in (*_ROWS, "weights")):
            self._check_references(catalog, raw)
        return catalog

    def _order(self, raw: Mapping[str, Any]) -> _Order:
        try:
            return _Order.model_validate({name: raw[name] for name in _Order.model_fields})
        except ValidationError as error:
            for detail in details(error):
                self.add(detail["loc"], words(detail))
            return _Order(hierarchy=(), weights={})

    def _rows(self, section: str, kind: type[R], raw: Mapping[str, Any]) -> dict[str, R]:
        rows: dict[str, R] = {}
        if not isinstance(raw[section], dict):
            self.add((section,), f"must be a table; write [{section}.<name>]")
            return rows
        for name, row in raw[section].items():
            if not isinstance(row, dict):
                self.add((section, name), f"must be a table; write [{section}.<name>]")
                continue
            try:
                rows[name] = kind.model_validate({**row, "name": name})
            except ValidationError as error:
                for detail in details(error):
                    self._row_problem((section, name, *detail["loc"]), detail)
        return rows

    def _row_problem(self, location: Location, detail: ErrorDetails) -> None:
        if detail["type"] == "extra_forbidden":
            fields = {field for kind in _ROWS[str(location[0])] for field in kind.model_fields}
            self.unknown(location, fields - {"name", "own_prices"})
        elif detail["type"] != "missing" or self._file.is_whole:
            self.add(location, f"{words(detail)}{_form(location, detail)}")

    def _check_provider(self, provider: Provider) -> None:
        at = ("providers", provider.name)
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", provider.name):
            self.add(at, "must be named in small letters, digits, - and _, 32 at most")
        if what := self.url_problem(provider.base_url, is_private=provider.local):
            self.add((*at, "base_url"), what)
        for field in ("path", "models_path", "probe_path"):
            if (value := getattr(provider, field)) and not value.startswith("/"):
                self.add((*at, field), "must begin with /")
        if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", variable) for variable in provider.key_env):
            self.add((*at, "key_env"), "must list names of environment variables, not keys")
        for header in provider.headers:
            if header.lower() in CREDENTIAL_HEADERS or header.lower().endswith("-api-key"):
                self.add((*at, "headers", header), "carries a key, and keys do not belong in a file; use `key_env`")

    def url_problem(self, url: str, *, is_private: bool = False) -> str:
        """Why keys and prompts may not be sent to `url`, by these settings; "" when they may.

        A local server `is_private` wherever it is.
        """
        allowed = (*self.private_hosts, *((host_of(url),) if is_private else ()))
        return url_problem(url, insecure_allowed=self.allows_insecure_http, private_hosts=allowed)

    def _check_keywords(self, task: Task) -> None:
        for field, expressions in (("keywords", task.keywords), ("strong", task.strong)):
            if ("tasks", task.name, field) not in self._file.lines:
                continue  # built in, and tested
            for expression in expressions:
                try:
                    re.compile(expression)
                except re.error as error:
                    self.add(("tasks", task.name, field), f"holds no regular expression: {error.msg}")

    # --- names of rows in other rows -------------------------------------------------------------------------

    def _check_references(self, catalog: Catalog, raw: Mapping[str, Any]) -> None:
        """On the rows as they were written: one that has another problem too is looked at all the same."""
        for location, name in _provider_names(raw):
            if name not in raw["providers"]:
                self.add(location, f"names a provider that does not exist{self.meant(name, raw['providers'])}")
        for location, model, provider in _deployments(raw):
            if provider in catalog.providers and not self._is_served(catalog, model, provider, raw):
                served = [place.model.name for place in catalog.deployments_at(provider)]
                self.add(location, f"names no model that {provider} serves here{self.meant(model, served)}")
        for name, old in tables(raw["old_models"]):
            replacement = old.get("replacement")
            if isinstance(replacement, str) and replacement not in raw["models"]:
                what = f"names a model that does not exist{self.meant(replacement, raw['models'])}"
                self.add(("old_models", name, "replacement"), what)

    def _is_served(self, catalog: Catalog, model: str, provider: str, raw: Mapping[str, Any]) -> bool:
        """Also for a row that has a problem of its own, and on a local server, which has what its user put there."""
        if model in raw["models"] and model not in catalog.models:
            return True
        return catalog.find(model, provider) is not None or catalog.providers[provider].local

    # --- words -----------------------------------------------------------------------------------------------

    def unknown(self, location: Location, known: Collection[str]) -> None:
        name = str(location[-1])
        meant = self.meant(name, known)
        if not meant and re.search(r"key|token|secret|password", name, re.IGNORECASE):
            meant = ", and keys do not belong in this file; set the provider's variable in the environment"
        what = f"is not known{meant}"
        shown = dotted((*location[:-1], self.shown(name)))
        self.problems.append(self._file.problem(location, f"`{shown}` {what}"))

    @staticmethod
    def shown(name: str) -> str:
        """`name`, cut short where it looks more like a key than like a name."""
        return f"{name[:6]}..." if len(name) >= 20 and re.search(r"\d", name) else name

    @staticmethod
    def meant(name: str, known: Collection[str]) -> str:
        """What was probably meant, as the rest of a sentence."""
        close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
        return f"; did you mean `{close[0]}`?" if close else ""


def _usable(name: str, row: Mapping[str, Any]) -> Provider | None:
    """A provider's row without the fields that have a problem already, so that the others are looked at too."""
    try:
        return Provider.model_validate({**row, "name": name})
    except ValidationError as error:
        wrong = {detail["loc"][0] for detail in details(error) if detail["loc"]}
    kept = {field: value for field, value in row.items() if field not in wrong}
    try:
        return Provider.model_validate({"base_url": "https://missing.invalid", **kept, "name": name})
    except ValidationError:
        return None


def tables(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """The tables in `value` with their names; none where it is no table itself."""
    return [(name, row) for name, row in _table(value).items() if isinstance(row, dict)]


def _table(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _provider_names(raw: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Where a provider is named outside its own row."""
    named: list[tuple[Location, Any]] = [(("weights", name), name) for name in raw["weights"]]
    named += [(("hierarchy",), name) for name in _list(raw["hierarchy"])]
    for model, row in tables(raw["models"]):
        named += [(("models", model, "at", name), name) for name in _table(row.get("at"))]
    named += [((*location, "provider"), step.get("provider")) for location, step in _steps(raw)]
    named += [(("old_models", name, "provider"), old.get("provider")) for name, old in tables(raw["old_models"])]
    return ((location, name) for location, name in named if isinstance(name, str))


def _deployments(raw: Mapping[str, Any]) -> Iterator[tuple[Location, str, str]]:
    """Where a model is named together with a provider."""
    named = [((*location, "model"), step.get("model"), step.get("provider")) for location, step in _steps(raw)]
    for provider, row in tables(raw["providers"]):
        named += [
            (("providers", provider, "models", t), name, provider) for t, name in _table(row.get("models")).items()
        ]
    for location, model, provider in named:
        if isinstance(model, str) and isinstance(provider, str):
            yield location, model, provider


def _steps(raw: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    for task, row in tables(raw["tasks"]):
        for place, step in enumerate(_list(row.get("route"))):
            if isinstance(step, dict):
                yield ("tasks", task, "route", place), cast("dict[str, Any]", step)


def _version(raw: Mapping[str, Any]) -> str:
    text = json.dumps(raw, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def words(detail: ErrorDetails) -> str:
    """A validation error, without the value."""
    match detail["type"]:
        case "missing":
            return "is missing"
        case "literal_error":
            return f"must be one of {detail.get('ctx', {}).get('expected', '')}"
        case "tuple_type":
            return "must be a list"
        case "dict_type" | "model_type":
            return "must be a table"
        case "extra_forbidden":
            return "is not known"
        case "decimal_parsing":
            return "must be a number, such as 5 or 0.50"
        case "string_pattern_mismatch":
            return "is not written as it has to be"
        case _:
            return detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")


_FORMS: Mapping[str, str] = {
    "route": '{ model = "gpt-6-luna", provider = "openai" }',
    "prices": "{ input = 0.5, output = 1.5 }",
    "at": '{ id = "the-providers-name-for-it", prices = [{ input = 0.5, output = 1.5 }] }',
}


def _form(location: Location, detail: ErrorDetails) -> str:
    """How to write the table that is wanted in a list or table of tables, as the rest of a sentence."""
    form = _FORMS.get(str(location[-2])) if len(location) > 1 else None
    return f"; write {form}" if form and detail["type"] == "model_type" else ""


def dotted(location: Location) -> str:
    """`location` as it is written, but for addresses: users may have those for names, and the line says which."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = "<address>" if "@" in step[1:] else step
            text += f".{name}" if re.fullmatch(r"[A-Za-z0-9_-]+|<[a-z]+>", name) else f'."{name}"'
    return text.removeprefix(".")


# --- addresses -----------------------------------------------------------------------------------------------


def url_problem(url: str, *, insecure_allowed: bool, private_hosts: Collection[str] = ()) -> str:
    """Why keys and prompts may not be sent to `url`; "" when they may, as far as can be seen before it is connected to.

    `private_hosts` may be on a private network.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "must be a URL, like https://host/v1"
    if parts.scheme not in {"http", "https"} or not host or re.search(r"[^!-~]|\\", url):
        return "must be a URL that begins with https:// (or http:// on this machine)"
    if _has_extras(parts):
        return "must be no more than scheme, host and path: no user, password, query or fragment"
    host = host.rstrip(".")
    address = addresses.address_of(host)
    place = None if address is None else addresses.place_of(address)
    if host in addresses.METADATA_HOSTS or place == "forbidden":
        return "points at a cloud's metadata service or a link-local address, which is never allowed"
    if parts.scheme == "http" and not addresses.is_here(host) and not insecure_allowed:
        return "must be https, except on this machine; or set allow_insecure_http = true"
    if place == "private" and host not in private_hosts:
        return f'is an address of a private network; if that is meant, set private_hosts = ["{host}"]'
    return ""


def host_of(url: str) -> str:
    """The host that `url` names, in small letters; "" where it is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _has_extras(parts: SplitResult) -> bool:
    return bool(parts.username is not None or parts.password is not None or parts.query or parts.fragment)
