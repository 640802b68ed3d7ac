"""Whether a deployment's rate limit can take one more request. What providers say in headers is used before a 429 comes.

Kept in memory, where this process's own requests are counted off; what is low goes into the store with the
settlement of the attempt that heard of it, so that every process knows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestra_router.deployments import Deployment
from orchestra_router.store.health_records import SharedAllowance
from orchestra_router.types import Allowance, AllowanceKind

CAUSE = "headroom"
"""Stands where the code of an error stands otherwise."""
SHORT_WAIT_S = 1.0
"""A limit that ends within this time is waited for, also where another deployment could be asked."""
LOW_SHARE = 0.1
LOW_REQUESTS = 5
LOW_TOKENS = 20_000
"""Where the limit itself is not named, less than this is low."""
MOST_KNOWN = 1_000


@dataclass(frozen=True, slots=True)
class Need:
    """What one request is likely to take."""

    input_tokens: int
    output_tokens: int

    def of(self, kind: AllowanceKind) -> int:
        match kind:
            case "requests":
                return 1
            case "tokens":
                return self.input_tokens + self.output_tokens
            case "input_tokens":
                return self.input_tokens
            case "output_tokens":
                return self.output_tokens


def limited(deployment: Deployment, *, fingerprint: str) -> str:
    """What its limits are kept under: vendors count for each model and key."""
    return f"{deployment.key} {fingerprint}"


def shortage(allowances: Iterable[Allowance], need: Need, *, now_ms: int) -> Allowance | None:
    """The allowance that cannot take `need` for longest; None when all can. A request above the whole limit may try."""
    short = [
        one
        for one in allowances
        if one.reset_ms > now_ms
        and one.remaining < need.of(one.kind)
        and (one.most is None or need.of(one.kind) <= one.most)
    ]
    return max(short, key=lambda one: one.reset_ms, default=None)


def less(allowances: Iterable[Allowance], need: Need) -> tuple[Allowance, ...]:
    """`allowances` once a request of this `need` has been sent."""
    return tuple(replace(one, remaining=max(0, one.remaining - need.of(one.kind))) for one in allowances)


def is_low(one: Allowance) -> bool:
    """Whether other processes should know of it now."""
    if one.most is not None:
        return one.remaining <= LOW_SHARE * one.most
    return one.remaining < (LOW_REQUESTS if one.kind == "requests" else LOW_TOKENS)


class Headroom:
    """Deployment (with its key's fingerprint) -> what is left there."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, tuple[Allowance, ...]]] = {}
        """With the time it was heard."""

    def heard(self, name: str, allowances: Sequence[Allowance], *, now_ms: int) -> tuple[SharedAllowance, ...]:
        """Keep what a provider said just now. Returns what other processes should know."""
        if not allowances:
            return ()
        self._known.pop(name, None)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[name] = (now_ms, tuple(allowances))
        return tuple(SharedAllowance(name, one, now_ms) for one in allowances if is_low(one))

    def learn(self, shared: Iterable[SharedAllowance]) -> None:
        """Take over what other processes heard, where it is newer."""
        before = {name: heard_ms for name, (heard_ms, _) in self._known.items()}
        for one in shared:
            if one.at_ms > before.get(one.target, -1):
                _, known = self._known.get(one.target, (0, ()))
                others = tuple(other for other in known if other.kind != one.allowance.kind)
                self._known[one.target] = (one.at_ms, (*others, one.allowance))

    @property
    def knows_nothing(self) -> bool:
        return not self._known

    def take(self, name: str, need: Need) -> None:
        """Count one request off that is sent now."""
        if name in self._known:
            heard_ms, known = self._known[name]
            self._known[name] = (heard_ms, less(known, need))

    def known(self, name: str) -> tuple[Allowance, ...]:
        return self._known.get(name, (0, ()))[1]

    def view(self) -> Mapping[str, tuple[Allowance, ...]]:
        return {name: known for name, (_, known) in self._known.items()}
