"""What the simulated providers charge: a price list of their own, in exact fractions of a dollar.

It states the published prices a second time, on purpose: a router that agrees with these bills to the
nano-dollar agrees with something it was not built from. Rates are US dollars per million tokens.
"""

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction

NUSD_PER_USD = 1_000_000_000
_NUSD_PER_TOKEN = 1000
"""Nano-dollars per token at one dollar per million tokens."""

DEEPSEEK_PEAK_HOURS = frozenset({1, 2, 3, 6, 7, 8, 9})
"""UTC. DeepSeek's page says Monday to Friday; these bills follow genai-prices 0.2.3: every day of the week."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one answer used, in disjoint buckets."""

    fresh: int = 0
    cached: int = 0
    written: int = 0
    """Written to the provider's prompt cache for minutes."""
    written_1h: int = 0
    visible: int = 0
    reasoning: int = 0
    searches: int = 0

    @property
    def input(self) -> int:
        return self.fresh + self.cached + self.written + self.written_1h

    @property
    def output(self) -> int:
        return self.visible + self.reasoning

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class Rates:
    """One model's prices from `since` on; decimals are written as strings, so that they stay exact."""

    input: str
    output: str
    cached: str = ""
    """Empty: cached input costs what fresh input does."""
    written: str = ""
    """Empty: this provider does not charge, or count, what it writes to its cache."""
    written_1h: str = ""
    since: dt.date = dt.date.min
    above: int | None = None
    """Prompts of more tokens than this pay the two factors, on the whole request."""
    input_factor: Fraction = Fraction(1)
    output_factor: Fraction = Fraction(1)
    off_peak_factor: Fraction = Fraction(1)
    search: str = "0"
    """US dollars per 1,000 searches."""


@dataclass(frozen=True, slots=True)
class Charge:
    """An exact amount in nano-dollars, by what it is for."""

    fresh: Fraction = Fraction(0)
    cached: Fraction = Fraction(0)
    written: Fraction = Fraction(0)
    output: Fraction = Fraction(0)
    searches: Fraction = Fraction(0)

    @property
    def nusd(self) -> int:
        """The bill: one rounding, half up."""
        return int(self.fresh + self.cached + self.written + self.output + self.searches + Fraction(1, 2))


def charge(prices: tuple[Rates, ...], tokens: Tokens, *, at_ms: int) -> Charge:
    """What `tokens` cost at `at_ms`. `prices` are in order of their dates; no prices means free."""
    if not prices:
        return Charge()
    when = dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC)
    rates = [row for row in prices if row.since <= when.date()][-1]
    long = rates.above is not None and tokens.input > rates.above
    tide = Fraction(1) if when.hour in DEEPSEEK_PEAK_HOURS else rates.off_peak_factor
    read = tide * _NUSD_PER_TOKEN * (rates.input_factor if long else 1)
    wrote = tide * _NUSD_PER_TOKEN * (rates.output_factor if long else 1)
    written = Fraction(rates.written or rates.input)
    return Charge(
        fresh=tokens.fresh * Fraction(rates.input) * read,
        cached=tokens.cached * Fraction(rates.cached or rates.input) * read,
        written=(tokens.written * written + tokens.written_1h * Fraction(rates.written_1h or written)) * read,
        output=tokens.output * Fraction(rates.output) * wrote,
        searches=tokens.searches * Fraction(rates.search) * (NUSD_PER_USD // 1000),
    )


def dollars(nusd: int | Fraction) -> float:
    """For the JSON of a provider that reports costs. A whole number of nano-dollars survives the way there and back."""
    return float(Fraction(nusd) / NUSD_PER_USD)
