"""What genai-prices says: which models it lists at which provider, and their prices as tariffs.

Importing it and its data takes a third of a second, so nobody here does before it is needed.
"""

import datetime as dt
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestra_router import garbage
from orchestra_router.tariffs import ANY_LENGTH, Rates, Tariff, tariff
from orchestra_router.types import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceCalculation, TieredPrices

HALF_HOUR_MS = 1_800_000
"""No price of the list begins or ends within one, counted from 1970; a test looks."""
DAY_HALF_HOURS = 50
"""How many begin within a day and an hour."""

_PRICES = {
    "input": "input_mtok",
    "read": "cache_read_mtok",
    "write": "cache_write_mtok",
    "write_5m": "cache_write_5m_mtok",
    "write_1h": "cache_write_1h_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
    "search": "web_searches_kcount",
    "request": "requests_kcount",
}
_imported = threading.Event()
"""Set once genai-prices is in memory; while it is being imported, asking it would wait."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model's price in one half hour."""

    tariff: Tariff
    knows_searches: bool
    """The fee of its searches is the list's own."""


def is_in_memory() -> bool:
    return _imported.is_set()


def warm_up() -> None:
    """Import the list in a thread of its own (0.2 to 0.5 s), to be called while an upstream is at work."""
    if "genai_prices" not in sys.modules:
        with suppress(RuntimeError):  # no thread is to be had; whoever needs the list first will wait for it
            threading.Thread(target=warm, name="orchestra-prices").start()


def warm() -> None:
    """Import the list and its data, so that the first price does not wait for it."""
    with garbage.loading():
        _calculated(Usage(), "gpt-6-luna", "openai", at_ms=0)


def is_listed(model: str, provider_id: str) -> bool:
    return _model(model, provider_id) is not None


@lru_cache(maxsize=4_096)
def listed(model: str, provider_id: str, half_hour: int, search: Decimal) -> Listed | None:
    """The price in force; `search` is the fee of 1,000 searches where the list has none. None: it lists no such model."""
    found = _model(model, provider_id)
    if found is None:
        return None
    price = found.get_prices(_beginning(half_hour))
    return Listed(_tariff(price, search), knows_searches=price.web_searches_kcount is not None)


@lru_cache(maxsize=4_096)
def dearest(model: str, provider_id: str, half_hour: int, search: Decimal) -> tuple[Tariff, ...]:
    """The most that each price can come to that is in force in the 24 hours after a half hour's beginning."""
    found = _model(model, provider_id)
    if found is None:
        return ()
    prices = [found.get_prices(_beginning(half_hour + more)) for more in range(DAY_HALF_HOURS)]
    return tuple(_dearest(price, search) for price in {id(price): price for price in prices}.values())


def _beginning(half_hour: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(half_hour * HALF_HOUR_MS / 1000, dt.UTC)


@lru_cache(maxsize=4_096)
def _model(model: str, provider_id: str) -> "ModelInfo | None":
    """What the list knows of a model at exactly this provider. None also where it prices by what nobody counts here."""
    calculation = _calculated(_ALL_KINDS, model, provider_id, at_ms=0)
    return None if calculation is None else calculation.model


_ALL_KINDS = Usage(input_fresh=1, cache_read=1, cache_write=1, cache_write_1h=1, output=1, reasoning=1, searches=1)


def _calculated(usage: Usage, model: str, provider_id: str, *, at_ms: int) -> "PriceCalculation | None":
    """The list's own sum; None where it has none."""
    from genai_prices import Usage as ListUsage  # noqa: PLC0415 - a third of a second, and not always needed
    from genai_prices import calc_price  # noqa: PLC0415 - as above

    counts = ListUsage(
        input_tokens=usage.input_total,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_5m_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_tokens=usage.output_total,
        output_reasoning_tokens=usage.reasoning,
        web_searches=usage.searches,
    )
    when = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC)
    try:
        calculation = calc_price(counts, model, provider_id=provider_id, genai_request_timestamp=when)
    except (LookupError, ValueError):
        return None
    finally:
        _imported.set()
    # It also finds a provider by part of its name; a server called "my-openai-proxy" has prices of its own.
    return calculation if calculation.provider.id == provider_id else None


# --- a price as a tariff -------------------------------------------------------------------------------------


def _tariff(price: "ModelPrice", search: Decimal) -> Tariff:
    """What the list takes for each kind of token; one without a price of its own costs what the wider kind does."""
    rates = _rates(price)

    def past(length: int) -> Rates:
        here = {name: _at(rate, length) for name, rate in rates.items()}
        fresh, output = here.get("input", Decimal(0)), here.get("output", Decimal(0))
        write = here.get("write", fresh)
        return Rates(
            fresh=fresh,
            read=here.get("read", fresh),
            write=here.get("write_5m", write),
            write_1h=here.get("write_1h", write),
            output=output,
            reasoning=here.get("reasoning", output),
            search=here.get("search", search),
            request=here.get("request", Decimal(0)),
        )

    return tariff({length: past(length) for length in _lengths(rates.values())})


def _dearest(price: "ModelPrice", search: Decimal) -> Tariff:
    """The most it can come to: the dearest kind of token, at the dearest length up to a prompt's own."""
    rates = _rates(price)
    lengths = _lengths(rates.values())

    def most(names: Iterable[str], lengths: list[int]) -> Decimal:
        return max((_at(rates[name], each) for name in names if name in rates for each in lengths), default=Decimal(0))

    def past(length: int) -> Rates:
        upto = [each for each in lengths if each <= length]
        per_input = most(("input", "read", "write", "write_5m", "write_1h"), upto)
        per_output = most(("output", "reasoning"), upto)
        return Rates(
            fresh=per_input,
            read=per_input,
            write=per_input,
            write_1h=per_input,
            output=per_output,
            reasoning=per_output,
            search=most(("search",), upto) if "search" in rates else search,
            request=most(("request",), upto),
        )

    return tariff({length: past(length) for length in lengths})


def _rates(price: "ModelPrice") -> dict[str, "Decimal | TieredPrices"]:
    found: dict[str, Decimal | TieredPrices | None] = {name: getattr(price, key) for name, key in _PRICES.items()}
    return {name: rate for name, rate in found.items() if rate is not None}


def _lengths(rates: Iterable["Decimal | TieredPrices"]) -> list[int]:
    """Past which lengths of a prompt some of `rates` change."""
    tiers = {tier.start for rate in rates if not isinstance(rate, Decimal) for tier in rate.tiers}
    return sorted({ANY_LENGTH, *tiers})


def _at(rate: "Decimal | TieredPrices", length: int) -> Decimal:
    """What a prompt past `length` pays."""
    if isinstance(rate, Decimal):
        return rate
    return next((tier.price for tier in reversed(rate.tiers) if tier.start <= length), rate.base)
