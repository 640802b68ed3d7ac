"""Who could be asked, and what is in the way: all of it that does not depend on the single request.

Requests of one shape ask for the same deployments, each with the same reason, keys, prices and obstacles. So that is
found out once and kept until something of it changes. What is left for each plan is what the prompt's size decides, and
the health of those few deployments against which something is known.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, overload

from orchestra_router.config import Config
from orchestra_router.deployments import Candidate, Deployment, Exclusion, Figures, Provider
from orchestra_router.errors import InvalidRequest
from orchestra_router.policy import key_limits, strategies
from orchestra_router.policy.breaker import targets
from orchestra_router.policy.estimate import Size
from orchestra_router.policy.headroom import limited
from orchestra_router.policy.learning import Learned
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.policy.tasks import DEFAULT_TASK
from orchestra_router.policy.wanted import Wanted, compares_all, forbidding, wanted
from orchestra_router.price_lists import HALF_HOUR_MS
from orchestra_router.pricing import DAY_MS, Prices, Pricing
from orchestra_router.providers.params import fit
from orchestra_router.routing_rules import Rule
from orchestra_router.types import CompletionRequest, changed

MOST_KEPT = 256
"""Shapes of requests. Names of models are free text, so there is no end of them."""
NO_FIGURES = Figures(worst_nusd=0)
"""Stands where no request gives any yet."""


class Shape(NamedTuple):
    """What of a request decides who is asked, the prompt's size apart."""

    task: str
    provider: str | None
    model: str | None
    fallback_providers: tuple[str, ...] | None
    compares_all: bool
    own_providers: tuple[str, ...]
    """What its access key is limited to, as are `own_models`."""
    own_models: tuple[str, ...]
    rule: str


class Basis(NamedTuple):
    """What all surveys depend on."""

    config: Config
    pricing: Pricing
    day: int
    """Since 1970, in UTC: models retire, and names of the past begin."""
    local: Mapping[str, Sequence[str]]


class Sized(NamedTuple):
    """What of a request and its surroundings decides what it costs."""

    request: CompletionRequest
    size: Size
    cached_tokens: Mapping[str, int]
    """By deployment, as far as it is more than 0."""


class Terms(NamedTuple):
    """What one deployment takes for a call in one half hour, and how long its answers have been."""

    deployment: Deployment
    prices: Prices
    mean_output_tokens: int | None

    def figures(self, sized: Sized) -> Figures:
        request, size, mean = sized.request, sized.size, self.mean_output_tokens
        most_output = min(request.max_tokens, self.deployment.max_output_tokens)
        likely_output = min(size.likely_output if mean is None else mean, most_output)
        cached_tokens = min(sized.cached_tokens.get(self.deployment.key, 0), size.likely_input)
        return Figures(
            worst_nusd=self.prices.worst_case_nusd(size.most_input, most_output, size.most_searches),
            expected_nusd=self.prices.expected_nusd(
                size.likely_input, likely_output, int(request.web_search), cached_tokens
            ),
            likely_input=size.likely_input,
            likely_output=likely_output,
        )


class LateQuote:
    """Figures that are worked out when first looked at, and stay so."""

    __slots__ = ("_figures", "_sized", "_terms")

    def __init__(self, terms: Terms, sized: Sized) -> None:
        self._terms = terms
        self._sized = sized
        self._figures: Figures | None = None

    @property
    def figures(self) -> Figures:
        if self._figures is None:
            self._figures = self._terms.figures(self._sized)
        return self._figures

    @property
    def worst_nusd(self) -> int:
        return self.figures.worst_nusd

    @property
    def expected_nusd(self) -> int:
        return self.figures.expected_nusd

    @property
    def likely_input(self) -> int:
        return self.figures.likely_input

    @property
    def likely_output(self) -> int:
        return self.figures.likely_output

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LateQuote) and self.figures == other.figures

    def __hash__(self) -> int:
        return hash(self.figures)


class Route(Sequence[Candidate]):
    """Candidates in their order. Each is made when somebody looks at it: nobody does at most of them."""

    __slots__ = ("_made", "_sized", "_unsized")

    def __init__(self, unsized: Sequence["Unsized"], sized: Sized) -> None:
        self._unsized = unsized
        self._sized = sized
        self._made: dict[int, Candidate] = {}

    def __len__(self) -> int:
        return len(self._unsized)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, place: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if (made := self._made.get(place)) is None:
            made = self._made[place] = self._unsized[place].candidate(self._sized)
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and [*self] == [*other]

    def __hash__(self) -> int:
        return hash(tuple(self))


class Unsized(NamedTuple):
    """A candidate without what depends on the request's size."""

    bare: Candidate
    terms: Terms

    def candidate(self, sized: Sized) -> Candidate:
        return changed(self.bare, quote=LateQuote(self.terms, sized))


class Entry:
    """A deployment that can be asked, unless the prompt or its health is in the way."""

    __slots__ = ("_names", "context_tokens", "deployment", "unpriced", "unsized")

    def __init__(self, asked: Wanted, task: str, around: Surroundings) -> None:
        self.deployment = asked.deployment
        self.context_tokens = asked.deployment.context_tokens
        fingerprints = around.config.keys.fingerprints(self.deployment.provider.name)
        self._names = frozenset(
            name
            for one in fingerprints
            for name in (*targets(self.deployment, fingerprint=one), limited(self.deployment, fingerprint=one))
        )
        unpriced = _unpriced(self.deployment, around)
        self.unpriced = None if unpriced is None else Exclusion(self.deployment.key, unpriced)
        self.unsized = self._learned(
            Candidate(deployment=self.deployment, reason=asked.reason, keys=fingerprints, quote=NO_FIGURES),
            task,
            around,
        )

    def learn(self, task: str, around: Surroundings) -> None:
        """Take over what was learned, and the prices of this half hour."""
        self.unsized = self._learned(self.unsized.bare, task, around)

    def _learned(self, bare: Candidate, task: str, around: Surroundings) -> Unsized:
        typical = around.learned.typical(self.deployment, task)
        success = around.learned.of(self.deployment, task).success
        bare = changed(bare, expected_ms=typical.median_ms, slow_ms=typical.slow_ms, success=success)
        prices = around.pricing.prices(self.deployment, at_ms=around.health.now_ms)
        return Unsized(bare, Terms(self.deployment, prices, typical.mean_output_tokens))

    def is_among(self, *known: Mapping[str, object]) -> bool:
        """Whether something is `known` by its name, its provider's, or that of one of its keys."""
        return not all(each.keys().isdisjoint(self._names) for each in known)

    def obstacle(self, request: CompletionRequest, size: Size, *, is_plain: bool) -> Exclusion | None:
        """Why it cannot serve `request`, if it cannot. Any model takes one that `is_plain`."""
        if size.likely_input > self.context_tokens:
            reason = f"a prompt of about {size.likely_input:,} tokens does not fit its {self.context_tokens:,}"
            return Exclusion(self.deployment.key, reason)
        if not is_plain:
            try:
                fit(self.deployment, request)
            except InvalidRequest as refusal:
                return Exclusion(self.deployment.key, str(refusal))
        return self.unpriced


class Survey:
    """What requests of one shape can be served by, in the order of `task`."""

    __slots__ = (
        "_closed",
        "_open",
        "_shortest_context",
        "_task",
        "entries",
        "generation",
        "in_task_order",
        "notes",
        "rule",
    )

    def __init__(self, request: CompletionRequest, around: Surroundings, rule: Rule | None) -> None:
        """Raises: InvalidRequest: the request names a provider that nobody knows."""
        self.rule = rule
        self._task = request.task or DEFAULT_TASK
        notes: list[str] = []
        forbidden = None if rule is None else forbidding(rule, around.config.catalog)
        entries: list[Entry | Exclusion] = []
        for asked in wanted(request, around, rule, notes):
            obstacle = (
                key_limits.forbidden(request.scope.limits, asked.deployment)
                or (forbidden and forbidden(asked.deployment))
                or _unreachable(asked.deployment.provider, around)
                or _retired(asked.deployment, around)
            )
            excluded = Exclusion(asked.deployment.key, obstacle) if obstacle else None
            entries.append(excluded or Entry(asked, self._task, around))
        self.entries = tuple(entries)
        """Those that cannot be asked whatever the prompt are excluded already."""
        self._closed = tuple(entry for entry in entries if isinstance(entry, Exclusion))
        self._open = tuple(entry for entry in entries if isinstance(entry, Entry))
        unlimited = all(entry.unpriced is None for entry in self._open)
        self._shortest_context = min((each.context_tokens for each in self._open), default=0) if unlimited else -1
        """A plain prompt up to this length is in nobody's way."""
        self.notes = tuple(notes)
        self.in_task_order = self._in_task_order(around)
        self.generation = 0
        """Of what was learned and of the prices; whoever keeps it counts."""

    def learn(self, around: Surroundings) -> None:
        """Take over what was learned since, and the prices of another half hour."""
        for entry in self._open:
            entry.learn(self._task, around)
        self.in_task_order = self._in_task_order(around)

    def _in_task_order(self, around: Surroundings) -> tuple[Unsized, ...]:
        """All that can be asked, as the strategy `task` orders them, which looks at no prices."""
        standing = strategies.Around(
            task=around.config.catalog.tasks[self._task], prompt_kind="", learned=around.learned, weights={}, turns={}
        )
        by_key = {entry.deployment.key: entry.unsized for entry in self._open}
        bare = [each.bare for each in by_key.values()]
        ordered = strategies.task_order(bare, standing)
        return tuple(Unsized(each, by_key[each.deployment.key].terms) for each in ordered.route)

    def sorted_out(
        self, request: CompletionRequest, size: Size, *, is_plain: bool
    ) -> tuple[Sequence[Entry], list[Exclusion]]:
        """Who can serve `request`, and who cannot."""
        if is_plain and size.likely_input <= self._shortest_context:
            return self._open, [*self._closed]
        able: list[Entry] = []
        excluded: list[Exclusion] = []
        for entry in self.entries:
            obstacle = entry if isinstance(entry, Exclusion) else entry.obstacle(request, size, is_plain=is_plain)
            if obstacle is not None:
                excluded.append(obstacle)
            elif isinstance(entry, Entry):
                able.append(entry)
        return able, excluded


class Surveys:
    """The latest surveys of one process, a few hundred at most."""

    def __init__(self) -> None:
        self._basis: Basis | None = None
        self._learned: Learned | None = None
        self._half_hour = 0
        self._generation = 0
        """Rises with every change of the two above."""
        self._kept: OrderedDict[Shape, Survey] = OrderedDict()

    def of(self, request: CompletionRequest, around: Surroundings, rule: Rule | None) -> Survey:
        """That of requests like this one.

        Raises:
            InvalidRequest: the request names a provider that nobody knows.
        """
        self._rest_on(around)
        limits = request.scope.limits
        shape = Shape(
            request.task or DEFAULT_TASK,
            request.provider,
            request.model,
            request.fallback_providers,
            compares_all(request, around),
            limits.providers,
            limits.models,
            "" if rule is None else rule.name,
        )
        survey = self._kept.get(shape)
        if survey is None or survey.rule is not rule:
            survey = self._kept[shape] = Survey(request, around, rule)
            survey.generation = self._generation
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(shape)
        if survey.generation != self._generation:
            survey.learn(around)
            survey.generation = self._generation
        return survey

    @property
    def kept(self) -> int:
        """How many there are."""
        return len(self._kept)

    def _rest_on(self, around: Surroundings) -> None:
        """Forget all of them where what they rest on has changed, and count what they have yet to take over."""
        day, basis = around.health.now_ms // DAY_MS, self._basis
        if (
            basis is None
            or basis.config is not around.config
            or basis.pricing is not around.pricing
            or basis.day != day
            or basis.local != around.local
        ):
            self._basis = Basis(around.config, around.pricing, day, dict(around.local))
            self._kept.clear()
        half_hour = around.health.now_ms // HALF_HOUR_MS
        if around.learned is not self._learned or half_hour != self._half_hour:
            self._learned, self._half_hour = around.learned, half_hour
            self._generation += 1


def _unreachable(provider: Provider, around: Surroundings) -> str | None:
    if not provider.enabled:
        return "switched off in the configuration"
    if provider.local and provider.name not in around.local:
        return f"no server answers at {provider.base_url}"
    if provider.key_env and provider.name not in around.config.keys:
        return f"no key: set {provider.key_env[0]}"
    return None


def _retired(deployment: Deployment, around: Surroundings) -> str | None:
    last = deployment.model.retires
    if last is None or around.today < last:
        return None
    replacement = around.config.catalog.replacement(deployment)
    return f"retired on {last}{f'; use {replacement} instead' if replacement else ''}"


def _unpriced(deployment: Deployment, around: Surroundings) -> str | None:
    if around.config.settings.allow_unpriced or around.pricing.is_priced(deployment):
        return None
    return "its price is unknown: add it under [models] in orchestra.toml, or set allow_unpriced = true"
