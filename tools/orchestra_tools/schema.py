"""The schema of an argument model, as small as it can honestly be."""

from typing import Any, cast

from pydantic import BaseModel

Schema = dict[str, Any]

UNSAID = frozenset(
    {
        *("title", "maxLength", "minLength", "maxItems", "minItems", "minimum", "maximum", "pattern", "propertyNames"),
        *("ge", "le"),  # pydantic's own words for minimum and maximum where a validator stands before them
    }
)
"""Left out: a name said twice, and limits that only a mistake would reach, which are explained when one does."""


def compact_schema(model: type[BaseModel]) -> Schema:
    """The JSON Schema of `model` without titles, references and nulls.

    Some clients drop a tool over a nullable union or a `$ref`; a title that repeats the name costs tokens only.
    """
    schema = model.model_json_schema()
    definitions: dict[str, Schema] = schema.pop("$defs", {})
    for definition in definitions.values():
        definition.pop("additionalProperties", None)
    return _compact(schema, definitions)


def _compact(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    if reference := schema.get("$ref"):
        return _compact(definitions[reference.rpartition("/")[2]], definitions)
    small = {key: value for key, value in schema.items() if key not in UNSAID and not _says_nothing(key, value)}
    if options := cast("list[Schema]", small.pop("anyOf", [])):
        kept = [_compact(option, definitions) for option in options if option != {"type": "null"}]
        if len(kept) == 1:
            small = kept[0] | small
        else:
            small = {key: value for key, value in small.items() if key not in {"type", "items"}}
            small["anyOf"] = kept
    if "properties" in small:
        properties = cast("dict[str, Schema]", small["properties"])
        small["properties"] = {name: _compact(value, definitions) for name, value in properties.items()}
    for inner in ("items", "additionalProperties"):
        if isinstance(small.get(inner), dict):
            small[inner] = _compact(small[inner], definitions)
    return small


def _says_nothing(key: str, value: object) -> bool:
    return (key == "default" and value in (None, [], "", False)) or (key == "additionalProperties" and value is True)
