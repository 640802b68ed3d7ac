"""Prices as whole numbers: what usage costs, exact and rounded once, worked out in one sum.

A price in dollars per million tokens is seldom a whole number of billionths per token, so a tariff counts in parts of
one: as small as its own prices need.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from orchestra_router.deployments import Price
from orchestra_router.types import Usage

TOKEN_DIGITS, SEARCH_DIGITS = 3, 6
"""A dollar per million tokens is 10^3 billionths for one, and one per 1,000 searches is 10^6."""

ANY_LENGTH = -1
"""Every prompt is longer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """US dollars: per million tokens of each kind that `Usage` counts, per 1,000 searches, per 1,000 requests."""

    fresh: Decimal
    read: Decimal
    write: Decimal
    write_1h: Decimal
    output: Decimal
    reasoning: Decimal
    search: Decimal
    request: Decimal = Decimal(0)

    def dearest(self) -> "Rates":
        """The same where every token is of the dearest kind."""
        most = max(self.fresh, self.read, self.write, self.write_1h)
        output = max(self.output, self.reasoning)
        return replace(self, fresh=most, read=most, write=most, write_1h=most, output=output, reasoning=output)

    @property
    def rates(self) -> tuple[Decimal, ...]:
        return (
            self.fresh,
            self.read,
            self.write,
            self.write_1h,
            self.output,
            self.reasoning,
            self.search,
            self.request,
        )


DIGITS = (*6 * (TOKEN_DIGITS,), *2 * (SEARCH_DIGITS,))
"""Of each of `Rates.rates`, in its order."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a call costs by the length of its prompt. Made by `tariff`."""

    starts: tuple[int, ...]
    """A prompt longer than this many tokens pays the next row, all of it."""
    rows: tuple[tuple[int, ...], ...]
    """Of each length: parts of a nano-dollar for each of `Rates.rates`, in its order."""
    parts: int
    """Of one nano-dollar."""

    def cost_nusd(self, usage: Usage) -> int:
        length = usage.input_total
        fresh, read, write, write_1h, output, reasoning, search, request = self.rows[bisect_left(self.starts, length)]
        sum_ = (
            fresh * usage.input_fresh
            + read * usage.cache_read
            + write * usage.cache_write
            + write_1h * usage.cache_write_1h
            + output * usage.output
            + reasoning * usage.reasoning
            + search * usage.searches
            + request
        )
        return (2 * sum_ + self.parts) // (2 * self.parts)

    def size_nusd(self, input_tokens: int, output_tokens: int, searches: int, cached_tokens: int = 0) -> int:
        """The cost of a call of this size, nothing of it written to a cache and none of its output thinking."""
        fresh, read, _, _, output, _, search, request = self.rows[bisect_left(self.starts, input_tokens)]
        sum_ = fresh * (input_tokens - cached_tokens) + read * cached_tokens + output * output_tokens
        sum_ += search * searches + request
        return (2 * sum_ + self.parts) // (2 * self.parts)

    def covers(self, other: "Tariff") -> bool:
        """Whether no call costs less by this one than by `other`."""
        return all(
            mine * other.parts >= theirs * self.parts
            for length in (ANY_LENGTH, *self.starts, *other.starts)
            for mine, theirs in zip(self.row_past(length), other.row_past(length), strict=True)
        )

    def row_past(self, length: int) -> tuple[int, ...]:
        return self.rows[bisect_left(self.starts, length + 1)]


def tariff(rates: Mapping[int, Rates]) -> Tariff:
    """The tariff of `rates` by the length that a prompt must be past; the shortest is `ANY_LENGTH`."""
    lengths = sorted(rates)
    rows = [rates[length].rates for length in lengths]
    decimals = max(_decimals(rate) - digits for row in rows for rate, digits in zip(row, DIGITS, strict=True))
    more = max(0, decimals)
    return Tariff(
        starts=tuple(lengths[1:]),
        rows=tuple(
            tuple(int(rate.scaleb(digits + more)) for rate, digits in zip(row, DIGITS, strict=True)) for row in rows
        ),
        parts=10**more,
    )


def _decimals(rate: Decimal) -> int:
    exponent = rate.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


@lru_cache(maxsize=16)
def flat(rate: Decimal, search: Decimal) -> Tariff:
    """Where every token costs the same."""
    return tariff(
        {
            ANY_LENGTH: Rates(
                fresh=rate, read=rate, write=rate, write_1h=rate, output=rate, reasoning=rate, search=search
            )
        }
    )


def of_row(row: Price) -> Tariff:
    """What a row of the catalog says."""
    return tariff(_by_length(row, row.above_input_factor, row.above_output_factor))


def dearest_of_row(row: Price) -> Tariff:
    """The most that a row of the catalog can come to."""
    # A factor below 1 must not lower the bound: the prompt may turn out shorter.
    factors = max(Decimal(1), row.above_input_factor), max(Decimal(1), row.above_output_factor)
    return tariff({length: rates.dearest() for length, rates in _by_length(row, *factors).items()})


def without_covered(tariffs: Iterable[Tariff]) -> tuple[Tariff, ...]:
    """Those of `tariffs` that are needed to find the dearest for any call."""
    kept: list[Tariff] = []
    for each in tariffs:
        if not any(other.covers(each) for other in kept):
            kept = [other for other in kept if not each.covers(other)] + [each]
    return tuple(kept)


def _by_length(row: Price, input_factor: Decimal, output_factor: Decimal) -> dict[int, Rates]:
    write = row.input if row.cache_write is None else row.cache_write
    short = Rates(
        fresh=row.input,
        read=row.input if row.cache_read is None else row.cache_read,
        write=write,
        write_1h=write if row.cache_write_1h is None else row.cache_write_1h,
        output=row.output,
        reasoning=row.output,
        search=row.search,
    )
    if row.above_tokens is None:
        return {ANY_LENGTH: short}
    long = replace(
        short,
        fresh=short.fresh * input_factor,
        read=short.read * input_factor,
        write=short.write * input_factor,
        write_1h=short.write_1h * input_factor,
        output=short.output * output_factor,
        reasoning=short.reasoning * output_factor,
    )
    return {ANY_LENGTH: short, max(ANY_LENGTH, row.above_tokens): long}
