"""What a plan depends on besides the request."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestra_router.config import Config
from orchestra_router.deployments import Deployment, Turn
from orchestra_router.policy.health import HealthView
from orchestra_router.policy.learning import Learned
from orchestra_router.pricing import Pricing


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    config: Config
    pricing: Pricing
    health: HealthView
    local: Mapping[str, Sequence[str]]
    """Local server -> the models it lists; a server that does not answer is missing."""
    learned: Learned = field(default_factory=Learned)
    turns: Mapping[Turn, int] = field(default_factory=dict[Turn, int])
    """How many turns were given to each set of providers, for strategies that go by turns."""
    cached_tokens: Callable[[Deployment], int] | None = None
    """How many of the request's tokens a deployment will probably read at its cached rate; None: none anywhere."""

    @property
    def today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self.health.now_ms / 1000, dt.UTC).date()
