"""What a request asks, cut into what must be the same and what may be worded differently.

    key     everything: an entry of the same key answers this very request
    rough   everything but the words of the user's last turn
    shelf   the same, and what of these words the guard never lets differ: only entries of one shelf are ever compared

All begin with who asks, so nothing of one scope is ever compared with, or served to, another. Only `shelf` takes reading
the words, so that is left to whoever finds entries of the same `rough` and the same figures.
"""

import functools
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.policy.cache.eligibility import Eligibility
from orchestra_router.policy.cache.matching import signature, words
from orchestra_router.policy.lexical_guard import GUARD_VERSION, Parsed, figures, figures_of, parse
from orchestra_router.types import CompletionRequest

NAMESPACE = "cache_namespace"
"""The caller's own division, a label in `metadata`. It only ever separates what one scope would share."""

_PLACEHOLDER = re.compile(r"\[[A-Z0-9_]{1,80}\]")
"""What stands for something redacted."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the lexical guard makes of a prompt."""

    parsed: Parsed = field(repr=False)
    figures: str
    """Of its quantities, so never unknown."""
    shelf: str
    words: str
    """All its words as the guard reads them at its strictest, hashed."""


class Comparable:
    """A prompt that may be compared with others. It is read when somebody first needs that."""

    def __init__(self, vector: PromptVector, rough: str) -> None:
        """`vector` is of the prompt, redacted as that is."""
        self.text = vector.text
        self.vector = vector
        self.rough = rough
        self.figures = figures(vector.text)
        self.reading: Reading | None = None
        """None as long as nobody read it."""

    def read(self) -> Reading:
        """Takes some tenths of a millisecond, a long prompt a few milliseconds."""
        if self.reading is None:
            self.reading = read(self.text, self.rough)
            self.figures = self.figures or self.reading.figures
        return self.reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    key: str | None
    """None for a request whose answer is not kept."""
    who: str
    comparable: Comparable | None
    """None where only exact hits are wanted."""
    eligible: Eligibility

    @property
    def text(self) -> str:
        """What is compared; "" where nothing is."""
        return "" if self.comparable is None else self.comparable.text


def question(
    request: CompletionRequest,
    eligible: Eligibility,
    *,
    shared: Collection[str],
    vector: Callable[[str], PromptVector],
) -> Question:
    """`shared` names what of a scope tells those apart who do not share answers ("user", "session").

    `vector` gives that of a text, so that nothing is embedded twice.
    """
    scope = request.scope
    who = whose(scope.access_key, scope.user if "user" in shared else "", scope.session if "session" in shared else "")
    if not eligible.kept:
        return Question(key=None, who=who, comparable=None, eligible=eligible)
    last = request.messages[-1]
    rough = _hash(_parts(request, who), request.messages[:-1], last.role, last.provider_state)
    text = eligible.text
    return Question(
        key=_hash(rough, last.parts),
        who=who,
        comparable=None if text is None else Comparable(vector(text), rough),
        eligible=eligible,
    )


def read(text: str, rough: str) -> Reading:
    """The reading of a prompt, asked for with all that is behind `rough`."""
    parsed = parse(text)
    # What the guard never lets differ parts the shelves, so that nothing is embedded where nothing can match.
    shelf = _hash(rough, GUARD_VERSION, _PLACEHOLDER.findall(text), signature(parsed))
    return Reading(parsed, figures_of(parsed.quantities), shelf, _hash(words(parsed)))


@functools.lru_cache(maxsize=1_000)
def whose(access_key: str, user: str, session: str) -> str:
    return json.dumps([access_key, user, session], ensure_ascii=False)


def prompt_hash(text: str) -> str:
    """The same for texts that differ in case, blanks or what nobody can see."""
    seen = text.lower()
    if not seen.isascii():
        folded = unicodedata.normalize("NFKC", text).casefold()
        seen = "".join(c for c in folded if unicodedata.category(c) != "Cf")
    return hashlib.sha256(" ".join(seen.split()).encode("utf-8", "replace")).hexdigest()


def _parts(request: CompletionRequest, who: str) -> tuple[object, ...]:
    schema = request.response_schema
    return (
        who,
        request.metadata.get(NAMESPACE, ""),
        request.task,
        request.provider,
        request.model,
        request.fallback_providers,
        request.strategy,
        None if schema is None else json.dumps(schema, sort_keys=True),
        request.accept,
        request.tools,
        request.tool_choice,
        request.max_tokens,
        request.temperature,
        request.top_p,
        request.stop,
        request.effort,
        request.web_search,
        request.strict_params,
        request.seed,
    )


def _hash(*parts: object) -> str:
    """Of plain values and dataclasses of these. Written in Python's way, each shows where it ends and what it is."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
