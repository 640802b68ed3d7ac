"""What a client is told of the tools, resources and prompts, as the page that documents it. A test holds the page to it."""

from typing import Any, cast

from pydantic import BaseModel

from orchestra_router.asking import CompleteArguments, RoutingArguments
from orchestra_tools import prompts, resources
from orchestra_tools.server import TOOLS

Schema = dict[str, Any]

_LEAST, _MOST, _LONGEST = ("minimum", "ge"), ("maximum", "le"), ("maxLength", "maxItems")


def reference() -> str:
    """Markdown: tools with their arguments, then resources, then prompts."""
    parts = [_tool(tool.name, tool.title or "", tool.description or "", tool.fn_metadata.arg_model) for tool in TOOLS]
    readable = [
        _table(
            ("address", "holds"),
            [(f"`{one.uri}`", one.description) for one in resources.READABLE],
        )
    ]
    asks = [_prompt(common) for common in prompts.COMMON]
    return "\n\n".join(("## Tools", *parts, "## Resources", *readable, "## Prompts", *asks))


def _tool(name: str, title: str, description: str, arguments: type[BaseModel]) -> str:
    is_route = issubclass(arguments, RoutingArguments) and not issubclass(arguments, CompleteArguments)
    shared = RoutingArguments.model_fields if is_route else {}
    rows = [
        (f"`{argument}`", _type(about), _default(about), _limits(about), about.get("description", ""))
        for argument, about in cast("dict[str, Schema]", arguments.model_json_schema()["properties"]).items()
        if argument not in shared
    ]
    also = f"\n\nTakes {', '.join(f'`{one}`' for one in shared)} as `complete` does, and:" if shared else ""
    table = _table(("argument", "type", "default", "limits", "meaning"), rows)
    return f"### `{name}`: {title}\n\n{description}{also}\n\n{table}"


def _prompt(common: prompts.Common) -> str:
    head = f"### `{common.name}`: {common.title}\n\n{common.description}"
    rows = [(f"`{one.name}`", "yes" if one.required else "", one.description) for one in common.arguments]
    return f"{head}\n\n{_table(('argument', 'required', 'meaning'), rows)}" if rows else head


def _options(about: Schema) -> list[Schema]:
    return [one for one in about.get("anyOf", [about]) if one.get("type") != "null"]


def _type(about: Schema) -> str:
    (one,) = _options(about)
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if one["type"] == "array":
        inner = one["items"].get("type", "object")
        return f"list of {inner}s"
    return str(one["type"])


def _default(about: Schema) -> str:
    default = about.get("default")
    return "" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _limits(about: Schema) -> str:
    found = {**about, **_options(about)[0]}
    unit = "characters" if found["type"] == "string" else "entries"
    limits = [f"at least {found[name]:,}" for name in _LEAST if name in found]
    limits += [f"at most {found[name]:,}" for name in _MOST if name in found]
    return ", ".join((*limits, *(f"at most {found[name]:,} {unit}" for name in _LONGEST if name in found)))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = tuple("---" for _ in head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *(map(_cell, row) for row in rows)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
