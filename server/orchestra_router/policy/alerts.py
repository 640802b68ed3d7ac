"""What is worth telling a person: when an attempt is settled, everything that is to be looked at then.

The store looks, in the transaction of the settlement, and raises each alert once over all processes.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

from orchestra_router.allowances import Action
from orchestra_router.deployments import Deployment
from orchestra_router.policy import budget
from orchestra_router.policy.budget import BudgetSettings, Dollars, dollars
from orchestra_router.policy.guardrails import is_id
from orchestra_router.pricing import Pricing
from orchestra_router.store.alert_records import Alert, AlertKind, Seen, Watch
from orchestra_router.store.ledger_records import Hold, Period
from orchestra_router.types import Limits, nusd

RATE_FLOOR_NUSD = 1_000_000_000
"""An hour below a dollar is not worth an alert, however quiet the others were."""
USUAL_DAYS = 14
"""How far back hours tell what is usual."""

HOUR_MS = 3_600_000
MOST_KEPT = 500
_HOUR = "%Y-%m-%dT%H"
"""As the store names an hour."""
_FOLLOWS: Mapping[Action, str] = {
    "warn": "",
    "downgrade": "; from here on the cheapest model of a task is asked",
    "refuse": "; calls that are not free are refused until it resets",
}


class AlertSettings(BudgetSettings, Protocol):
    @property
    def alert_day_usd(self) -> Dollars: ...

    @property
    def alert_uncertain_usd(self) -> Dollars: ...

    @property
    def alert_hour_times(self) -> int: ...


class Watching:
    """What to look at with each settlement. What has been told of, or seen, in this process is left out."""

    def __init__(self, settings: AlertSettings, pricing: Pricing) -> None:
        self._settings = settings
        self._pricing = pricing
        self._told: set[tuple[AlertKind, str, str, int]] = set()
        self._found: dict[tuple[str, str, Limits, str, Period, int], tuple[Watch, ...]] = {}
        """By payers, task, period and hour: the same for call after call, until something is told."""
        self._seen: dict[str, tuple[str, str]] = {}
        """By subject: the value, and the day on which it was looked at."""

    def watches(self, hold: Hold) -> tuple[Watch, ...]:
        scope = hold.scope
        key = (scope.access_key, scope.user, scope.limits, hold.task, hold.period, hold.created_ms // HOUR_MS)
        known = self._found.get(key)
        if known is None:
            found = [*self._day(hold), *self._budgets(hold), *self._hour(hold)]
            known = tuple(w for w in found if (w.kind, w.holder, w.period, w.threshold_nusd) not in self._told)
            if len(self._found) >= MOST_KEPT:
                self._found.clear()
            self._found[key] = known
        return known

    def told(self, alert: Alert) -> None:
        self._found.clear()
        if len(self._told) > 1_000:  # a year of them
            self._told.clear()
        self._told.add((alert.kind, alert.holder, alert.period, alert.threshold_nusd))

    def sightings(self, hold: Hold, deployment: Deployment, answered_as: str) -> tuple[Seen, ...]:
        """The deployment's price, once a day, and the model that the provider says has answered."""
        key = deployment.key
        found: list[Seen] = []
        if self._pricing.is_warm and self._seen.get(f"price {key}", ("", ""))[1] != hold.period.day:
            price = self._pricing.dearest_words(deployment, at_ms=hold.created_ms)
            found += self._new("price", key, f"The price of {key}", price, hold.period.day)
        if answered_as and is_id(answered_as):
            found += self._new("model", key, f"The model behind {key}", answered_as, hold.period.day)
        return tuple(found)

    def _day(self, hold: Hold) -> Iterator[Watch]:
        day = hold.period.day
        watched: tuple[tuple[AlertKind, str, Dollars, str], ...] = (
            ("spend", "global", self._settings.alert_day_usd, "Spend"),
            ("uncertain", "uncertain", self._settings.alert_uncertain_usd, "Spend whose outcome nobody knows"),
        )
        for kind, holder, amount, what in watched:
            if amount is not None:
                text = f"{what} of {day} has passed the alert threshold of {dollars(nusd(amount))}"
                yield Watch(kind=kind, holder=holder, period=day, threshold_nusd=nusd(amount), text=text)

    def _budgets(self, hold: Hold) -> Iterator[Watch]:
        for each in budget.applying(hold.scope, hold.task, hold.period, self._settings):
            for percent, action in sorted(each.at.items()):
                text = f"{percent} % of the {each.name}, {dollars(each.amount_nusd)}, is spent{_FOLLOWS[action]}"
                yield Watch(
                    kind="budget",
                    holder=each.holder,
                    period=each.period,
                    threshold_nusd=each.part(percent),
                    text=text,
                )

    def _hour(self, hold: Hold) -> Iterator[Watch]:
        times = self._settings.alert_hour_times
        if times:
            now = dt.datetime.fromtimestamp(hold.created_ms // 1000, dt.UTC)
            yield Watch(
                kind="rate",
                holder="global",
                period=f"{now:{_HOUR}}",
                threshold_nusd=RATE_FLOOR_NUSD,
                text=f"Spend of the hour from {now:%Y-%m-%d %H:00} UTC is more than {times} times the usual hour's",
                times_usual=times,
                since=f"{now - dt.timedelta(days=USUAL_DAYS):{_HOUR}}",
            )

    def _new(self, kind: Literal["price", "model"], key: str, about: str, value: str, day: str) -> list[Seen]:
        subject = f"{kind} {key}"
        if len(self._seen) > 1_000:
            self._seen.clear()
        known, self._seen[subject] = self._seen.get(subject), (value, day)
        if known is not None and known[0] == value:
            return []
        return [Seen(kind=kind, subject=subject, about=about, value=value, day=day)]
