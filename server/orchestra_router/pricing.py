"""What a call costs, and the most it can cost: a pure function of usage, time and dated prices.

The order of sources, first one wins:

    what the provider itself reports       fees included; where its row says that it does (`reports_cost`)
    the user's own prices                  `prices` in orchestra.toml
    genai-prices                           by provider, model and the time of the request
    the catalog's prices                   never below genai-prices where both know a model; a test holds them to it
    free                                   a local server
    unpriced                               counted at `unpriced_usd_per_mtok`, never at 0

A reported 0 counts only where nobody knows a price. Where one is known (0 for a `:free` offer) that one decides: a
gateway that cannot price a call reports 0, too.

Money is summed in exact decimals and rounded once, half up, to billionths of a dollar.
"""

import datetime as dt
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from orchestra_router import garbage
from orchestra_router.deployments import Deployment, Price, in_force
from orchestra_router.types import NUSD_PER_USD, CostSource, Usage, nusd

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceCalculation, TieredPrices

MILLION = 1_000_000
HALF_HOUR_MS, DAY_MS = 1_800_000, 86_400_000
STALE_DAYS = 45
"""Prices change about monthly; a list older than this has probably missed a change."""
DEFAULT_SEARCH_USD = Decimal(35)
"""Dollars per 1,000 searches where nobody states a fee: the dearest that is known (Gemini 2.5)."""
GENAI_PRICES_DATES = {"0.2.3": dt.date(2026, 11, 10)}
"""Release days: the package does not carry its own."""

_INPUT_KEYS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_5m_mtok", "cache_write_1h_mtok")
_OUTPUT_KEYS = ("output_mtok", "output_reasoning_mtok")
_imported = threading.Event()
"""Set once genai-prices is in memory; while it is being imported, asking it would wait."""


@dataclass(frozen=True, slots=True)
class Cost:
    nusd: int
    source: CostSource
    note: str = ""
    """What the figure alone does not say: a fee from elsewhere, a guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceAge:
    """How old the prices are. Dates are None where unknown."""

    genai_prices_version: str
    genai_prices_date: dt.date | None
    catalog_checked: dt.date | None
    """The newest `checked` of any row."""
    warning: str
    """Empty while nothing is stale."""

    @property
    def told(self) -> str:
        """Where the prices are from, and how old they are."""
        released = f" of {self.genai_prices_date}" if self.genai_prices_date is not None else ""
        checked = f", catalog checked {self.catalog_checked}" if self.catalog_checked is not None else ""
        return f"genai-prices {self.genai_prices_version}{released}{checked}"


class PricingSettings(Protocol):
    @property
    def unpriced_usd_per_mtok(self) -> Decimal: ...


class Pricing:
    def __init__(self, *, unpriced_usd_per_mtok: Decimal, checked: dt.date | None = None) -> None:
        """`checked` is the day the catalog's prices were last compared with their sources."""
        self._unpriced_usd_per_mtok = unpriced_usd_per_mtok
        self._checked = checked

    @classmethod
    def of(cls, settings: PricingSettings, *, checked: dt.date | None = None) -> "Pricing":
        return cls(unpriced_usd_per_mtok=settings.unpriced_usd_per_mtok, checked=checked)

    # --- after a call ----------------------------------------------------------------------------------------

    def cost(self, deployment: Deployment, usage: Usage, *, at_ms: int, reported_nusd: int | None = None) -> Cost:
        """What `usage`, asked for at `at_ms`, costs. `reported_nusd` is the provider's own figure."""
        reported_nusd = reported_nusd if deployment.provider.reports_cost else None
        if reported_nusd is not None and reported_nusd > 0:
            return Cost(reported_nusd, "provider")
        prices = deployment.offer.prices
        asks_lists = not (deployment.offer.own_prices or deployment.provider.local)
        if asks_lists and (calculation := _calculate(deployment, usage, at_ms=at_ms)) is not None:
            return _listed_cost(calculation, deployment, usage, at_ms=at_ms)
        if prices:
            return Cost(nusd(_table_usd(in_force(prices, _day(at_ms)), usage)), "table")
        if deployment.provider.local:
            return Cost(0, "free")
        if reported_nusd == 0:
            return Cost(0, "provider")
        return Cost(
            self._unpriced(usage.input_total + usage.output_total, usage.searches),
            "unpriced",
            f"no price is known; counted at {self._unpriced_usd_per_mtok} USD per million tokens",
        )

    # --- before a call ---------------------------------------------------------------------------------------

    def is_priced(self, deployment: Deployment) -> bool:
        """Whether some source knows a price, or the deployment is free."""
        return bool(deployment.offer.prices or deployment.provider.local or _model(*_listed_as(deployment)) is not None)

    def worst_case_nusd(
        self, deployment: Deployment, *, input_tokens: int, output_tokens: int, searches: int = 0, at_ms: int
    ) -> int:
        """The most that one attempt within these bounds can cost if it is sent within a day of `at_ms`.

        The dearest bucket, tier, hour and row that could apply; at the declared rate where nobody knows a price.
        """
        prices = deployment.offer.prices
        if not prices and deployment.provider.local:
            return 0
        bounds = _Bounds(input_tokens, output_tokens, searches)
        worst = [_table_worst_usd(row, bounds) for row in _rows_within_a_day(prices, at_ms)]
        # A list that is in memory anyway may be newer than the table. Importing it here would stall every first plan.
        asks_lists = not (deployment.offer.own_prices or deployment.provider.local)
        if asks_lists and (not prices or _imported.is_set()):
            worst += _listed_worst_usd(deployment, bounds, at_ms=at_ms)
        return nusd(max(worst)) if worst else self._unpriced(input_tokens + output_tokens, searches)

    def dearest_words(self, deployment: Deployment, *, at_ms: int) -> str:
        """The dearest rates within a day of `at_ms` of a short prompt and its answer, for telling when they change."""
        rates = [
            self.worst_case_nusd(deployment, input_tokens=tokens_in, output_tokens=tokens_out, at_ms=at_ms)
            for tokens_in, tokens_out in ((1_000, 0), (0, 1_000))
        ]
        per_million = [f"{Decimal(rate) * 1000 / NUSD_PER_USD:f}".rstrip("0").rstrip(".") for rate in rates]
        return f"at most ${per_million[0] or 0} in and ${per_million[1] or 0} out per million tokens"

    def expected_nusd(
        self,
        deployment: Deployment,
        *,
        input_tokens: int,
        output_tokens: int,
        searches: int = 0,
        cached_tokens: int = 0,
        at_ms: int,
    ) -> int:
        """What an attempt of this size costs at `at_ms`; `cached_tokens` of the input are read from a prompt cache.

        For comparing deployments: from the catalog's row where there is one, so that no list has to be imported.
        """
        usage = Usage(
            input_fresh=input_tokens - cached_tokens,
            cache_read=cached_tokens,
            output=output_tokens,
            searches=searches,
        )
        if prices := deployment.offer.prices:
            return nusd(_table_usd(in_force(prices, _day(at_ms)), usage))
        return self.cost(deployment, usage, at_ms=at_ms).nusd

    # --- the lists themselves --------------------------------------------------------------------------------

    @property
    def is_warm(self) -> bool:
        """Whether the price list is in memory, so that `cost` takes no time."""
        return _imported.is_set()

    def warm_up(self) -> None:
        """Import genai-prices in a thread of its own (0.2 to 0.5 s), to be called while an upstream is at work."""
        if "genai_prices" not in sys.modules:
            threading.Thread(target=warm, name="orchestra-prices").start()

    def age(self, *, now_ms: int) -> PriceAge:
        installed = version("genai-prices")
        released = GENAI_PRICES_DATES.get(installed)
        today = _day(now_ms)
        ages = {"genai-prices": released, "the catalog": self._checked}
        stale = [
            f"{name} is {(today - day).days} days old"
            for name, day in ages.items()
            if day is not None and (today - day).days > STALE_DAYS
        ]
        return PriceAge(
            genai_prices_version=installed,
            genai_prices_date=released,
            catalog_checked=self._checked,
            warning=f"Prices may be out of date: {' and '.join(stale)}. Update Orchestra." if stale else "",
        )

    def notes(self, *, now_ms: int) -> tuple[str, ...]:
        """What a person should know about the prices; empty while they are fresh."""
        warning = self.age(now_ms=now_ms).warning
        return (warning,) if warning else ()

    def _unpriced(self, tokens: int, searches: int) -> int:
        return nusd(self._unpriced_usd_per_mtok * tokens / MILLION + DEFAULT_SEARCH_USD * searches / 1000)


def warm() -> None:
    """Import genai-prices and its data, so that the first price does not wait for it."""
    _listed(Usage(), "gpt-6-luna", "openai", at_ms=0)
    garbage.loaded()


# --- the table -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Bounds:
    input_tokens: int
    output_tokens: int
    searches: int


def _day(at_ms: int) -> dt.date:
    return _date(at_ms // DAY_MS)


@lru_cache(maxsize=1_000)
def _date(days: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=days)


def _rows_within_a_day(prices: tuple[Price, ...], at_ms: int) -> Iterator[Price]:
    if prices:
        today = _day(at_ms)
        first, second = in_force(prices, today), in_force(prices, today + dt.timedelta(days=1))
        yield first
        if second is not first:
            yield second


def _table_usd(row: Price, usage: Usage) -> Decimal:
    is_long = row.above_tokens is not None and usage.input_total > row.above_tokens
    write = row.input if row.cache_write is None else row.cache_write
    tokens_in = (
        row.input * usage.input_fresh
        + (row.input if row.cache_read is None else row.cache_read) * usage.cache_read
        + write * usage.cache_write
        + (write if row.cache_write_1h is None else row.cache_write_1h) * usage.cache_write_1h
    )
    tokens_out = row.output * usage.output_total
    if is_long:
        tokens_in *= row.above_input_factor
        tokens_out *= row.above_output_factor
    return (tokens_in + tokens_out) / MILLION + row.search * usage.searches / 1000


def _table_worst_usd(row: Price, bounds: _Bounds) -> Decimal:
    buckets = (row.input, row.cache_read, row.cache_write, row.cache_write_1h)
    tokens_in = max(rate for rate in buckets if rate is not None) * bounds.input_tokens
    tokens_out = row.output * bounds.output_tokens
    if row.above_tokens is not None and bounds.input_tokens > row.above_tokens:
        # A factor below 1 must not lower the bound: the prompt may turn out shorter.
        tokens_in *= max(Decimal(1), row.above_input_factor)
        tokens_out *= max(Decimal(1), row.above_output_factor)
    return (tokens_in + tokens_out) / MILLION + row.search * bounds.searches / 1000


# --- genai-prices --------------------------------------------------------------------------------------------


def _listed_as(deployment: Deployment) -> tuple[str, str]:
    """The model's and the provider's ids in genai-prices."""
    return deployment.offer.id, deployment.provider.prices_id or deployment.provider.name


def _calculate(deployment: Deployment, usage: Usage, *, at_ms: int) -> "PriceCalculation | None":
    return _listed(usage, *_listed_as(deployment), at_ms=at_ms)


def _listed(usage: Usage, model: str, provider_id: str, *, at_ms: int) -> "PriceCalculation | None":
    """genai-prices' answer; None where it does not list this model at exactly this provider."""
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
    except (LookupError, ValueError):  # ValueError: it prices by units that we do not count
        return None
    finally:
        _imported.set()
    # It also finds a provider by part of its name; a server called "my-openai-proxy" has prices of its own.
    return calculation if calculation.provider.id == provider_id else None


def _listed_cost(calculation: "PriceCalculation", deployment: Deployment, usage: Usage, *, at_ms: int) -> Cost:
    if not usage.searches or calculation.model_price.web_searches_kcount is not None:
        return Cost(nusd(calculation.total_price), "genai-prices")
    rate, whose = _search_rate(deployment, _day(at_ms))
    fee = rate * usage.searches / 1000
    return Cost(
        nusd(calculation.total_price + fee),
        "genai-prices",
        f"genai-prices has no search fee here; {whose} of {rate} USD per 1,000 was added",
    )


def _search_rate(deployment: Deployment, day: dt.date) -> tuple[Decimal, str]:
    if prices := deployment.offer.prices:
        return in_force(prices, day).search, "the catalog's"
    return DEFAULT_SEARCH_USD, "an assumed fee"


def _listed_worst_usd(deployment: Deployment, bounds: _Bounds, *, at_ms: int) -> list[Decimal]:
    """The worst case at each price that genai-prices has in force within a day; empty where it has none."""
    dearest = _dearest(*_listed_as(deployment), at_ms // HALF_HOUR_MS)
    if not dearest:
        return []
    fallback_fee = _search_rate(deployment, _day(at_ms))[0] if bounds.searches else Decimal(0)
    return [each.usd(bounds, fallback_fee) for each in dearest]


@lru_cache(maxsize=4_096)
def _model(model: str, provider_id: str) -> "ModelInfo | None":
    """What genai-prices knows of a model at a provider."""
    calculation = _listed(Usage(), model, provider_id, at_ms=0)
    return None if calculation is None else calculation.model


@dataclass(frozen=True, slots=True)
class _Dearest:
    """The dearest rates of one price: those that are always the same, and those that rise with a prompt's length."""

    per_input: Decimal
    per_output: Decimal
    tiered_input: tuple["TieredPrices", ...]
    tiered_output: tuple["TieredPrices", ...]
    per_kilosearch: "Decimal | TieredPrices | None"
    """None: genai-prices has no fee."""
    per_kilorequest: "Decimal | TieredPrices | None"

    def usd(self, bounds: _Bounds, fallback_fee: Decimal) -> Decimal:
        """The most that a call within `bounds` costs; `fallback_fee` is that of a thousand searches, if none is known."""
        size = bounds.input_tokens
        per_input = max((self.per_input, *(_rate(price, size) for price in self.tiered_input)))
        per_output = max((self.per_output, *(_rate(price, size) for price in self.tiered_output)))
        tokens = per_input * size + per_output * bounds.output_tokens
        search = fallback_fee if self.per_kilosearch is None else _rate(self.per_kilosearch, 0)
        return tokens / MILLION + (search * bounds.searches + _rate(self.per_kilorequest, 0)) / 1000


@lru_cache(maxsize=4_096)
def _dearest(model: str, provider_id: str, half_hour: int) -> tuple[_Dearest, ...]:
    """Of every price in force in the 24 hours after a half hour's beginning; no window begins or ends in between."""
    listed = _model(model, provider_id)
    if listed is None:
        return ()
    start = dt.datetime.fromtimestamp(half_hour * HALF_HOUR_MS / 1000, dt.UTC)
    found = [listed.get_prices(start + dt.timedelta(minutes=30 * half_hours)) for half_hours in range(50)]
    return tuple(_dearest_of(price) for price in {id(price): price for price in found}.values())


def _dearest_of(price: "ModelPrice") -> _Dearest:
    def rates(keys: tuple[str, ...]) -> tuple[Decimal, tuple["TieredPrices", ...]]:
        found: list[Decimal | TieredPrices | None] = [getattr(price, key) for key in keys]
        plain = [rate for rate in found if isinstance(rate, Decimal)]
        tiered = tuple(rate for rate in found if rate is not None and not isinstance(rate, Decimal))
        return max(plain, default=Decimal(0)), tiered

    (per_input, tiered_input), (per_output, tiered_output) = rates(_INPUT_KEYS), rates(_OUTPUT_KEYS)
    return _Dearest(
        per_input,
        per_output,
        tiered_input,
        tiered_output,
        per_kilosearch=price.web_searches_kcount,
        per_kilorequest=price.requests_kcount,
    )


def _rate(price: "Decimal | TieredPrices | None", input_tokens: int) -> Decimal:
    """The dearest rate that a prompt of at most `input_tokens` can meet."""
    if price is None:
        return Decimal(0)
    if isinstance(price, Decimal):
        return price
    return max(price.base, *(tier.price for tier in price.tiers if tier.start < input_tokens), Decimal(0))
