"""What can be wrong with the user's own rules. One that can never match is a mistake like any other."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

from pydantic import ValidationError

from orchestra_router.catalog import Catalog
from orchestra_router.config_checks import Checker, details, words
from orchestra_router.routing_rules import Rule, Selected, When, meant, selected, shadowed
from orchestra_router.toml_file import TomlFile

KNOWN = {*Rule.model_fields, *When.model_fields}


def rules(checker: Checker, file: TomlFile, catalog: Catalog) -> tuple[Rule, ...]:
    """The rules of `file`; what is wrong with them is added to `checker`."""
    found = _read(checker, file.values.get("rules", []))
    names: set[str] = set()
    for place, rule in found.items():
        for location, what in _problems(rule, catalog, checker):
            checker.add(("rules", place, *location), what)
        if rule.name in names:
            checker.add(("rules", place, "name"), "is the name of an earlier rule too; every rule needs its own")
        names.add(rule.name)
    places, whole = list(found), tuple(found.values())
    for late, early in shadowed(whole, catalog).items():
        takers = " and ".join(f"{whole[place].name!r}" for place in early)
        what = (
            f"({whole[late].name!r}) can never match, for {takers} before it {'take' if len(early) > 1 else 'takes'}"
            " everything it would; move it up, or narrow what comes before"
        )
        checker.add(("rules", places[late]), what)
    return whole


def _read(checker: Checker, raw: Any) -> dict[int, Rule]:
    """By their places in the file; without those that cannot be read."""
    if not isinstance(raw, list):
        checker.add(("rules",), "must be a list of tables; write [[rules]] above each rule")
        return {}
    found: dict[int, Rule] = {}
    for place, row in enumerate(cast("list[Any]", raw)):
        try:
            found[place] = Rule.model_validate(row)
        except ValidationError as error:
            for detail in details(error):
                location = ("rules", place, *detail["loc"])
                if detail["type"] == "extra_forbidden":
                    checker.unknown(location, KNOWN)
                else:
                    checker.add(location, _words(detail["type"]) or words(detail))
    return found


def _words(kind: str) -> str:
    match kind:
        case "too_short":
            return "is empty, so nothing can match; leave it out to match everything"
        case "string_pattern_mismatch":
            return "must begin with a letter or digit and hold letters, digits, spaces and _ . - only, 64 at most"
        case _:
            return ""


def _problems(rule: Rule, catalog: Catalog, checker: Checker) -> Iterator[tuple[Sequence[str], str]]:
    when = rule.when
    for task in when.task or ():
        if task not in catalog.tasks:
            yield ("when", "task"), f"names a task that does not exist{checker.meant(task, catalog.tasks)}"
    if not when.minutes:
        yield ("when", "hours"), "begins and ends at the same time; leave it out for the whole day"
    if when.max_prompt_tokens is not None and (when.min_prompt_tokens or 0) > when.max_prompt_tokens:
        yield ("when", "min_prompt_tokens"), "is above `max_prompt_tokens`, so no prompt can match"
    for field in ("prefer", "require", "exclude"):
        for name in getattr(rule, field):
            if name not in catalog.providers and not meant(name, catalog):
                known = [*catalog.providers, *catalog.models]
                yield (field,), f"names neither a provider nor a model of the catalog{checker.meant(name, known)}"
    yield from _contradictions(rule, catalog)


def _contradictions(rule: Rule, catalog: Catalog) -> Iterator[tuple[Sequence[str], str]]:
    excluded, required = selected(rule.exclude, catalog), selected(rule.require, catalog)
    if rule.require and all(_is_covered(name, excluded, catalog) for name in rule.require):
        yield ("require",), "is excluded by the same rule, so nothing is left to ask"
    for name in rule.prefer:
        if _is_covered(name, excluded, catalog):
            yield ("prefer",), "names what the same rule excludes"
        elif rule.require and not _meets(name, required, catalog):
            yield ("prefer",), "names what is not among what the same rule requires"


def _is_covered(name: str, by: Selected, catalog: Catalog) -> bool:
    """Whether everything that `name` stands for is in `by`."""
    if name in catalog.providers:
        return name in by.providers
    places = meant(name, catalog)
    return bool(places) and all(place in by for place in places)


def _meets(name: str, other: Selected, catalog: Catalog) -> bool:
    """Whether something that `name` stands for is in `other`."""
    if name not in catalog.providers:
        return any(place in other for place in meant(name, catalog))
    return name in other.providers or any(place.key in other.keys for place in catalog.deployments_at(name))
