"""What a request asks, cut into what must be the same and what may be worded differently.

    key     everything: an entry of the same key answers this very request
    shelf   everything but the words of the user's last turn: only entries of one shelf are ever compared

Both begin with who asks, so nothing of one scope is ever compared with, or served to, another.
"""

import hashlib
import json
import unicodedata
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

from orchestra_router.policy.cache.eligibility import Eligibility, matched_text
from orchestra_router.types import CompletionRequest, Message, Scope

NAMESPACE = "cache_namespace"
"""The caller's own division, a label in `metadata`. It only ever separates what one scope would share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    key: str | None
    """None for a request whose answer is not kept."""
    who: str
    shelf: str
    """"" where only exact hits are wanted."""
    text: str
    """What is compared; "" where nothing is."""
    eligible: Eligibility


def question(request: CompletionRequest, eligible: Eligibility, *, shared: Collection[str]) -> Question:
    """`shared` names what of a scope tells those apart who do not share answers ("user", "session")."""
    who = whose(request.scope, shared)
    if not eligible.kept:
        return Question(key=None, who=who, shelf="", text="", eligible=eligible)
    asked = _parts(request, who)
    text = matched_text(request) if eligible.compared else None
    return Question(
        key=_hash([asked, [asdict(message) for message in request.messages]]),
        who=who,
        shelf="" if text is None else _hash([asked, [asdict(message) for message in _without_text(request.messages)]]),
        text=text or "",
        eligible=eligible,
    )


def whose(scope: Scope, shared: Collection[str]) -> str:
    user, session = (getattr(scope, name) if name in shared else "" for name in ("user", "session"))
    return json.dumps([scope.access_key, user, session], ensure_ascii=False)


def prompt_hash(text: str) -> str:
    """The same for texts that differ in case, blanks or what nobody can see."""
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
        ],
    }


def _without_text(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return (*messages[:-1], replace(messages[-1], parts=()))


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
