"""Providers' exported usage, read into one shape: a line for each UTC day and model.

Which export a file is, its header tells. Money stays the exact decimal that it is.
"""

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from orchestra_router.errors import InvalidRequest

MOST_PROBLEMS = 10
MOST_USD = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """An export as its columns show it; the first of several names that the file has is read."""

    name: str
    provider: str
    """"" where the file does not tell."""
    needs: frozenset[str]
    day: tuple[str, ...]
    model: tuple[str, ...]
    cost: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    """Added up."""


# The dearest to mistake first: each needs a column that no other has.
KINDS = (
    Kind(
        name="OpenRouter activity",
        provider="openrouter",
        needs=frozenset({"created_at", "cost_total"}),
        day=("created_at",),
        model=("model_permaslug", "model"),
        cost=("cost_total",),
        tokens=("tokens_prompt", "tokens_completion"),
    ),
    Kind(
        name="OpenRouter activity by day",
        provider="openrouter",
        needs=frozenset({"date", "usage", "prompt_tokens"}),
        day=("date",),
        model=("model", "model_permaslug"),
        cost=("usage",),
        tokens=("prompt_tokens", "completion_tokens"),
    ),
    Kind(
        name="Anthropic cost",
        provider="anthropic",
        needs=frozenset({"usage_date_utc", "cost_usd"}),
        day=("usage_date_utc",),
        model=("model", "model_version"),
        cost=("cost_usd",),
    ),
    Kind(
        name="Anthropic usage",
        provider="anthropic",
        needs=frozenset({"usage_date_utc", "usage_output_tokens"}),
        day=("usage_date_utc",),
        model=("model_version", "model"),
        tokens=(
            "usage_input_tokens_no_cache",
            "usage_input_tokens_cache_write_5m",
            "usage_input_tokens_cache_write_1h",
            "usage_input_tokens_cache_read",
            "usage_output_tokens",
        ),
    ),
    Kind(
        name="OpenAI costs",
        provider="openai",
        needs=frozenset({"start_time", "amount_value"}),
        day=("start_time_iso", "start_time"),
        model=("line_item", "model"),
        cost=("amount_value",),
    ),
    Kind(
        name="OpenAI usage",
        provider="openai",
        needs=frozenset({"start_time", "input_tokens"}),
        day=("start_time_iso", "start_time"),
        model=("model",),
        tokens=("input_tokens", "output_tokens"),
    ),
    Kind(
        name="a table of days",
        provider="",
        needs=frozenset({"day", "model"}),
        day=("day",),
        model=("model",),
        cost=("cost", "cost_usd"),
        tokens=("tokens", "input_tokens", "output_tokens"),
    ),
)


@dataclass(frozen=True, slots=True)
class Line:
    day: str
    """UTC, as providers' days are."""
    model: str
    """The provider's own id, or whatever it calls the line."""
    cost_usd: Decimal | None
    tokens: int | None
    """None: the export does not tell."""


@dataclass(frozen=True, slots=True)
class Export:
    kind: Kind
    lines: tuple[Line, ...]
    problems: tuple[str, ...]
    """What was not understood, by place."""


def read(text: str) -> Export:
    """The export in `text`, CSV or JSON.

    Raises:
        InvalidRequest: it is none that is known; the message names the columns that were found and would do.
    """
    rows = list(_json_rows(text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text))
    columns = {name for _, row in rows for name in row}
    kind = next((kind for kind in KINDS if kind.needs <= columns), None)
    if kind is None:
        found = ", ".join(sorted(columns)[:20]) or "none"
        raise InvalidRequest(
            f"This is no export that is known. Its columns: {found}. Known: {', '.join(kind.name for kind in KINDS)};"
            " the last has the columns day (2026-11-23, UTC), model, cost (US dollars) and, if you like, tokens."
        )
    lines: list[Line] = []
    problems: list[str] = []
    for place, row in rows:
        try:
            lines.append(_line(row, kind))
        except ValueError as problem:
            problems.append(f"{place}: {problem}")
    left_out = len(problems) - MOST_PROBLEMS
    shown = problems[:MOST_PROBLEMS] + ([f"and {left_out} more"] if left_out > 0 else [])
    return Export(kind, tuple(lines), tuple(shown))


def _csv_rows(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    try:
        for row in reader:
            # Without what stands beyond the header, and with "" where a line ends early.
            known = {name.strip().lower(): value or "" for name, value in row.items() if isinstance(name, str)}
            yield f"line {reader.line_num}", known
    except csv.Error as error:
        raise InvalidRequest(f"Line {reader.line_num} is no CSV: {error}.") from None


def _json_rows(text: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        data: Any = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        raise InvalidRequest("The file begins like JSON and is none.") from None
    number = 0
    for entry in _entries(data):
        # OpenAI's pages: buckets of a time, with results in each.
        results = _entries(entry.get("results")) if isinstance(entry.get("results"), list) else [entry]
        for result in results:
            number += 1
            amount: Any = result.get("amount")
            flat = {**entry, **result}
            if isinstance(amount, dict):
                flat["amount_value"] = cast("dict[str, Any]", amount).get("value")
            yield f"entry {number}", {name.lower(): "" if value is None else str(value) for name, value in flat.items()}


def _entries(data: Any) -> Iterable[dict[str, Any]]:
    if isinstance(data, dict):
        data = cast("dict[str, Any]", data).get("data", [data])
    if not isinstance(data, list):
        raise InvalidRequest("The JSON holds no list of entries: give a list, or an object whose `data` is one.")
    return [cast("dict[str, Any]", entry) for entry in cast("list[Any]", data) if isinstance(entry, dict)]


def _line(row: Mapping[str, str], kind: Kind) -> Line:
    cost = _first(row, kind.cost)
    tokens = [row[name] for name in kind.tokens if row.get(name)]
    return Line(
        day=_day(_first(row, kind.day)),
        model=_first(row, kind.model).strip(),
        cost_usd=_usd(cost) if cost else None,
        tokens=sum(map(_count, tokens)) if tokens else None,
    )


def _first(row: Mapping[str, str], names: Iterable[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _day(text: str) -> str:
    text = text.strip()
    try:
        if text.isdigit():  # seconds since 1970
            return dt.datetime.fromtimestamp(int(text), dt.UTC).date().isoformat()
        at = dt.datetime.fromisoformat(text.removesuffix(" UTC"))
    except (ValueError, OverflowError, OSError):
        raise ValueError("its day is no date such as 2026-11-23") from None
    return (at.astimezone(dt.UTC) if at.tzinfo is not None else at).date().isoformat()


def _usd(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip().removeprefix("$").replace(",", ""))
    except InvalidOperation:
        raise ValueError("its cost is no number") from None
    if not amount.is_finite() or abs(amount) > MOST_USD:
        raise ValueError("its cost is no amount that anybody was billed")
    return amount


def _count(text: str) -> int:
    try:
        return int(Decimal(text.strip().replace(",", "")))
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError("its tokens are no number") from None
