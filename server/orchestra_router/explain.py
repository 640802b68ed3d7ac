"""Wrong arguments, in our own words: which one, what is wrong with it, what to do. Never the value itself."""

import re
import typing
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

MOST_PROBLEMS = 8
MOST_LOOKED_AT = 10_000
"""More problems than these are counted only: to list them all takes seconds, in which everybody else waits."""
HALF_A_CHARACTER = "holds half of a character (a surrogate without its other half); send it whole"

_WANTED: Mapping[str, str] = {
    "string": "must be a string",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a finite number",
    "bool": "must be true or false",
    "list": "must be a list",
    "dict": "must be an object",
    "model": "must be an object",
}


def explain(tool: str, model: type[BaseModel], error: ValidationError) -> str:
    if error.error_count() > MOST_LOOKED_AT:
        return f"`{tool}` cannot be called like this: {error.error_count():,} values are not what they should be."
    problems = error.errors(include_url=False, include_input=False)
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")  # a misspelt name explains the rest
    lines = [_problem(model, problem) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"and {len(problems) - MOST_PROBLEMS} more.")
    return "\n".join((f"`{tool}` cannot be called like this:", *lines))


def _problem(model: type[BaseModel], problem: ErrorDetails) -> str:
    path = problem["loc"]
    kind = problem["type"]
    if kind == "extra_forbidden":
        return _unknown(model, path)
    return f"{_named(model, path)} {_wrong(kind, problem)}."


def _wrong(kind: str, problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    match kind:
        case "orchestra":  # one of our own checks
            return problem["msg"]
        case "string_unicode":
            return HALF_A_CHARACTER
        case "missing":
            return "is missing"
        case "greater_than_equal":
            return f"must be at least {context['ge']:,}"
        case "less_than_equal":
            return f"must be at most {context['le']:,}"
        case "literal_error":
            return f"must be {context['expected']}".replace("'", '"')
        case "too_short" | "string_too_short":
            least = context["min_length"]
            return "must not be empty" if least == 1 else f"is too short: at least {least:,}"
        case "too_long" | "string_too_long":
            return f"is too long: at most {context['max_length']:,}"
        case "string_pattern_mismatch":
            return "may hold letters, digits, _ . and - only, 128 at most"
        case _:
            return _WANTED.get(kind.partition("_")[0], "is not valid")


def _unknown(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    whose = owner(model, path[:-1])
    known = tuple(whose.model_fields)
    guess = get_close_matches(str(path[-1]), known, n=1)
    hint = f"Did you mean `{guess[0]}`?" if guess else f"Known: {', '.join(known)}."
    where = f" in {_named(model, path[:-1])}" if path[:-1] else ""
    return f"`{_safe(str(path[-1]))}` is not known{where}. {hint}"


def owner(model: type[BaseModel], path: Iterable[int | str]) -> type[BaseModel]:
    """The model that `path` leads to from `model`."""
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            model = _inner(model.model_fields[step].annotation) or model
    return model


def _inner(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _inner(part))), None)


def _named(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    """The argument at `path`. Keys that a caller chose freely are left out: they are values as well."""
    name = ""
    for place, step in enumerate(path):
        if isinstance(step, int):
            name += f"[{step}]"
        elif step in owner(model, path[:place]).model_fields:
            name += f".{step}" if name else step
        else:
            name += "[...]"
    return f"`{name}`"


def _safe(name: str) -> str:
    """`name` if it looks like one; what a caller invents may be long, or prose."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else "..."
