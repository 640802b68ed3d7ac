"""One request under way, as the stages of its path hand it on."""

from dataclasses import dataclass, field

from orchestra_router.observe import Times
from orchestra_router.observe.context import Parent
from orchestra_router.observe.records import StageName
from orchestra_router.policy.cache.stage import Look
from orchestra_router.policy.prefixes import Beginnings
from orchestra_router.policy.progress import OnProgress, OnText, Speech
from orchestra_router.policy.purse import Purse
from orchestra_router.store.request_records import CheapStep
from orchestra_router.types import Answer, Attempt, CompletionRequest, Refusal

_NO_LOOK = Look(status="DISABLED")


@dataclass(slots=True, kw_only=True)
class Call:
    """One request under way: its identity, its deadline, and what it has come to so far."""

    request_id: str
    request: CompletionRequest
    started_ms: int
    started: float
    """On the clock's monotonic scale, in seconds, as is `deadline`."""
    deadline: float
    on_progress: OnProgress | None
    on_text: OnText | None = None
    """Wants the answer as it grows."""
    speech: Speech | None = None
    """What it has heard of the attempt that spoke first."""
    look: Look = _NO_LOOK
    """What came of the look in the cache."""
    vectors: list[Attempt] = field(default_factory=list[Attempt])
    """What an endpoint was asked for that look: attempts in the ledger, and none at an answer."""
    found: dict[str, int] = field(default_factory=dict[str, int])
    purse: Purse = field(default_factory=Purse)
    """Shared where several requests have one cap."""
    begun: int = 0
    """Attempts, those under way included."""
    speaker: int | None = None
    """The number of the attempt whose text came first; nothing of another's is shown."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    attempts_nusd: int = 0
    """What they cost together."""
    stages: list[tuple[StageName, float]] = field(default_factory=list[tuple[StageName, float]])
    """Each stage, and when it began."""
    times: list[Times] = field(default_factory=list[Times])
    parent: Parent | None = None
    """The span of whoever asked."""
    written: Answer | None = None
    """The answer, redacted."""
    notes: list[str] = field(default_factory=list[str])
    refusal: Refusal | None = None
    """The budget whose refusal ended it."""
    cheap_step: CheapStep | None = None
    """How an escalation's cheap step fared, once it has answered."""
    flaw: str = ""
    """What is wrong with the answer that is handed over all the same."""
    sent: CompletionRequest | None = None
    """The request as a provider may see it, once it was checked; `answer` is the one it got, with nothing put back yet."""
    answer: Answer | None = None
    escalation_saved_nusd: int = 0
    begun_with: Beginnings | None = None
    """`beginnings`, once somebody asked for them."""

    @property
    def beginnings(self) -> Beginnings:
        """Of the request: the plan and all its attempts look at the same."""
        if self.begun_with is None or self.begun_with.request is not self.request:
            self.begun_with = Beginnings(self.request)
        return self.begun_with

    @property
    def streams(self) -> bool:
        return self.on_progress is not None or self.on_text is not None

    @property
    def heard(self) -> bool:
        """Whether a part of an answer was handed on, so that no other may take its place."""
        return self.speech is not None and self.speech.heard

    @property
    def wasted_nusd(self) -> int:
        return sum([attempt.cost_nusd for attempt in self.attempts if attempt.rejected])

    @property
    def vectors_nusd(self) -> int:
        return sum([attempt.cost_nusd for attempt in self.vectors])

    @property
    def cost_nusd(self) -> int:
        return self.attempts_nusd + self.vectors_nusd

    def pay(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self.attempts_nusd += attempt.cost_nusd
        self.purse.pay(attempt.cost_nusd)

    def note(self, *notes: str) -> None:
        self.notes += [note for note in notes if note not in self.notes]
