"""JSON that satisfies a JSON Schema, or Gemini's upper-case dialect of one: small, deterministic, good enough."""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

_DEEPEST = 6
"""Below this, what is not required is left out, so that a schema that contains itself still ends."""
_FORMATS = {
    "date": "2026-11-23",
    "date-time": "2026-11-23T16:00:00Z",
    "time": "16:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


class UnusableSchema(Exception):
    """A schema that nothing can be made from: no schema at all, or a reference that leads nowhere or in a circle."""


def example(schema: Schema, text: str) -> Any:
    """A value `schema` accepts; its strings say `text` where they may. Knows no `pattern`, `not` or `if`.

    Raises:
        UnusableSchema: it is not a schema that can be served.
    """
    try:
        return _value(schema, text, schema, 0)
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, ArithmeticError, RecursionError):
        # A schema comes from outside, and any of its parts may be of any kind.
        raise UnusableSchema from None


def open_object(schema: Schema, *, all_required: bool) -> str:
    """Where `schema` has an object that allows other properties (or, asked for, optional ones); "" if nowhere.

    Raises:
        UnusableSchema: as `example`.
    """
    try:
        return _open_object(schema, "", all_required=all_required)
    except (TypeError, ValueError, AttributeError, RecursionError):
        raise UnusableSchema from None


def _open_object(schema: Schema, where: str, *, all_required: bool) -> str:
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            return where or "/"
        if all_required and set(properties) != set(schema.get("required", ())):
            return where or "/"
    inner: dict[str, Schema] = {f"{where}/items": schema["items"]} if "items" in schema else {}
    for group in ("properties", "$defs", "definitions"):
        inner |= {f"{where}/{group}/{name}": part for name, part in schema.get(group, {}).items()}
    for group in ("anyOf", "oneOf", "allOf"):
        inner |= {f"{where}/{group}/{number}": part for number, part in enumerate(schema.get(group, ()))}
    found = (_open_object(part, path, all_required=all_required) for path, part in inner.items())
    return next((path for path in found if path), "")


def _value(schema: Schema, text: str, root: Schema, depth: int) -> Any:
    if "$ref" in schema:
        return _value(_resolve(schema["$ref"], root), text, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        rest = {key: value for key, value in schema.items() if key not in {"anyOf", "oneOf"}}
        return _value({**rest, **_simplest(choices, depth)}, text, root, depth)
    if schema.get("allOf"):
        return _value(_merged(schema, root), text, root, depth)
    return _typed(schema, text, root, depth)


def _typed(schema: Schema, text: str, root: Schema, depth: int) -> Any:
    match _kind(schema):
        case "object":
            return _object(schema, text, root, depth)
        case "array":
            count = max(schema.get("minItems", 0), 0 if depth > _DEEPEST or schema.get("maxItems") == 0 else 1)
            return [_value(schema.get("items", {"type": "string"}), text, root, depth + 1) for _ in range(count)]
        case "string":
            return _string(schema, text)
        case "integer":
            return int(_number(schema))
        case "number":
            return _number(schema)
        case "boolean":
            return True
        case _:
            return None


def _object(schema: Schema, text: str, root: Schema, depth: int) -> dict[str, Any]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    required: Sequence[str] = schema.get("required", ())
    names = [name for name in properties if depth <= _DEEPEST or name in required]
    names += [name for name in required if name not in properties]
    return {name: _value(properties.get(name, {"type": "string"}), text, root, depth + 1) for name in names}


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    if not isinstance(kind, str):  # ["string", "null"]
        kind = next(name for name in kind if name != "null")
    return kind.lower()


def _string(schema: Schema, text: str) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    return text[: schema.get("maxLength", len(text))].ljust(int(schema.get("minLength", 0)), ".")


def _number(schema: Schema) -> float:
    step = schema.get("multipleOf", 1)
    value = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1 if "exclusiveMinimum" in schema else 1)
    highest = schema.get("maximum", schema.get("exclusiveMaximum"))
    if highest is not None and value >= highest:
        value = highest if "maximum" in schema else highest - 1
    return value if value % step == 0 else value + step - value % step


def _simplest(choices: Sequence[Schema], depth: int) -> Schema:
    """The first that is not null; deep down null is welcome."""
    nulls = [choice for choice in choices if choice.get("type") == "null"]
    others = [choice for choice in choices if choice.get("type") != "null"]
    return nulls[0] if nulls and depth > _DEEPEST else (others or nulls)[0]


def _resolve(reference: str, root: Schema) -> Schema:
    if not reference.startswith("#"):
        raise ValueError("another document")
    found: Any = root
    for step in reference[1:].split("/")[1:]:
        found = found[step.replace("~1", "/").replace("~0", "~")]
    return found


def _merged(schema: Schema, root: Schema) -> Schema:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        whole = _resolve(part["$ref"], root) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **whole.get("properties", {})}
        required = [*merged.get("required", ()), *whole.get("required", ())]
        merged |= {**whole, "properties": properties, "required": required}
    return merged
