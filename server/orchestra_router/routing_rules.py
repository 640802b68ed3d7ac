"""The user's own routing rules, rows of `orchestra.toml`, and how to see that one of them can never match.

    [[rules]]
    name = "quiet hours"
    when = { task = "coding", hours = "22:00-06:00" }
    prefer = ["ollama"]
    strategy = "cheapest"

The first rule whose conditions all hold is the one that counts.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from orchestra_router.catalog import Catalog
from orchestra_router.deployments import Deployment
from orchestra_router.types import Effort, Strategy

DAY_MINUTES = 24 * 60
MOST_PARTS = 10_000
"""Of what a rule can still match beside the others; past that nobody looks further."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*(?:([01]?\d|2[0-3]):([0-5]\d)|24:00)")


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], BeforeValidator(_as_tuple)]
SomeNames = Annotated[Names, Field(min_length=1)]
SomeDays = Annotated[tuple[Weekday, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class When(_Strict):
    """Conditions, all of which have to hold; of several values of one, any. What is not named holds always."""

    task: SomeNames | None = None
    metadata: dict[str, SomeNames] = Field(default_factory=dict[str, SomeNames])
    min_prompt_tokens: int | None = Field(default=None, ge=0)
    max_prompt_tokens: int | None = Field(default=None, ge=0)
    """Both included, of the prompt's likely length."""
    hours: str | None = None
    """ "22:00-06:00": from the first minute on, up to and without the last, in the configured time zone."""
    weekdays: SomeDays | None = None
    """The day that it is at the moment, also after midnight."""
    user: SomeNames | None = None
    session: SomeNames | None = None
    access_key: SomeNames | None = None

    @field_validator("hours")
    @classmethod
    def _are_hours(cls, value: str | None) -> str | None:
        if value is not None and not _HOURS.fullmatch(value.strip()):
            raise ValueError('must be like "22:00-06:00"')
        return value

    @property
    def minutes(self) -> range | tuple[int, ...]:
        """The minutes of the day that `hours` names; none where it begins and ends at the same time."""
        if self.hours is None:
            return range(DAY_MINUTES)
        match = _HOURS.fullmatch(self.hours.strip())
        first, minute, last, last_minute = match.groups() if match else ("0", "0", "0", "0")
        begin = int(first) * 60 + int(minute)
        end = int(last) * 60 + int(last_minute) if last is not None else DAY_MINUTES
        if begin <= end:
            return range(begin, end)
        return (*range(end), *range(begin, DAY_MINUTES))


class Rule(_Strict):
    """What becomes of the requests it matches. Names are those of a provider, a model, or "provider/model"."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}$")
    when: When = When()
    prefer: Names = ()
    """Asked first, in this order, whatever the task's route says."""
    require: Names = ()
    """Nothing else is asked."""
    exclude: Names = ()
    """Never asked."""
    strategy: Strategy | None = None
    effort: Effort | None = None
    """These two where the caller names none."""
    max_cost_usd: Decimal | None = Field(default=None, ge=0, le=10_000)
    """The caller's own cap counts where it is lower."""


def selected(names: Iterable[str], catalog: Catalog) -> "Selected":
    """What `names` stand for."""
    providers: list[str] = []
    deployments: dict[str, tuple[Deployment, ...]] = {}
    for name in names:
        if name in catalog.providers:
            providers.append(name)
        else:
            deployments[name] = meant(name, catalog)
    keys = frozenset(deployment.key for places in deployments.values() for deployment in places)
    return Selected(frozenset(providers), keys)


@dataclass(frozen=True, slots=True)
class Selected:
    providers: frozenset[str]
    keys: frozenset[str]

    def __contains__(self, deployment: Deployment) -> bool:
        return deployment.provider.name in self.providers or deployment.key in self.keys


def meant(name: str, catalog: Catalog) -> tuple[Deployment, ...]:
    """The deployments of a model, or of a model at one provider; () for a name that nobody knows."""
    provider, _, model = name.partition("/")
    if provider in catalog.providers and (found := catalog.find(model, provider)) is not None:
        return found.deployments
    found = catalog.find(name)
    return found.deployments if found is not None else ()


# --- rules that can never match ------------------------------------------------------------------------------

Box = tuple[frozenset[object], ...]
"""For each thing that a rule may ask about, the values it takes."""


def shadowed(rules: Sequence[Rule], catalog: Catalog) -> Mapping[int, tuple[int, ...]]:
    """Rules to which the earlier ones leave nothing, and which of those take it; all by their places."""
    boxes = _boxes(rules, catalog)
    found: dict[int, tuple[int, ...]] = {}
    for place, box in enumerate(boxes):
        left = [box]
        takers: list[int] = []
        for earlier in range(place):
            parts = [part for piece in left for part in _outside(piece, boxes[earlier])]
            if parts != left:
                takers.append(earlier)
            left = parts
            if not left or len(left) > MOST_PARTS:
                break
        if not left:
            found[place] = tuple(takers)
    return found


def _outside(box: Box, taken: Box) -> list[Box]:
    """The parts of `box` that are not in `taken`."""
    if any(not mine & theirs for mine, theirs in zip(box, taken, strict=True)):
        return [box]
    parts: list[Box] = []
    inside = list(box)
    for place, (mine, theirs) in enumerate(zip(box, taken, strict=True)):
        if outside := mine - theirs:
            parts.append((*inside[:place], outside, *box[place + 1 :]))
        inside[place] = mine & theirs
    return parts


def _boxes(rules: Sequence[Rule], catalog: Catalog) -> list[Box]:
    whens = [rule.when for rule in rules]
    cuts = {0, *(when.min_prompt_tokens or 0 for when in whens)}
    cuts |= {when.max_prompt_tokens + 1 for when in whens if when.max_prompt_tokens is not None}
    sizes = sorted(cuts)
    keys = sorted({key for when in whens for key in when.metadata})
    return [
        (
            _of(when.task, catalog.tasks),
            _of(when.weekdays, WEEKDAYS),
            frozenset(when.minutes),
            frozenset(size for size in sizes if _holds(when, size)),
            *(
                _of(chosen, {name for other in whens for name in getattr(other, field) or ()} | {None})
                for field in ("user", "session", "access_key")
                for chosen in (getattr(when, field),)
            ),
            *(
                _of(when.metadata.get(key), {name for other in whens for name in other.metadata.get(key, ())} | {None})
                for key in keys
            ),
        )
        for when in whens
    ]


def _holds(when: When, tokens: int) -> bool:
    return (when.min_prompt_tokens or 0) <= tokens and (
        when.max_prompt_tokens is None or tokens <= when.max_prompt_tokens
    )


def _of(chosen: Sequence[str] | None, everything: Iterable[object]) -> frozenset[object]:
    return frozenset(everything if chosen is None else chosen)
