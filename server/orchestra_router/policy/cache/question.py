"""What a request asks, cut into what must be the same and what may be worded differently.

    key     everything: an entry of the same key answers this very request
    shelf   everything but the words of the user's last turn: only entries of one shelf are ever compared

Both begin with who asks, so nothing of one scope is ever compared with, or served to, another.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace

from orchestra_router.embedding.prompt import PromptVector
from orchestra_router.policy.cache.eligibility import Eligibility, matched_text
from orchestra_router.policy.cache.matching import signature, words
from orchestra_router.policy.lexical_guard import GUARD_VERSION, Parsed, parse
from orchestra_router.types import CompletionRequest, Message, Scope

NAMESPACE = "cache_namespace"
"""The caller's own division, a label in `metadata`. It only ever separates what one scope would share."""

_PLACEHOLDER = re.compile(r"\[[A-Z0-9_]{1,80}\]")
"""What stands for something redacted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparable:
    """A prompt that may be compared with others."""

    text: str
    hash: str
    parsed: Parsed = field(repr=False)
    vector: PromptVector = field(repr=False)
    """Of `text`, redacted as that is."""
    shelf: str
    words: str
    """All its words as the guard reads them at its strictest, hashed."""


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
    who = whose(request.scope, shared)
    if not eligible.kept:
        return Question(key=None, who=who, comparable=None, eligible=eligible)
    asked = _parts(request, who)
    text = matched_text(request) if eligible.compared else None
    return Question(
        key=_hash([asked, [asdict(message) for message in request.messages]]),
        who=who,
        comparable=None if text is None else _comparable(vector(text), [asked, _without_text(request.messages)]),
        eligible=eligible,
    )


def _comparable(vector: PromptVector, rest: object) -> Comparable:
    text = vector.text
    parsed = parse(text)
    return Comparable(
        text=text,
        hash=prompt_hash(text),
        parsed=parsed,
        vector=vector,
        # What the guard never lets differ parts the shelves, so that nothing is embedded where nothing can match.
        shelf=_hash([rest, GUARD_VERSION, _PLACEHOLDER.findall(text), signature(parsed)]),
        words=_hash(words(parsed)),
    )


def whose(scope: Scope, shared: Collection[str]) -> str:
    user, session = (getattr(scope, name) if name in shared else "" for name in ("user", "session"))
    return json.dumps([scope.access_key, user, session], ensure_ascii=False)


def prompt_hash(text: str) -> str:
    """The same for texts that differ in case, blanks or what nobody can see."""
    seen = text.lower()
    if not seen.isascii():
        folded = unicodedata.normalize("NFKC", text).casefold()
        seen = "".join(c for c in folded if unicodedata.category(c) != "Cf")
    return hashlib.sha256(" ".join(seen.split()).encode("utf-8", "replace")).hexdigest()


def _parts(request: CompletionRequest, who: str) -> dict[str, object]:
    return {
        "who": who,
        "namespace": request.metadata.get(NAMESPACE, ""),
        "intent": [request.task, request.provider, request.model, request.fallback_providers, request.strategy],
        "wanted": [request.response_schema, request.accept],
        "tools": [[asdict(tool) for tool in request.tools], request.tool_choice],
        "parameters": [
            request.max_tokens,
            request.temperature,
            request.top_p,
            request.stop,
            request.effort,
            request.web_search,
            request.strict_params,
            request.seed,
        ],
    }


def _without_text(messages: tuple[Message, ...]) -> list[dict[str, object]]:
    return [asdict(message) for message in (*messages[:-1], replace(messages[-1], parts=()))]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
