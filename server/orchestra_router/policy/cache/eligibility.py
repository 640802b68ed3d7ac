"""Which answers may be kept, which may answer another question than their own, and for how long.

Three degrees: not kept; kept for the very same request (exact only); kept and compared by meaning.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from orchestra_router.catalog import Catalog
from orchestra_router.policy.small_letters import small_letters
from orchestra_router.types import Answer, CompletionRequest

CacheSetting = Literal["semantic", "exact", "off"]
TIME_WORDS = Path(__file__).with_name("time_words.toml")
FRESH_TTL_S = 300.0
"""What the web says, and what is true today, ages faster than other answers."""
MOST_CHARACTERS = 2_000
MOST_PIECES = 200
"""A longer prompt is not read to its end by the embedder: two that end differently would look the same."""
LONGEST_WORD = 100
"""A longer run of characters is one unknown word to the embedder, whatever it spells."""
PIECE_CHARACTERS = 5
"""A longer word is often cut into pieces."""
MOST_ANSWER_CHARACTERS = 1_000_000
REFUSAL_CHARACTERS = 600
"""A refusal is short; an answer that only begins with an apology is not."""

CURLY = "\u2019"
"""The apostrophe that models write."""

_WORD = re.compile(r"\w+|[^\w\s]")
_CHOICE_FIRST = re.compile(r"\(\?:([^()]*)\)(.*)")
_REFUSAL = re.compile(
    r"\W*(?:i'm|i am|unfortunately|sorry|my apologies|i apologi[sz]e|as an? (?:ai|artificial|language|large))?"
    r"[^.!?\n]{0,80}?\b(?:i|we) (?:can't|cannot|can not|won't|will not|am unable to|am not able to|must decline|decline)\b"
    r"[^.!?\n]{0,40}?\b(?:help|assist|provide|answer|comply|fulfil|do that|do this|support|discuss|share|create|generate"
    r"|write|engage|continue)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Eligibility:
    kept: bool
    text: str | None
    """What is compared; None where only exact hits are wanted."""
    reason: str
    """Why not, in short; what follows a colon may be of the prompt. "" where everything is allowed."""
    ttl_s: float

    @property
    def compared(self) -> bool:
        return self.text is not None


def eligibility(
    request: CompletionRequest, catalog: Catalog, *, setting: CacheSetting, ttl_s: float, streamed: bool = False
) -> Eligibility:
    """`ttl_s` is how long answers are kept where neither the request nor its task says so."""
    if reason := "streamed" if streamed else _not_kept(request, setting):
        return Eligibility(kept=False, text=None, reason=reason, ttl_s=0)
    task = catalog.tasks.get(request.task or "")
    if task is not None and task.cache_ttl_s is not None:
        ttl_s = task.cache_ttl_s
    text = matched_text(request)
    if fresh := _of_its_time(request, text):
        ttl_s = min(ttl_s, FRESH_TTL_S)
    if request.cache_ttl_s is not None:
        ttl_s = request.cache_ttl_s
    reason = fresh or _not_compared(request, text, setting)
    return Eligibility(kept=True, text=None if reason else text, reason=reason, ttl_s=ttl_s)


def matched_text(request: CompletionRequest) -> str | None:
    """The text of the user's last turn, which is what is compared; None where it is more, or not the last, or nothing."""
    last = request.messages[-1]
    return last.text or None if last.role == "user" and last.is_text else None


def unfit(answer: Answer) -> str:
    """Why `answer` is not kept; "" for a whole one, freely given. The rest is asked again next time."""
    if answer.finish != "stop" or answer.tool_calls:
        return "not a whole answer"
    if not answer.text.strip():
        return "an empty answer"
    if len(answer.text) < REFUSAL_CHARACTERS and _REFUSAL.match(answer.text.replace(CURLY, "'")):
        return "a refusal"
    return "too large" if len(answer.text) > MOST_ANSWER_CHARACTERS else ""


def _not_kept(request: CompletionRequest, setting: CacheSetting) -> str:
    if setting == "off":
        return "switched off in the settings"
    if request.cache == "off":
        return "switched off by the caller"
    if request.tools:
        return "tools are offered"
    if (request.temperature or 0) > 0:
        return "a temperature above 0 asks for variety"
    return ""


def _of_its_time(request: CompletionRequest, text: str | None) -> str:
    if request.web_search or request.task == "web_search":
        return "web search"
    if text is not None and (word := _word_of_time(small_letters(text[:MOST_CHARACTERS]))):
        return f"a word of time: {word}"
    return ""


def _word_of_time(text: str) -> str:
    """The first in `text`, which is in `small_letters`."""
    words = _time_words()
    seen = words.in_ascii.search(f" {text}") if text.isascii() else words.anywhere.search(text)
    if seen is None:
        return ""
    return next((word for match in words.beside_timeless.finditer(text) if (word := match["word"])), "")


def _not_compared(request: CompletionRequest, text: str | None, setting: CacheSetting) -> str:
    if setting == "exact":
        return "exact hits only, by the settings"
    if request.task == "creative_writing":
        return "creative writing"
    if text is None:
        return "the last turn is more than the user's text"
    if not all(message.is_text for message in request.messages):
        return "attachments"
    return "a long prompt" if _is_long(text) else ""


def _is_long(text: str) -> bool:
    """Rather too often than too seldom: the embedder's own count is not asked, for it may not be loaded yet."""
    if len(text) <= LONGEST_WORD:
        return False
    if len(text) > MOST_CHARACTERS:
        return True
    words: list[str] = _WORD.findall(text)
    pieces = sum(1 + len(word) // PIECE_CHARACTERS for word in words)
    return pieces > MOST_PIECES or max(map(len, words), default=0) > LONGEST_WORD


class TimeWords(NamedTuple):
    """Any word of the table in `small_letters`; whole where its script has spaces between words."""

    anywhere: re.Pattern[str]
    in_ascii: re.Pattern[str]
    """Most texts are in ASCII. It begins with what stands before a word, so that nothing is tried inside of one."""
    beside_timeless: re.Pattern[str]
    """The same as `word`, but for those within what is timeless. Most texts have none, and need not be read by it."""


@cache
def _time_words() -> TimeWords:
    table: dict[str, dict[str, list[str]]] = tomllib.loads(TIME_WORDS.read_text(encoding="utf-8"))
    apart = [word for words in table["apart"].values() for word in words]
    inside = [word for words in table["inside"].values() for word in words]
    timeless = _by_letter(phrase for phrases in table["timeless"].values() for phrase in phrases)
    latin = _by_letter(word for word in apart if word[0].isascii())
    anywhere = rf"\b(?:{_by_letter(apart)})\b|{_by_letter(inside)}"
    return TimeWords(
        re.compile(anywhere), re.compile(rf"\W(?:{latin})\b"), re.compile(rf"\b(?:{timeless})\b|(?P<word>{anywhere})")
    )


def _by_letter(patterns: Iterable[str]) -> str:
    """Any of `patterns`, put so that where a word begins one look at its first letter rules out most of them."""
    found: dict[str, list[str]] = {}
    for pattern in patterns:
        choice = _CHOICE_FIRST.fullmatch(pattern)
        for start in choice[1].split("|") if choice else [""]:
            whole = small_letters(start + (choice[2] if choice else pattern))
            found.setdefault(whole[0], []).append(whole[1:])
    return "|".join(f"{letter}(?:{'|'.join(rest)})" for letter, rest in found.items())
