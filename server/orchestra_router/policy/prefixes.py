"""Which beginnings of a request a provider has read lately, and so reads again at its cached rate.

Most providers keep what they read by themselves. Where the beginning has to be marked (Anthropic's `cache_control`),
writing it costs a quarter more than reading it and every later read a tenth or less, so it is marked from its second
use within the time that it is kept: who asked twice in five minutes will probably ask again. That pays where one in
four does. Tools and system prompt are marked, and of the turns

- what an earlier request was, when this one goes on from there, and this one itself: a conversation grows;
- or what this request and an earlier one have in common, when only their last turn differs.

Kept in memory, per process and within one access key, so that nobody's cost tells of another's prompts.
"""

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestra_router.clock import Clock
from orchestra_router.deployments import Deployment
from orchestra_router.policy.estimate import BYTES_PER_TOKEN, utf8_bytes
from orchestra_router.types import CompletionRequest, Image, Message, Text, ToolCall

KEPT_S = 300
"""What is marked is kept for five minutes after its last use (platform.claude.com, prompt caching); others about so."""
LEAST_TOKENS = 1_024
"""Shorter beginnings are kept by hardly anybody (OpenAI's bound)."""
MOST_KEPT = 4_000


@dataclass(frozen=True, slots=True)
class Beginning:
    """Everything up to the end of a message. `tokens` is the likely number."""

    digest: bytes
    tokens: int


class Beginnings:
    """Of one request: its tools and system prompt, then that and each message after it.

    They are worked out when first looked at, which nobody does where `tokens`, of all of it, are too few to be kept.
    """

    __slots__ = ("_read", "request", "tokens")

    def __init__(self, request: CompletionRequest) -> None:
        self.request = request
        self._read: tuple[Beginning, ...] = ()
        self.tokens = _bytes(request) // BYTES_PER_TOKEN

    @property
    def fixed(self) -> Beginning:
        return self._all()[0]

    @property
    def grown(self) -> tuple[Beginning, ...]:
        return self._all()[1:]

    @property
    def has_system(self) -> bool:
        return bool(self.request.system)

    def _all(self) -> tuple[Beginning, ...]:
        if not self._read:
            self._read = _beginnings(self.request)
        return self._read


@dataclass(frozen=True, slots=True)
class Marks:
    """What a provider is told to keep: tools and system prompt, and the turns up to these numbers."""

    fixed: bool = False
    turns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Read:
    at_s: float
    marked: bool
    whole: bool
    """It was all of a request."""


class Prefixes:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read: OrderedDict[tuple[str, bytes], _Read] = OrderedDict()
        self._fewest_tokens = math.inf
        """Of all the beginnings that were ever remembered."""

    def marks(self, deployment: Deployment, beginnings: Beginnings) -> Marks:
        """What will probably save money when it is marked."""
        if not _marks(deployment) or beginnings.tokens < deployment.model.cache_from_tokens:
            return Marks()
        fixed = beginnings.fixed
        is_known = fixed.tokens >= deployment.model.cache_from_tokens and self._found(deployment, fixed) is not None
        if deployment.provider.format != "messages":  # over chat completions only a system prompt is marked
            return Marks(fixed=is_known and beginnings.has_system)
        return Marks(fixed=is_known, turns=self._marked_turns(deployment, beginnings.grown))

    def counting(self, beginnings: Beginnings) -> Callable[[Deployment], int] | None:
        """`cached_tokens` of that request; None where it is 0 everywhere."""
        if beginnings.tokens < self._fewest_tokens:
            return None
        return lambda deployment: self.cached_tokens(deployment, beginnings)

    def cached_tokens(self, deployment: Deployment, beginnings: Beginnings) -> int:
        """How many of the request's tokens `deployment` will probably read at its cached rate."""
        if beginnings.tokens < _least_tokens(deployment):
            return 0
        if _marks(deployment):
            for beginning in (*reversed(beginnings.grown[:-1]), beginnings.fixed):
                read = self._found(deployment, beginning)
                if read is not None and read.marked:
                    return beginning.tokens
            return 0
        for beginning in reversed(beginnings.grown):
            if beginning.tokens >= LEAST_TOKENS and self._found(deployment, beginning) is not None:
                return beginning.tokens
        return 0

    def was_read(self, deployment: Deployment, beginnings: Beginnings, marks: Marks) -> None:
        """`deployment` has answered the request; for a while it knows all of it."""
        if beginnings.tokens < _least_tokens(deployment):
            return
        now_s = self._clock.monotonic()
        last = len(beginnings.grown)
        self._note(deployment, beginnings.fixed, _Read(now_s, marks.fixed, whole=False))
        for number in sorted({max(1, last - 1), last, *marks.turns}):
            read = _Read(now_s, number in marks.turns, whole=number == last)
            self._note(deployment, beginnings.grown[number - 1], read)
        while len(self._read) > MOST_KEPT:
            self._read.popitem(last=False)

    def _marked_turns(self, deployment: Deployment, grown: Sequence[Beginning]) -> tuple[int, ...]:
        least = deployment.model.cache_from_tokens
        for number in range(len(grown) - 1, 0, -1):
            read = self._found(deployment, grown[number - 1])
            if read is not None:
                # Both ends: the provider looks for what it knows only a little way back from a mark.
                ends = (number, len(grown)) if read.whole else (number,)
                return tuple(end for end in ends if grown[end - 1].tokens >= least)
        return ()

    def _note(self, deployment: Deployment, beginning: Beginning, read: _Read) -> None:
        if beginning.tokens >= _least_tokens(deployment):
            key = (deployment.key, beginning.digest)
            self._read[key] = read
            self._read.move_to_end(key)
            self._fewest_tokens = min(self._fewest_tokens, beginning.tokens)

    def _found(self, deployment: Deployment, beginning: Beginning) -> _Read | None:
        read = self._read.get((deployment.key, beginning.digest))
        return read if read is not None and self._clock.monotonic() - read.at_s < KEPT_S else None


def _marks(deployment: Deployment) -> bool:
    return deployment.provider.marks_cache and deployment.model.cache_from_tokens > 0


def _least_tokens(deployment: Deployment) -> int:
    """Of a beginning that is worth remembering."""
    return min(LEAST_TOKENS, deployment.model.cache_from_tokens or LEAST_TOKENS)


def prefix_key(deployment: Deployment, beginnings: Beginnings) -> str:
    """The same for requests that begin alike: with the same long system prompt, else with the same first turn.

    "" where that is of no use. It tells nothing that the request does not: it is a hash of its beginning.
    """
    if not deployment.provider.takes_cache_key or beginnings.tokens < LEAST_TOKENS:
        return ""
    beginning = beginnings.fixed if beginnings.fixed.tokens >= LEAST_TOKENS else beginnings.grown[0]
    return beginning.digest.hex()


def _bytes(request: CompletionRequest) -> int:
    """Of everything that is read below."""
    size = sum(map(utf8_bytes, _tool_texts(request))) + utf8_bytes(request.system)
    for turn in request.turns:
        size += len(turn.role)
        for text in _texts(turn):
            size += utf8_bytes(text)
    return size


def _beginnings(request: CompletionRequest) -> tuple[Beginning, ...]:
    """The fixed one, then the grown ones. Reads every byte of `request`."""
    size = 0
    digest = hashlib.blake2b(digest_size=16)

    def read(*texts: str) -> Beginning:
        nonlocal size
        for text in texts:
            data = text.encode()
            # With its length, so that no two requests are the same text cut in different places.
            digest.update(b"%d:" % len(data))
            digest.update(data)
            size += len(data)
        return Beginning(digest.digest(), size // BYTES_PER_TOKEN)

    digest.update(request.scope.access_key.encode())
    return (
        read(*_tool_texts(request), request.system),
        *(read(turn.role, *_texts(turn)) for turn in request.turns),
    )


def _tool_texts(request: CompletionRequest) -> list[str]:
    return [
        text
        for tool in request.tools
        for text in (tool.name, tool.description, json.dumps(dict(tool.parameters), separators=(",", ":")))
    ]


def _texts(turn: Message) -> list[str]:
    texts: list[str] = []
    for part in turn.parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif isinstance(part, Image):
            texts += [part.url, part.digest]
        elif isinstance(part, ToolCall):
            texts += [part.id, part.name, part.arguments]
        else:
            texts += [part.call_id, part.name, part.content]
    return texts
