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

Money is summed exactly and rounded once, half up, to billionths of a dollar.
"""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Protocol

from orchestra_router import price_lists, tariffs
from orchestra_router.deployments import Deployment, Price, in_force
from orchestra_router.price_lists import HALF_HOUR_MS, Listed
from orchestra_router.tariffs import Tariff
from orchestra_router.types import NUSD_PER_USD, CostSource, Usage

DAY_MS = 86_400_000
STALE_DAYS = 45
"""Prices change about monthly; a list older than this has probably missed a change."""
DEFAULT_SEARCH_USD = Decimal(35)
"""Dollars per 1,000 searches where nobody states a fee: the dearest that is known (Gemini 2.5)."""
GENAI_PRICES_DATES = {"0.2.3": dt.date(2026, 11, 10)}
"""Release days: the package does not carry its own."""
MOST_KEPT = 1_000
"""Deployments, each in one half hour, whose prices are kept ready."""


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


class Prices:
    """What one deployment costs in one half hour, in which no price begins or ends. Lists are read when first needed."""

    __slots__ = (
        "_asks_lists",
        "_day",
        "_dearest",
        "_half_hour",
        "_list_is_in",
        "_listed",
        "_looked_up",
        "_table",
        "_unpriced_usd_per_mtok",
        "deployment",
    )

    def __init__(self, deployment: Deployment, half_hour: int, *, unpriced_usd_per_mtok: Decimal) -> None:
        self.deployment = deployment
        self._half_hour = half_hour
        self._day = _day(half_hour * HALF_HOUR_MS)
        self._unpriced_usd_per_mtok = unpriced_usd_per_mtok
        rows = deployment.offer.prices
        self._table = tariffs.of_row(in_force(rows, self._day)) if rows else None
        self._asks_lists = not (deployment.offer.own_prices or deployment.provider.local)
        self._listed: Listed | None = None
        self._looked_up = not self._asks_lists
        self._dearest: tuple[Tariff, ...] | None = None
        self._list_is_in = False
        """`_dearest` has taken genai-prices into account, as far as it has to."""

    def cost(self, usage: Usage, *, reported_nusd: int | None = None) -> Cost:
        provider = self.deployment.provider
        reported_nusd = reported_nusd if provider.reports_cost else None
        if reported_nusd is not None and reported_nusd > 0:
            return Cost(reported_nusd, "provider")
        listed = self._listed if self._looked_up else self._look_up()
        if listed is not None:
            note = self._fee_note() if usage.searches and not listed.knows_searches else ""
            return Cost(listed.tariff.cost_nusd(usage), "genai-prices", note)
        if self._table is not None:
            return Cost(self._table.cost_nusd(usage), "table")
        if provider.local:
            return Cost(0, "free")
        if reported_nusd == 0:
            return Cost(0, "provider")
        note = f"no price is known; counted at {self._unpriced_usd_per_mtok} USD per million tokens"
        return Cost(self._unpriced.cost_nusd(usage), "unpriced", note)

    def worst_case_nusd(self, input_tokens: int, output_tokens: int, searches: int) -> int:
        """The most that a call within these bounds can cost if it is sent within a day."""
        dearest = self._dearest
        if dearest is None or (not self._list_is_in and price_lists.is_in_memory()):
            dearest = self._dearest_within_a_day()
        if len(dearest) == 1:
            return dearest[0].size_nusd(input_tokens, output_tokens, searches)
        return max((each.size_nusd(input_tokens, output_tokens, searches) for each in dearest), default=0)

    def expected_nusd(self, input_tokens: int, output_tokens: int, searches: int, cached_tokens: int) -> int:
        """What a call of this size costs: by the catalog's row where there is one, so that no list has to be imported."""
        tariff = self._table or self._without_table()
        return tariff.size_nusd(input_tokens, output_tokens, searches, cached_tokens) if tariff is not None else 0

    @property
    def _unpriced(self) -> Tariff:
        return tariffs.flat(self._unpriced_usd_per_mtok, DEFAULT_SEARCH_USD)

    def _look_up(self) -> Listed | None:
        self._listed = price_lists.listed(*_listed_as(self.deployment), self._half_hour, self._search_usd)
        self._looked_up = True
        return self._listed

    def _without_table(self) -> Tariff | None:
        """None for what is free."""
        listed = self._listed if self._looked_up else self._look_up()
        if listed is not None:
            return listed.tariff
        return None if self.deployment.provider.local else self._unpriced

    def _dearest_within_a_day(self) -> tuple[Tariff, ...]:
        """The dearest bucket, tier, hour and row that could apply; none for what is free."""
        rows = self.deployment.offer.prices
        found = [tariffs.dearest_of_row(row) for row in _rows_within_a_day(rows, self._day)]
        # A list that is in memory anyway may be newer than the table. Importing it here would stall every first plan.
        if self._asks_lists and (not rows or price_lists.is_in_memory()):
            found += price_lists.dearest(*_listed_as(self.deployment), self._half_hour, self._search_usd)
        self._list_is_in = price_lists.is_in_memory() or not self._asks_lists
        self._dearest = tariffs.without_covered(found)
        if not found and not self.deployment.provider.local:
            self._dearest = (self._unpriced,)
        return self._dearest

    @property
    def _search_usd(self) -> Decimal:
        """Dollars per 1,000 searches where a list has no fee."""
        rows = self.deployment.offer.prices
        return in_force(rows, self._day).search if rows else DEFAULT_SEARCH_USD

    def _fee_note(self) -> str:
        whose = "the catalog's" if self.deployment.offer.prices else "an assumed fee"
        return f"genai-prices has no search fee here; {whose} of {self._search_usd} USD per 1,000 was added"


class Pricing:
    def __init__(self, *, unpriced_usd_per_mtok: Decimal, checked: dt.date | None = None) -> None:
        """`checked` is the day the catalog's prices were last compared with their sources."""
        self._unpriced_usd_per_mtok = unpriced_usd_per_mtok
        self._checked = checked
        self._kept: dict[tuple[str, int], Prices] = {}

    @classmethod
    def of(cls, settings: PricingSettings, *, checked: dt.date | None = None) -> "Pricing":
        return cls(unpriced_usd_per_mtok=settings.unpriced_usd_per_mtok, checked=checked)

    def prices(self, deployment: Deployment, *, at_ms: int) -> Prices:
        """Those of `deployment` in the half hour of `at_ms`."""
        key = deployment.key, at_ms // HALF_HOUR_MS
        kept = self._kept.get(key)
        # Another row of the same name has prices of its own.
        if kept is None or not _same_rows(kept.deployment, deployment):
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            kept = self._kept[key] = Prices(deployment, key[1], unpriced_usd_per_mtok=self._unpriced_usd_per_mtok)
        return kept

    # --- after a call ----------------------------------------------------------------------------------------

    def cost(self, deployment: Deployment, usage: Usage, *, at_ms: int, reported_nusd: int | None = None) -> Cost:
        """What `usage`, asked for at `at_ms`, costs. `reported_nusd` is the provider's own figure."""
        return self.prices(deployment, at_ms=at_ms).cost(usage, reported_nusd=reported_nusd)

    # --- before a call ---------------------------------------------------------------------------------------

    def is_priced(self, deployment: Deployment) -> bool:
        """Whether some source knows a price, or the deployment is free."""
        return bool(
            deployment.offer.prices or deployment.provider.local or price_lists.is_listed(*_listed_as(deployment))
        )

    def worst_case_nusd(
        self, deployment: Deployment, *, input_tokens: int, output_tokens: int, searches: int = 0, at_ms: int
    ) -> int:
        """The most that one attempt within these bounds can cost if it is sent within a day of `at_ms`.

        The dearest bucket, tier, hour and row that could apply; at the declared rate where nobody knows a price.
        """
        return self.prices(deployment, at_ms=at_ms).worst_case_nusd(input_tokens, output_tokens, searches)

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
        return self.prices(deployment, at_ms=at_ms).expected_nusd(input_tokens, output_tokens, searches, cached_tokens)

    # --- the lists themselves --------------------------------------------------------------------------------

    @property
    def is_warm(self) -> bool:
        """Whether the price list is in memory, so that `cost` takes no time."""
        return price_lists.is_in_memory()

    def warm_up(self) -> None:
        """Import the price list beside everything else, to be called while an upstream is at work."""
        price_lists.warm_up()

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


def _listed_as(deployment: Deployment) -> tuple[str, str]:
    """The model's and the provider's ids in genai-prices."""
    return deployment.offer.id, deployment.provider.prices_id or deployment.provider.name


def _same_rows(one: Deployment, other: Deployment) -> bool:
    return one is other or (one.offer is other.offer and one.provider is other.provider)


# --- the table -----------------------------------------------------------------------------------------------


def _day(at_ms: int) -> dt.date:
    return _date(at_ms // DAY_MS)


@lru_cache(maxsize=1_000)
def _date(days: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=days)


def _rows_within_a_day(prices: tuple[Price, ...], today: dt.date) -> list[Price]:
    if not prices:
        return []
    first, second = (in_force(prices, day) for day in (today, today + dt.timedelta(days=1)))
    return [first] if second is first else [first, second]
