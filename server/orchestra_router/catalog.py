"""The catalog in memory: who serves what, which names mean which model, and which task goes where. Pure look-ups."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import Field

from orchestra_router.deployments import Deployment, Model, Offer, Provider, Row


class RouteStep(Row):
    """A deployment by name: any name of a model that `Catalog.find` knows, and the provider to ask."""

    model: str
    provider: str


class Task(Row):
    """A kind of work and its route. `name` is the table's key."""

    name: str = ""
    description: str = ""
    route: tuple[RouteStep, ...] = ()
    """Asked in this order, before the hierarchy."""
    keywords: tuple[str, ...] = ()
    """Regular expressions, matched anywhere and without regard to case. Two that match point to the task."""
    strong: tuple[str, ...] = ()
    """The same, but one that matches is enough."""
    web_search: bool = False
    """The task implies a search."""
    good_enough: int = Field(default=2, ge=1, le=5)
    """Least strength of a model that does this work alone, when the cheapest or the fastest is wanted."""
    worth_a_try: int = Field(default=2, ge=1, le=5)
    """Least strength of a model that is tried first when a stronger one takes over what it cannot do."""
    cache_ttl_s: float | None = Field(default=None, gt=0, le=31_536_000)
    """Seconds its answers stay cache hits; None: as the settings say."""


@dataclass(frozen=True, slots=True)
class TaskWords:
    """Patterns that point to a task: one that is strong, or two that are weak."""

    strong: tuple[re.Pattern[str], ...]
    weak: tuple[re.Pattern[str], ...]


class OldModel(Row):
    """A name of the past. `name` is the table's key."""

    name: str = ""
    provider: str
    """Who served it."""
    replacement: str
    """The model to use instead, by our name."""
    since: dt.date | None = None
    """Its first day without service; may lie ahead."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a model's name stands for: the deployments that serve it, never none, in the hierarchy's order."""

    deployments: tuple[Deployment, ...]
    note: str = ""
    """What whoever used the name should know: it was replaced, or has a last day."""

    @property
    def model(self) -> Model:
        return self.deployments[0].model


@dataclass(frozen=True)
class Catalog:
    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    tasks: Mapping[str, Task]
    old_models: Mapping[str, OldModel]
    hierarchy: Sequence[str]
    """Providers in the order they are asked once a task's own route is used up."""
    weights: Mapping[str, int] = field(default_factory=dict[str, int])
    """Provider -> its share of the load, for a strategy that spreads it."""
    version: str = ""
    """A short hash of everything above: another catalog has another version."""

    # --- deployments -----------------------------------------------------------------------------------------

    def deployment(self, model: str, provider: str) -> Deployment:
        """`model`, by any name that `find` knows, at `provider`. An id that nobody knows is passed on as it is.

        Raises:
            KeyError: there is no such provider.
        """
        if (known := self._deployments.get((model, provider))) is not None:
            return known
        if (found := self.find(model, provider)) is None:
            return Deployment(self.providers[provider], Model(name=model), Offer(id=model))
        return self._deployments.setdefault((model, provider), found.deployments[0])

    def deployments_of(self, model: Model) -> tuple[Deployment, ...]:
        """Where `model` is served, in the hierarchy's order, providers outside it last."""
        places = [name for name in self._order if name in model.at]
        return tuple(self._deployment(model, name) for name in places)

    def deployments_at(self, provider: str) -> tuple[Deployment, ...]:
        """What the catalog says that `provider` serves."""
        return tuple(self._deployment(model, provider) for model in self.models.values() if provider in model.at)

    def _deployment(self, model: Model, provider: str) -> Deployment:
        offer = model.at[provider]
        if offer.images is not None and offer.images != model.images:
            model = model.model_copy(update={"images": offer.images})
        return Deployment(self.providers[provider], model, offer)

    # --- names -----------------------------------------------------------------------------------------------

    def find(self, text: str, provider: str | None = None, *, today: dt.date | None = None) -> Found | None:
        """The model that `text` means, at `provider` only if one is named; None when nobody here knows it there.

        With `today`, a model whose last day has come counts as a name of the past.

        Tried in this order, without regard to case:

        1. our own name of a model                    gpt-6-luna
        2. an id that a provider has for it           z-ai/glm-5.3-flash; does not tie it to that provider
        3. a provider, then one of the above          anthropic/claude-haiku-5-5: that provider only
        4. a local server, then any id it may have    ollama/qwen3:8b
        5. a name of the past, or its last part       gpt-3.5-turbo: the replacement, with a note
        """
        wanted = text.strip().lower()
        if (model := self._by_name.get(wanted)) is not None:
            old = self.old_models.get(model.name)
            if old is None or model.retires is None or today is None or today < model.retires:
                return self._found(model, provider)
            return self._found(
                self.models[old.replacement], provider, note=_replaced(old, self.models[old.replacement])
            )
        prefix, _, rest = wanted.partition("/")
        if prefix in self.providers and provider in {None, prefix}:
            if (model := self._by_name.get(rest)) is not None and prefix in model.at:
                return self._found(model, prefix)
            if rest and self.providers[prefix].local:
                name = text.strip()[len(prefix) + 1 :]
                return Found((Deployment(self.providers[prefix], Model(name=name), Offer(id=name)),))
        old = self._old_by_name.get(wanted) or self._old_by_name.get(wanted.rpartition("/")[2])
        if old is None or (model := self._by_name.get(old.replacement.lower())) is None:
            return None
        return self._found(model, provider, note=_replaced(old, model))

    def replacement(self, deployment: Deployment) -> str:
        """The model to use at the same provider where this one is gone; "" where there is none.

        The documented one, else what the provider is usually asked for, else the one nearest in strength.
        """
        for name in (deployment.model.name, deployment.offer.id):
            wanted = name.lower()
            if old := self._old_by_name.get(wanted) or self._old_by_name.get(wanted.rpartition("/")[2]):
                return old.replacement
        named = deployment.provider.models
        usual = [named[task] for task in ("default", "general_chat", "complex_reasoning") if task in named]
        others = [other.model for other in self.deployments_at(deployment.provider.name) if other.model.retires is None]
        nearest = sorted(others, key=lambda model: (abs(model.strength - deployment.model.strength), -model.strength))
        candidates = [*usual, *(model.name for model in nearest)]
        return next((name for name in candidates if name != deployment.model.name), "")

    def _found(self, model: Model, provider: str | None, *, note: str = "") -> Found | None:
        places = self.deployments_of(model)
        if provider is not None:
            places = tuple(place for place in places if place.provider.name == provider)
        return Found(places, note or self._last_day(model)) if places else None

    def _last_day(self, model: Model) -> str:
        if model.retires is None:
            return ""
        old = self.old_models.get(model.name)
        instead = f"; use {old.replacement} from then on" if old is not None else ""
        return f"{model.name} is served until {model.retires}{instead}."

    @cached_property
    def _by_name(self) -> Mapping[str, Model]:
        ids = {offer.id.lower(): model for model in self.models.values() for offer in model.at.values()}
        return ids | {name.lower(): model for name, model in self.models.items()}

    @cached_property
    def _old_by_name(self) -> Mapping[str, OldModel]:
        last_parts = {name.rpartition("/")[2].lower(): old for name, old in self.old_models.items()}
        return last_parts | {name.lower(): old for name, old in self.old_models.items()}

    @cached_property
    def _deployments(self) -> dict[tuple[str, str], Deployment]:
        """What was found before: every plan asks for the same names again, which are those of the catalog's rows."""
        return {}

    @cached_property
    def _order(self) -> Sequence[str]:
        return tuple(name for name in dict.fromkeys((*self.hierarchy, *self.providers)) if name in self.providers)

    # --- the rest --------------------------------------------------------------------------------------------

    @cached_property
    def keywords(self) -> Mapping[str, TaskWords]:
        """Task -> its words, ready to match. Compiled when first asked for."""
        return {
            name: TaskWords(strong=_compiled(task.strong), weak=_compiled(task.keywords))
            for name, task in self.tasks.items()
        }

    @property
    def checked(self) -> dt.date | None:
        """The newest day on which somebody compared a row with its source."""
        offers = [offer for model in self.models.values() for offer in model.at.values()]
        prices = [price for offer in offers for price in offer.prices]
        rows: list[Row] = [*self.providers.values(), *self.models.values(), *offers, *prices]
        return max((row.checked for row in rows if row.checked is not None), default=None)


def _compiled(expressions: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(expression, re.IGNORECASE | re.MULTILINE) for expression in expressions)


def _replaced(old: OldModel, model: Model) -> str:
    facts = ", ".join(filter(None, (f"ended {old.since}" if old.since is not None else "", old.note)))
    about = f" ({facts})" if facts else ""
    return f"{old.name} is a name of the past{about}; {model.name} is used in its place."
