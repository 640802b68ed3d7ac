"""Whether an answer is what the caller's JSON Schema asks for, in bounded time.

The schema comes from the caller and the text from a model, so neither is trusted: patterns have a time limit, nothing is
fetched, and a schema whose references multiply is given up on.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

from orchestra_router import patterns

MOST_REFERENCES = 10_000
"""Followed in one check; more is a schema that refers to itself without end."""

Found = Iterator[Any]
"""Errors, as the library has them. It has no types of its own."""


class _TooMuch(Exception):
    pass


def mismatch(text: str, schema: Mapping[str, object]) -> str | None:
    """Why `text` is not what `schema` asks for, in words that hold nothing of it; None when it is, or nobody can tell."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        return "it is not JSON"
    try:
        error = next(_checker(schema).iter_errors(document), None)
    except Exception:  # noqa: BLE001 - a schema that is none, or too dear to check; a provider that took it knows better
        return None
    if error is None:
        return None
    steps = [str(step) for step in error.absolute_schema_path][:-1]
    return f"`{error.validator}` of the schema does not hold at {'/'.join(steps) or 'its top'}"


def _checker(schema: Mapping[str, object]) -> Any:
    kind, extend, registry = _library()
    refer = kind.VALIDATORS["$ref"]
    followed = 0

    def counted(validator: Any, target: Any, instance: Any, within: Any) -> Found:
        nonlocal followed
        followed += 1
        if followed > MOST_REFERENCES:
            raise _TooMuch
        yield from refer(validator, target, instance, within)

    # With a registry of its own it looks nothing up outside.
    return extend(kind, {"$ref": counted})(dict(schema), registry=registry())


@lru_cache(maxsize=1)
def _library() -> tuple[Any, Any, Any]:
    """The newest draft with what could take for ever made harmless; how to extend it; an empty registry."""
    library: Any = import_module("jsonschema")  # 170 ms; few requests have a schema
    extend = library.validators.extend
    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        # These check parts of a document again and again, by the power of their depth.
        "unevaluatedProperties": _passes,
        "unevaluatedItems": _passes,
        "$dynamicRef": _passes,
    }
    return extend(library.Draft202012Validator, own), extend, import_module("referencing").Registry


def _pattern(validator: Any, wanted: str, instance: Any, _: Any) -> Found:
    if validator.is_type(instance, "string") and not patterns.found(wanted, instance):
        yield import_module("jsonschema").ValidationError("does not match")


def _pattern_properties(validator: Any, wanted: Mapping[str, Any], instance: Any, _: Any) -> Found:
    if validator.is_type(instance, "object"):
        for expression, within in wanted.items():
            for name, value in instance.items():
                if patterns.found(expression, name):
                    yield from validator.descend(value, within, path=name, schema_path=expression)


def _passes(*_: Any) -> Found:
    return iter(())
