"""What the store keeps of answers, and what it is asked about them. Every text is in its redacted form."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from orchestra_router.types import Scope

MOST_VECTORS = 500
"""Read at a time: 0.8 MB, a millisecond or two, in which nobody else reads or writes."""
CacheGroupBy = Literal["provider", "task", "user", "day", "reason"]
"""Reason: why a request was not a hit, in short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One answer kept."""

    entry_id: str
    key: str
    """The whole question, hashed: an exact hit is an entry of the same key."""
    scope: Scope
    who: str
    """Who shares it: of `scope` what the settings tell apart."""
    body: str
    """The answer as JSON."""
    cost_nusd: int
    """What the answer cost when it was bought: what a hit saves."""
    created_ms: int
    expires_ms: int
    task: str = ""
    provider: str = ""
    model: str = ""
    rough: str = ""
    """All that is asked but the words of the prompt, hashed; "": exact hits only."""
    figures: str = ""
    """The prompt's numbers at a glance; "" where it would have to be read."""
    shelf: str = ""
    """Entries of one shelf may answer each other's questions if their prompts mean the same; "": nobody has read the
    prompt yet."""
    words: str = ""
    """The prompt's words as the lexical guard reads them at its strictest, hashed."""
    guard: str = ""
    """The version of the lexical guard that `shelf` and `words` were made with."""
    prompt: str = ""
    """What was asked, where it may be compared; "" where only exact hits are wanted."""
    embedder: str = ""
    """Which embedder the entry has a vector of; "" when it has none (yet)."""
    hits: int = 0
    used_ms: int = 0


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is kept, least recently used leaving first."""

    entries: int
    entries_per_scope: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CacheVector:
    """The vector of an entry's prompt: float32, little-endian."""

    entry_id: str
    embedder: str
    vector: bytes


class ShelvedVector(NamedTuple):
    """A vector as it is read back. `number` grows with every one that is written, in any process."""

    number: int
    entry_id: str
    expires_ms: int
    vector: bytes


class CacheReading(NamedTuple):
    """What the lexical guard made of an entry's prompt."""

    entry_id: str
    figures: str
    shelf: str
    words: str
    guard: str


class Unread(NamedTuple):
    """An entry that can only be found exactly until its prompt is read."""

    entry_id: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Unembedded:
    """An entry that can only be found exactly until its prompt is embedded (again)."""

    entry_id: str
    prompt: str
    embedder: str
    """Whose vector it has; "" for none."""
    rough: str = ""
    """What has to be known to read it; "" where it was read."""


class CacheQuestion(NamedTuple):
    """What every look in the cache begins with."""

    key: str
    rough: str = ""
    """Of a prompt that may be compared with others; "": only an exact hit is wanted."""
    figures: str = ""


class CacheFindings(NamedTuple):
    entry: CacheEntry | None
    """The exact hit."""
    comparable: bool
    """There may be an entry that answers the same in other words; not said beside an exact hit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfQuestion:
    """What is to be known of a prompt's shelf, and of what may turn out to belong there."""

    rough: str
    figures: str
    """Known by now, whoever wrote them in words."""
    shelf: str
    who: str = ""
    words: str = ""
    prompt_hash: str = ""
    embedder: str = ""
    """Whose vectors can be compared; "": nobody's, so entries of the same words are wanted instead."""
    seen: int = 0
    """The number of the newest vector of this shelf that the asker knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelfFindings:
    """What was found, in one look."""

    unread: tuple[Unread, ...] = ()
    """Of any shelf, whose figures do not rule them out. One that is read at this moment may be on the shelf, too."""
    vectors: tuple[ShelvedVector, ...] = ()
    """Those newer than `seen`, oldest first, at most `MOST_VECTORS` at a time."""
    unembedded: tuple[Unembedded, ...] = ()
    same_words: tuple[CacheEntry, ...] = ()
    wrong: frozenset[str] = frozenset()
    """Hashes of the prompts whose answers were once marked wrong for this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMatch:
    """Two prompts of one scope that are as alike as the threshold asks."""

    entry_id: str
    """The entry that answers `earlier`."""
    who: str
    earlier: str
    asked: str
    similarity: float | None
    """None where words were compared, not vectors."""
    refusal: str
    """Why the one's answer was not good enough for the other; "" if it was."""
    served: bool
    """False in shadow mode, which serves nothing."""
    at_ms: int
    expires_ms: int
    """When it is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPair:
    """Two prompts of one scope: what answers the one was served for the other, and was wrong."""

    who: str
    asked: str
    asked_hash: str
    earlier: str
    earlier_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRates:
    """What became of the requests of one group that looked in the cache."""

    group: str
    requests: int
    hits: int
    """Exact ones; those by meaning are `semantic_hits`."""
    semantic_hits: int
    misses: int
    saved_nusd: int
    """What the hits would have cost at the price of the answers they repeated."""

    @property
    def hit_rate(self) -> float:
        return (self.hits + self.semantic_hits) / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContents:
    """What the cache holds now."""

    entries: int
    bytes: int
    scopes: int
    comparable: int
    """Entries that may be found by meaning."""
    embedded: int
    """Of these, those that have a vector."""
    wrong_pairs: int
    embedders: dict[str, int] = field(default_factory=dict[str, int])
    """Entries by the embedder of their vector."""


class CacheStore(Protocol):
    """The cache's part of a store."""

    async def looked_up(self, question: CacheQuestion, *, now_ms: int) -> CacheFindings:
        """What decides most looks in the cache; only live entries. Reads, and counts nothing."""
        ...

    async def on_shelf(self, question: ShelfQuestion, *, now_ms: int) -> ShelfFindings:
        """What the others need besides."""
        ...

    async def vectors(self, shelf: str, embedder: str, *, after: int) -> tuple[ShelvedVector, ...]:
        """More of what `on_shelf` found, after number `after`."""
        ...

    async def entries(self, entry_ids: Sequence[str], *, now_ms: int) -> tuple[CacheEntry, ...]:
        """Those that may still be served, in no order."""
        ...

    def keep(
        self, entry: CacheEntry, vector: CacheVector | None, *, limits: CacheLimits, now_ms: int
    ) -> Awaitable[None]:
        """Store, replacing what its key held, and make room: what has expired goes, then what was used least lately.

        Done whether or not it is waited for; every look that is taken later, in this process, finds it.
        """
        ...

    async def keep_vectors(self, vectors: Sequence[CacheVector], readings: Sequence[CacheReading] = ()) -> None:
        """Each takes the place of its entry's vector, if the entry is still there and was read, at last by `readings`."""
        ...

    async def drop_vectors(self, numbers: Sequence[int]) -> None: ...

    async def drop_cached(self, *, entry_id: str | None = None, expired_before_ms: int | None = None) -> int:
        """Delete one entry, or some that expired before a time, or (both None) some of all. Returns how many: 0 once
        there are no more.
        """
        ...

    async def cache_entry(self, entry_id: str) -> CacheEntry | None: ...

    async def cache_entries(self, *, most: int) -> tuple[CacheEntry, ...]:
        """Whoever's they are, those used last first."""
        ...

    async def cache_matches(
        self, *, entry_id: str | None = None, served: bool | None = None, most: int
    ) -> tuple[CacheMatch, ...]:
        """Newest first."""
        ...

    async def mark_wrong(self, entry_id: str, pairs: Sequence[WrongPair], *, now_ms: int) -> bool:
        """Delete the entry, and keep `pairs` so that neither prompt is answered for the other. False: it was gone."""
        ...

    async def cache_contents(self) -> CacheContents: ...

    async def cache_rates(
        self, *, first_day: str, last_day: str, group_by: CacheGroupBy | None = None
    ) -> tuple[CacheRates, ...]:
        """Of the requests that looked in the cache, over calendar days, both included."""
        ...
