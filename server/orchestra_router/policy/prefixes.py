"""Which beginnings of a request a provider has read lately, and so reads again at its cached rate.

Most providers keep what they read by themselves. Where the beginning has to be marked (Anthropic's `cache_control`),
writing it costs a quarter more than reading it and every later read a tenth or less, so it is marked from its second
use within the time that it is kept: who asked twice in five minutes will probably ask again.

Kept in memory, per process and within one access key, so that nobody's cost tells of another's prompts.
"""

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass

from orchestra_router.clock import Clock
from orchestra_router.deployments import Deployment
from orchestra_router.policy.estimate import BYTES_PER_TOKEN
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


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Of one request: its tools and system prompt, then that and each message after it."""

    fixed: Beginning
    grown: tuple[Beginning, ...]
    has_system: bool


@dataclass(frozen=True, slots=True)
class _Read:
    at_s: float
    marked: bool


class Prefixes:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read: OrderedDict[tuple[str, bytes], _Read] = OrderedDict()

    def should_mark(self, deployment: Deployment, beginnings: Beginnings) -> bool:
        """Whether marking the fixed beginning will probably save money."""
        least = deployment.model.cache_from_tokens
        fixed = beginnings.fixed
        # Over chat completions only a system prompt can be marked.
        markable = _marks(deployment) and (beginnings.has_system or deployment.provider.format == "messages")
        return markable and fixed.tokens >= least and self._found(deployment, fixed) is not None

    def cached_tokens(self, deployment: Deployment, beginnings: Beginnings) -> int:
        """How many of the request's tokens `deployment` will probably read at its cached rate."""
        if _marks(deployment):
            read = self._found(deployment, beginnings.fixed)
            return beginnings.fixed.tokens if read is not None and read.marked else 0
        for beginning in reversed(beginnings.grown):
            if beginning.tokens >= LEAST_TOKENS and self._found(deployment, beginning) is not None:
                return beginning.tokens
        return 0

    def was_read(self, deployment: Deployment, beginnings: Beginnings, *, marked: bool) -> None:
        """`deployment` has answered the request; for a while it knows all of it."""
        kept = [beginnings.fixed] if _marks(deployment) else {beginnings.fixed, *beginnings.grown[-1:]}
        for beginning in kept:
            if beginning.tokens >= min(LEAST_TOKENS, deployment.model.cache_from_tokens or LEAST_TOKENS):
                key = (deployment.key, beginning.digest)
                self._read[key] = _Read(self._clock.monotonic(), marked)
                self._read.move_to_end(key)
        while len(self._read) > MOST_KEPT:
            self._read.popitem(last=False)

    def _found(self, deployment: Deployment, beginning: Beginning) -> _Read | None:
        read = self._read.get((deployment.key, beginning.digest))
        return read if read is not None and self._clock.monotonic() - read.at_s < KEPT_S else None


def _marks(deployment: Deployment) -> bool:
    return deployment.provider.marks_cache and deployment.model.cache_from_tokens > 0


def beginnings(request: CompletionRequest) -> Beginnings:
    """Reads every byte of `request`, so ask once."""
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
    fixed = read(
        *(
            text
            for tool in request.tools
            for text in (tool.name, tool.description, json.dumps(dict(tool.parameters), separators=(",", ":")))
        ),
        request.system,
    )
    grown = tuple(read(turn.role, *_texts(turn)) for turn in request.turns)
    return Beginnings(fixed, grown, has_system=bool(request.system))


def _texts(turn: Message) -> list[str]:
    texts: list[str] = []
    for part in turn.parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif isinstance(part, Image):
            texts += [part.url, hashlib.blake2b(part.data.encode(), digest_size=16).hexdigest()]
        elif isinstance(part, ToolCall):
            texts += [part.id, part.name, part.arguments]
        else:
            texts += [part.call_id, part.name, part.content]
    return texts
